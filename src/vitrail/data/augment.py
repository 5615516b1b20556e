"""What makes one picture many: crops, flips, colours, mixtures.

Every choice is a pure function of (seed, epoch, index), that of a mixture of (seed, epoch, batch number). So
a picture comes out with the same bits alone or in a batch, by whichever thread, before or after resuming.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from PIL import ImageEnhance
from torch.nn.functional import interpolate

from vitrail.data.chance import uniform
from vitrail.data.lay import canvas_mask
from vitrail.data.mix import mixed
from vitrail.data.policy import DRAWS, POLICIES
from vitrail.data.preprocess import Fit, Loaded, Preprocess
from vitrail.data.resample import layers
from vitrail.data.windows import Window, moved, window_mask, windows
from vitrail.errors import UsageError
from vitrail.values import IGNORED, Batch, Size

TRIES = 10
RATIO = 4 / 3
ERASED = (0.02, 1 / 3)
ERASED_RATIO = 3.3
WHOLE = (1.0, 1.0)
CROPPING = {"nearest": "nearest-exact", "bilinear": "bilinear", "bicubic": "bicubic", "lanczos": "bicubic"}


@dataclass(frozen=True, kw_only=True)
class Augment:
    """How training pictures are varied; without any setting they are what `Preprocess.canvas` makes.

    What is None is off until `suited` chooses it by the size of the canvas.
    """

    crop_scale: tuple[float, float] | None = None
    """Cut out a random part: least and greatest fraction of the area (default: 0.35 1 above 64 pixels; 1 1:
    nothing is cut, and the picture is what the model sees)."""
    shift: int | None = None
    """Move by up to so many pixels; the border is repeated (default: 1 for every 28, up to 64 pixels)."""
    flip: bool | None = None
    """Exchange left and right in half of the pictures (default: above 64 pixels, where signs are rare)."""
    vertical: bool = False
    """Exchange top and bottom in half of the pictures."""
    rotate90: bool = False
    """Turn by a random multiple of 90 degrees (of 180, when the canvas is not square)."""
    policy: Literal["none", "trivial", "randaugment"] = "none"
    """Random operations on form and colour: TrivialAugment or RandAugment."""
    jitter: float = 0.0
    """Change brightness, contrast and saturation by up to this factor."""
    erase: float = 0.0
    """Cover a random rectangle with the mean colour, with this probability."""
    mixup: float = 0.0
    """Blend pairs of pictures and targets; the parameter of the beta distribution (0: off)."""
    cutmix: float = 0.0
    """Paste parts of one picture into another; with mixup, one of the two for each batch (0: off)."""

    def __post_init__(self) -> None:
        low, high = self.crop_scale or WHOLE
        if not 0 < low <= high <= 1:
            raise UsageError(f"crop_scale is two fractions of the area, rising, not {self.crop_scale}.")
        for name, most in (("jitter", 1), ("erase", 1), ("mixup", 2), ("cutmix", 2), ("shift", 1000)):
            if not 0 <= (getattr(self, name) or 0) <= most:
                raise UsageError(f"{name} is 0 to {most}, not {getattr(self, name)}.")
        if self.policy not in ("none", *POLICIES):
            raise UsageError(f"policy is one of none, {', '.join(POLICIES)}, not {self.policy!r}.")

    def suited(self, size: Size, fit: Fit = "crop") -> "Augment":
        """Return the settings with what is None chosen: shifts for a tiny canvas, else crops and flips.

        A window of a larger picture (``fit`` "tile") lies somewhere else each time, so neither is needed.
        """
        small, tiled = max(size) <= 64, fit == "tile"
        shift = (max(1, max(size) // 28) if small and not tiled else 0) if self.shift is None else self.shift
        crop = self.crop_scale
        if crop is None and not small and not shift and not tiled:
            crop = (0.35, 1.0)
        return replace(self, shift=shift, crop_scale=crop, flip=not small if self.flip is None else self.flip)

    # ---------------------------------------------------------------- each picture by itself

    def pictures(
        self, loaded: Sequence[Loaded], preprocess: Preprocess, *, seed: int, epoch: int, indices: np.ndarray
    ) -> np.ndarray:
        """Return canvases, uint8 ``b c h w``; ``indices`` (``b``) are the pictures' places in the data."""

        def draw(stream: str, draws: int) -> np.ndarray:
            return uniform(seed, epoch, indices, stream, draws=draws)

        boxes = self._boxes(loaded, preprocess, draw("crop", 2 * TRIES + 2))
        if boxes is None:
            cut = [
                each.picture if each.picture.shape[:2] == preprocess.size else preprocess.canvas(each)[0]
                for each in loaded
            ]
        else:
            cut = [_cut(each.picture, box, preprocess) for each, box in zip(loaded, boxes, strict=True)]
        if self.policy != "none" or self.jitter:
            cut = [
                self._recolour(each, *draws)
                for each, *draws in zip(
                    cut, draw("policy", DRAWS).tolist(), draw("jitter", 3).tolist(), strict=True
                )
            ]
        pixels = self._lay(cut, preprocess.size, draw("shift", 2), draw("turn", 3))
        if self.erase:
            self._cover(pixels, preprocess.fill, draw("erase", 5))
        return pixels

    def masks(
        self, masked: Sequence[Loaded], preprocess: Preprocess, *, seed: int, epoch: int, indices: np.ndarray
    ) -> np.ndarray:
        """Return what `pictures` makes of the pictures' masks, uint8 ``b k h w``: all draws are the same.

        What a picture does not fill, or what was covered in it, is `IGNORED`.
        """

        def draw(stream: str, draws: int) -> np.ndarray:
            return uniform(seed, epoch, indices, stream, draws=draws)

        masks = [each.mask for each in masked if each.mask is not None]
        boxes = self._boxes(masked, preprocess, draw("crop", 2 * TRIES + 2))
        if boxes is None:
            cut = [
                canvas_mask(mask, preprocess.place(each), preprocess.size)
                for mask, each in zip(masks, masked, strict=True)
            ]
        else:
            cut = [window_mask(mask, box, preprocess.size) for mask, box in zip(masks, boxes, strict=True)]
        if self.policy != "none":
            draws = draw("policy", DRAWS).tolist()
            cut = [moved(mask, POLICIES[self.policy], each) for mask, each in zip(cut, draws, strict=True)]
        laid = self._lay(cut, preprocess.size, draw("shift", 2), draw("turn", 3))
        if self.erase:
            self._cover(laid, (IGNORED,) * laid.shape[1], draw("erase", 5))
        return laid

    def _boxes(
        self, loaded: Sequence[Loaded], preprocess: Preprocess, draws: np.ndarray
    ) -> list[Window] | None:
        """Return what is cut out of each working picture; None where nothing is, and it is the canvas."""
        sides = np.array([each.picture.shape[:2] for each in loaded], np.float64)
        if preprocess.fit == "tile":
            return windows(sides, preprocess.size, self.crop_scale or WHOLE, draws)
        if self.crop_scale in (None, WHOLE):
            return None
        boxes = self._crops(sides, preprocess.size[1] / preprocess.size[0], draws)
        down, across = preprocess.size
        return [Window(top, left, height, width, down, across) for top, left, height, width in boxes.tolist()]

    def _crops(self, sides: np.ndarray, aspect: float, draws: np.ndarray) -> np.ndarray:
        """Return ``(top, left, height, width)`` by picture: the first of ten tries to fit, or the centre."""
        assert self.crop_scale is not None
        low, high = self.crop_scale
        rows, columns = sides[:, :1], sides[:, 1:]
        area = rows * columns * (low + (high - low) * draws[:, :TRIES])
        ratio = aspect * RATIO ** (2 * draws[:, TRIES : 2 * TRIES] - 1)
        heights, widths = np.rint(np.sqrt(area / ratio)), np.rint(np.sqrt(area * ratio))
        fits = (heights <= rows) & (widths <= columns) & (heights > 0) & (widths > 0)
        chosen = np.arange(len(sides)), fits.argmax(1)
        size = np.stack([heights[chosen], widths[chosen]], 1)
        place = np.floor(draws[:, -2:] * (sides - size + 1))
        whole = np.maximum(
            1, np.minimum(sides, np.rint(sides[:, ::-1] * RATIO * np.array([1 / aspect, aspect])))
        )
        fitting = fits.any(1, keepdims=True)
        size, place = np.where(fitting, size, whole), np.where(fitting, place, np.floor((sides - whole) / 2))
        return np.concatenate([place, size], 1).astype(int)

    def _recolour(self, pixels: np.ndarray, policy: Sequence[float], jitter: Sequence[float]) -> np.ndarray:
        """Change form and colour; other channels than three are each changed alike, as grey pictures are."""
        recoloured = np.empty_like(pixels)
        bright, contrast, colour = (1 + self.jitter * (2 * each - 1) for each in jitter)
        for place, image in layers(pixels):
            if self.policy != "none":
                image = POLICIES[self.policy](image, policy)
            if self.jitter:
                image = ImageEnhance.Contrast(ImageEnhance.Brightness(image).enhance(bright)).enhance(
                    contrast
                )
                image = ImageEnhance.Color(image).enhance(colour) if image.mode == "RGB" else image
            recoloured[:, :, place] = np.asarray(image).reshape(*pixels.shape[:2], -1)
        return recoloured

    def _lay(
        self, cut: Sequence[np.ndarray], size: Size, shifts: np.ndarray, turns: np.ndarray
    ) -> np.ndarray:
        """Shift, flip and turn ``h w c`` pictures on their way into one ``b c h w`` array."""
        height, width = size
        pixels = np.empty((len(cut), cut[0].shape[2], height, width), np.uint8)
        shift = self.shift or 0
        down, across = np.floor(shifts * (2 * shift + 1)).astype(int).T - shift
        rows = np.clip(np.arange(height) + down[:, None], 0, height - 1)
        columns = np.clip(np.arange(width) + across[:, None], 0, width - 1)
        halves = (turns < 0.5).tolist()
        quarters = np.floor(turns[:, 2] * 4).astype(int).tolist()
        for number, picture in enumerate(cut):
            view = picture[rows[number]][:, columns[number]] if shift else picture
            if self.flip and halves[number][0]:
                view = view[:, ::-1]
            if self.vertical and halves[number][1]:
                view = view[::-1]
            if self.rotate90:
                view = np.rot90(view, quarters[number] if height == width else quarters[number] // 2 * 2)
            pixels[number] = view.transpose(2, 0, 1)
        return pixels

    def _cover(self, pixels: np.ndarray, fill: Sequence[int], draws: np.ndarray) -> None:
        """Erase a rectangle of some pictures, in place (Zhong et al., "Random erasing", 2020)."""
        height, width = pixels.shape[2:]
        colour = np.array(fill, np.uint8)[:, None, None]
        for number in np.flatnonzero(draws[:, 0] < self.erase):
            _, size, shape, y, x = draws[number]
            area = height * width * (ERASED[0] + (ERASED[1] - ERASED[0]) * size)
            ratio = ERASED_RATIO ** (2 * shape - 1)
            tall = min(height, max(1, round(math.sqrt(area * ratio))))
            wide = min(width, max(1, round(math.sqrt(area / ratio))))
            top, left = int(y * (height - tall + 1)), int(x * (width - wide + 1))
            pixels[number, :, top : top + tall, left : left + wide] = colour

    # ---------------------------------------------------------------- pictures with one another

    def mix(self, batch: Batch, seed: int, epoch: int) -> Batch:
        """Return a batch of normalised pictures mixed with one another, or as it is: see `mixed`."""
        return mixed(batch, self.mixup, self.cutmix, seed=seed, epoch=epoch)


def _cut(picture: np.ndarray, window: Window, preprocess: Preprocess) -> np.ndarray:
    """Cut a random part out of a working picture and resize it (Szegedy et al., 2015).

    torch resamples here, several times as fast as Pillow. Now and then it rounds to the next level: that
    matters where a model answers (there Pillow alone resamples), but not in a random crop.
    """
    part, size = window.of(picture), window.inner
    if part.shape[:2] != size or preprocess.fit != "tile":
        part = _resample(part, size, CROPPING[preprocess.resample])
    if size == preprocess.size:
        return part
    canvas = np.empty((*preprocess.size, part.shape[2]), np.uint8)
    canvas[:] = preprocess.fill
    canvas[: size[0], : size[1]] = part
    return canvas


def _resample(part: np.ndarray, size: Size, mode: str) -> np.ndarray:
    tensor = torch.from_numpy(np.array(part))  # a copy: torch wants to be able to write
    resized = interpolate(tensor.permute(2, 0, 1)[None], size, mode=mode, antialias=mode != "nearest-exact")
    return resized[0].permute(1, 2, 0).numpy()


PRESETS = {
    "none": Augment(crop_scale=WHOLE, shift=0, flip=False),
    "light": Augment(crop_scale=(0.5, 1.0), flip=True),
    "medium": Augment(crop_scale=(0.25, 1.0), flip=True, policy="trivial", erase=0.1),
    "strong": Augment(
        crop_scale=(0.08, 1.0), flip=True, policy="randaugment", jitter=0.3, erase=0.25, mixup=0.2, cutmix=1.0
    ),
}
"""Augmentation by one word."""
