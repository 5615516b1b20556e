"""Numbers for classifiers, single label or multi-label, each with its 95 % interval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np

from vitrail.errors import VitrailError
from vitrail.measure.counts import (
    FEW,
    bases,
    confusion,
    count_multi,
    count_single,
    figures,
    figures_by_class,
    read_targets,
)
from vitrail.measure.intervals import RESAMPLES, Draws, Resampled, resampling
from vitrail.measure.reliability import Reliability
from vitrail.values import Estimate, Label

METRICS: dict[str, Literal["max", "min"]] = {
    "accuracy": "max",
    "balanced_accuracy": "max",
    "macro_f1": "max",
    "micro_f1": "max",
    "map": "max",
    "auroc": "max",
    "top5_accuracy": "max",
    "log_loss": "min",
    "ece": "min",
}
"""Which way is better, by the metric's name."""
SINGLE = {"accuracy", "balanced_accuracy", "top5_accuracy"}
SEVERAL = {"map", "micro_f1"}
"""The metrics that are defined for one label a picture alone, and for several alone."""
THRESHOLD = 0.5
"""The probability that a class is chosen at, where a picture may have several."""


def primary(multi: bool) -> str:
    """Return the metric that stands first: accuracy, or mean average precision when ``multi``."""
    return "map" if multi else "accuracy"


def orders(classes: int, multi: bool) -> dict[str, Literal["max", "min"]]:
    """Return the metrics that `judge` computes of so many classes, and which way each is better."""
    others = SINGLE if multi else SEVERAL
    if classes <= FEW:
        others = others | {"top5_accuracy"}
    return {name: order for name, order in METRICS.items() if name not in others}


@dataclass(frozen=True, kw_only=True)
class Quality:
    """How good a classifier is on some pictures.

    ``per_class`` maps a class to its ``precision``, ``recall``, ``f1``, ``auroc`` (and ``average_precision``
    with several labels a picture); what is undefined is not a number. Classes in ``absent`` have no picture
    here and are left out of every average over classes. ``confusion`` (int64 ``c c``) has the true classes as
    rows; with several labels a picture there is none. ``clusters`` is the number of groups, or None.
    """

    metrics: Mapping[str, Estimate]
    per_class: Mapping[str, Mapping[str, Estimate]]
    support: Mapping[str, int]
    absent: tuple[str, ...]
    confusion: np.ndarray | None
    reliability: Reliability
    pictures: int
    clusters: int | None


