"""Whether models know how sure they may be: before their temperature and after it."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vitrail.measure.paired import over_seeds
from vitrail.run.compare.field import Field
from vitrail.run.compare.statistics import Ranking
from vitrail.run.contract import read_contract
from vitrail.values import Estimate

_METRICS = ("ece", "log_loss")


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """One model's calibration error and log loss, and its mean temperature over seeds, if it has one."""

    temperature: float | None
    before: Mapping[str, Estimate]
    after: Mapping[str, Estimate]

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "temperature": self.temperature,
            "before": {name: each.to_dict() for name, each in self.before.items()},
            "after": {name: each.to_dict() for name, each in self.after.items()},
        }


def measure_calibration(found: Field, ranking: Ranking) -> dict[str, Calibration]:
    """Return each model's calibration; without what was before where answers have no temperature.

    What it is after the temperature, the ``ranking`` knows already.
    """
    task: Any = found.contract.task
    known = {each.name: each.metrics for each in ranking.standings}
    names = [name for name in _METRICS if name in task.orders]
    if not hasattr(task, "cool"):
        return {
            each: Calibration(temperature=None, before={}, after={name: values[name] for name in names})
            for each, values in known.items()
        }
    result = {}
    for each in found.standing:
        temperatures = [read_contract(run.path).temperature for run in each.whole]
        drawn = []
        for run, temperature in zip(each.whole, temperatures, strict=True):
            answers, metric = found.answers[run.path], task.metric()
            metric.update_arrays(task.cool(answers.answers, 1 / temperature), answers.targets, answers.groups)
            drawn.append(metric.resampled())
        result[each.name] = Calibration(
            temperature=statistics.mean(temperatures),
            before={name: over_seeds([run.metrics[name] for run in drawn], drawn[0].again) for name in names},
            after={name: known[each.name][name] for name in names},
        )
    return result
