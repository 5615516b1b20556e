"""Whether heat lies on the object, where somebody has marked it."""

import numpy as np
from jaxtyping import Bool

from vitrail.errors import UsageError
from vitrail.values import Size


def share_inside(values: np.ndarray, mask: Bool[np.ndarray, "H W"]) -> float:
    """Return how much of the heat ``h w`` lies on an object, over how much of the canvas that takes up.

    1 is what even heat has, and more is better; a map without heat counts as even, since it points nowhere.
    The heat of a cell lies evenly on it. Raises UsageError for a mask without an object, or of another shape
    than ``H W``.
    """
    part = _covered(mask, values.shape)
    total, area = float(values.sum()), float(part.mean())
    return float((values * part).sum()) / total / area if total > 0 else 1.0


def points_inside(values: np.ndarray, mask: Bool[np.ndarray, "H W"]) -> float:
    """Return whether the middle of the hottest cell is on the object, 1 or 0 (the share of equal peaks).

    The pointing game of Zhang et al. 2018, "Top-down neural attention by excitation backprop". Raises
    UsageError as `share_inside` does.
    """
    _covered(mask, values.shape)
    rows, columns = np.nonzero(values == values.max())
    down = ((rows + 0.5) * mask.shape[0] / values.shape[0]).astype(int)
    across = ((columns + 0.5) * mask.shape[1] / values.shape[1]).astype(int)
    return float(mask[down, across].mean())


def box_mask(xyxy: tuple[float, float, float, float], size: Size) -> Bool[np.ndarray, "H W"]:
    """Return the mask of a box on a canvas: the pixels whose middles are in it."""
    left, top, right, bottom = xyxy
    down, across = (np.arange(side) + 0.5 for side in size)
    found: np.ndarray = ((down >= top) & (down < bottom))[:, None] & ((across >= left) & (across < right))
    return found


def _covered(mask: np.ndarray, grid: tuple[int, ...]) -> np.ndarray:
    """Return the share of each cell that is on the object, float64 ``grid``."""
    if mask.ndim != 2 or len(grid) != 2:
        raise UsageError(f"a mask is H W, and heat is h w, not {mask.shape} and {grid}.")
    if not mask.any():
        raise UsageError("the mask has no object in it.")
    part = mask.astype(np.float64)
    for axis, cells in enumerate(grid):
        part = _means(part, cells, axis)
    return part


def _means(values: np.ndarray, cells: int, axis: int) -> np.ndarray:
    """Return the means of ``values`` over even cells along an axis; what a cell cuts counts in part."""
    side = values.shape[axis]
    sums = np.concatenate([np.zeros_like(values.take([0], axis)), values.cumsum(axis)], axis)
    ends = np.linspace(0, side, cells + 1)
    below = np.minimum(ends.astype(int), side - 1)
    shape = [1, 1]
    shape[axis] = -1
    at = sums.take(below, axis) + (ends - below).reshape(shape) * values.take(below, axis)
    means: np.ndarray = np.diff(at, axis=axis) * cells / side
    return means
