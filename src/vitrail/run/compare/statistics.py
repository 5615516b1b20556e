"""Who is better, by how much, and how sure that is: every metric of the task, every pair of models."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from vitrail.contracts import Task
from vitrail.measure.intervals import LEVEL, Draws, Resampled
from vitrail.measure.paired import Uncertain, difference, holm, mcnemar, over_seeds
from vitrail.run.answer import Answers
from vitrail.run.compare.field import Field
from vitrail.values import Estimate

Order = Literal["max", "min"]


@dataclass(frozen=True, kw_only=True)
class Standing:
    """One model's numbers: the mean over its seeds with an interval, and each seed's own value."""

    name: str
    metrics: Mapping[str, Estimate]
    by_seed: Mapping[str, Sequence[float]]
    per_class: Mapping[str, Estimate]
    seeds: Sequence[int]

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "name": self.name,
            "seeds": list(self.seeds),
            "metrics": {name: each.to_dict() for name, each in self.metrics.items()},
            "by_seed": {name: [_plain(value) for value in each] for name, each in self.by_seed.items()},
            "per_class": {name: each.to_dict() for name, each in self.per_class.items()},
        }


@dataclass(frozen=True, kw_only=True)
class Pair:
    """How much one model's metric is above another's; ``p_adjusted`` is Holm's over all pairs."""

    ours: str
    theirs: str
    metric: str
    order: Order
    found: Uncertain
    p_adjusted: float
    mcnemar: float | None = None

    @property
    def shown(self) -> bool:
        """Whether a difference is shown, with all pairs that were looked at counted."""
        return self.p_adjusted < 1 - LEVEL

    @property
    def better(self) -> str:
        """The name of the one that came out better, whether that is shown or not."""
        return self.ours if (self.found.value >= 0) == (self.order == "max") else self.theirs

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "ours": self.ours,
            "theirs": self.theirs,
            "metric": self.metric,
            "difference": self.found.estimate.to_dict(),
            "p": _plain(self.found.p_value),
            "p_adjusted": _plain(self.p_adjusted),
            "shown": self.shown,
            "smallest_seen": _plain(self.found.reach),
            "mcnemar": self.mcnemar,
        }


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """The models from the best to the last by the ``first`` metric, and all pairs of them by every metric.

    ``per_class`` names what the classes are compared by; ``units`` says what the intervals are over.
    """

    first: str
    orders: Mapping[str, Order]
    standings: Sequence[Standing]
    pairs: Sequence[Pair]
    per_class: str
    classes: Sequence[Pair] = field(default=())
    units: str = ""

    def between(self, one: str, other: str, metric: str | None = None) -> Pair:
        """Return the pair of two models, whichever comes first in it."""
        wanted = {one, other}
        metric = metric or self.first
        return next(
            pair for pair in self.pairs if {pair.ours, pair.theirs} == wanted and pair.metric == metric
        )

    def of(self, metric: str) -> list[Pair]:
        """Return all pairs by one metric."""
        return [pair for pair in self.pairs if pair.metric == metric]

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "first": self.first,
            "units": self.units,
            "standings": [each.to_dict() for each in self.standings],
            "pairs": [each.to_dict() for each in self.pairs],
        }


def resampled(answers: Answers, task: Task) -> Resampled:
    """Return every metric of some answers on resamples of their pictures."""
    metric = task.metric()
    metric.update(answers.answers, answers.targets, answers.groups)
    found: Resampled = metric.resampled()
    return found


def rank_models(found: Field) -> Ranking:
    """Compare the entrants of a field by every metric of their task on the largest fraction."""
    task = found.contract.task
    orders: Mapping[str, Order] = task.orders
    per_class = task.by_class
    draws = {
        each.name: [_lean(resampled(found.answers[run.path], task), per_class) for run in each.whole]
        for each in found.standing
    }
    again = next(iter(draws.values()))[0].again
    standings = [
        Standing(
            name=each.name,
            metrics={
                name: over_seeds([run.metrics[name] for run in draws[each.name]], again) for name in orders
            },
            by_seed={name: [run.metrics[name].value for run in draws[each.name]] for name in orders},
            per_class={
                label: over_seeds([run.per_class[label][per_class] for run in draws[each.name]], again)
                for label in draws[each.name][0].per_class
            },
            seeds=[run.recipe().seed for run in each.whole],
        )
        for each in found.standing
    ]
    sign = 1 if orders[task.primary] == "max" else -1
    standings.sort(key=lambda each: -sign * _or(each.metrics[task.primary].value, -math.inf * sign))
    ranked = [each.name for each in standings]
    pairs = []
    for metric, order in orders.items():
        numbers = {name: [run.metrics[metric] for run in draws[name]] for name in ranked}
        pairs += _pairs(
            numbers, metric, order, again, _marks(found, ranked) if metric == task.primary else {}
        )
    classes: list[Pair] = []
    if len(ranked) > 1:
        for label in draws[ranked[0]][0].per_class:
            best, second = (
                {name: [run.per_class[label][per_class] for run in draws[name]]} for name in ranked[:2]
            )
            classes += _pairs(best | second, label, "max", again, {})
    pictures = f"{len(found.keys):,} pictures"
    units = pictures if again.clusters is None else f"{again.clusters:,} groups of {pictures}"
    return Ranking(
        first=task.primary,
        orders=orders,
        standings=standings,
        pairs=pairs,
        per_class=per_class,
        classes=_adjusted(classes),
        units=units,
    )


def _pairs(
    numbers: Mapping[str, Sequence[Draws]],
    metric: str,
    order: Order,
    again: Any,
    marks: Mapping[str, np.ndarray],
) -> list[Pair]:
    """Return all pairs of models by one metric, the better one first as they are ranked."""
    pairs = []
    for ours, theirs in itertools.combinations(numbers, 2):
        found = difference(numbers[ours], numbers[theirs], again)
        counted = mcnemar(marks[ours], marks[theirs]) if ours in marks and theirs in marks else None
        pairs.append(
            Pair(
                ours=ours,
                theirs=theirs,
                metric=metric,
                order=order,
                found=found,
                p_adjusted=found.p_value,
                mcnemar=counted,
            )
        )
    return _adjusted(pairs)


def _adjusted(pairs: Sequence[Pair]) -> list[Pair]:
    """Return pairs with p values for all of them at once."""
    values = holm([pair.found.p_value for pair in pairs])
    return [Pair(**{**vars(pair), "p_adjusted": value}) for pair, value in zip(pairs, values, strict=True)]


def _marks(found: Field, ranked: Sequence[str]) -> dict[str, np.ndarray]:
    """Return what single runs got right, for McNemar's test: of models with one run, and without groups."""
    by_name = {each.name: each for each in found.standing}
    task: Task = found.contract.task
    marks: dict[str, np.ndarray] = {}
    if task.masked:  # a mask is neither right nor wrong
        return marks
    for name in ranked:
        answers = found.answers[by_name[name].whole[0].path]
        if len(by_name[name].whole) == 1 and answers.groups is None:
            mark = task.marks(answers.answers, answers.targets)
            if set(np.unique(mark)) <= {0.0, 1.0}:
                marks[name] = mark > 0.5
    return marks


def _lean(found: Resampled, per_class: str) -> Resampled:
    """Return resamples with only what is compared of each class: a thousand classes are many numbers."""
    kept = {label: {per_class: each[per_class]} for label, each in found.per_class.items()}
    return Resampled(again=found.again, metrics=found.metrics, per_class=kept)


def _or(value: float, otherwise: float) -> float:
    return value if math.isfinite(value) else otherwise


def _plain(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
