"""Numbers for segmenters, each with its 95 % interval over pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any, Literal, Self

import numpy as np

from vitrail.errors import VitrailError
from vitrail.measure.classify import Quality
from vitrail.measure.intervals import RESAMPLES, Draws, Resampled, Resampling, resampling
from vitrail.measure.reliability import Reliability, calibration_error, ratio
from vitrail.measure.tally import Tally
from vitrail.values import Estimate

METRICS: dict[str, Literal["max", "min"]] = {
    "mean_iou": "max",
    "mean_dice": "max",
    "pixel_accuracy": "max",
    "boundary_f": "max",
    "ece": "min",
}
"""Which way is better, by the metric's name; the first one leads."""


class Segmentation:
    """The metric of segmenters: collects tallies, in parts if need be, then computes.

    Pixels of all pictures are counted together, and then divided: a picture counts by what it shows of a
    class. (Everingham et al. 2015, "The Pascal visual object classes challenge: a retrospective"; boundary F
    by Csurka et al. 2013, "What is a good evaluation measure for semantic segmentation?".)
    """

    def __init__(self, classes: Sequence[str], multi: bool = False) -> None:
        self.classes, self.multi = tuple(classes), multi
        self._tallies: list[Tally] = []
        self._groups: list[np.ndarray] = []

    def update(self, answers: Sequence[Tally], targets: Any = None, groups: Any = None) -> None:  # noqa: ARG002
        """Take tallies, one a picture, and the pictures' groups if they come in any."""
        if self._tallies and answers and (groups is not None) != bool(self._groups):
            raise ValueError("either all parts have groups or none has")
        self._tallies += answers
        if groups is not None:
            self._groups.append(np.asarray(groups))

    def merge(self, other: Self) -> None:
        """Take all that another metric, of the same classes, has collected."""
        if (self.classes, self.multi) != (other.classes, other.multi):
            raise VitrailError(f"Two metrics differ in their classes: {self.classes} and {other.classes}.")
        groups = np.concatenate(other._groups) if other._groups else None
        self.update(other._tallies, groups=groups)

    def compute(self) -> dict[str, Estimate]:
        """Return the metrics with their intervals."""
        return dict(self.quality().metrics)

    def points(self) -> dict[str, float]:
        """Return the metrics without intervals, which costs little: for validation within a run."""
        return {name: estimate.value for name, estimate in self.quality(resamples=0).metrics.items()}

    def quality(self, *, resamples: int = RESAMPLES, seed: int = 0) -> Quality:
        """Return everything that is known; with 0 ``resamples`` without intervals.

        Of each class that is ``iou``, ``dice``, ``precision``, ``recall`` and ``boundary_f``; its support are
        the pictures that show it, and the confusion counts pixels.
        """
        found = self.resampled(resamples=resamples, seed=seed)
        kept = columns(self._tallies)
        support = dict(zip(self.classes, (kept["true"] > 0).sum(0).tolist(), strict=True))
        tables = kept["taken"].sum(0)
        return Quality(
            metrics={name: each.estimate(found.again) for name, each in found.metrics.items()},
            per_class={
                label: {name: each.estimate(found.again) for name, each in values.items()}
                for label, values in found.per_class.items()
            },
            support=support,
            absent=tuple(label for label, count in support.items() if not count),
            confusion=tables.reshape(len(self.classes), -1) if tables.size else None,
            reliability=Reliability(
                **{name: kept[name].sum(0) for name in ("counts", "confidences", "hits")}
            ),
            pictures=len(self._tallies),
            clusters=found.again.clusters,
        )

    def resampled(self, *, resamples: int = RESAMPLES, seed: int = 0) -> Resampled:
        """Return every metric on resamples, which are the same for whoever answered the same pictures."""
        if not self._tallies:
            raise VitrailError("There is nothing to measure: no picture was answered.")
        groups = np.concatenate(self._groups) if self._groups else None
        again = resampling(len(self._tallies), groups, resamples=resamples, seed=seed)
        names = [part.name for part in fields(Tally) if part.name != "taken"]
        kept = {name: each.astype(np.float64) for name, each in columns(self._tallies, names).items()}
        shown = _by_unit(again, kept["true"] > 0) > 0  # units that show each class: what its numbers rest on
        tables = {name: _by_unit(again, each) for name, each in kept.items()}
        total = {name: each.sum(0) for name, each in tables.items()}
        if not total["true"].sum() + (total["said"].sum() if self.multi else 0):
            raise VitrailError("There is nothing to measure: every pixel of every mask is ignored.")
        drawn = again.draw(tables)
        basis = shown.sum(0)
        values, draws = figures(total), figures(drawn)
        metrics = {
            name: Draws(value=float(value), drawn=draws[name], basis=again.count, share=name != "ece")
            for name, value in values.items()
        }
        values, draws = figures_by_class(total), figures_by_class(drawn)
        per_class = {
            label: {
                name: Draws(value=float(value[k]), drawn=draws[name][:, k], basis=int(basis[k]))
                for name, value in values.items()
            }
            for k, label in enumerate(self.classes)
        }
        return Resampled(again=again, metrics=metrics, per_class=per_class)


