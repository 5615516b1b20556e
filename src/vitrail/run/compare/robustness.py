"""How much of a model is left when pictures get worse: noise, blur, JPEG, contrast, a covered part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vitrail.data.corrupt import CORRUPTIONS, STRENGTHS, corrupt
from vitrail.measure.paired import over_seeds
from vitrail.run.compare.field import Field
from vitrail.run.compare.pictures import Again
from vitrail.run.compare.statistics import resampled
from vitrail.run.progress import Progress
from vitrail.values import Estimate

MOST = 500
"""Test pictures that are made worse, in 15 ways each."""


@dataclass(frozen=True, kw_only=True)
class Robustness:
    """The first metric by corruption, model and strength (0: as they are, then 1, 2, 3).

    ``pictures`` were asked about, by ``seeds`` runs of each model; of larger ones the middle ``part``.
    """

    metric: str
    pictures: int
    seeds: int
    values: Mapping[str, Mapping[str, Sequence[Estimate]]]
    part: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        values = {
            kind: {name: [each.to_dict() for each in row] for name, row in models.items()}
            for kind, models in self.values.items()
        }
        return {
            "metric": self.metric,
            "pictures": self.pictures,
            "part": self.part,
            "seeds": self.seeds,
            "values": values,
        }


def measure_robustness(found: Field, progress: Progress, device: str = "auto") -> Robustness | None:
    """Ask all models about the same pictures made worse in the same way; None when the data is gone.

    Pictures are made worse as the models see them: on the canvas, or where they are seen in windows before
    that. Masks stay as they are.
    """
    if found.splits is None:
        return None
    task = found.contract.task
    again = Again(found, device, MOST)
    work = [("", 0), *((kind, strength) for kind in CORRUPTIONS for strength in STRENGTHS)]
    estimates: dict[tuple[str, int], dict[str, Estimate]] = {}
    progress.begin("making pictures worse", len(work))
    for kind, strength in work:

        def worse(pixels: np.ndarray, key: str, kind: str = kind, strength: int = strength) -> np.ndarray:
            return corrupt(pixels, kind, strength, seed=0, key=key)

        numbers: dict[str, list[Any]] = {}
        drawn: Any = None
        for each, answers in zip(again.asked, again.kept(worse if strength else None), strict=True):
            drawn = resampled(answers, task)
            numbers.setdefault(each.name, []).append(drawn.metrics[task.primary])
        estimates[kind, strength] = {name: over_seeds(runs, drawn.again) for name, runs in numbers.items()}
        progress.step()
    progress.end()
    return Robustness(
        metric=task.primary,
        pictures=len(again.places),
        seeds=len(again.asked) // max(len(found.standing), 1),
        part=again.part if again.cut else None,
        values={
            kind: {
                each.name: [
                    estimates[place][each.name]
                    for place in (("", 0), *((kind, strength) for strength in STRENGTHS))
                ]
                for each in found.standing
            }
            for kind in CORRUPTIONS
        },
    )
