"""A heat map laid over its picture: every cell where the model saw it, at the picture's full resolution."""

from __future__ import annotations

import numpy as np
from PIL import Image

from vitrail.draw.palette import paint_heat
from vitrail.draw.sheet import Pixels, to_image
from vitrail.values import Frame, Size


def overlay(
    picture: Pixels,
    values: np.ndarray,
    *,
    frame: Frame | None = None,
    canvas: Size | None = None,
    alpha: float = 0.6,
    smooth: bool = True,
) -> Image.Image:
    """Return ``picture`` in grey under the colours of ``values`` (``h w``, from 0 upwards), as RGB.

    The values cover the canvas that the model saw. With its ``frame`` and the ``canvas`` size (height,
    width), the picture is the original one and the values are brought home onto it; what the model did not
    see stays without colour. Without them, the picture is the canvas itself. ``smooth`` goes evenly from
    the middle of a cell to the next; otherwise every cell is one flat patch.
    """
    image = to_image(picture)
    if (frame is None) != (canvas is None):
        raise ValueError("a frame needs the canvas's size, and the other way round")
    if frame is not None and frame.size != (image.height, image.width):
        raise ValueError(f"the frame is of a {frame.size} picture, this one is {(image.height, image.width)}")
    heat, seen = heat_at(values, image.size, frame, canvas, smooth=smooth)
    strength = alpha * seen[:, :, None]
    grey = np.asarray(image.convert("L"), np.float32)[:, :, None]
    mixed = (1 - strength) * grey + strength * paint_heat(heat)
    return Image.fromarray(np.round(mixed).astype(np.uint8))


def heat_at(
    values: np.ndarray,
    size: Size,
    frame: Frame | None = None,
    canvas: Size | None = None,
    *,
    smooth: bool = True,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the heat of each pixel of a picture of ``size`` (width, height), and whether the model saw it.

    The heat is a share of the strongest. ``frame`` and ``canvas`` (height, width) say where ``values`` lie.
    """
    width, height = canvas[::-1] if canvas else size
    a, b, c, d, e, f = frame.matrix if frame else (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
    across, down = values.shape[1] / width, values.shape[0] / height
    home = (across * a, across * b, across * c, down * d, down * e, down * f)
    peak = float(values.max(initial=0))
    share = np.asarray(values / peak if peak > 0 else values, np.float32)
    heat, seen = (_move(layer, size, home, smooth) for layer in (share, np.ones_like(share)))
    return heat, seen > 0.5


def _move(
    layer: np.ndarray, size: Size, home: tuple[float, float, float, float, float, float], smooth: bool
) -> np.ndarray:
    """Return a layer on a picture of ``size`` (width, height): pixel middles fall where ``home`` says."""
    way = Image.Resampling.BILINEAR if smooth else Image.Resampling.NEAREST
    moved = Image.fromarray(layer).transform(size, Image.Transform.AFFINE, home, resample=way)
    return np.asarray(moved, np.float32)
