"""The numbers of segmenters, against other implementations and against what they must be."""

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix, f1_score, jaccard_score, precision_score, recall_score

from vitrail.errors import VitrailError
from vitrail.measure import tally as tally_module
from vitrail.measure.outlines import outline_hits
from vitrail.measure.segment import Segmentation, columns, from_columns, ious, marks, orders
from vitrail.measure.tally import tally
from vitrail.values import IGNORED, Mask

NAMES = ("ground", "cell", "vessel", "never")


def pictures(count=6, seed=0, classes=3, ignored=0.1):
    """Return answers and truths of different sizes, answers right more often than not."""
    random = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        size = tuple(random.integers(20, 40, 2))
        truth = random.integers(0, classes, size).astype(np.uint8)
        answer = np.where(random.random(size) < 0.7, truth, random.integers(0, classes, size))
        truth[random.random(size) < ignored] = IGNORED
        found.append((as_mask(answer.astype(np.uint8), random.random(size)), truth))
    return found


def as_mask(values, scores=None, names=NAMES, multi=False):
    scores = None if scores is None else scores.astype(np.float16)
    return Mask(names=names, values=values, scores=scores, source=0, multi=multi)


def measured(found, names=NAMES, multi=False, groups=None):
    metric = Segmentation(names, multi)
    metric.update([tally(*each) for each in found], groups=groups)
    return metric


def flat(found):
    said = np.concatenate([answer.values[truth != IGNORED] for answer, truth in found])
    return said, np.concatenate([truth[truth != IGNORED] for _, truth in found])


def test_as_scikit_learn_has_it():
    found = pictures()
    said, true = flat(found)
    quality = measured(found).quality(resamples=50)
    each = {"labels": [0, 1, 2], "average": None}
    wanted = {
        "iou": jaccard_score(true, said, **each),
        "dice": f1_score(true, said, **each),
        "precision": precision_score(true, said, **each),
        "recall": recall_score(true, said, **each),
    }
    for name, values in wanted.items():
        ours = [quality.per_class[label][name].value for label in NAMES[:3]]
        assert np.allclose(ours, values)
    assert quality.metrics["mean_iou"].value == pytest.approx(wanted["iou"].mean())
    assert quality.metrics["mean_dice"].value == pytest.approx(wanted["dice"].mean())
    assert quality.metrics["pixel_accuracy"].value == pytest.approx((said == true).mean())
    assert np.array_equal(quality.confusion[:3, :3], confusion_matrix(true, said))
    assert quality.metrics.keys() == orders().keys()


def test_a_class_that_is_not_there_is_neither_0_nor_1():
    quality = measured(pictures()).quality(resamples=20)
    assert quality.absent == ("never",)
    assert all(np.isnan(value.value) for value in quality.per_class["never"].values())
    found = pictures()
    found[0][0].values[0, 0] = 3  # answered, and nowhere true: still not present
    found[0][1][0, 0] = 0
    again = measured(found).quality(resamples=20)
    assert np.isnan(again.per_class["never"]["iou"].value)
    assert again.per_class["ground"]["iou"].value < quality.per_class["ground"]["iou"].value


def test_from_picture_to_picture():
    found = pictures()
    each = ious([tally(*one) for one in found])
    assert each.shape == (6, 4)
    assert np.isnan(each[:, 3]).all()
    for row, (answer, truth) in zip(each, found, strict=True):
        said, true = answer.values[truth != IGNORED], truth[truth != IGNORED]
        assert np.allclose(row[:3], jaccard_score(true, said, average=None, labels=range(3)))


def test_ignored_pixels_have_no_part():
    found = pictures(ignored=0.3)
    ours = measured(found).points()
    as_ground = [(answer, np.where(truth == IGNORED, 0, truth)) for answer, truth in found]
    assert measured(as_ground).points()["mean_iou"] != pytest.approx(ours["mean_iou"], abs=0.01)
    for answer, truth in found:
        answer.values[truth == IGNORED] = 1  # whatever is answered there
    assert measured(found).points() == ours
    nothing = [(answer, np.full_like(truth, IGNORED)) for answer, truth in found]
    assert measured(found + nothing).points() == ours
    assert np.isnan(marks([tally(*nothing[0])])[0])
    with pytest.raises(VitrailError, match="ignored"):
        measured(nothing).points()


def brute_outline(mask):
    inside = np.pad(mask, 1, mode="edge")
    height, width = mask.shape
    whole = np.ones_like(mask)
    for y in range(3):
        for x in range(3):
            whole &= inside[y : y + height, x : x + width]
    return np.argwhere(mask & ~whole)


