"""Pixels to outlines and runs: what `vitrail.data.readers.shapes` fills again, to the same pixels.

Outlines run along the edges of pixels, so that their corners are whole numbers; the picture's upper left
corner is (0, 0). A region is what hangs together over the sides of pixels, not over their corners. Memory
goes with the number of corners: the mask itself is looked at in strips.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vitrail.values import IGNORED

STRIP = 16_000_000
"""Pixels that are looked at together."""
COUNT = np.array([0, 1, 1, 0, 1, 0, 2, 1, 1, 2, 0, 1, 0, 1, 1, 0], np.uint8)
"""Corners of a class where four pixels meet, by which of them are of the class: 1 for the upper left, 2 for
the upper right, 4 for the lower left, 8 for the lower right. There are two where two pixels are opposite."""
RISING = 6
"""Opposite pixels, from the lower left to the upper right."""


@dataclass(frozen=True, slots=True)
class Region:
    """A connected region of class ``index``: its ``rings``, the outline first and then its holes.

    A ring is int32 ``n 2``, x before y, the last corner joined to the first; outlines run clockwise on the
    screen, holes the other way. No ring meets itself; two of them may share corners, but no sides.
    """

    index: int
    rings: Sequence[np.ndarray]


def regions(values: np.ndarray, indices: Sequence[int]) -> Iterator[Region]:
    """Yield the regions of some classes of a mask uint8 ``h w``, class by class, from the top."""
    corners = _Corners.of(values)
    for index in indices:
        yield from _regions(values, corners, index)


@dataclass(frozen=True, slots=True)
class _Corners:
    """Where any outline turns: ``y`` and ``x``, row by row, and the four pixels ``around``, uint8 ``4 n``."""

    y: np.ndarray
    x: np.ndarray
    around: np.ndarray

    @classmethod
    def of(cls, values: np.ndarray) -> _Corners:
        height, width = values.shape
        step = max(1, STRIP // (width + 2))
        found = []
        for top in range(0, height + 1, step):
            bottom = min(top + step, height + 1)
            part = values[max(0, top - 1) : bottom]
            strip = np.full((bottom - top + 1, width + 2), IGNORED, np.uint8)
            first = 0 if top else 1
            strip[first : first + len(part), 1:-1] = part
            beside, below = strip[:, 1:] != strip[:, :-1], strip[1:] != strip[:-1]
            turning = (beside[1:] | beside[:-1]) & (below[:, 1:] | below[:, :-1])
            y, x = np.divmod(np.flatnonzero(turning), width + 1)
            around = np.stack([strip[y, x], strip[y, x + 1], strip[y + 1, x], strip[y + 1, x + 1]])
            found.append((y.astype(np.int32) + top, x.astype(np.int32), around))
        y, x, around = zip(*found, strict=True)
        return cls(np.concatenate(y), np.concatenate(x), np.concatenate(around, axis=1))


def _regions(values: np.ndarray, corners: _Corners, index: int) -> Iterator[Region]:
    """Yield the regions of one class.

    A corner joins an edge to its left or right and one above or below. Along a row of corners, edges are
    between the first and second, the third and fourth, and so on, and down a column likewise: sorting is all
    it takes to know every ring. Where two pixels are opposite, two corners lie in one place. First each turns
    around its own pixel; the rings then tell which pixels hang together. Where both are of one region, the
    corners turn around the pixels between them instead: so a ring parts there in two, and none meets itself.
    """
    code = np.zeros(len(corners.x), np.uint8)
    for bit, pixel in enumerate(corners.around):
        code |= (pixel == index).astype(np.uint8) << np.uint8(bit)
    places = np.flatnonzero(COUNT[code])
    if not len(places):
        return
    places = np.repeat(places, COUNT[code[places]])
    code, y, x = code[places], corners.y[places], corners.x[places]
    double = np.flatnonzero((COUNT[code[:-1]] == 2) & (places[1:] == places[:-1])).astype(np.int32)
    east = code[0::2] & 8 != 0  # below the edge from corner 2k to 2k + 1: it is walked eastwards
    start = np.arange(len(east), dtype=np.int32) * 2 + ~east

    rising = code[double] == RISING
    column = _column(x, double[rising])
    ring, firsts = _rings(_after(column, start))
    region = _parts(values, y, x, column, ring, firsts, east)[ring]
    torn = region[double // 2] == region[(double + 1) // 2]
    if torn.any():
        column = _column(x, double[rising != torn])
        ring, firsts = _rings(_after(column, start))
    walk = _walk(_after(column, start), firsts)

    points = np.empty((2 * len(walk), 2), np.int32)
    for turn in range(2):
        points[turn::2, 0], points[turn::2, 1] = x[start[walk] ^ turn], y[start[walk]]
    ends = 2 * np.cumsum(np.bincount(ring))
    begins = ends - 2 * np.bincount(ring)
    order = np.lexsort((~east[firsts], region[firsts]))  # of a region its outline, then holes from the top
    parts = np.split(order, np.flatnonzero(np.diff(region[firsts[order]])) + 1)
    for part in parts:
        yield Region(index, [points[begins[one] : ends[one]] for one in part.tolist()])


def _column(x: np.ndarray, swapped: np.ndarray) -> np.ndarray:
    """Return corners column by column from the top; of two in one place the first joins the edge above.

    ``swapped`` are those of which it is the second.
    """
    corners = np.arange(len(x), dtype=np.int32)
    corners[swapped], corners[swapped + 1] = swapped + 1, swapped
    sortable = x.astype(np.uint16) if x.max() < 1 << 16 else x  # which NumPy sorts by its digits
    ordered: np.ndarray = corners[np.argsort(sortable, kind="stable")]
    return ordered


def _after(column: np.ndarray, start: np.ndarray) -> np.ndarray:
    """Return which edge along a row comes after each, on the way around the region."""
    other = np.empty_like(column)
    other[column[0::2]], other[column[1::2]] = column[1::2], column[0::2]
    after: np.ndarray = other[start ^ 1] // 2
    return after


def _rings(after: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the ring of each edge, and the first edge of each ring, in whose order rings are counted."""
    from scipy.sparse.csgraph import connected_components

    count, ring = connected_components(_graph(after), directed=False)
    firsts = np.empty(count, np.int32)
    firsts[ring[::-1]] = np.arange(len(after), dtype=np.int32)[::-1]
    order = np.argsort(firsts)
    rank = np.empty(count, np.int32)
    rank[order] = np.arange(count, dtype=np.int32)
    return rank[ring], firsts[order]


