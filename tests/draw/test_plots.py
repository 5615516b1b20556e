import base64
import io
import math
import re
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from vitrail.draw.chart import Axis, Chart, short
from vitrail.draw.plots import confusion_matrix, curves, padded, reliability_plot, share_table, survival


def parse(markup):
    return ElementTree.fromstring(f"<body>{markup}</body>")


def texts(tree):
    return ["".join(each.itertext()) for each in tree.iter("text")]


@pytest.mark.parametrize(
    ("axis", "ticks"),
    [
        (Axis(low=0, high=1, percent=True), ["0 %", "20 %", "40 %", "60 %", "80 %", "100 %"]),
        (Axis(low=0.913, high=0.987, percent=True), ["92 %", "94 %", "96 %", "98 %"]),
        (Axis(low=1, high=30, whole=True), ["10", "20", "30"]),
        (Axis(low=1, high=3, whole=True), ["1", "2", "3"]),
        (Axis(low=-0.3, high=0.3), ["-0.2", "0", "0.2"]),
        (Axis(low=900, high=12e6, log=True), ["1k", "10k", "100k", "1M", "10M"]),
        (Axis(low=15, high=130, log=True), ["20", "50", "100"]),
        (Axis(low=14, high=41, log=True), ["20", "30", "40"]),
        (Axis(low=-2.5, high=2.5, signed=True), ["−2", "−1", "0", "+1", "+2"]),
        (Axis(low=0, high=9, given=(1, 7)), ["1", "7"]),
    ],
)
def test_ticks_are_round_and_within(axis, ticks):
    assert [axis.label(value) for value in axis.ticks] == ticks
    assert all(-1e-9 <= axis.place(value) <= 1 + 1e-9 for value in axis.ticks)


def test_places_go_from_the_lower_left():
    chart = Chart(
        x=Axis(low=0, high=10),
        y=Axis(low=0, high=1),
        width=100,
        height=100,
        left=10,
        right=10,
        top=10,
        bottom=10,
    )
    assert chart.at(0, 0) == (10, 90)
    assert chart.at(10, 1) == (90, 10)
    assert Axis(low=1, high=100, log=True).place(10) == pytest.approx(0.5)


def test_numbers_are_short():
    assert [short(value) for value in (0, 0.00312, 12, 1500, 21_400_000)] == [
        "0",
        "0.00312",
        "12",
        "1.5k",
        "21.4M",
    ]


def test_axes_hold_single_values_and_shares_end_at_nought_and_one():
    assert padded([3.0, 3.0]).low < 3 < padded([3.0, 3.0]).high
    assert padded([0.0]).low < 0 < padded([0.0]).high
    assert padded([0.5, 1.0], margin=0.1, percent=True).high == 1
    assert padded([0.0, 0.5], margin=0.1, percent=True).low == 0


def test_curves_draw_each_series_and_the_kept_epoch():
    rows = [(float(epoch), 1 / epoch) for epoch in range(1, 31)]
    tree = parse(
        curves({"Training": rows, "Validation": [(e, 2 * v) for e, v in rows]}, title="Loss", best=27)
    )
    lines = list(tree.iter("polyline"))
    assert [len(line.get("points").split()) for line in lines] == [30, 30]
    assert "kept: epoch 27" in texts(tree)
    assert ["".join(each.itertext()) for each in tree.iter("li")] == ["Training", "Validation"]
    label = next(tree.iter("svg")).get("aria-label")
    assert "Training 0.03333" in label


def test_curves_of_one_epoch_or_none_or_broken_numbers():
    assert curves({"Loss": []}, title="Loss") == ""
    assert curves({"Loss": [(1, math.nan)]}, title="Loss") == ""
    tree = parse(curves({"Loss": [(1, 0.5)]}, title="Loss"))
    assert len(list(tree.iter("circle"))) == 1
    tree = parse(curves({"Loss": [(1, 0.5), (2, math.inf), (3, 0.25)]}, title="Loss"))
    assert len(next(tree.iter("polyline")).get("points").split()) == 2
    assert "nan" not in ElementTree.tostring(tree).decode()


def matrix(count, seed=0):
    counts = np.random.default_rng(seed).integers(0, 3, (count, count))
    return counts + 20 * np.eye(count, dtype=int)


@pytest.mark.parametrize("count", [2, 10, 20])
def test_small_confusion_matrices_show_their_counts(count):
    counts = matrix(count)
    tree = parse(confusion_matrix(counts, [f"c{i}" for i in range(count)]))
    numbers = [text for text in tree.iter("text") if (text.get("class") or "").startswith("count")]
    assert [int(number.text) for number in numbers] == counts[counts > 0].tolist()
    assert [name for name in texts(tree) if name.startswith("c")] == [
        f"c{i}" for i in range(count) for _ in "xy"
    ]
    hints = ["".join(each.itertext()) for each in tree.iter("title")]
    assert (
        f"c0, answered c0: {counts[0, 0]} of {counts[0].sum()} ({counts[0, 0] / counts[0].sum():.1%})"
        in hints
    )


