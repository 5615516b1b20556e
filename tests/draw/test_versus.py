"""Plots of models against each other: what is drawn is what was measured, and no name is lost."""

import itertools
import math
from xml.etree import ElementTree

import numpy as np
import pytest

from vitrail.draw.chart import Axis
from vitrail.draw.frontier import frontier
from vitrail.draw.labels import Spot, breadth, place, wrapped
from vitrail.draw.plots import tones_of
from vitrail.draw.versus import differences, learning_curves, ranges, robustness
from vitrail.values import Estimate

NAMES = [
    "vit-s16",
    "resnet50",
    "google/vit-base-patch16-224-in21k",
    "swin_tiny_patch4_window7_224",
    "timm/convnext_base.fb_in22k_ft_in1k_384",
    "efficientnet_b0",
    "vit-ti16 (fine-tuned)",
    "facebook/dinov2-with-registers-base",
    "inception_v3",
    "mobilenetv3_large_100",
    "deit3_small_patch16_224",
    "vit-b16",
]
UNKNOWN = Estimate(value=math.nan, low=math.nan, high=math.nan)
ATTACK = '<script>alert(1)</script>&"'


def about(value, reach=0.01):
    return Estimate(value=value, low=value - reach, high=value + reach)


def parse(markup):
    return ElementTree.fromstring(f"<body>{markup}</body>")


def texts(tree):
    return ["".join(each.itertext()) for each in tree.iter("text")]


def marks(tree, tag, *classes):
    return [each for each in tree.iter(tag) if set(classes) <= set((each.get("class") or "").split())]


def said(tree):
    return [each.text for each in tree.iter("title")]


def number(mark, name):
    return float(mark.get(name))


def alt(tree):
    return [each.get("aria-label") for each in tree.iter("svg")]


def outside(tree):
    """Return the texts that leave their drawing, by how wide they are about."""
    out = []
    for drawing in tree.iter("svg"):
        width, height = number(drawing, "width"), number(drawing, "height")
        for text in drawing.iter("text"):
            if text.get("transform"):
                continue
            wide = breadth(text.text)
            left = number(text, "x") - {"start": 0, "middle": wide / 2, "end": wide}[text.get("text-anchor")]
            if left < -1 or left + wide > width + 1 or not 0 < number(text, "y") <= height:
                out.append(text.text)
    return out


def test_models_keep_their_tone_and_the_seventh_is_told_from_the_first():
    tones = tones_of(NAMES)
    assert len(set(tones.values())) == len(NAMES)
    assert tones["vit-s16"] == "s1"
    assert tones["vit-ti16 (fine-tuned)"] == "s1 again"
    value = about(0.9)
    mine = tones_of(["a", "b"])
    for drawn in (
        ranges([("b", value, [])], title="Accuracy", percent=True, tones=mine),
        learning_curves({"b": [(10, value)]}, x_title="n", y_title="Accuracy", percent=True, tones=mine),
        robustness({"blur": {"b": [value] * 4}}, y_title="Accuracy", percent=True, tones=mine),
        frontier([("b", 1, value)], x_title="s", y_title="y", percent=True, better="max", tones=mine),
    ):
        assert marks(parse(drawn), "circle", "s2")
        assert not marks(parse(drawn), "circle", "s1")


def test_ranges_have_a_mean_an_interval_and_every_seed_where_they_belong():
    rows = [("vit", Estimate(value=0.9, low=0.85, high=0.95), [0.88, 0.92]), ("cnn", about(0.8), [0.8])]
    tree = parse(ranges(rows, title="Accuracy", percent=True))
    (whisker,), seeds = marks(tree, "line", "s1"), marks(tree, "circle", "s1", "seed")
    (mean,) = [each for each in marks(tree, "circle", "s1") if each not in seeds]
    low, high = number(whisker, "x1"), number(whisker, "x2")
    assert number(mean, "cx") == pytest.approx((low + high) / 2, abs=0.02)
    assert [(number(each, "cx") - low) / (high - low) for each in seeds] == pytest.approx(
        [0.3, 0.7], abs=0.01
    )
    assert number(whisker, "y1") == number(whisker, "y2") == number(mean, "cy")
    assert all(0 < number(each, "cy") - number(mean, "cy") < 12 for each in seeds)
    (below,) = marks(tree, "line", "s2")
    assert number(below, "y1") > number(whisker, "y1")
    assert "vit: 90.0 % (85.0 to 95.0 %), 2 seeds" in said(tree)
    assert "vit, one seed: 88.0 %" in said(tree)
    assert "vit 90.0 % (85.0 to 95.0 %)" in alt(tree)[0]
    assert {"vit", "cnn", "90.0 %", "80.0 %", "Accuracy"} <= set(texts(tree))


