"""Windows of pictures larger than a canvas: drawn at random to learn from, side by side to answer."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

import numpy as np
from PIL import Image

from vitrail.data.lay import nearest
from vitrail.data.preprocess import Loaded, Preprocess
from vitrail.data.regions import open_regions
from vitrail.errors import UsageError
from vitrail.values import IGNORED, Frame, Size, Source

STEP = 32
"""Corners of windows are multiples of it, the largest stride of common networks: all see the same grid."""


@dataclass(frozen=True, slots=True)
class Window:
    """A part of a working picture, from ``top`` and ``left`` on, and the pixels of a canvas that it fills."""

    top: int
    left: int
    height: int
    width: int
    down: int
    across: int

    @property
    def inner(self) -> Size:
        """The part of the canvas that it fills, from the upper left corner on."""
        return self.down, self.across

    def of(self, pixels: np.ndarray) -> np.ndarray:
        """Return the part, a view of pixels ``h w c``."""
        return pixels[self.top : self.top + self.height, self.left : self.left + self.width]


def windows(sides: np.ndarray, size: Size, scale: tuple[float, float], draws: np.ndarray) -> list[Window]:
    """Return a window of each picture of ``sides`` (``n 2``), somewhere, by numbers in [0, 1) (``n k``).

    ``scale`` is the least and greatest share of the canvas' area that it takes: 1 is the picture as it is,
    less is enlarged. A picture that is smaller fills a part of the canvas.
    """
    low, high = scale
    shrink = np.sqrt(low + (high - low) * draws[:, :1])
    wanted = np.maximum(1, np.rint(np.array(size) * shrink))
    taken = np.minimum(wanted, sides)
    inner = np.maximum(1, np.rint(np.array(size) * taken / wanted))
    corner = np.floor(draws[:, -2:] * (sides - taken + 1))
    return [Window(*row) for row in np.concatenate([corner, taken, inner], 1).astype(int).tolist()]


def window_mask(mask: np.ndarray, window: Window, size: Size) -> np.ndarray:
    """Return a window of a working picture's mask (``h w k``) on a canvas; beyond it is `IGNORED`."""
    part = nearest(window.of(mask), (0.0, 0.0, float(window.width), float(window.height)), window.inner)
    if window.inner == size:
        return part
    canvas = np.full((*size, mask.shape[2]), IGNORED, np.uint8)
    canvas[: window.down, : window.across] = part
    return canvas


def moved(mask: np.ndarray, policy: Callable[..., Image.Image], draws: Sequence[float]) -> np.ndarray:
    """Return a mask (``h w k``) after what a policy does to form, and nothing of what it does to colour.

    Pillow fills with 0 what comes from outside: so classes are counted from 1 meanwhile, and 0 is `IGNORED`.
    """
    layers = [
        np.asarray(policy(Image.fromarray(layer), draws, form=True))
        for layer in (mask + np.uint8(1)).transpose(2, 0, 1)
    ]
    return np.stack(layers, 2) - np.uint8(1)


def windows_for(pictures: Size, canvas: Size) -> int:
    """Return how many windows of a picture of about this size an epoch sees: as many as it has room for."""
    share = (max(side / window, 1) for side, window in zip(pictures, canvas, strict=True))
    return max(1, round(math.prod(share)))


def overlap_of(preprocess: Preprocess, wanted: int | None = None) -> int:
    """Return how many pixels neighbours share at least, unless told otherwise: an eighth of a side.

    Raises UsageError for as many as a window has, or more, and for a network that sees no windows.
    """
    side = min(preprocess.size)
    if wanted is None:
        return side // 8
    if preprocess.fit != "tile":
        raise UsageError(
            f"--overlap {wanted}: this model sees whole pictures (fit {preprocess.fit}), not windows of them."
        )
    if not 0 <= wanted < side:
        raise UsageError(
            f"--overlap {wanted}: windows of {preprocess.size[0]} x {preprocess.size[1]} pixels share 0 to "
            f"{side - 1} of them with the next."
        )
    return wanted


def views_for(pictures: Sequence[Size], preprocess: Preprocess) -> float:
    """Return how many canvases a model sees of pictures of these sizes, on average: 1 unless tiled."""
    if preprocess.fit != "tile" or not pictures:
        return 1.0
    shared = overlap_of(preprocess)
    return sum(len(corners(size, preprocess.size, shared, STEP)) for size in pictures) / len(pictures)