@pytest.mark.parametrize("count", [200, 1000])
def test_large_confusion_matrices_are_a_picture_that_loses_no_mistake(count):
    counts = np.diag(np.full(count, 10))
    counts[17, 160] = 1
    tree = parse(confusion_matrix(counts, [f"class number {i}" for i in range(count)]))
    image = next(tree.iter("image"))
    data = base64.b64decode(image.get("href").split(",")[1])
    pixels = np.asarray(Image.open(io.BytesIO(data)))
    side = pixels.shape[0]
    assert pixels.shape == (side, side, 4)
    assert side == (200 if count == 200 else 250)
    wrong = np.argwhere((pixels[..., 3] > 40) & ~np.eye(side, dtype=bool))
    block = count // side
    assert wrong.tolist() == [[17 // block, 160 // block]]
    named = [name for name in texts(tree) if name.startswith("class")]
    assert 20 <= len(named) <= 26
    assert len(confusion_matrix(counts, [f"class number {i}" for i in range(count)])) < 40_000


def test_names_are_escaped_and_long_ones_cut():
    names = ["<script>alert(1)</script>", 'a & "b" $\\frac$']
    drawn = confusion_matrix(np.array([[3, 1], [0, 2]]), names)
    assert "<script" not in drawn
    hints = ["".join(each.itertext()) for each in parse(drawn).iter("title")]
    assert any(names[0] in hint and names[1] in hint for hint in hints)
    assert "<script>…script>" in texts(parse(drawn))


def test_a_class_without_pictures_does_not_divide_by_zero():
    assert "nan" not in confusion_matrix(np.array([[3, 1], [0, 0]]), ["a", "b"])


@pytest.mark.parametrize(("columns", "numbered"), [(2, True), (8, True), (20, True), (64, False)])
def test_shares_are_squares_with_their_per_cent_where_there_is_room(columns, numbered):
    shares = np.random.default_rng(0).dirichlet(np.ones(columns), 3)
    names = [str(number) for number in range(columns)]
    drawn = share_table(
        shares, rows=["1", "3", "11"], columns=names, row_title="layer", column_title="expert"
    )
    tree = parse(drawn)
    said = [each.text for each in tree.iter("title")]
    assert said == [
        f"layer {layer}, expert {name}: {share:.1%}"
        for layer, row in zip(("1", "3", "11"), shares, strict=True)
        for name, share in zip(names, row, strict=True)
    ]
    opacities = [float(each.get("fill-opacity")) for each in tree.iter("rect") if each.get("fill-opacity")]
    assert np.argmax(opacities) == np.argmax(shares)
    counts = [each.text for each in tree.iter("text") if "count" in each.get("class")]
    assert counts == ([f"{100 * share:.0f}" for share in shares.flat] if numbered else [])
    assert {"layer", "expert", "11"} <= set(texts(tree))


def test_reliability_shows_filled_bins_with_intervals():
    bins = [(0, math.nan, math.nan, math.nan, math.nan)] * 13 + [
        (10, 0.9, 0.8, 0.5, 0.9),
        (90, 0.97, 0.98, 0.9, 1.0),
    ]
    drawn = reliability_plot(bins, 0.012)
    tree = parse(drawn)
    assert len(list(tree.iter("circle"))) == 2
    assert "nan" not in drawn
    assert "0.012 over 100 answers" in next(tree.iter("svg")).get("aria-label")
    whiskers = [each for each in tree.iter("line") if "s1" in each.get("class")]
    assert len(whiskers) == 2


def test_survival_goes_down_from_all_to_those_that_have_the_most():
    values = {"cell": np.array([0.0, 0.5, 0.5, 1.0]), "none": np.array([np.nan]), "all": np.ones(3)}
    drawn = survival(values, x_title="IoU", y_title="share of pictures", unit="pictures")
    tree = parse(drawn)
    assert "none" not in texts(tree)
    lines = [each.get("points").split() for each in tree.iter("polyline")]
    assert len(lines) == 2
    downs = [float(point.split(",")[1]) for point in lines[0]]
    assert downs == sorted(downs)
    top, bottom = 12, 330 - 40
    heights = [(bottom - down) / (bottom - top) for down in downs]
    assert [round(heights[place], 2) for place in (0, 1, 100, 101, 200)] == [1, 0.75, 0.75, 0.25, 0.25]
    assert {float(point.split(",")[1]) for point in lines[1]} == {top}
    assert "cell: half of 4 pictures have 50.0 % or more" in drawn
    assert not survival({"none": np.array([])}, x_title="IoU", y_title="share", unit="pictures")


def test_charts_take_their_colours_from_the_page():
    drawn = curves({"Loss": [(1, 0.5), (2, 0.25)]}, title="Loss")
    assert not re.search(r"#[0-9a-fA-F]{3,6}\b", drawn)