def judge(
    scores: np.ndarray,
    targets: np.ndarray,
    *,
    classes: Sequence[str],
    multi: bool = False,
    groups: Sequence[str] | np.ndarray | None = None,
    threshold: float = THRESHOLD,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Quality:
    """Measure probabilities ``n c`` against targets: indices ``n`` (-1: no label, left out) or hot ``n c``.

    ``threshold`` is what a probability must reach to be chosen when ``multi``. Intervals are over ``groups``
    (``n``) when given, else over pictures; with 0 ``resamples`` they are unknown, and the values cost little.
    Averages over classes (balanced accuracy, macro F1, mAP, AUROC one against the rest) leave out the classes
    without a picture. The calibration error has 15 bins of equal width; the log loss clips probabilities at
    the smallest step of their type, and averages over pictures (and classes, when ``multi``).
    """
    found, total = _resampled(
        scores, targets, classes, multi, groups, threshold, resamples=resamples, seed=seed
    )
    scores, truth, _ = _checked(scores, targets, len(classes), multi, groups)
    support = {label: int(count) for label, count in zip(classes, total["support"], strict=True)}
    return Quality(
        metrics={name: each.estimate(found.again) for name, each in found.metrics.items()},
        per_class={
            label: {name: each.estimate(found.again) for name, each in values.items()}
            for label, values in found.per_class.items()
        },
        support=support,
        absent=tuple(label for label, count in support.items() if not count),
        confusion=None if multi else confusion(scores, truth),
        reliability=Reliability(
            counts=total["bins"], confidences=total["confidences"], hits=total["bin_hits"]
        ),
        pictures=len(scores),
        clusters=found.again.clusters,
    )


def _resampled(
    scores: np.ndarray,
    targets: np.ndarray,
    classes: Sequence[str],
    multi: bool,
    groups: Sequence[str] | np.ndarray | None,
    threshold: float,
    *,
    resamples: int,
    seed: int,
) -> tuple[Resampled, dict[str, np.ndarray]]:
    """Return every metric on the pictures and on resamples of them, and the sums that they are made of."""
    scores, truth, groups = _checked(scores, targets, len(classes), multi, groups)
    again = resampling(len(scores), groups, resamples=resamples, seed=seed)
    counts = count_multi(scores, truth, again, threshold) if multi else count_single(scores, truth, again)
    total = {name: table.sum(0) for name, table in counts.tables.items()}
    drawn = again.draw(counts.tables)
    basis = bases(counts)

    values, draws = figures(total, counts), figures(drawn, counts)
    metrics = {}
    for name, value in values.items():
        size = _mean_basis(basis[AVERAGES[name]]) if name in AVERAGES else again.count
        share = name not in ("log_loss", "ece")
        metrics[name] = Draws(value=float(value), drawn=draws[name], basis=size, share=share)

    values, draws = figures_by_class(total, counts), figures_by_class(drawn, counts)
    per_class = {
        label: {
            name: Draws(value=float(value[k]), drawn=draws[name][:, k], basis=int(basis[name][k]))
            for name, value in values.items()
        }
        for k, label in enumerate(classes)
    }
    return Resampled(again=again, metrics=metrics, per_class=per_class), total


class Classification:
    """The metric of classifiers: collects answers and targets, in parts if need be, then computes.

    Which class a score belongs to goes by the answers' names, never by position.
    """

    def __init__(self, classes: Sequence[str], multi: bool = False):
        self.classes = tuple(classes)
        self.multi = multi
        self._scores: list[np.ndarray] = []
        self._targets: list[np.ndarray] = []
        self._groups: list[np.ndarray] = []

    def update(self, answers: Sequence[Label], targets: Any, groups: Sequence[str] | None = None) -> None:
        """Take answers with their targets: indices ``n`` (-1: no label), or hot ones ``n c``."""
        if answers:
            self.update_arrays(np.stack([self._ordered(answer) for answer in answers]), targets, groups)

    def update_arrays(
        self, scores: np.ndarray, targets: Any, groups: Sequence[str] | np.ndarray | None = None
    ) -> None:
        """Take probabilities ``n c``, in the order of ``classes``, with their targets."""
        if self._scores and (groups is not None) != bool(self._groups):
            raise ValueError("either all parts have groups or none has")
        if len(targets) != len(scores) or (groups is not None and len(groups) != len(scores)):
            raise ValueError(
                f"{len(scores)} answers with {len(targets)} targets, or groups of another number"
            )
        self._scores.append(np.asarray(scores))
        self._targets.append(np.asarray(targets))
        if groups is not None:
            self._groups.append(np.asarray(groups))

    def merge(self, other: Self) -> None:
        """Take all that another metric, of the same classes, has collected."""
        if (self.classes, self.multi) != (other.classes, other.multi):
            raise VitrailError(f"Two metrics differ in their classes: {self.classes} and {other.classes}.")
        for part, (scores, targets) in enumerate(zip(other._scores, other._targets, strict=True)):
            self.update_arrays(scores, targets, other._groups[part] if other._groups else None)

    def compute(self) -> dict[str, Estimate]:
        """Return the metrics with their intervals."""
        return dict(self.quality().metrics)

    def points(self) -> dict[str, float]:
        """Return the metrics without intervals, which costs little: for validation within a run."""
        return {name: estimate.value for name, estimate in self.quality(resamples=0).metrics.items()}

    def quality(self, *, resamples: int = RESAMPLES, seed: int = 0) -> Quality:
        """Return everything that is known; with 0 ``resamples`` without intervals, which costs little."""
        scores, targets, groups = self._collected()
        return judge(
            scores,
            targets,
            classes=self.classes,
            multi=self.multi,
            groups=groups,
            resamples=resamples,
            seed=seed,
        )

    def resampled(self, *, resamples: int = RESAMPLES, seed: int = 0) -> Resampled:
        """Return every metric on resamples, which are the same for whoever answered the same pictures."""
        scores, targets, groups = self._collected()
        return _resampled(
            scores, targets, self.classes, self.multi, groups, THRESHOLD, resamples=resamples, seed=seed
        )[0]

    def _collected(self) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        if not self._scores:
            raise VitrailError("There is nothing to measure: no picture was answered.")
        groups = np.concatenate(self._groups) if self._groups else None
        return np.concatenate(self._scores), np.concatenate(self._targets), groups

    def _ordered(self, answer: Label) -> np.ndarray:
        if tuple(answer.names) == self.classes:
            return answer.scores
        if set(answer.names) != set(self.classes):
            raise VitrailError(
                f"The answers are about {list(answer.names)}, the targets about {list(self.classes)}."
            )
        place = {name: index for index, name in enumerate(answer.names)}
        return answer.scores[[place[name] for name in self.classes]]


AVERAGES = {"balanced_accuracy": "recall", "macro_f1": "f1", "auroc": "auroc", "map": "average_precision"}
"""The metrics that are averages over classes, and of what."""


def _mean_basis(basis: np.ndarray) -> float:
    """Return how many units a mean over classes rests on, when these rest on ``basis`` units (``c``)."""
    there = basis[basis > 0]
    return float(there.size**2 / np.sum(1 / there)) if there.size else 0.0


def _checked(
    scores: np.ndarray,
    targets: np.ndarray,
    classes: int,
    multi: bool,
    groups: Sequence[str] | np.ndarray | None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Return the labelled pictures' scores ``n c``, indices ``n`` or bool ``n c``, and groups ``n``."""
    scores, targets = np.asarray(scores), np.asarray(targets)
    if scores.shape != (len(targets), classes) or targets.shape not in ((len(scores),), scores.shape):
        raise ValueError(f"scores {scores.shape} and targets {targets.shape} for {classes} classes")
    if not np.isfinite(scores.sum(dtype=np.float64)):
        worst = int(np.flatnonzero(~np.isfinite(scores).all(1))[0])
        raise VitrailError(f"Answer {worst} is not finite: the model's weights or the picture are broken.")
    labelled, truth = read_targets(targets, classes, multi)
    if not labelled.any():
        raise VitrailError("There is nothing to measure: no picture has a label.")
    if labelled.all():
        return scores, truth, None if groups is None else np.asarray(groups)
    return scores[labelled], truth[labelled], None if groups is None else np.asarray(groups)[labelled]