def fullest(here: np.ndarray, size: Size) -> tuple[slice, slice]:
    """Return the rows and columns of the window of this size that has most of ``here`` (bool ``h w``).

    It is looked for in steps of an eighth of a window; one that is larger than the picture has all of it.
    """
    sums, starts = here, []
    for axis, window in enumerate(size):
        step = max(1, window // 8)
        cuts = np.split(sums, np.arange(step, here.shape[axis], step), axis=axis)
        parts = np.stack([cut.sum(axis, dtype=np.int64) for cut in cuts], axis=axis)
        until = np.cumsum(np.insert(parts, 0, 0, axis=axis), axis=axis)
        count, taken = parts.shape[axis], -(-window // step)
        first = np.arange(max(1, count - taken + 1))
        last = np.minimum(first + taken, count)
        sums = until.take(last, axis=axis) - until.take(first, axis=axis)
        starts.append(np.minimum(first * step, max(0, here.shape[axis] - window)))
    down, across = np.unravel_index(int(sums.argmax()), sums.shape)
    top, left = int(starts[0][down]), int(starts[1][across])
    return slice(top, top + size[0]), slice(left, left + size[1])


Rows = Callable[[int, int], Loaded]
"""What gives rows of a picture, from and up to, and perhaps others: ``covers`` says which."""
Corner = tuple[int, int]
"""The upper left corner of a window on its picture: y, x."""
View = tuple[np.ndarray, Frame]
"""What a model sees at once, uint8 ``h w c``, and where that lies on the picture."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Windows:
    """The windows of a picture, cut out one after the other by whoever goes through them.

    ``rows`` returns at least the rows that it is asked for, from and up to; with ``read`` it reads them then.
    Neighbours share ``overlap`` pixels or more.
    """

    preprocess: Preprocess
    rows: Rows
    size: Size
    corners: Sequence[Corner]
    overlap: int
    read: bool = False

    def __len__(self) -> int:
        return len(self.corners)

    def at(self, corner: Corner) -> View:
        """Return the window of any corner."""
        bottom = min(corner[0] + self.preprocess.size[0], self.size[0])
        return self.preprocess.canvas(self.rows(corner[0], bottom), corner)

    def __iter__(self) -> Iterator[View]:
        for top, row in groupby(self.corners, key=lambda corner: corner[0]):
            loaded = self.rows(top, min(top + self.preprocess.size[0], self.size[0]))
            for corner in row:
                yield self.preprocess.canvas(loaded, corner)


def look(
    preprocess: Preprocess, source: Source | Image.Image, overlap: int | None = None
) -> Windows | list[View]:
    """Return what a model sees of a source: one canvas, or with ``fit`` "tile" the windows that cover it.

    A large one that has parts is read while it is looked at. Raises ``Unreadable``, and so may going through
    such windows.
    """
    if preprocess.fit != "tile":
        return [preprocess.canvas(preprocess.load(source))]
    regions = open_regions(source, preprocess)
    if regions is None:
        return windows_of(preprocess, preprocess.load(source), overlap)
    return replace(_windows(preprocess, regions.size, regions.rows, overlap), read=True)


def windows_of(preprocess: Preprocess, loaded: Loaded, overlap: int | None = None) -> Windows:
    """Return the windows that cover a picture."""
    return _windows(preprocess, loaded.size, lambda _, __: loaded, overlap)


def _windows(preprocess: Preprocess, size: Size, rows: Rows, overlap: int | None) -> Windows:
    shared = overlap_of(preprocess, overlap)
    found = corners(size, preprocess.size, shared, STEP)
    return Windows(preprocess=preprocess, rows=rows, size=size, corners=found, overlap=shared)


def corners(
    size: Size, canvas: Size, overlap: int, multiple: int = 1, *, shifted: bool = False
) -> list[Corner]:
    """Return the upper left corners (y, x) of windows that cover a picture, row by row.

    Neighbours share ``overlap`` pixels or more, which is less than the canvas has. Corners are multiples of
    ``multiple``, the stride of a network, or of a half of it where that would leave them no overlap. With
    ``shifted`` all but the outermost lie between those of the other windows.
    """
    down, across = (
        _starts(side, window, overlap, multiple, shifted=shifted)
        for side, window in zip(size, canvas, strict=True)
    )
    return [(y, x) for y in down for x in across]


def _starts(side: int, window: int, overlap: int, multiple: int, *, shifted: bool) -> list[int]:
    if side <= window:
        return [0]
    while multiple > max(1, window - overlap):  # a small canvas: to overlap matters more
        multiple //= 2
    step = (window - overlap) // multiple * multiple
    last = -(-(side - window) // multiple) * multiple  # rounded up: it may end beyond the picture
    if not shifted:
        return [*range(0, last, step), last]
    while multiple > max(1, min(step, last) // 2):  # as above
        multiple //= 2
    half = min(step, last) // 2 // multiple * multiple
    return sorted({0, *range(half, last, step), last})
