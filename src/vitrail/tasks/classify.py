"""Which class a picture is of, or which classes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from PIL.Image import Image
from torch import Tensor

from vitrail.draw.palette import CATEGORIES
from vitrail.draw.sheet import sheet
from vitrail.errors import VitrailError
from vitrail.measure.calibrate import fit_temperature, probabilities
from vitrail.measure.classify import Classification, orders, primary
from vitrail.values import Batch, Label

RIGHT, WRONG, UNKNOWN = CATEGORIES[2], CATEGORIES[3], CATEGORIES[7]
"""The ink of an answer that was right, wrong, or that nobody can judge: told apart with any colour vision."""


@dataclass(frozen=True, kw_only=True)
class Classify:
    """The question which of ``classes`` a picture is of; with ``multi``, which of them it shows, if any."""

    classes: tuple[str, ...]
    multi: bool = False
    name: str = "classify"
    head: str = "linear"
    masked: bool = False

    def collate(self, targets: Mapping[str, np.ndarray]) -> dict[str, Tensor]:
        """Return ``label``, float32 ``b c``: rows with a one for each class that is right.

        Takes the column ``label`` (indices ``b``; -1, no label, becomes a row of zeros) or ``labels`` (hot
        rows ``b c``). Raises VitrailError when the columns do not suit the question.
        """
        if "label" in targets and not self.multi:
            indices = np.asarray(targets["label"])
            if indices.max(initial=-1) >= len(self.classes):
                raise VitrailError(
                    f"a label is class {indices.max()}, and there are {len(self.classes)} classes."
                )
            hot = np.zeros((len(indices), len(self.classes)), np.float32)
            labelled = np.flatnonzero(indices >= 0)
            hot[labelled, indices[labelled]] = 1
            return {"label": torch.from_numpy(hot)}
        if "labels" in targets and self.multi:
            rows = np.asarray(targets["labels"], np.float32)
            if rows.shape[1] != len(self.classes):
                raise VitrailError(f"labels have {rows.shape[1]} columns for {len(self.classes)} classes.")
            return {"label": torch.from_numpy(rows)}
        wanted = "many labels" if self.multi else "one label"
        raise VitrailError(
            f"{wanted} a picture are asked for, and the data has {', '.join(targets) or 'none'}."
        )

    def truth(self, batch: Batch) -> np.ndarray:
        """Return the rows ``b c`` that answers to a batch are measured against."""
        rows: np.ndarray = batch.targets["label"].numpy()
        return rows

    def kept(self, answers: Sequence[Label], batch: Batch) -> list[Label]:  # noqa: ARG002
        """Return what is kept of answers to a batch: all."""
        return list(answers)

    def truths(self, kept: Sequence[Label], targets: np.ndarray) -> np.ndarray:  # noqa: ARG002
        """Return the truths of what was kept: the targets."""
        return targets

    def metric(self) -> Classification:
        """Return a fresh metric."""
        return Classification(self.classes, self.multi)

    @property
    def primary(self) -> str:
        """The metric that stands first, and chooses the best epoch unless a recipe says otherwise."""
        return primary(self.multi)

    @property
    def orders(self) -> Mapping[str, Literal["max", "min"]]:
        """The metrics that are computed of these classes, and which way each is better."""
        return orders(len(self.classes), self.multi)

    @property
    def by_class(self) -> str:
        """The number of a class that models are compared by."""
        return "average_precision" if self.multi else "recall"

    def marks(self, answers: Sequence[Label], targets: np.ndarray) -> np.ndarray:
        """Return how right each answer was (float64 ``n``, 0 to 1); ``targets`` are hot rows ``n c``.

        With one label a picture an answer is right or wrong; with several it is the share of the classes
        chosen or true that are both (Jaccard).
        """
        chosen = np.array([[name in answer.chosen for name in self.classes] for answer in answers])
        truth = np.asarray(targets) > 0.5
        either = (chosen | truth).sum(1)
        return np.where(either > 0, (chosen & truth).sum(1) / np.maximum(either, 1), 1.0)

    def calibrate(self, answers: Sequence[Label], targets: np.ndarray) -> float:
        """Return the temperature that makes these answers' probabilities mean what they say."""
        return fit_temperature(self._logits(answers), targets, multi=self.multi)

    def cool(self, answers: Sequence[Label], temperature: float) -> np.ndarray:
        """Return the probabilities ``n c`` that the answers would have had at another temperature."""
        return probabilities(self._logits(answers), multi=self.multi, temperature=temperature)

    def _logits(self, answers: Sequence[Label]) -> np.ndarray:
        """Return logits ``n c`` behind the answers' probabilities: with one label up to a constant a row."""
        scores = np.stack([answer.scores for answer in answers]).astype(np.float64)
        small = float(np.finfo(np.float32).tiny)
        logits: np.ndarray = np.log(scores.clip(small))
        if self.multi:
            logits -= np.log((1 - scores).clip(np.finfo(np.float32).eps / 2))
        return logits

    def about(self, answer: Label) -> str:
        """Return what an explanation of this answer is about: its most probable class."""
        return answer.name

    def draw(self, picture: Image, answer: Label, target: Sequence[str] | None = None) -> Image:
        """Return the picture over its answer, in the ink of right or wrong if ``target`` names the truth."""
        said = [f"{name} {answer.scores[answer.names.index(name)]:.0%}" for name in answer.chosen]
        caption, ink = ", ".join(said) or "none", UNKNOWN
        if target is not None:
            right = set(answer.chosen) == set(target)
            ink = RIGHT if right else WRONG
            caption += "" if right else f", not {', '.join(target) or 'none'}"
        return sheet([picture], [caption], columns=1, side=max(160, *picture.size), ink=ink)


@dataclass(frozen=True, kw_only=True)
class ClassifyConfig:
    """The question which class, or which classes."""

    name: Literal["classify"] = "classify"
    """The task."""
    multi: bool | None = None
    """Any number of labels a picture (default: as the data has it)."""

    def build(self, classes: Sequence[str]) -> Classify:
        """Return the task for these classes."""
        return Classify(classes=tuple(classes), multi=bool(self.multi))
