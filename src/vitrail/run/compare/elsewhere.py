"""The same models on other data: do they hold what they learned?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vitrail.errors import VitrailError
from vitrail.measure.intervals import Draws
from vitrail.measure.paired import Uncertain, difference, holm, over_seeds
from vitrail.run.compare.field import Field
from vitrail.run.compare.statistics import resampled
from vitrail.run.evaluate import evaluate
from vitrail.run.progress import Progress
from vitrail.values import Estimate


@dataclass(frozen=True, kw_only=True)
class Elsewhere:
    """The first metric of every model on other data, and each model's difference to the best of them there.

    ``p_adjusted`` are Holm's p values of those differences.
    """

    where: str
    split: str
    pictures: int
    metric: str
    values: Mapping[str, Estimate]
    behind: Mapping[str, Uncertain]
    p_adjusted: Mapping[str, float]

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "where": self.where,
            "split": self.split,
            "pictures": self.pictures,
            "metric": self.metric,
            "values": {name: each.to_dict() for name, each in self.values.items()},
            "behind": {name: each.estimate.to_dict() for name, each in self.behind.items()},
            "p_adjusted": dict(self.p_adjusted),
        }


def measure_elsewhere(
    found: Field, where: str, progress: Progress, device: str, *, offline: bool
) -> Elsewhere:
    """Measure every run on other data: its test part, or all of it, classes matched by name.

    Raises VitrailError for data with classes that the models do not know.
    """
    task = found.contract.task
    draws: dict[str, list[Draws]] = {}
    keys: Sequence[str] | None = None
    split, again = "", None
    for each in found.standing:
        for run in each.whole:
            there = evaluate(run.path, where, device=device, offline=offline, progress=progress)
            if keys is not None and list(keys) != list(there.answers.keys):
                raise VitrailError(f"{where}: not every model could read the same pictures of it.")
            keys, split = there.answers.keys, there.split
            drawn = resampled(there.answers, task)
            again = drawn.again
            draws.setdefault(each.name, []).append(drawn.metrics[task.primary])
    assert again is not None, "a field has a run"
    assert keys is not None, "and it answered"
    values = {name: over_seeds(runs, again) for name, runs in draws.items()}
    sign = 1 if task.orders[task.primary] == "max" else -1
    best = max(values, key=lambda name: sign * values[name].value)
    behind = {name: difference(runs, draws[best], again) for name, runs in draws.items() if name != best}
    adjusted = dict(zip(behind, holm([each.p_value for each in behind.values()]), strict=True))
    return Elsewhere(
        where=where if where.startswith("hf://") else Path(where).name,
        split=split,
        pictures=len(keys),
        metric=task.primary,
        values=values,
        behind=behind,
        p_adjusted=adjusted,
    )