def test_a_share_that_is_not_all_is_not_written_as_all():
    tree = parse(ranges([("a", about(0.9999, 0), []), ("b", about(0.8), [])], title="A", percent=True))
    assert "99.99 %" in texts(tree)
    assert Axis(low=0.4, high=2.4).tell(1.23456) == "1.23"
    assert Axis(low=0.01, high=0.02).tell(0.01234) == "0.0123"


def test_differences_are_in_points_from_zero_and_shown_ones_stand_out():
    rows = [
        ("vit - cnn", Estimate(value=0.02, low=0.01, high=0.03), True),
        ("vit - mlp", Estimate(value=-0.005, low=-0.02, high=0.01), False),
    ]
    tree = parse(differences(rows, title="Difference in accuracy", points=True))
    (zero,) = marks(tree, "line", "zero")
    (shown,), (other,) = marks(tree, "circle", "ink"), marks(tree, "circle", "pale")
    assert number(zero, "x1") == number(zero, "x2")
    assert number(other, "cx") < number(zero, "x1") < number(shown, "cx")
    reach = number(shown, "cx") - number(zero, "x1")
    assert number(zero, "x1") - number(other, "cx") == pytest.approx(reach / 4, abs=0.02)
    assert "+2.0 (+1.0 to +3.0)" in " ".join(texts(tree))
    assert "vit \N{MINUS SIGN} cnn: +2.0 (+1.0 to +3.0), shown" in " ".join(said(tree))
    assert any(each.endswith("not shown") for each in said(tree))
    assert "Difference in accuracy, percentage points" in texts(tree)
    plain = parse(differences([("a - b", about(2.0), True)], title="Difference", points=False))
    assert "percentage" not in "".join(texts(plain))
    assert any(each.startswith("+2.0") for each in texts(plain))


def test_learning_curves_are_logarithmic_and_their_whiskers_stand_apart():
    line = [(10, about(0.5)), (100, about(0.7)), (1000, about(0.8))]
    series = {"vit": line, "cnn": line}
    tree = parse(learning_curves(series, x_title="training pictures", y_title="Accuracy", percent=True))
    ours, theirs = ([number(each, "cx") for each in marks(tree, "circle", tone)] for tone in ("s1", "s2"))
    assert ours[1] - ours[0] == pytest.approx(ours[2] - ours[1], abs=0.05)
    assert [one - other for one, other in zip(theirs, ours, strict=True)] == pytest.approx([4] * 3, abs=0.05)
    assert len(marks(tree, "line", "whisker")) == 6
    assert {"10", "100", "1k"} <= set(texts(tree))
    assert ["".join(each.itertext()) for each in tree.iter("li")] == ["vit", "cnn"]
    assert "vit, training pictures 1,000: 80.0 % (79.0 to 81.0 %)" in said(tree)
    assert "10 to 1,000" in alt(tree)[0]


def test_numbers_below_learning_curves_do_not_collide():
    line = [(size, about(0.5)) for size in (1000, 1010, 1020, 5000, 10_000)]
    tree = parse(learning_curves({"a": line}, x_title="n", y_title="Accuracy", percent=True))
    assert {"5k", "10k", "1.02k"} <= set(texts(tree))
    assert not {"1k", "1.01k"} & set(texts(tree))