@pytest.mark.parametrize("seed", range(4))
def test_outlines_by_all_distances(seed):
    random = np.random.default_rng(seed)
    size = (60, 150)
    rows, across = np.mgrid[: size[0], : size[1]]
    shapes = [
        (rows - random.integers(60)) ** 2 + (across - random.integers(150)) ** 2 < random.integers(30, 500)
        for _ in range(4)
    ]
    said, true = shapes[0] | shapes[1], np.roll(shapes[0], 2, 1) | shapes[2]
    ours, theirs = brute_outline(said), brute_outline(true)
    reach = max(1, 0.0075 * np.hypot(*size))
    apart = np.sqrt(((ours[:, None] - theirs[None]) ** 2).sum(2))
    wanted = len(ours), int((apart.min(1) <= reach).sum()), len(theirs), int((apart.min(0) <= reach).sum())
    assert outline_hits(said, true, np.ones(size, bool)) == wanted


def test_outlines_of_the_same_are_all_hit_and_of_nothing_none():
    mask = np.zeros((40, 40), bool)
    mask[10:20, 5:30] = True
    known = np.ones_like(mask)
    count = 2 * (10 + 25) - 4
    assert outline_hits(mask, mask, known) == (count, count, count, count)
    assert outline_hits(mask, ~known, known) == (count, 0, 0, 0)
    assert outline_hits(~known, ~known, known) == (0, 0, 0, 0)
    known[:, 28:] = False  # where it ends nobody knows
    assert outline_hits(mask, mask, known)[0] < count


def test_a_class_that_is_never_answered_has_no_boundary():
    truth = np.zeros((30, 30), np.uint8)
    truth[5:15, 5:15] = 1
    quality = measured([(as_mask(np.zeros_like(truth), np.ones(truth.shape)), truth)]).quality()
    assert quality.per_class["cell"]["boundary_f"].value == 0


def test_many_labels_a_pixel():
    random = np.random.default_rng(0)
    truth = (random.random((2, 30, 30)) < 0.4).astype(np.uint8)
    said = np.where(random.random(truth.shape) < 0.8, truth, 1 - truth).astype(bool)
    truth[0, :5] = IGNORED
    answer = as_mask(said, np.where(said, 0.9, 0.1), names=("liver", "tumour"), multi=True)
    quality = measured([(answer, truth)], ("liver", "tumour"), multi=True).quality()
    for index, name in enumerate(("liver", "tumour")):
        known = truth[index] != IGNORED
        wanted = jaccard_score(truth[index][known], said[index][known])
        assert quality.per_class[name]["iou"].value == pytest.approx(wanted)
    assert quality.confusion is None
    right = (said == (truth == 1))[truth != IGNORED].mean()
    assert quality.metrics["ece"].value == pytest.approx(abs(0.9 - right), abs=1e-3)


def test_in_parts_or_together():
    found, groups = pictures(8), np.array([0, 0, 1, 1, 2, 2, 3, 3])
    whole = measured(found, groups=groups)
    parts = measured(found[:3], groups=groups[:3])
    parts.merge(measured(found[3:], groups=groups[3:]))
    assert {name: str(each) for name, each in parts.compute().items()} == {
        name: str(each) for name, each in whole.compute().items()
    }
    with pytest.raises(VitrailError, match="differ"):
        parts.merge(Segmentation(("a", "b")))


def test_what_is_kept_comes_back():
    found = [tally(*each) for each in pictures()]
    kept = columns(found)
    again = from_columns({name: column.tolist() for name, column in kept.items()})
    for one, other in zip(found, again, strict=True):
        for name in kept:
            assert np.array_equal(getattr(one, name), getattr(other, name)), name
    metric = Segmentation(NAMES)
    metric.update(again)
    assert metric.points() == measured(pictures()).points()


def test_intervals_narrow_with_pictures_and_are_unknown_of_one():
    few, many = (measured(pictures(count)).compute()["mean_iou"] for count in (5, 80))
    assert few.low < few.value < few.high
    assert many.high - many.low < 0.6 * (few.high - few.low)
    assert np.isnan(measured(pictures(1)).compute()["mean_iou"].low)


def test_sizes_must_agree():
    with pytest.raises(VitrailError, match="for a mask of"):
        tally(as_mask(np.zeros((3, 4), np.uint8)), np.zeros((4, 3), np.uint8))


@pytest.mark.parametrize("multi", [False, True])
def test_counts_do_not_depend_on_strips(multi, monkeypatch):
    random = np.random.default_rng(0)
    truth = random.choice(np.array([0, 1, 2, IGNORED], np.uint8), (30, 40))
    said = random.integers(0, 3, (30, 40)).astype(np.uint8)
    scores = random.random((30, 40)).astype(np.float16)
    if multi:
        truth = random.choice(np.array([0, 1, IGNORED], np.uint8), (3, 30, 40))
        said, scores = random.random((3, 30, 40)) < 0.5, random.random((3, 30, 40)).astype(np.float16)
    answer = Mask(names=NAMES[:3], values=said, source=0, scores=scores, multi=multi)
    whole = tally(answer, truth)
    monkeypatch.setattr(tally_module, "STRIP", 40 * 7)
    part = tally(answer, truth)
    for name, value in vars(whole).items():
        np.testing.assert_allclose(getattr(part, name), value, rtol=1e-12)
    assert whole.counts.sum() == (truth != IGNORED).sum()
