"""The values that travel through Vitrail, from bytes to answers.

Everything here is frozen and does no I/O. The module imports without torch, because an exported model is
served without it: tensors appear in annotations only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

Source = str | bytes | np.ndarray
"""One picture before decoding: a path, an encoded file, or pixels (``h w`` or ``h w c``)."""

Size = tuple[int, int]
"""Height before width, in pixels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One row of a data set: its pictures by role, its targets by name, where it belongs."""

    key: str
    pictures: Mapping[str, Source]
    targets: Mapping[str, Any] = field(default_factory=dict)
    prompt: str | None = None
    group: str | None = None
    split: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """How a canvas (what the model sees) lies on the original picture, so that an answer finds its way home.

    ``matrix`` is ``(a, b, c, d, e, f)``: a point ``(x, y)`` of the original lands on
    ``(a x + b y + c, d x + e y + f)`` of the canvas. ``size`` is the original's, upright.
    ``origin`` is the upper left corner ``(y, x)`` of a tile; ``pixel_size`` is in metres.
    """

    size: Size
    matrix: tuple[float, float, float, float, float, float] = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
    origin: tuple[int, int] = (0, 0)
    pixel_size: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Samples side by side. ``pixels`` are ``b c h w`` by role: uint8 from the loader, float once normalised.

    ``number`` is the batch's place in its epoch, from 0. ``truths`` are what answers are measured against,
    one a sample, where that is not in ``targets``: masks of the originals. ``windows`` are what samples are
    seen in where that is not one canvas each: `vitrail.data.windows.Windows` of each sample, cut out when
    they are answered. There are no ``pixels`` and no ``frames`` then.
    """

    keys: Sequence[str]
    pixels: Mapping[str, Tensor]
    frames: Sequence[Frame] = ()
    targets: Mapping[str, Tensor] = field(default_factory=dict)
    valid: Tensor | None = None
    prompt: Sequence[str] | None = None
    number: int = 0
    truths: Sequence[np.ndarray] = ()
    windows: Sequence[Any] = ()

    def __len__(self) -> int:
        return len(self.keys)

    def with_(self, **changes: Any) -> Batch:
        """Return a copy with some fields exchanged."""
        return replace(self, **changes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Features:
    """What a backbone makes of a batch.

    ``levels`` are ``b c h w`` maps, finest first, with their ``strides`` in pixels of the canvas.
    ``summary`` is ``b d`` (class token or pooled); ``prefix`` is ``b p d`` (class and register tokens);
    ``aux`` are losses of the backbone's own, such as an expert router's; ``seen`` are scalars of its own that
    are only logged.
    """

    levels: Sequence[Tensor]
    strides: Sequence[int]
    summary: Tensor
    prefix: Tensor | None = None
    aux: Mapping[str, Tensor] = field(default_factory=dict)
    seen: Mapping[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(self.levels) != len(self.strides):
            raise ValueError(f"{len(self.levels)} levels with {len(self.strides)} strides")
        if list(self.strides) != sorted(self.strides):
            raise ValueError(f"levels must be finest first, not of strides {list(self.strides)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """Patches as a sequence: ``values`` ``b n d``, the ``places`` ``b n`` on the grid, and ``prefix``."""

    values: Tensor
    places: Tensor
    prefix: Tensor | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """What a head may look at besides the features."""

    pixels: Mapping[str, Tensor] = field(default_factory=dict)
    valid: Tensor | None = None
    frames: Sequence[Frame] = ()
    proposals: Sequence[Tensor] | None = None
    prompt: Sequence[str] | None = None
    targets: Mapping[str, Tensor] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Losses:
    """``terms`` are summed and minimised; ``seen`` are numbers, or scalar tensors, that are only logged."""

    terms: Mapping[str, Tensor]
    seen: Mapping[str, float | Tensor] = field(default_factory=dict)

    @property
    def total(self) -> Tensor:
        """The scalar to minimise."""
        first, *rest = self.terms.values()
        return sum(rest, start=first)


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A number with its 95 % interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.4g} ({self.low:.4g} to {self.high:.4g})"

    def to_dict(self) -> dict[str, float | None]:
        """Return plain numbers; an undefined one (not a number) becomes None, as JSON requires."""
        parts = {"value": self.value, "low": self.low, "high": self.high}
        return {name: float(part) if np.isfinite(part) else None for name, part in parts.items()}

    @classmethod
    def from_dict(cls, parts: Mapping[str, float | None]) -> Estimate:
        """Return what `to_dict` wrote down."""
        return cls(**{name: float("nan") if part is None else part for name, part in parts.items()})


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """The answer of a classifier: one probability a class, by name.

    ``scores`` is ``c``. With ``multi`` each is a probability of its own and every class at ``threshold`` or
    above is chosen; otherwise they sum to one and the most probable is chosen. ``source`` is the index of the
    row of raw output that it came from.
    """

    names: Sequence[str]
    scores: np.ndarray
    source: int
    multi: bool = False
    threshold: float = 0.5

    def __post_init__(self) -> None:
        if self.scores.shape != (len(self.names),):
            raise ValueError(f"{self.scores.shape} scores for {len(self.names)} names")

    @property
    def chosen(self) -> tuple[str, ...]:
        """The names answered: exactly one, or any number with ``multi``."""
        if self.multi:
            return tuple(self.names[i] for i in np.flatnonzero(self.scores >= self.threshold).tolist())
        return (self.names[int(self.scores.argmax())],)

    @property
    def name(self) -> str:
        """The most probable class."""
        return self.names[int(self.scores.argmax())]

    @property
    def score(self) -> float:
        """The probability of the most probable class."""
        return float(self.scores.max())

    def top(self, most: int = 5) -> list[tuple[str, float]]:
        """Return the ``most`` probable classes with their probabilities, best first."""
        order = np.argsort(-self.scores, kind="stable")[:most]
        return [(self.names[i], float(self.scores[i])) for i in order]

    def to_hf(self, most: int = 5) -> list[dict[str, Any]]:
        """Return what transformers' image-classification pipeline returns for one picture."""
        return [{"label": name, "score": score} for name, score in self.top(most)]

    def to_dict(self) -> dict[str, Any]:
        """Return the answer as one JSON object."""
        label: Any = list(self.chosen) if self.multi else self.name
        scores = {name: float(score) for name, score in zip(self.names, self.scores, strict=True)}
        return {"label": label, "score": self.score, "scores": scores}


STRIP = 2**22
"""How many pixels of a large picture are worked on at once."""
IGNORED = 255
"""In the pixels of a mask that is a target: nobody knows, or nobody asks. It is no class."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mask:
    """The answer of a segmenter: a class for every pixel of the original picture, upright.

    ``values`` is uint8 ``h w``, the index into ``names`` of each pixel's class; with ``multi`` it is bool
    ``c h w``, where every class is a question of its own. ``scores`` is how sure that is, float16 or float32
    ``h w`` (the probability of the class chosen; with ``multi`` ``c h w``, of each class), or None where it
    was not kept. ``pixel_size`` is the side of a pixel in metres, if known.
    """

    names: Sequence[str]
    values: np.ndarray
    source: int
    scores: np.ndarray | None = None
    multi: bool = False
    pixel_size: float | None = None

    def __post_init__(self) -> None:
        wanted = (len(self.names), *self.values.shape[-2:]) if self.multi else self.values.shape[-2:]
        if self.values.shape != wanted or len(wanted) < 2:
            raise ValueError(f"a mask of {len(self.names)} classes with values {self.values.shape}")
        if self.scores is not None and self.scores.shape != self.values.shape:
            raise ValueError(f"scores {self.scores.shape} with values {self.values.shape}")

    @property
    def size(self) -> Size:
        """Height and width."""
        height, width = self.values.shape[-2:]
        return height, width

    @property
    def areas(self) -> dict[str, int]:
        """The number of pixels of each class."""
        if self.multi:
            counts = self.values.sum(axis=(1, 2))
        else:  # counting makes eight bytes of each pixel, so not of all at once
            rows = max(1, STRIP // self.values.shape[1])
            strips = (self.values[top : top + rows] for top in range(0, len(self.values), rows))
            counts = sum(np.bincount(strip.ravel(), minlength=len(self.names)) for strip in strips)
        return dict(zip(self.names, counts.tolist(), strict=False))

    def in_words(self, most: int = 3) -> str:
        """Return the classes that most pixels are of, with their share of the picture."""
        return areas_in_words(self.areas, self.size, most)

    def to_dict(self) -> dict[str, Any]:
        """Return what a JSON object can say: the size, and the areas in pixels and in square metres."""
        areas = self.areas
        plain: dict[str, Any] = {"size": list(self.size), "areas": areas}
        if self.pixel_size is not None:
            plain["pixel_size"] = self.pixel_size
            plain["square_metres"] = {name: area * self.pixel_size**2 for name, area in areas.items()}
        return plain


def areas_in_words(areas: Mapping[str, int], size: Sequence[int], most: int = 3) -> str:
    """Return the classes that take most of a picture, with their share of it."""
    order = sorted(areas, key=lambda name: -areas[name])[:most]
    return (
        ", ".join(f"{name} {areas[name] / (size[0] * size[1]):.0%}" for name in order if areas[name])
        or "none"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Heat:
    """Where a model looked: ``values`` ``h w`` on the grid that the method knows, from 0 upwards."""

    values: np.ndarray
    about: Any
    method: str
    source: int

    def __post_init__(self) -> None:
        if self.values.ndim != 2:
            raise ValueError(f"a heat map has two dimensions, not {self.values.ndim}")


Answer = Label | Mask | Heat
"""Any answer; each carries ``source``."""