def test_robustness_has_one_scale_for_all_panels_and_one_legend():
    panels = {
        "noise": {"vit": [about(0.9), about(0.8), about(0.6), about(0.2)], "cnn": [about(0.9)] * 4},
        "blur": {"vit": [about(0.9)] * 4, "cnn": [about(0.9), about(0.85), UNKNOWN, about(0.7)]},
    }
    drawn = robustness(panels, y_title="Accuracy", percent=True)
    tree = parse(drawn)
    drawings = list(tree.iter("svg"))
    assert len(drawings) == 2
    assert len(list(tree.iter("ul"))) == 1
    heights = {number(marks(each, "circle", "s1")[0], "cy") for each in drawings}
    assert len(heights) == 1  # 90 % is as high in each
    assert [len(marks(each, "circle", "s2")) for each in drawings] == [4, 3]
    assert [text for text in texts(drawings[0]) if text in "0123"] == ["0", "1", "2", "3"]
    assert [title for title in texts(tree) if title in panels] == ["noise", "blur"]
    assert "vit, noise of strength 3: 20.0 % (19.0 to 21.0 %)" in said(tree)
    assert "cnn 90.0 %, 85.0 %, \N{EN DASH}, 70.0 %" in alt(tree)[1]
    assert "nan" not in drawn


@pytest.mark.parametrize(("better", "best"), [("max", ["a", "c", "d"]), ("min", ["a", "b"])])
def test_the_frontier_is_what_nothing_cheaper_beats(better, best):
    points = [("d", 90, about(0.95)), ("a", 10, about(0.8)), ("b", 30, about(0.7)), ("c", 40, about(0.9))]
    points += [("e", 50, about(0.8)), ("f", 95, about(0.7))]
    tree = parse(frontier(points, x_title="seconds", y_title="Accuracy", percent=True, better=better))
    assert alt(tree)[0].endswith(f"Best for their cost: {', '.join(best)}.")
    (line,) = marks(tree, "polyline", "edge")
    corners = [tuple(map(float, corner.split(","))) for corner in line.get("points").split()]
    assert len(corners) == 2 * len(best)
    assert all(one[0] == other[0] or one[1] == other[1] for one, other in itertools.pairwise(corners))
    dots = {said.split(":")[0]: mark for mark, said in zip(tree.iter("circle"), said(tree), strict=True)}
    for name in best:
        place = number(dots[name], "cx"), number(dots[name], "cy")
        assert min(math.dist(place, corner) for corner in corners) < 0.2
    assert set(texts(tree)) > {"a", "b", "c", "d", "e", "f"}
    assert len(marks(tree, "line", "whisker")) == 6


def clear(labels, spots, room):
    boxes = [label.box for label in labels if label]
    dots = [(spot.across - 5, spot.down - 5, spot.across + 5, spot.down + 5) for spot in spots]
    for one in boxes:
        assert room[0] <= one[0]
        assert room[1] <= one[1]
        assert one[2] <= room[2]
        assert one[3] <= room[3]
    for one, other in [*itertools.combinations(boxes, 2), *itertools.product(boxes, dots)]:
        assert one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]


@pytest.mark.parametrize("count", [2, 8, 12, 60])
@pytest.mark.parametrize("seed", range(5))
def test_labels_collide_with_nothing_and_stay_within(count, seed):
    print("seed", seed)
    random, room = np.random.default_rng(seed), (60, 2, 690, 340)
    spots = []
    for index in range(count):
        across, down = random.uniform(80, 660), random.uniform(30, 310)
        name = NAMES[index % len(NAMES)]
        spots.append(Spot(name=name, across=across, down=down, radius=5, top=down - 20, bottom=down + 20))
    labels = place(spots, room)
    clear(labels, spots, room)
    if count <= 8:
        assert all(labels)
    for spot, label in zip(spots, labels, strict=True):
        assert label is None or "".join(label.lines).replace(" ", "") == spot.name.replace(" ", "")


def test_names_without_room_are_listed_not_lost():
    points = [(f"{index} {NAMES[2]}", 100, about(0.9, 0.001)) for index in range(12)]
    tree = parse(frontier(points, x_title="seconds", y_title="Accuracy", percent=True, better="max"))
    listed = ["".join(each.itertext()) for each in tree.iter("li")]
    assert 6 < len(listed) < 12
    written = "".join(texts(tree)).replace(" ", "")
    assert all(name in listed or name.replace(" ", "") in written for name, *_ in points)