def figures_by_class(sums: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the numbers of each class from sums ``... c``; not a number for what is not in the truth."""
    both, said, true = sums["both"], sums["said"], sums["true"]
    found = {
        "iou": ratio(both, said + true - both),
        "dice": ratio(2 * both, said + true),
        "precision": ratio(both, said),
        "recall": ratio(both, true),
    }
    precision = ratio(sums["edge_said_hit"], sums["edge_said"])
    recall = ratio(sums["edge_true_hit"], sums["edge_true"])
    precision = np.where(np.isnan(precision) & ~np.isnan(recall), 0.0, precision)
    found["boundary_f"] = np.where(
        precision + recall == 0, 0.0, ratio(2 * precision * recall, precision + recall)
    )
    return {name: np.where(true > 0, value, np.nan) for name, value in found.items()}


def figures(sums: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the metrics from sums ``... c``; means are over the classes that the truth has."""
    by_class = figures_by_class(sums)
    return {
        "mean_iou": _mean(by_class["iou"]),
        "mean_dice": _mean(by_class["dice"]),
        "pixel_accuracy": ratio(sums["hits"].sum(-1), sums["counts"].sum(-1)),
        "boundary_f": _mean(by_class["boundary_f"]),
        "ece": calibration_error(sums["counts"], sums["confidences"], sums["hits"]),
    }


def columns(tallies: Sequence[Tally], names: Sequence[str] = ()) -> dict[str, np.ndarray]:
    """Return what is kept of pictures as columns, a row a picture: those of these ``names``, or all."""
    wanted = names or [part.name for part in fields(Tally)]
    return {name: np.stack([getattr(each, name).ravel() for each in tallies]) for name in wanted}


def from_columns(kept: Mapping[str, np.ndarray]) -> list[Tally]:
    """Return the tallies that `columns` was made of."""
    rows = len(kept["both"])
    square = np.asarray(kept["taken"]).reshape(rows, -1)
    side = int(np.sqrt(square.shape[1]))
    shaped = {**kept, "taken": square.reshape(rows, side, side)}
    types = {"confidences": np.float64}
    return [
        Tally(**{name: np.asarray(column[row], types.get(name, np.int64)) for name, column in shaped.items()})
        for row in range(rows)
    ]


def reordered(tally: Tally, order: Sequence[int]) -> Tally:
    """Return a tally whose classes come in another order: its first one is that of index ``order[0]``."""
    by_class = (part.name for part in fields(Tally) if part.name not in ("counts", "confidences", "hits"))
    found = {name: getattr(tally, name)[order] for name in by_class if getattr(tally, name).size}
    if tally.taken.size:
        found["taken"] = found["taken"][:, order]
    return replace(tally, **found)


def ious(tallies: Sequence[Tally]) -> np.ndarray:
    """Return the IoU of each class in each picture (``n c``): not a number where the truth has none of it."""
    kept = columns(tallies, ("both", "said", "true"))
    either = kept["said"] + kept["true"] - kept["both"]
    return np.where(kept["true"] > 0, ratio(kept["both"], either), np.nan)


def marks(tallies: Sequence[Tally]) -> np.ndarray:
    """Return how right each picture's answer was: its mean IoU (``n``) over classes in truth or answer.

    Not a number where all is ignored.
    """
    kept = columns(tallies, ("both", "said", "true"))
    either = kept["said"] + kept["true"] - kept["both"]
    return _mean(ratio(kept["both"], either))


def orders() -> dict[str, Literal["max", "min"]]:
    """Return the metrics, and which way each is better."""
    return dict(METRICS)


def _by_unit(again: Resampling, values: np.ndarray) -> np.ndarray:
    """Return sums of ``n k`` by what is drawn, ``count k``."""
    return np.stack([again.sums(column) for column in values.T.astype(np.float64)], axis=1)


def _mean(values: np.ndarray) -> np.ndarray:
    """Return the mean over the last axis of what is a number; not a number where nothing is."""
    known = np.isfinite(values)
    return ratio(np.where(known, values, 0).sum(-1), known.sum(-1))
