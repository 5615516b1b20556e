"""A picture to what a model sees, with Pillow and NumPy only: one function wherever a model answers.

`load` makes the *working picture*: what the cache stores and augmentation sees, at most a quarter larger than
it needs to be. `canvas` makes what the model sees of it, and the `Frame` that says where that lies on the
original. `normalise` makes numbers of it, the same bits in NumPy and in torch.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from typing import Any, Literal, get_args

import numpy as np
import PIL
from PIL import Image

from vitrail.data.decode import MAX_PIXELS, Decoded, Frames, decode_upright
from vitrail.data.depth import Range, check_range
from vitrail.data.resample import RESAMPLE, Box, cut_out, resize
from vitrail.errors import UsageError, nearest
from vitrail.values import Frame, Size, Source

RULES = 1
"""The version of the rules by which pictures become numbers; stored with every model."""

SLACK = 1.25
LONGEST = 3
Fit = Literal["crop", "squash", "pad", "tile"]


@dataclass(frozen=True, slots=True)
class Loaded:
    """The working picture, uint8 ``h w c``; the ``size`` of the original; what of it the picture ``covers``.

    ``covers`` is ``(left, top, right, bottom)`` in pixels of the upright original, whose side is
    ``pixel_size`` metres, if known. ``mask``, uint8 ``h w k``, are the classes, where they are asked for.
    """

    picture: np.ndarray
    size: Size
    covers: tuple[int, int, int, int]
    mask: np.ndarray | None = None
    pixel_size: float | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """The ``box`` of a working picture that goes to the pixels ``inner`` of a canvas, and so the frame.

    Both are ``(left, top, right, bottom)``; the rest of the canvas is filled up.
    """

    box: tuple[float, float, float, float]
    inner: tuple[int, int, int, int]
    frame: Frame


@dataclass(frozen=True, kw_only=True)
class Preprocess:
    """From a source to the ``size`` that a model sees, in ``channels`` (1 grey, 3 colour, or as many bands).

    ``fit`` says what happens to another aspect: ``crop`` resizes until the canvas is ``crop_pct`` of the
    shorter side and cuts out its centre (what is more than three times as long as needed loses its ends
    before that); ``squash`` resizes each side by itself; ``pad`` resizes the longer side and fills up with
    the mean colour; ``tile`` resizes nothing: a canvas is a window of the picture, filled up beyond its end.
    ``mean`` and ``std`` are those of the pixels in 0..1, one a channel (empty: 0.5). ``max_pixels`` refuses
    larger pictures before they are decoded, and ``frames`` ("error") animations. ``range`` is what of more
    than eight bits goes to 0 and to 255 (low and high, or such a pair a channel; None: that of the type).
    """

    size: Size = (224, 224)
    channels: int = 3
    fit: Fit = "crop"
    crop_pct: float = 1.0
    resample: str = "bilinear"
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    max_pixels: int = MAX_PIXELS
    frames: Frames = "first"
    range: Range | None = None

    def __post_init__(self) -> None:
        for name in ("size", "mean", "std", *(["range"] if self.range is not None else [])):
            object.__setattr__(self, name, tuple(getattr(self, name)))  # JSON has lists
        for name in ("mean", "std"):
            if not getattr(self, name):
                object.__setattr__(self, name, (0.5,) * self.channels)
        if self.channels < 1:
            raise UsageError(f"Pictures have 1 channel (grey), 3 (colour) or more, not {self.channels}.")
        sides: tuple[int, ...] = self.size
        if len(sides) != 2 or min(sides) < 1:
            raise UsageError(f"A size is a height and a width, both 1 or more, not {self.size}.")
        if not 0 < self.crop_pct <= 1:
            raise UsageError(f"crop_pct is above 0 and at most 1, not {self.crop_pct}.")
        if len(self.mean) != self.channels or len(self.std) != self.channels or min(self.std) <= 0:
            raise UsageError(f"mean and std (above 0) have one number for each of {self.channels} channels.")
        if self.range is not None:
            check_range(self.range, self.channels)
        for name, known in (("fit", get_args(Fit)), ("resample", RESAMPLE), ("frames", get_args(Frames))):
            if (word := getattr(self, name)) not in known:
                raise UsageError(f"{name} is one of {', '.join(known)}, not {word!r}.{nearest(word, known)}")

    # ---------------------------------------------------------------- source -> working picture

    def load(self, source: Source | Image.Image) -> Loaded:
        """Return the working picture: upright, of the size that a canvas is cut from, or a little larger.

        It is kept as it is when at most a quarter too large: sharper than if it were resampled twice. Raises
        ``Unreadable``.
        """
        whole = self.fit == "tile"
        least = None if whole else self._cover
        decoded = self._decode(source, self.channels, least)
        if whole or decoded.pixels.shape[:2] == self._cover:
            return Loaded(decoded.pixels, decoded.size, decoded.covers, pixel_size=decoded.pixel_size)
        pixels, covers = self._shorten(decoded)
        down, across = self._ratio(decoded.size)
        height = max(1, round((covers[3] - covers[1]) / down))
        width = max(1, round((covers[2] - covers[0]) / across))
        if not (height <= pixels.shape[0] <= SLACK * height and width <= pixels.shape[1] <= SLACK * width):
            pixels = self.resize(pixels, (height, width))
        return Loaded(pixels, decoded.size, covers, pixel_size=decoded.pixel_size)

    def original(self, source: Source | Image.Image) -> np.ndarray:
        """Return the whole picture for people, uint8 ``h w c``: in colour, or with all its bands."""
        return self._decode(source, 3 if self.channels == 1 else self.channels).pixels

    def _decode(self, source: Source | Image.Image, channels: int, target: Size | None = None) -> Decoded:
        return decode_upright(source, channels, target, self.max_pixels, self.frames, self.range)

    @cached_property
    def _cover(self) -> Size:
        """The smallest working picture: with ``crop``, the canvas is ``crop_pct`` of it."""
        if self.fit == "crop":
            return math.ceil(self.size[0] / self.crop_pct), math.ceil(self.size[1] / self.crop_pct)
        return self.size

    def _ratio(self, size: Size) -> tuple[float, float]:
        """Return how many pixels of an original one pixel of the canvas stands for, down and across."""
        down, across = size[0] / self.size[0], size[1] / self.size[1]
        if self.fit == "crop":
            down = across = min(down, across) * self.crop_pct
        elif self.fit == "pad":
            down = across = max(down, across)
        return down, across

    def _shorten(self, decoded: Decoded) -> tuple[np.ndarray, tuple[int, int, int, int]]:
        """Cut the ends off a picture that is far longer than needed, so that memory stays bounded."""
        pixels, (left, top, right, _) = decoded.pixels, decoded.covers
        if self.fit != "crop":
            return pixels, decoded.covers
        scale = (right - left) // pixels.shape[1]
        down, across = self._ratio(decoded.size)
        height = min(pixels.shape[0], math.ceil(LONGEST * self._cover[0] * down / scale))
        width = min(pixels.shape[1], math.ceil(LONGEST * self._cover[1] * across / scale))
        y, x = (pixels.shape[0] - height) // 2, (pixels.shape[1] - width) // 2
        left, top = left + x * scale, top + y * scale
        return pixels[y : y + height, x : x + width], (left, top, left + width * scale, top + height * scale)

    def resize(self, pixels: np.ndarray, size: Size, box: Box | None = None) -> np.ndarray:
        """Resample ``box`` (left, top, right, bottom) of uint8 ``h w c`` to ``size``, with Pillow."""
        return resize(pixels, size, self.resample, box)

    # ---------------------------------------------------------------- working picture -> canvas

    def canvas(self, loaded: Loaded, corner: tuple[int, int] = (0, 0)) -> tuple[np.ndarray, Frame]:
        """Return what a model sees, uint8 ``h w c`` of ``size``, and where it lies on the original.

        With ``fit`` "tile" it is the window whose upper left ``corner`` (y, x) this is.
        """
        place = self.place(loaded, corner)
        pixels = cut_out(loaded.picture, place.box)
        left, top, right, bottom = place.inner
        if pixels is None or pixels.shape[:2] != (bottom - top, right - left):
            pixels = self.resize(loaded.picture, (bottom - top, right - left), place.box)
        if pixels.shape[:2] != self.size:
            canvas = np.empty((*self.size, self.channels), np.uint8)
            canvas[:] = self.fill
            canvas[top:bottom, left:right] = pixels
            pixels = canvas
        return pixels, replace(place.frame, pixel_size=loaded.pixel_size)

    def place(self, loaded: Loaded, corner: tuple[int, int] = (0, 0)) -> Place:
        """Return which part of the working picture goes where on the canvas."""
        if self.fit == "crop":
            return self._middle(loaded)
        if self.fit == "tile":
            return self._window(loaded, corner)
        down, across = self._ratio(loaded.size)
        left, top, right, bottom = loaded.covers
        height, width = self.size
        if self.fit == "pad":
            height = min(height, max(1, round((bottom - top) / down)))
            width = min(width, max(1, round((right - left) / across)))
        y, x = (self.size[0] - height) // 2, (self.size[1] - width) // 2
        a, e = width / (right - left), height / (bottom - top)
        rows, columns = loaded.picture.shape[:2]
        frame = Frame(size=loaded.size, matrix=(a, 0.0, x - left * a, 0.0, e, y - top * e))
        return Place((0.0, 0.0, float(columns), float(rows)), (x, y, x + width, y + height), frame)

    def _window(self, loaded: Loaded, corner: tuple[int, int]) -> Place:
        """Place a window of the canvas' size, of which the picture may fill less, or have some rows only."""
        (y, x), (rows, columns) = corner, loaded.picture.shape[:2]
        frame = Frame(size=loaded.size, matrix=(1.0, 0.0, float(-x), 0.0, 1.0, float(-y)), origin=corner)
        y, x = y - loaded.covers[1], x - loaded.covers[0]
        height, width = min(self.size[0], rows - y), min(self.size[1], columns - x)
        box = float(x), float(y), float(x + width), float(y + height)
        return Place(box, (0, 0, width, height), frame)

    def _middle(self, loaded: Loaded) -> Place:
        """Place the centre of the working picture: cut out where the scales agree, else resampled."""
        left, top, right, bottom = loaded.covers
        (height, width), (rows, columns) = self.size, loaded.picture.shape[:2]
        down, across = self._ratio(loaded.size)
        # Working pixels in one of the original:
        dense_y, dense_x = rows / (bottom - top), columns / (right - left)
        tall, wide = height * down * dense_y, width * across * dense_x
        y = (loaded.size[0] / 2 - top) * dense_y - tall / 2
        x = (loaded.size[1] / 2 - left) * dense_x - wide / 2
        if abs(tall - height) < 1 and abs(wide - width) < 1 and rows >= height and columns >= width:
            y = float(min(max(round(y + (tall - height) / 2), 0), rows - height))
            x = float(min(max(round(x + (wide - width) / 2), 0), columns - width))
            box = x, y, x + width, y + height
        else:
            box = max(x, 0.0), max(y, 0.0), min(x + wide, float(columns)), min(y + tall, float(rows))
        x, y, wide, tall = box[0], box[1], box[2] - box[0], box[3] - box[1]
        a, e = width / wide * dense_x, height / tall * dense_y
        c, f = -left * a - x * width / wide, -top * e - y * height / tall
        return Place(box, (0, 0, width, height), Frame(size=loaded.size, matrix=(a, 0.0, c, 0.0, e, f)))

    @property
    def fill(self) -> tuple[int, ...]:
        """The mean colour, which is near 0 once normalised: uint8, one a channel."""
        return tuple(min(255, max(0, round(255 * value))) for value in self.mean)

    # ---------------------------------------------------------------- canvas -> numbers

    @cached_property
    def _affine(self) -> tuple[list[float], list[float]]:
        scale = [float(np.float32(1 / (255 * std))) for std in self.std]
        shift = [float(np.float32(-mean / std)) for mean, std in zip(self.mean, self.std, strict=True)]
        return scale, shift

    def normalise(self, pixels: Any) -> Any:
        """Return float32 of uint8 ``... c h w``: ``(pixels / 255 - mean) / std``, for NumPy and torch alike.

        It is one multiplication and one addition, each rounded to float32, so that both give the same bits
        (keep it out of a compiled graph, which may round once for the two).
        """
        scale, shift = self._affine
        if isinstance(pixels, np.ndarray):
            values = pixels.astype(np.float32)
            values *= np.array(scale, np.float32).reshape(-1, 1, 1)
            values += np.array(shift, np.float32).reshape(-1, 1, 1)
            return values
        values = pixels.float()
        return values.mul_(values.new_tensor(scale).view(-1, 1, 1)).add_(
            values.new_tensor(shift).view(-1, 1, 1)
        )

    def __call__(self, source: Source | Image.Image) -> tuple[np.ndarray, Frame]:
        """The answering path: a source to float32 ``c h w`` and its frame. Raises ``Unreadable``."""
        pixels, frame = self.canvas(self.load(source))
        return self.normalise(np.ascontiguousarray(pixels.transpose(2, 0, 1))), frame

    # ---------------------------------------------------------------- the contract in a file

    @property
    def working(self) -> dict[str, Any]:
        """What the working picture depends on, for a cache: no mean, no std."""
        beside = ("mean", "std", "max_pixels")
        kept = {name: value for name, value in self.to_dict().items() if name not in beside}
        return kept | {"pillow": PIL.__version__}

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values, as `from_dict` reads them."""
        values = {
            name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()
        }
        return {"rules": RULES} | values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Preprocess":
        """Read what `to_dict` wrote; raises UsageError when a key is unknown or the rules are newer."""
        if values.get("rules", RULES) > RULES:
            raise UsageError(
                f"The preprocessing follows rules {values['rules']}, this Vitrail those of {RULES}: "
                "use a newer one."
            )
        known = {field.name for field in fields(cls)}
        for name in values.keys() - known - {"rules"}:
            raise UsageError(f"Preprocessing has no {name!r}.{nearest(name, known)}")
        return cls(**{name: value for name, value in values.items() if name != "rules"})