def test_names_break_where_their_parts_end():
    assert wrapped("vit-s16", 200) == ["vit-s16"]
    assert wrapped("google/vit-base-patch16-224-in21k", 180) == ["google/", "vit-base-patch16-224-in21k"]
    assert wrapped(f"{NAMES[1]} - {NAMES[2]}", 230) == ["resnet50 -", NAMES[2]]
    assert wrapped("x" * 60, 100) == ["x" * 60]
    assert breadth("mm") > breadth("ii")
    assert breadth("日本") > breadth("ab")


@pytest.mark.parametrize("count", [1, 2, 12])
def test_nothing_leaves_its_drawing_and_long_names_are_whole(count):
    names = NAMES[:count]
    values = [about(0.95 - 0.01 * index) for index in range(count)]
    rows = list(zip(names, values, strict=True))
    tree = parse(ranges([(name, value, [value.value]) for name, value in rows], title="A", percent=True))
    assert outside(tree) == []
    assert all(name.replace(" ", "") in "".join(texts(tree)).replace(" ", "") for name in names)
    pairs = [(f"{one} - {other}", about(0.01), True) for one in names for other in NAMES[2:6]]
    assert outside(parse(differences(pairs, title="Difference", points=True))) == []
    line = [(100, about(0.5)), (1000, about(0.8))]
    drawn = learning_curves(dict.fromkeys(names, line), x_title="n", y_title="A", percent=True)
    assert outside(parse(drawn)) == []
    panels = {"blur": {name: [value] * 4 for name, value in rows}}
    assert outside(parse(robustness(panels, y_title="A", percent=True))) == []
    points = [(name, 10.0 * 2**index, value) for index, (name, value) in enumerate(rows)]
    for wide in (False, True):
        drawn = frontier(points, x_title="s", y_title="A", percent=True, better="max", wide=wide)
        assert outside(parse(drawn)) == []


def test_what_is_not_a_number_is_not_drawn():
    single = Estimate(value=0.9, low=math.nan, high=math.nan)
    drawn = [
        ranges([("a", UNKNOWN, []), ("b", single, [0.9, math.nan])], title="A", percent=True),
        differences([("a - b", single, False), ("a - c", UNKNOWN, False)], title="D", points=True),
        learning_curves(
            {"a": [(10, single), (20, UNKNOWN)], "b": []}, x_title="n", y_title="A", percent=True
        ),
        robustness({"blur": {"a": [single] * 4, "b": [UNKNOWN] * 4}}, y_title="A", percent=True),
        frontier(
            [("a", 1, single), ("b", 0, single), ("c", math.nan, single), ("d", 2, UNKNOWN)],
            x_title="s",
            y_title="A",
            percent=False,
            better="max",
        ),
    ]
    for each in drawn:
        assert "nan" not in each
        assert parse(each).find(".//circle") is not None
    assert len(list(parse(drawn[-1]).iter("circle"))) == 1
    assert ranges([("a", UNKNOWN, [])], title="A", percent=True) == ""
    assert differences([("a - b", UNKNOWN, False)], title="D", points=True) == ""
    assert learning_curves({"a": []}, x_title="n", y_title="A", percent=True) == ""
    assert robustness({"blur": {"a": [UNKNOWN]}}, y_title="A", percent=True) == ""
    assert frontier([], x_title="s", y_title="A", percent=True, better="max") == ""


def test_names_are_escaped_and_colours_are_the_pages():
    value = about(0.9)
    for each in (
        ranges([(ATTACK, value, [0.9])], title=ATTACK, percent=True),
        differences([(ATTACK, value, True)], title=ATTACK, points=True),
        learning_curves({ATTACK: [(10, value)]}, x_title=ATTACK, y_title=ATTACK, percent=True),
        robustness({ATTACK: {ATTACK: [value] * 4}}, y_title=ATTACK, percent=True),
        frontier([(ATTACK, 1, value)], x_title=ATTACK, y_title=ATTACK, percent=True, better="max"),
    ):
        assert "<script" not in each
        assert "#" not in each.replace("&#", "")
        assert ATTACK in "".join(said(parse(each)))
