"""Pictures at another size, with Pillow: of any number of channels."""

from collections.abc import Iterator

import numpy as np
from PIL import Image

from vitrail.values import Size

RESAMPLE = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
Box = tuple[float, float, float, float]
"""Left, top, right, bottom."""


def resize(pixels: np.ndarray, size: Size, how: str, box: Box | None = None) -> np.ndarray:
    """Resample a box of uint8 ``h w c`` (None: all of it) to a size, by one of `RESAMPLE`."""
    resized = np.empty((*size, pixels.shape[2]), np.uint8)
    for place, image in layers(pixels):
        scaled = np.asarray(image.resize(size[::-1], RESAMPLE[how], box=box))
        resized[:, :, place] = scaled.reshape(*size, -1)
    return resized


def layers(pixels: np.ndarray) -> Iterator[tuple[slice, Image.Image]]:
    """Yield uint8 ``h w c`` as pictures of Pillow with the channels of each: colour at once, else one by one.

    Pillow takes two and four channels for opacity, and has no more.
    """
    if pixels.shape[2] == 3:
        yield slice(0, 3), Image.fromarray(np.ascontiguousarray(pixels))
        return
    for channel in range(pixels.shape[2]):
        yield slice(channel, channel + 1), Image.fromarray(np.ascontiguousarray(pixels[:, :, channel]))


def cut_out(pixels: np.ndarray, box: Box) -> np.ndarray | None:
    """Return a box of whole pixels as it is, or None for one of parts of pixels."""
    left, top, right, bottom = map(int, box)
    whole = all(side.is_integer() for side in box)
    return pixels[top:bottom, left:right] if whole else None
