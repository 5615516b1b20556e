"""Masks wherever their pictures go: the same boxes, the nearest pixel in place of a mean of several.

A mask here is uint8 ``h w k`` as a picture is: ``k`` is 1 (a class for each pixel), or one for each class.
"""

import numpy as np

from vitrail.data.preprocess import Loaded, Place
from vitrail.data.resample import Box
from vitrail.errors import VitrailError
from vitrail.values import IGNORED, Size


def nearest(mask: np.ndarray, box: Box, size: Size) -> np.ndarray:
    """Return a box of a mask (``h w k``) at another size: at each place the pixel that its centre lies in."""
    left, top, right, bottom = box
    rows = _centres(top, bottom, size[0], mask.shape[0])
    columns = _centres(left, right, size[1], mask.shape[1])
    return np.ascontiguousarray(mask[rows[:, None], columns])


def with_mask(loaded: Loaded, mask: np.ndarray, key: str) -> Loaded:
    """Return a working picture with its mask, given as a reader does: ``h w`` or ``k h w`` of the original.

    Raises VitrailError for a mask of another size than the picture.
    """
    mask = mask[:, :, None] if mask.ndim == 2 else mask.transpose(1, 2, 0)
    if mask.shape[:2] != loaded.size:
        raise VitrailError(
            f"{key}: a mask of {mask.shape[0]} x {mask.shape[1]} pixels for a picture of "
            f"{loaded.size[0]} x {loaded.size[1]} (height x width)."
        )
    height, width = loaded.picture.shape[:2]
    left, top, right, bottom = map(float, loaded.covers)
    fitting = nearest(mask, (left, top, right, bottom), (height, width))
    return Loaded(loaded.picture, loaded.size, loaded.covers, fitting)


def canvas_mask(mask: np.ndarray, place: Place, size: Size) -> np.ndarray:
    """Return a working picture's mask on the canvas, ``h w k``; where there is no picture it is `IGNORED`."""
    left, top, right, bottom = place.inner
    inner = nearest(mask, place.box, (bottom - top, right - left))
    if inner.shape[:2] == size:
        return inner
    canvas = np.full((*size, mask.shape[2]), IGNORED, np.uint8)
    canvas[top:bottom, left:right] = inner
    return canvas


def _centres(start: float, end: float, count: int, most: int) -> np.ndarray:
    """Return the pixels that ``count`` places between two borders have their centres in."""
    at = start + (np.arange(count) + 0.5) * ((end - start) / count)
    within: np.ndarray = np.clip(np.floor(at).astype(int), 0, most - 1)
    return within
