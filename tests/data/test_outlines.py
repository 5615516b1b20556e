"""Pixels to outlines and runs, and back to the same pixels."""

import numpy as np
import pytest
from scipy import ndimage

from vitrail.data import outlines
from vitrail.data.outlines import column_runs, counts_of, regions
from vitrail.data.readers import shapes
from vitrail.data.readers.shapes import fill, fill_runs, pack_runs, unpack_runs


def drawn(*rows):
    return np.array([[int(value) for value in row] for row in rows], np.uint8)


def check(values, indices):
    """Fill regions again, and hold what is promised of each."""
    again = np.zeros_like(values)
    counts = dict.fromkeys(indices, 0)
    for region in regions(values, indices):
        counts[region.index] += 1
        cover = fill([ring.astype(np.float64) for ring in region.rings], values.shape)
        assert ndimage.label(cover.inside)[1] == 1
        part = cover.of(again)
        assert not part[cover.inside].any()
        part[cover.inside] = region.index
        for number, ring in enumerate(region.rings):
            x, y = ring.T.astype(float)
            signed = (x * np.roll(y, -1) - y * np.roll(x, -1)).sum() / 2
            assert (signed > 0) == (number == 0)  # an outline, then holes
            assert len({tuple(point) for point in ring.tolist()}) == len(ring)  # met by itself nowhere
            steps = np.roll(ring, -1, axis=0) - ring
            assert ((steps != 0).sum(axis=1) == 1).all()
            assert (np.sign(steps) != np.sign(np.roll(steps, 1, axis=0))).any(axis=1).all()  # only corners
    assert (again == np.where(np.isin(values, indices), values, 0)).all()
    assert counts == {index: ndimage.label(values == index)[1] for index in indices}


CASES = {
    "one pixel": drawn("1"),
    "none": drawn("00", "00"),
    "a hole at a corner": drawn("0111", "1101", "1111"),
    "pinched": drawn("110", "101", "111"),
    "two holes that touch": drawn("11111", "10111", "11011", "11111"),
    "corners": drawn("101", "010", "101"),
    "islands in holes": drawn("1111111", "1000001", "1011101", "1010101", "1011101", "1000001", "1111111"),
    "three classes": drawn("1223", "1223", "3311", "0312"),
    "a hole beside a hole": drawn("1111111", "1101101", "1100101", "1111111"),
}


@pytest.mark.parametrize("name", CASES)
def test_drawn_by_hand(name):
    check(CASES[name], [1, 2, 3])


def test_any_mask(monkeypatch):
    random = np.random.default_rng(0)
    for number in range(300):
        monkeypatch.setattr(outlines, "STRIP", int(random.integers(1, 60)))
        height, width = random.integers(1, 13, 2)
        classes = 2 if number % 3 else 4
        check(random.integers(0, classes, (height, width)).astype(np.uint8), list(range(1, classes)))
        values = (random.random((height, width)) < 0.7).astype(np.uint8)
        check(values, [1])


def test_wide_masks():
    values = np.zeros((3, 70_000), np.uint8)
    values[1, 1::700] = 1
    values[:, 66_000:69_000] = 1
    values[1, 67_000:68_000] = 0
    check(values, [1])


def test_a_region_that_a_picture_is_full_of_has_four_corners():
    (region,) = regions(np.ones((50, 80), np.uint8), [1])
    assert region.rings[0].tolist() == [[0, 0], [80, 0], [80, 50], [0, 50]]


def test_runs(monkeypatch):
    random = np.random.default_rng(1)
    for number in range(100):
        monkeypatch.setattr(outlines, "STRIP", int(random.integers(1, 40)))
        height, width = random.integers(1, 13, 2)
        values = random.integers(0, 3 - number % 2, (height, width)).astype(np.uint8)
        begins, kinds = column_runs(values)
        ends = np.append(begins[1:], values.size)
        assert (np.diff(kinds) != 0).all()
        assert (values == np.repeat(kinds, ends - begins).reshape(width, height).T).all()
        for kind in np.unique(kinds):
            counts = counts_of(begins[kinds == kind], ends[kinds == kind], values.size)
            assert (counts[1:] > 0).all()
            packed = pack_runs(counts)
            assert unpack_runs(packed).tolist() == counts.tolist()
            again = np.zeros(values.shape, bool)
            cover = fill_runs(counts, values.shape)
            cover.of(again)[cover.inside] = True
            assert (again == (values == kind)).all()


@pytest.mark.parametrize(
    ("counts", "packed"),
    [
        ([0, 5], "05"),
        ([15], "?"),
        ([16], "`0"),
        ([6, 1, 40, 4, 5, 4, 5, 4, 21], "61X13mN000`0"),  # the example in pycocotools' own notes
    ],
)
def test_packed_as_pycocotools_packs(counts, packed):
    assert pack_runs(np.array(counts)) == packed


def test_long_runs_are_packed(monkeypatch):
    counts = np.array([2**40, 3, 2**41, 5, 0, 9])
    packed = pack_runs(counts)
    assert unpack_runs(packed).tolist() == counts.tolist()
    monkeypatch.setattr(shapes, "PACKED", 2)
    assert pack_runs(counts) == packed
