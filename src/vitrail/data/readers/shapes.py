"""Outlines and runs onto pixels: a pixel ``(x, y)`` belongs to a shape when its centre lies inside.

The picture's upper left corner is (0, 0), so that the centre of the first pixel is (0.5, 0.5), as COCO and
QuPath count. (Pillow's polygons also take every pixel that their outline touches: half a pixel too much.)
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from vitrail.values import IGNORED, Size

PACKED = 1_000_000
"""Runs that are packed together."""

Ring = np.ndarray
"""The corners of a closed line, float64 ``n 2``, x before y; the last is joined to the first."""


@dataclass(frozen=True, slots=True)
class Cover:
    """The pixels of a shape: ``inside`` bool ``h w``, whose upper left corner lies at ``(y, x)``."""

    y: int
    x: int
    inside: np.ndarray

    @property
    def area(self) -> int:
        """The number of pixels."""
        return int(np.count_nonzero(self.inside))

    def of(self, mask: np.ndarray) -> np.ndarray:
        """Return the part of ``mask`` (``... h w``) that lies under ``inside``, as a view."""
        height, width = self.inside.shape
        return mask[..., self.y : self.y + height, self.x : self.x + width]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """A drawn object: the ``index`` of its class (or `vitrail.values.IGNORED`), and its pixels.

    A ``crowd`` is many objects of the class of which nobody drew each: its pixels are ignored.
    """

    index: int
    cover: Cover
    crowd: bool = False


def fill(rings: Sequence[Ring], size: Size) -> Cover:
    """Return the pixels inside of an odd number of rings (an outline, and its holes), within ``size``."""
    starts, ends = ([np.roll(ring, turn, axis=0) for ring in rings] for turn in (0, -1))
    x0, y0 = np.concatenate([*starts, np.zeros((0, 2))]).T
    x1, y1 = np.concatenate([*ends, np.zeros((0, 2))]).T
    first, last = (
        np.ceil(edge(y0, y1) - 0.5).clip(0, size[0]).astype(int) for edge in (np.minimum, np.maximum)
    )
    counts = last - first
    edge = np.repeat(np.arange(len(counts)), counts)
    row = np.arange(len(edge)) - np.repeat(np.cumsum(counts) - counts, counts) + first[edge]
    slope = (x1 - x0)[edge] / (y1 - y0)[edge]
    column = np.ceil(x0[edge] + (row + 0.5 - y0[edge]) * slope - 0.5).clip(0, size[1]).astype(int)
    if not len(row):
        return Cover(0, 0, np.zeros((0, 0), bool))
    top, left, bottom, right = row.min(), column.min(), row.max() + 1, column.max()
    width = right - left + 1
    crossings = np.bincount((row - top) * width + column - left, minlength=(bottom - top) * width)
    inside = np.cumsum(crossings.reshape(-1, width)[:, :-1], axis=1) % 2 == 1
    return Cover(int(top), int(left), inside)


def unite(covers: Sequence[Cover]) -> Cover:
    """Return the pixels of any of several parts."""
    covers = [cover for cover in covers if cover.inside.size]
    if len(covers) < 2:
        return covers[0] if covers else Cover(0, 0, np.zeros((0, 0), bool))
    y, x = min(cover.y for cover in covers), min(cover.x for cover in covers)
    bottom = max(cover.y + cover.inside.shape[0] for cover in covers)
    right = max(cover.x + cover.inside.shape[1] for cover in covers)
    inside = np.zeros((bottom - y, right - x), bool)
    for cover in covers:
        part = Cover(cover.y - y, cover.x - x, cover.inside).of(inside)
        part |= cover.inside
    return Cover(y, x, inside)


def unpack_runs(counts: str) -> np.ndarray:
    """Return the lengths of runs (int64) that COCO packs into text.

    Numbers of five bits a character, the lowest first, the sign in the last; from the fourth on, each is a
    difference from the one two before (pycocotools, ``rleFrString``). Raises ValueError for other text.
    """
    codes = np.frombuffer(counts.encode("ascii"), np.uint8).astype(np.int64) - 48
    if not len(codes) or codes.min() < 0 or codes.max() > 63 or codes[-1] & 32:
        raise ValueError("no runs")
    ends = np.flatnonzero((codes & 32) == 0)
    starts = np.concatenate([[0], ends[:-1] + 1])
    digit = np.arange(len(codes)) - np.repeat(starts, ends - starts + 1)
    if digit.max() > 11:
        raise ValueError("a run too long")
    runs = np.add.reduceat((codes & 31) << (5 * digit), starts)
    runs -= np.where(codes[ends] & 16, np.int64(1) << (5 * (digit[ends] + 1)), 0)
    for first in (1, 2):
        runs[first::2] = np.cumsum(runs[first::2])
    return runs


def pack_runs(runs: np.ndarray) -> str:
    """Return the lengths of runs as COCO packs them into text: what `unpack_runs` unpacks."""
    numbers = runs.astype(np.int64)
    numbers[3:] -= runs[1:-2]
    return "".join(_packed(numbers[start : start + PACKED]) for start in range(0, len(numbers), PACKED))


def _packed(numbers: np.ndarray) -> str:
    digits = np.ones(len(numbers), np.int64)
    for more in range(1, 12):
        limit = np.int64(1) << (5 * more - 1)
        digits[(numbers < -limit) | (numbers >= limit)] = more + 1
    digit = np.arange(digits.sum()) - np.repeat(np.cumsum(digits) - digits, digits)
    codes = (np.repeat(numbers, digits) >> (5 * digit)) & 31
    codes[digit + 1 < np.repeat(digits, digits)] |= 32
    return bytes((codes + 48).astype(np.uint8)).decode("ascii")


def fill_runs(runs: np.ndarray, size: Size) -> Cover:
    """Return the pixels of runs that go down the columns, outside and inside by turns.

    Raises ValueError when they are not as many as the pixels of ``size``.
    """
    if runs.size and runs.min() < 0:
        raise ValueError("a run is shorter than nothing")
    if runs.sum() != size[0] * size[1]:
        raise ValueError(f"its runs sum to {runs.sum()}, not to {size[0]} x {size[1]}")
    flat = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    inside = flat.reshape(size[1], size[0]).T
    rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
    if not len(rows):
        return Cover(0, 0, np.zeros((0, 0), bool))
    y, x = int(rows[0]), int(columns[0])
    return Cover(y, x, inside[y : rows[-1] + 1, x : columns[-1] + 1])


def paint(shapes: Iterable[Shape], size: Size, planes: int | None = None) -> np.ndarray:
    """Return shapes as a mask uint8 ``h w`` on class 0, or with ``planes`` as 0 and 1 on each class's own.

    Larger ones lie below smaller ones, crowds below all; of two alike the later lies above.
    """
    ordered = sorted(shapes, key=lambda shape: (not shape.crowd, -shape.cover.area))
    mask = np.zeros(size if planes is None else (planes, *size), np.uint8)
    for shape in ordered:
        value = IGNORED if shape.crowd else shape.index
        if planes is None:
            shape.cover.of(mask)[shape.cover.inside] = value
        elif shape.index == IGNORED:
            shape.cover.of(mask)[:, shape.cover.inside] = IGNORED
        else:
            shape.cover.of(mask[shape.index])[shape.cover.inside] = IGNORED if shape.crowd else 1
    return mask
