"""The contracts between the rooms of the house. Whatever keeps one of them can stand in its place.

`docs/design.md` says how a picture travels through them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np

from vitrail.values import Answer, Batch, Estimate, Features, Frame, Given, Heat, Losses, Sample, Size, Source

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor


class Samples(Protocol):
    """Rows of a data set as columns (Arrow or arrays): a million rows cost megabytes, not gigabytes."""

    @property
    def keys(self) -> Sequence[str]:
        """The name of each row: a path below the data set's root, or a number."""

    @property
    def targets(self) -> Mapping[str, np.ndarray]:
        """Columns of targets by name, each with one row a sample."""

    @property
    def groups(self) -> np.ndarray | None:
        """What must not be divided between splits (a patient, a slide), as a number a sample."""

    @property
    def home(self) -> str:
        """Which data set this is: a real path, or a name."""

    @property
    def rows(self) -> np.ndarray:
        """The row of each sample in the whole data set, int64: the same in every split and order."""

    @property
    def stamps(self) -> np.ndarray:
        """A hash of each picture's file or content, uint64: another one when the picture may have changed."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int) -> Sample: ...

    def source(self, index: int, role: str = "image") -> Source:
        """Return where one picture's bytes are."""

    @property
    def masked(self) -> bool:
        """Whether each picture has a mask."""

    @property
    def many(self) -> bool:
        """Whether a picture, or a pixel where there are masks, may have any number of labels."""

    def mask(self, index: int) -> np.ndarray:
        """Return a picture's mask: uint8 ``h w``, or ``c h w`` where a pixel may have many labels."""


class Reader(Protocol):
    """A data format: what the classes are called, and the samples of each split that the files name."""

    @property
    def classes(self) -> Sequence[str]:
        """The classes' names; targets are indices into this."""

    def splits(self) -> Mapping[str, Samples]:
        """Return the samples by split (``train``, ``val``, ``test``; or ``all`` when the files name none)."""


class Backbone(Protocol):
    """Pixels to features. ``least`` is the smallest input; ``channels`` are those of each level.

    Called without ``levels`` it returns the summary alone and saves what the levels would cost.
    """

    strides: Sequence[int]
    channels: Sequence[int]
    width: int
    least: Size

    @property
    def inputs(self) -> int:
        """The channels of the pictures."""

    def __call__(self, pixels: Tensor, valid: Tensor | None = None, levels: bool = True) -> Features: ...


class Head(Protocol):
    """Features to output, output to losses or answers: net, loss and decoding are three things.

    ``levels`` says whether it looks at the features' levels, or at their summary alone.
    """

    levels: bool

    def __call__(self, features: Features, given: Given) -> Any: ...

    def loss(self, output: Any, given: Given, progress: float) -> Losses:
        """Return what to minimise; ``progress`` is the fraction of the run that is done."""

    def decode(self, output: Any, frames: Sequence[Frame]) -> Sequence[Answer]:
        """Return one answer a sample, in coordinates of the original picture."""

    def about(self, output: Any) -> Sequence[Any]:
        """Return what each sample's answer is about: what `score` takes None for."""

    def score(self, output: Any, about: Any) -> Tensor:
        """Return the scalar per sample (``b``) that an explanation of ``about`` differentiates."""


class Model(Protocol):
    """All that the training loop knows."""

    def loss(self, batch: Batch, progress: float) -> Losses: ...
    def answer(self, batch: Batch) -> Sequence[Answer]: ...
    def score(self, batch: Batch, about: Any) -> Tensor: ...


class Metric(Protocol):
    """Numbers out of answers and targets, each with its interval."""

    def update(self, answers: Sequence[Any], targets: Any, groups: Any = None) -> None: ...
    def merge(self, other: Any) -> None: ...
    def compute(self) -> Mapping[str, Estimate]: ...
    def points(self) -> Mapping[str, float]:
        """Return the values alone, for choosing between epochs."""

    def resampled(self) -> Any:
        """Return every metric on resamples (a `vitrail.measure.intervals.Resampled`), for comparisons."""


class Task(Protocol):
    """What is asked: targets, answer type, metric, drawing, default head and default ``about``."""

    @property
    def name(self) -> str:
        """The word for it on the command line."""

    @property
    def head(self) -> str:
        """The name of its default head."""

    @property
    def primary(self) -> str:
        """The metric that stands first, and chooses the best epoch unless a recipe says otherwise."""

    @property
    def orders(self) -> Mapping[str, Literal["max", "min"]]:
        """The metrics that can choose, and which way each is better."""

    def collate(self, targets: Mapping[str, np.ndarray]) -> Mapping[str, Tensor]:
        """Return the columns of some rows as the tensors that the heads' losses want."""

    @property
    def by_class(self) -> str:
        """The number of a class that models are compared by; more is better."""

    def marks(self, answers: Sequence[Any], targets: Any) -> np.ndarray:
        """Return how right each answer was (``n``, 0 to 1): what two models' answers are compared by."""

    @property
    def masked(self) -> bool:
        """Whether targets are masks of the pictures."""

    def truth(self, batch: Batch) -> np.ndarray | None:
        """Return what answers to a batch are measured against, a row each; None where ``kept`` says it."""

    def kept(self, answers: Sequence[Any], batch: Batch) -> list[Any]:
        """Return what is kept of answers to a batch with targets: enough for the metric and for ``marks``."""

    def truths(self, kept: Sequence[Any], targets: Any) -> np.ndarray:
        """Return what is known of the truths behind what was kept (``n k``): the same for the same truths."""

    def metric(self) -> Metric: ...
    def about(self, answer: Any) -> Any: ...
    def draw(self, picture: Image, answer: Any, target: Any) -> Image: ...


class Explainer(Protocol):
    """Where the model looked when it answered ``about``: one heat map a sample."""

    def __call__(self, model: Any, batch: Batch, about: Any) -> Sequence[Heat]: ...


class Memory(Protocol):
    """Learning without gradients: look at all features once, then settle."""

    def absorb(self, features: Features) -> None: ...
    def settle(self) -> None: ...
