"""How well a method did on all pictures, with 95 % intervals, and beside a map at random."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from vitrail.explain.faithfulness import MEASURES, Course
from vitrail.measure.intervals import Draws, Resampling, quantity, resampling
from vitrail.measure.paired import Uncertain, difference
from vitrail.values import Estimate


@dataclass(kw_only=True)
class Found:
    """What is known of one method so far, a value a picture."""

    courses: list[Course] = field(default_factory=list)
    inside: list[float] = field(default_factory=list)
    points: list[float] = field(default_factory=list)
    seconds: float | None = None
    alike: float | None = None


@dataclass(frozen=True, kw_only=True)
class Standing:
    """One method, or a map that knows no model: its measures, and by how much they are better than at random.

    ``inside`` and ``points`` are there where objects are known (see `vitrail.explain.inside`), ``seconds`` is
    the time a picture, ``alike`` the rank correlation with the maps of a wholly shuffled model. ``courses``
    are the means over pictures of insertion and deletion.
    """

    method: str
    marks: Mapping[str, Estimate]
    over_random: Mapping[str, Uncertain]
    courses: Mapping[str, np.ndarray]
    inside: Estimate | None = None
    points: Estimate | None = None
    seconds: float | None = None
    alike: float | None = None

    def better(self, measure: str) -> bool:
        """Whether it is shown to be better than a map at random."""
        reach = self.over_random[measure]
        return bool(reach.value > reach.reach)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        known = {"inside": self.inside, "points": self.points}
        return {
            "method": self.method,
            "marks": {name: value.to_dict() for name, value in self.marks.items()},
            "over_random": {name: each.estimate.to_dict() for name, each in self.over_random.items()},
            **{name: value.to_dict() for name, value in known.items() if value is not None},
            "seconds": self.seconds,
            "alike": self.alike,
        }


def _columns(courses: Sequence[Course]) -> dict[str, np.ndarray]:
    """Return the measures of some pictures by name, ``n`` each."""
    marks = [course.marks for course in courses]
    return {name: np.array([each[name] for each in marks]) for name in MEASURES}


def stand(name: str, found: Found, random: Found) -> Standing:
    """Return the means of a method with their intervals, and beside a map at random."""
    ours, theirs = _columns(found.courses), _columns(random.courses)
    again = resampling(len(found.courses))
    signs = {measure: 1 if way == "max" else -1 for measure, way in MEASURES.items()}
    over = {
        measure: difference(
            [_draws(sign * ours[measure], again)], [_draws(sign * theirs[measure], again)], again
        )
        for measure, sign in signs.items()
    }
    rows = {
        kind: np.stack([getattr(course, kind) for course in found.courses])
        for kind in ("insertion", "deletion")
    }
    return Standing(
        method=name,
        marks={measure: _mean(values, again) for measure, values in ours.items()},
        over_random=over,
        courses={kind: values.mean(axis=0) for kind, values in rows.items()},
        inside=_mean(np.array(found.inside)) if len(found.inside) > 1 else None,
        points=_share(np.array(found.points)) if len(found.points) > 1 else None,
        seconds=None if found.seconds is None else found.seconds / len(found.courses),
        alike=found.alike,
    )


def _draws(values: np.ndarray, again: Resampling) -> Draws:
    """Return the mean over pictures, and what it is on each of the resamples."""
    drawn = again.draw({"sum": again.sums(values)[:, None]})["sum"][:, 0] / len(values)
    return Draws(value=float(values.mean()), drawn=drawn, basis=len(values), share=False)


def _mean(values: np.ndarray, again: Resampling | None = None) -> Estimate:
    again = again or resampling(len(values))
    drawn = _draws(values, again)
    return quantity(drawn.value, drawn.drawn, again, least=-np.inf)


def _share(values: np.ndarray) -> Estimate:
    again = resampling(len(values))
    return replace(_draws(values, again), share=True).estimate(again)
