"""Which class each pixel is of, or which classes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from PIL.Image import Image
from torch import Tensor

from vitrail.draw.masks import truth_answer_error
from vitrail.errors import VitrailError
from vitrail.measure.segment import METRICS, Segmentation, columns, marks, orders
from vitrail.measure.tally import Tally, tally
from vitrail.values import Batch, Mask


@dataclass(frozen=True, kw_only=True)
class Segment:
    """The question which of ``classes`` each pixel shows; with ``multi``, which of them, if any."""

    classes: tuple[str, ...]
    multi: bool = False
    name: str = "segment"
    head: str = "unet"
    masked: bool = True

    def collate(self, targets: Mapping[str, np.ndarray]) -> dict[str, Tensor]:
        """Return ``mask``, uint8 ``b h w`` (with ``multi`` ``b c h w``), where there is one: to learn from.

        Raises VitrailError for masks of another kind than the question is.
        """
        if "mask" not in targets:
            return {}
        mask = targets["mask"]
        wanted = len(self.classes) if self.multi else 1
        if mask.shape[1] != wanted:
            raise VitrailError(f"masks have {mask.shape[1]} labels a pixel, and {wanted} are asked for.")
        return {"mask": torch.from_numpy(mask if self.multi else mask[:, 0])}

    def truth(self, batch: Batch) -> None:
        """Return nothing: what is right of an answer is in what is kept of it."""

    def kept(self, answers: Sequence[Mask], batch: Batch) -> list[Tally]:
        """Return what is kept of answers to a batch whose truths are known, small enough for millions."""
        return [tally(answer, truth) for answer, truth in zip(answers, batch.truths, strict=True)]

    def truths(self, kept: Sequence[Tally], targets: Any = None) -> np.ndarray:  # noqa: ARG002
        """Return what is known of the masks behind tallies: pixels and outlines of each class (``n 2c``)."""
        return np.concatenate(list(columns(kept, ("true", "edge_true")).values()), axis=1)

    def metric(self) -> Segmentation:
        """Return a fresh metric."""
        return Segmentation(self.classes, self.multi)

    @property
    def primary(self) -> str:
        """The metric that stands first, and chooses the best epoch unless a recipe says otherwise."""
        return next(iter(METRICS))

    @property
    def orders(self) -> Mapping[str, Literal["max", "min"]]:
        """The metrics that are computed, and which way each is better."""
        return orders()

    @property
    def by_class(self) -> str:
        """The number of a class that models are compared by."""
        return "iou"

    def marks(self, answers: Sequence[Tally], targets: Any = None) -> np.ndarray:  # noqa: ARG002
        """Return how right each answer was (float64 ``n``, 0 to 1): its mean IoU."""
        return marks(answers)

    def about(self, answer: Mask) -> str:
        """Return what an explanation of this answer is about: the class of most pixels but the first."""
        areas = answer.areas
        others = {name: area for name, area in areas.items() if name != answer.names[0]}
        most = max(others, key=lambda name: others[name], default=answer.names[0])
        return most if others.get(most) else answer.names[0]

    def draw(self, picture: Image, answer: Mask, target: np.ndarray | None = None) -> Image:
        """Return picture, truth, answer and error side by side, the truth (a mask) if it is known."""
        return truth_answer_error(picture, answer, target)


@dataclass(frozen=True, kw_only=True)
class SegmentConfig:
    """The question which class each pixel is of."""

    name: Literal["segment"] = "segment"
    """The task."""
    multi: bool | None = None
    """Any number of classes a pixel (default: as the data has it)."""

    def build(self, classes: Sequence[str]) -> Segment:
        """Return the task for these classes."""
        return Segment(classes=tuple(classes), multi=bool(self.multi))
