"""All that a comparison found out, as one value: what the page shows, the tables hold and the JSON says."""

from __future__ import annotations

import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vitrail._version import __version__
from vitrail.measure.paired import over_seeds
from vitrail.run.compare.calibration import Calibration, measure_calibration
from vitrail.run.compare.costs import Spending, measure_costs
from vitrail.run.compare.elsewhere import Elsewhere, measure_elsewhere
from vitrail.run.compare.examples import Parting, agreement, part
from vitrail.run.compare.field import Field
from vitrail.run.compare.plan import Comparison
from vitrail.run.compare.race import Entrant, environment_of
from vitrail.run.compare.robustness import Robustness, measure_robustness
from vitrail.run.compare.statistics import Ranking, rank_models, resampled
from vitrail.run.progress import Progress
from vitrail.values import Estimate


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What was compared and what came of it. Parts that there are not are empty or None.

    ``curves`` has for each model the number of training pictures and the first metric, by fraction.
    ``masked`` says that each pixel was answered, and not pictures as a whole.
    """

    folder: Path
    data: str
    entrants: Sequence[Entrant]
    ranking: Ranking
    costs: Mapping[str, Spending]
    calibration: Mapping[str, Calibration]
    agreement: Mapping[str, Mapping[str, float]]
    partings: Sequence[Parting]
    classes: Sequence[str]
    sizes: Mapping[str, int]
    environment: Mapping[str, Any]
    curves: Mapping[str, Sequence[tuple[float, Estimate]]] = field(default_factory=dict)
    robustness: Robustness | None = None
    elsewhere: Sequence[Elsewhere] = ()
    comparison: Comparison | None = None
    epochs: Mapping[str, int] = field(default_factory=dict)
    notes: Sequence[str] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)
    made: str = ""
    masked: bool = False

    @property
    def seeds(self) -> int:
        """The least number of seeds of a model."""
        return min(len(each.seeds) for each in self.ranking.standings)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "vitrail": __version__,
            "plan": self.comparison.to_dict() if self.comparison else None,
            "epochs": dict(self.epochs),
            "data": self.data,
            "classes": list(self.classes),
            "pictures": dict(self.sizes),
            "runs": {
                each.name: {
                    f"{share:g}": [str(run.path) for run in runs] for share, runs in each.runs.items()
                }
                for each in self.entrants
            },
            "failed": {each.name: each.failed for each in self.entrants if each.failed},
            "search": {
                each.name: [one.to_dict() for one in each.tries] for each in self.entrants if each.tries
            },
            "ranking": self.ranking.to_dict(),
            "costs": {name: each.to_dict() for name, each in self.costs.items()},
            "calibration": {name: each.to_dict() for name, each in self.calibration.items()},
            "curves": {
                name: [{"pictures": count, **value.to_dict()} for count, value in points]
                for name, points in self.curves.items()
            },
            "agreement": {
                name: {other: value if value == value else None for other, value in row.items()}
                for name, row in self.agreement.items()
            },
            "robustness": self.robustness.to_dict() if self.robustness else None,
            "elsewhere": [each.to_dict() for each in self.elsewhere],
            "environment": dict(self.environment),
            "notes": list(self.notes),
            "seconds": {name: round(value, 1) for name, value in self.seconds.items()},
            "made": self.made,
        }


def find_out(
    found: Field,
    folder: Path,
    progress: Progress,
    *,
    comparison: Comparison | None = None,
    epochs: Mapping[str, int] | None = None,
    also: Sequence[str] = (),
    device: str = "auto",
    offline: bool = False,
) -> Outcome:
    """Measure all that is to be known of a field of models, but for the training itself."""
    started = time.perf_counter()
    ranking = rank_models(found)
    ranked = [each.name for each in ranking.standings]
    first = found.standing[0].whole[0].recipe()
    where = first.where if first.where.startswith("hf://") else Path(first.where).name
    progress.say("measuring costs")
    costs = measure_costs(found, device)
    robustness = measure_robustness(found, progress, device)
    elsewhere = [measure_elsewhere(found, name, progress, device, offline=offline) for name in also]
    partings = part(found, ranked[0], ranked[1], device) if len(ranked) > 1 else []
    parts = found.splits
    sizes = {} if parts is None else {"train": len(parts.train), "val": len(parts.val)}
    return Outcome(
        folder=folder,
        data=where,
        entrants=found.entrants,
        ranking=ranking,
        costs=costs,
        calibration=measure_calibration(found, ranking),
        agreement=agreement(found, device) if len(ranked) > 1 else {},
        partings=partings,
        classes=found.contract.classes,
        masked=found.contract.task.masked,
        sizes=sizes | {"test": len(found.keys)},
        environment=environment_of(found.standing) | {"python": platform.python_version()},
        curves=_curves(found),
        robustness=robustness,
        elsewhere=elsewhere,
        comparison=comparison,
        epochs=epochs or {},
        notes=found.notes,
        seconds=_seconds(found.entrants, time.perf_counter() - started),
        made=time.strftime("%Y-%m-%d"),
    )


def _curves(found: Field) -> dict[str, list[tuple[float, Estimate]]]:
    """Return the first metric by the number of training pictures, where there are several fractions."""
    task = found.contract.task
    result: dict[str, list[tuple[float, Estimate]]] = {}
    for each in found.standing:
        if len(each.runs) == 1:
            continue
        points = []
        for share in sorted(each.runs):
            drawn = [resampled(found.answers[run.path], task) for run in each.runs[share]]
            whole = 1.0 if found.splits is None else len(found.splits.train) / each.fraction
            value = over_seeds([one.metrics[task.primary] for one in drawn], drawn[0].again)
            points.append((share * whole, value))
        result[each.name] = points
    return result


def _seconds(entrants: Sequence[Entrant], rest: float) -> dict[str, float]:
    """Return what training took in all, and what the comparison added to it."""
    runs = [run for each in entrants for some in each.runs.values() for run in some]
    return {"training": sum(run.result["train_seconds"] for run in runs), "comparing": rest}
