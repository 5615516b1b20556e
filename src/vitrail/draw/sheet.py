"""Pictures at a size that people can look at, alone and side by side with captions."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from vitrail.draw.bands import shown
from vitrail.draw.letters import cut, write

Pixels = np.ndarray | Image.Image
"""A picture: uint8 ``h w`` or ``h w c``, or Pillow's."""


def to_image(picture: Pixels) -> Image.Image:
    """Return a picture as Pillow's, grey or RGB; what is transparent shows white, bands as `shown` has it."""
    if isinstance(picture, Image.Image):
        if picture.mode in ("L", "RGB"):
            return picture
        ground = Image.new("RGBA", picture.size, "white")
        ground.alpha_composite(picture.convert("RGBA"))
        return ground.convert("RGB")
    if picture.dtype != np.uint8 or picture.ndim not in (2, 3):
        raise ValueError(f"a picture is uint8 h w or h w c, not {picture.dtype} {picture.shape}")
    picture = shown(picture) if picture.ndim == 3 else picture
    if picture.ndim == 3 and picture.shape[2] == 1:
        picture = picture[:, :, 0]
    return Image.fromarray(np.ascontiguousarray(picture))


def resize(picture: Pixels, side: int) -> Image.Image:
    """Return a picture whose longer side is at most ``side`` pixels.

    A smaller one is enlarged by the largest whole number that fits, every pixel to a square, so that it is
    seen as the model sees it; a larger one is reduced smoothly.
    """
    image = to_image(picture)
    longer = max(image.size)
    if longer > side:
        width, height = (max(1, round(length * side / longer)) for length in image.size)
        return image.resize((width, height), Image.Resampling.LANCZOS)
    factor = side // longer
    return image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)


def sheet(
    pictures: Sequence[Pixels],
    captions: Sequence[str] = (),
    *,
    columns: int | None = None,
    side: int = 112,
    gap: int = 8,
    ink: str = "#1d2430",
    ground: str = "#ffffff",
) -> Image.Image:
    """Return pictures in rows on one RGB image, each in a cell of ``side`` pixels, with a caption a line.

    ``columns`` is near the square root of three times their number unless given: three wide, one high.
    Captions that are too long for their cell end in an ellipsis.
    """
    if captions and len(captions) != len(pictures):
        raise ValueError(f"{len(captions)} captions for {len(pictures)} pictures")
    columns = columns or max(1, min(len(pictures), math.ceil(math.sqrt(3 * len(pictures)))))
    rows = math.ceil(len(pictures) / columns)
    height = max(10, side // 9)
    line = round(height * 1.5) if captions else 0
    cell = side + line + gap, side + gap
    canvas = Image.new("RGB", (gap + columns * cell[1], gap + rows * cell[0]), ground)
    pen = ImageDraw.Draw(canvas)
    for index, picture in enumerate(pictures):
        top, left = gap + index // columns * cell[0], gap + index % columns * cell[1]
        image = resize(picture, side).convert("RGB")
        canvas.paste(image, (left + (side - image.width) // 2, top + (side - image.height) // 2))
        if captions:
            middle = left + side / 2, top + side + line / 2
            write(pen, middle, cut(captions[index], height, side), height, ink, "mm")
    return canvas
