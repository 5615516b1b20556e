"""Pictures made worse on purpose, to see how much of its skill a model keeps.

Noise, blur, JPEG and contrast are those of Hendrycks and Dietterich, "Benchmarking neural network robustness
to common corruptions and perturbations", 2019, with Pillow and NumPy only: strengths 1, 2 and 3 are their
severities 1, 3 and 5. The covered square is our own. What is drawn depends on the picture's key and not on
the strength: a stronger corruption is more of the same.
"""

import io
import math
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageFilter

from vitrail.data import chance
from vitrail.data.resample import layers
from vitrail.errors import UsageError, nearest

STRENGTHS = (1, 2, 3)
NOISE = (0.08, 0.18, 0.38)
"""Standard deviations, of a range from 0 to 1."""
BLUR = (1.0, 3.0, 6.0)
"""Standard deviations in pixels, where the shorter side has ``BLUR_SIDE``."""
BLUR_SIDE = 224
JPEG = (25, 15, 7)
"""Qualities, of 100."""
CONTRAST = (0.4, 0.2, 0.05)
"""What is left of each pixel's distance from the mean."""
OCCLUSION = (0.10, 0.25, 0.50)
"""Shares of the area."""
GREY = 128


def noise(canvas: np.ndarray, strength: int, seed: int) -> np.ndarray:
    """Add normal noise to every value by itself (Box and Muller, 1958)."""
    half = math.ceil(canvas.size / 2)
    length, turn = chance.uniform(seed, 0, np.arange(half), "noise", draws=2).T
    length, turn = np.sqrt(-2 * np.log(1 - length)), 2 * np.pi * turn
    normal = np.concatenate([length * np.cos(turn), length * np.sin(turn)])[: canvas.size]
    return _rounded(canvas + 255 * NOISE[strength - 1] * normal.reshape(canvas.shape))


def blur(canvas: np.ndarray, strength: int, _: int) -> np.ndarray:
    """Blur with a Gaussian that is as wide for the picture, whatever its size."""
    spread = BLUR[strength - 1] * min(canvas.shape[:2]) / BLUR_SIDE
    return _each(canvas, lambda image: image.filter(ImageFilter.GaussianBlur(spread)))


def jpeg(canvas: np.ndarray, strength: int, _: int) -> np.ndarray:
    """Write as JPEG of a low quality and read again."""

    def again(image: Image.Image) -> Image.Image:
        file = io.BytesIO()
        image.save(file, "JPEG", quality=JPEG[strength - 1])
        return Image.open(file)

    return _each(canvas, again)


def contrast(canvas: np.ndarray, strength: int, _: int) -> np.ndarray:
    """Bring every value near the mean of its channel."""
    mean = canvas.mean((0, 1), keepdims=True)
    return _rounded(mean + CONTRAST[strength - 1] * (canvas - mean))


def occlusion(canvas: np.ndarray, strength: int, seed: int) -> np.ndarray:
    """Cover a grey square somewhere; it is a rectangle where a square of that area does not fit."""
    height, width = canvas.shape[:2]
    area = OCCLUSION[strength - 1] * height * width
    tall = min(height, max(1, round(max(math.sqrt(area), area / width))))
    wide = min(width, max(1, round(area / tall)))
    y, x = chance.uniform(seed, 0, [0], "occlusion", draws=2)[0].tolist()
    top, left = int(y * (height - tall + 1)), int(x * (width - wide + 1))
    covered = canvas.copy()
    covered[top : top + tall, left : left + wide] = GREY
    return covered


CORRUPTIONS: dict[str, Callable[[np.ndarray, int, int], np.ndarray]] = {
    "noise": noise,
    "blur": blur,
    "jpeg": jpeg,
    "contrast": contrast,
    "occlusion": occlusion,
}
"""Each takes a canvas, a strength and a seed of the picture's own."""


def corrupt(canvas: np.ndarray, name: str, strength: int, *, seed: int, key: int | str) -> np.ndarray:
    """Return a canvas made worse by one of ``CORRUPTIONS``: uint8 ``h w c`` like it.

    A pure function of its arguments; ``key`` is the picture's, so that each has draws of its own. Raises
    UsageError for an unknown name, and for a strength that is not 1, 2 or 3.
    """
    if name not in CORRUPTIONS:
        raise UsageError(
            f"Unknown corruption {name!r}; there are {', '.join(CORRUPTIONS)}.{nearest(name, CORRUPTIONS)}"
        )
    if strength not in STRENGTHS:
        raise UsageError(f"The strength of a corruption is 1, 2 or 3, not {strength!r}.")
    if canvas.dtype != np.uint8 or canvas.ndim != 3:
        raise ValueError(f"a canvas is uint8, h w c, not {canvas.dtype} {canvas.shape}")
    return CORRUPTIONS[name](canvas, strength, chance.key(seed, key))


def _each(canvas: np.ndarray, change: Callable[[Image.Image], Image.Image]) -> np.ndarray:
    """Change a canvas in grey or colour, and each channel by itself where there are others."""
    changed = np.empty_like(canvas)
    for place, image in layers(canvas):
        changed[:, :, place] = np.asarray(change(image)).reshape(*canvas.shape[:2], -1)
    return changed


def _rounded(values: np.ndarray) -> np.ndarray:
    rounded: np.ndarray = np.rint(np.clip(values, 0, 255)).astype(np.uint8)
    return rounded
