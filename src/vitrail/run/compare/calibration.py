"""Whether models know how sure they may be: before their temperature and after it."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vitrail.measure.intervals import Draws, Resampling
from vitrail.measure.paired import over_seeds
from vitrail.run.compare.field import Field
from vitrail.run.contract import read_contract
from vitrail.values import Estimate

_METRICS = ("ece", "log_loss")


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """One model's calibration error and log loss, and its mean temperature over seeds."""

    temperature: float
    before: Mapping[str, Estimate]
    after: Mapping[str, Estimate]

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "temperature": self.temperature,
            "before": {name: each.to_dict() for name, each in self.before.items()},
            "after": {name: each.to_dict() for name, each in self.after.items()},
        }


def measure_calibration(found: Field) -> dict[str, Calibration]:
    """Return each model's calibration; nothing for a task whose answers have no temperature."""
    task: Any = found.contract.task
    if not hasattr(task, "cool"):
        return {}
    result = {}
    for each in found.standing:
        numbers: dict[str, dict[str, list[Draws]]] = {"before": {}, "after": {}}
        temperatures = []
        again: Resampling | None = None
        for run in each.whole:
            answers, temperature = found.answers[run.path], read_contract(run.path).temperature
            temperatures.append(temperature)
            for when, undone in (("before", 1 / temperature), ("after", 1.0)):
                metric = task.metric()
                metric.update_arrays(task.cool(answers.answers, undone), answers.targets, answers.groups)
                drawn = metric.resampled()
                again = drawn.again
                for name in _METRICS:
                    numbers[when].setdefault(name, []).append(drawn.metrics[name])
        assert again is not None, "an entrant that stands has a run"
        before, after = (
            {name: over_seeds(runs, again) for name, runs in numbers[when].items()} for when in numbers
        )
        result[each.name] = Calibration(temperature=statistics.mean(temperatures), before=before, after=after)
    return result
