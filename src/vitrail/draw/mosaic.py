"""Many small pictures as one: maps on the grid that they are about, filters, and pictures that move."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence

import numpy as np
from PIL import Image

from vitrail.draw.palette import paint_heat
from vitrail.draw.sheet import to_image

GROUND = "#ffffff"
WIDEST = 1400
"""Pixels of a mosaic along its longer side, about."""
STILL, LAST = 350, 1600
"""Milliseconds that a frame is shown, and the last one."""


def mosaic(tiles: Sequence[np.ndarray], columns: int, *, gap: int = 2) -> Image.Image:
    """Return tiles (uint8 ``h w 3``, all alike) in rows of ``columns``, each pixel enlarged to a square."""
    rows = -(-len(tiles) // columns)
    height, width = tiles[0].shape[:2]
    factor = max(1, WIDEST // max(columns * width, rows * height))
    height, width = height * factor, width * factor
    whole = Image.new("RGB", (columns * (width + gap) + gap, rows * (height + gap) + gap), GROUND)
    for index, tile in enumerate(tiles):
        large = Image.fromarray(tile).resize((width, height), Image.Resampling.NEAREST)
        whole.paste(large, (gap + index % columns * (width + gap), gap + index // columns * (height + gap)))
    return whole


def map_grid(maps: np.ndarray) -> Image.Image:
    """Return a map for each place, ``h w h w``, at that place: dark is the least of all, light the most."""
    low, high = float(maps.min()), float(maps.max())
    painted = paint_heat((maps - low) / max(high - low, 1e-12))
    return mosaic(list(painted.reshape(-1, *painted.shape[2:])), maps.shape[1], gap=6)


def filter_grid(filters: np.ndarray) -> Image.Image:
    """Return filters ``k c p q``, each over its own range, 0 as grey; without colour unless ``c`` is 3."""
    shown = filters if filters.shape[1] == 3 else filters.mean(axis=1, keepdims=True).repeat(3, axis=1)
    reach = np.abs(shown).max(axis=(1, 2, 3), keepdims=True).clip(1e-12)
    pixels = np.round(127.5 + 127.5 * shown / reach).astype(np.uint8).transpose(0, 2, 3, 1)
    columns = min(len(pixels), max(1, round(math.sqrt(1.75 * len(pixels)))))
    return mosaic(list(pixels), columns, gap=4)


def animation(frames: Sequence[Image.Image]) -> bytes:
    """Return frames, on white where they differ in size, as a WebP whose last is shown longer, over and over.

    A GIF has 256 colours, too few for a photograph beside a scale of heat, and is ten times as large.
    """
    file = io.BytesIO()
    size = max(frame.width for frame in frames), max(frame.height for frame in frames)
    first, *rest = (Image.new("RGB", size, GROUND) for _ in frames)
    for whole, frame in zip((first, *rest), frames, strict=True):
        whole.paste(to_image(frame), (0, 0))
    times = [STILL] * len(rest) + [LAST]
    first.save(file, "WEBP", save_all=True, append_images=rest, duration=times, loop=0, quality=88, method=4)
    return file.getvalue()