def _walk(after: np.ndarray, firsts: np.ndarray) -> np.ndarray:
    """Return the edges ring by ring, from the first of each: one path, which leads from ring to ring."""
    from scipy.sparse.csgraph import breadth_first_order

    before = np.empty_like(after)
    before[after] = np.arange(len(after), dtype=after.dtype)
    path = after.copy()
    path[before[firsts]] = np.roll(firsts, -1)
    found: np.ndarray = breadth_first_order(_graph(path), firsts[0], return_predecessors=False)
    return found


def _graph(after: np.ndarray) -> Any:
    from scipy.sparse import csr_array

    count = len(after)
    return csr_array((np.ones(count), after, np.arange(count + 1, dtype=np.int32)), (count, count))


def _parts(
    values: np.ndarray,
    y: np.ndarray,
    x: np.ndarray,
    column: np.ndarray,
    ring: np.ndarray,
    firsts: np.ndarray,
    east: np.ndarray,
) -> np.ndarray:
    """Return the ring that is the outline of the region that each ring is of.

    What lies left of a hole's upper left corner is of the region, up to an edge of an outline, or of a hole
    whose first edge comes before: so from hole to hole an outline is reached.
    """
    owner = np.arange(len(firsts), dtype=np.int32)
    holes = np.flatnonzero(~east[firsts])
    if not len(holes):
        return owner
    rows, right = y[2 * firsts[holes]], x[2 * firsts[holes]]
    left = np.empty_like(right)
    for some in np.split(np.arange(len(holes)), np.flatnonzero(np.diff(rows)) + 1):
        row = values[rows[some[0]]]
        runs = np.concatenate([[0], np.flatnonzero(row[1:] != row[:-1]) + 1])
        left[some] = runs[np.searchsorted(runs, right[some] - 1, side="right") - 1]
    upper = column[0::2]
    tall = len(values) + 1
    edge = (
        np.searchsorted(x[upper] * np.int64(tall) + y[upper], left * np.int64(tall) + rows, side="right") - 1
    )
    owner[holes] = ring[upper[edge] // 2]
    while (owner[owner] != owner).any():
        owner = owner[owner]
    return owner


def column_runs(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return where runs of one value begin, counted down the columns of ``h w`` (int64), and their values."""
    height, width = values.shape
    step = max(1, STRIP // width)
    found = [np.flatnonzero(np.concatenate([[True], values[0, 1:] != values[-1, :-1]])) * height]
    for top in range(1, height, step):
        bottom = min(top + step, height)
        y, x = np.divmod(np.flatnonzero(values[top:bottom] != values[top - 1 : bottom - 1]), width)
        found.append(x * height + y + top)
    begins = np.sort(np.concatenate(found))
    x, y = np.divmod(begins, height)
    return begins, values[y, x]


def counts_of(begins: np.ndarray, ends: np.ndarray, pixels: int) -> np.ndarray:
    """Return the lengths of what lies outside and inside runs by turns, int64, up to the last pixel."""
    counts = np.diff(np.stack([begins, ends], 1).ravel(), prepend=0, append=pixels)
    return counts if counts[-1] else counts[:-1]
