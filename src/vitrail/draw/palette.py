"""Colours: told apart with any colour vision, and even to the eye.

Categories are Okabe and Ito's (2008). The heat map climbs in lightness
through the hues of old glass: a Bezier curve in OKLab (B. Ottosson 2020), walked in equal steps, so that no
value looks like an edge.
"""

from __future__ import annotations

from functools import lru_cache
from math import comb

import numpy as np

CATEGORIES = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#CC79A7", "#F0E442", "#000000")
"""Okabe and Ito's eight, ordered so that neighbours in a list differ most."""

PULLS = (
    (0.150, 0.07, 290),
    (0.320, 0.20, 278),
    (0.500, 0.16, 230),
    (0.660, 0.10, 170),
    (0.840, 0.20, 95),
    (0.955, 0.08, 98),
)
"""What pulls at the heat map: lightness, chroma, hue in degrees. Night, cobalt, sea, leaf, amber, day."""


@lru_cache
def heat_colours() -> np.ndarray:
    """Return the 256 colours of the heat map, uint8 ``256 3``, from dark (0) to light (255)."""
    lightness, chroma, hue = np.array(PULLS).T
    hue = np.radians(hue)
    pulls = np.stack([lightness, chroma * np.cos(hue), chroma * np.sin(hue)], 1)
    degree, way = len(pulls) - 1, np.linspace(0, 1, 4096)[:, None]
    shares = [comb(degree, i) * way**i * (1 - way) ** (degree - i) for i in range(len(pulls))]
    curve = np.concatenate(shares, 1) @ pulls
    walked = np.r_[0, np.cumsum(np.linalg.norm(np.diff(curve, axis=0), axis=1))]
    steps = np.linspace(0, walked[-1], 256)
    even = np.stack([np.interp(steps, walked, column) for column in curve.T], 1)
    return np.round(255 * from_oklab(even)).astype(np.uint8)


def paint_heat(values: np.ndarray) -> np.ndarray:
    """Return the colours of ``values`` (any shape, clipped to 0..1) as uint8 ``... 3``."""
    colours: np.ndarray = heat_colours()[np.round(255 * np.clip(values, 0, 1)).astype(np.uint8)]
    return colours


def to_oklab(rgb: np.ndarray) -> np.ndarray:
    """Return OKLab coordinates of sRGB values in 0..1 (``... 3``)."""
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    lab: np.ndarray = np.cbrt(linear @ CONES.T) @ OPPONENTS.T
    return lab


def from_oklab(lab: np.ndarray) -> np.ndarray:
    """Return sRGB values in 0..1 of OKLab coordinates (``... 3``), clipped to what a screen shows."""
    linear = np.clip((lab @ np.linalg.inv(OPPONENTS).T) ** 3 @ np.linalg.inv(CONES).T, 0, 1)
    rgb: np.ndarray = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return rgb


# Linear sRGB to the responses of the eye's cones, and their cube roots to lightness and two opponent pairs.
CONES = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
)
OPPONENTS = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
)
