"""Every figure of a comparison as a table: what its CSV holds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from vitrail.run.compare.outcome import Outcome
from vitrail.values import Estimate


@dataclass(frozen=True, kw_only=True)
class Table:
    """Columns by name and rows of plain values."""

    columns: Sequence[str]
    rows: Sequence[Sequence[object]]


def tables(outcome: Outcome) -> dict[str, Table]:
    """Return every table that has something in it, by the name of its file."""
    made = {name: make(outcome) for name, make in TABLES.items()}
    return {name: table for name, table in made.items() if table.rows}


def _results(outcome: Outcome) -> Table:
    rows = [
        [each.name, metric, *_ends(value), len(each.seeds)]
        for each in outcome.ranking.standings
        for metric, value in each.metrics.items()
    ]
    return Table(columns=("model", "metric", "mean", "low", "high", "seeds"), rows=rows)


def _seeds(outcome: Outcome) -> Table:
    rows = [
        [each.name, seed, metric, value]
        for each in outcome.ranking.standings
        for metric, values in each.by_seed.items()
        for seed, value in zip(each.seeds, values, strict=True)
    ]
    return Table(columns=("model", "seed", "metric", "value"), rows=rows)


def _differences(outcome: Outcome) -> Table:
    rows = [
        [
            pair.ours,
            pair.theirs,
            pair.metric,
            *_ends(pair.found.estimate),
            pair.found.p_value,
            pair.p_adjusted,
            pair.shown,
            pair.mcnemar,
        ]
        for pair in outcome.ranking.pairs
    ]
    header = ("model", "other", "metric", "difference", "low", "high", "p", "p_holm", "shown", "p_mcnemar")
    return Table(columns=header, rows=rows)


def _costs(outcome: Outcome) -> Table:
    first = outcome.ranking.first
    value_of = {each.name: each.metrics[first].value for each in outcome.ranking.standings}
    rows = [[name, value_of[name], *each.to_dict().values()] for name, each in outcome.costs.items()]
    names = next(iter(outcome.costs.values())).to_dict() if outcome.costs else {}
    return Table(columns=("model", first, *names), rows=rows)


def _curves(outcome: Outcome) -> Table:
    rows = [
        [name, pictures, *_ends(value)]
        for name, points in outcome.curves.items()
        for pictures, value in points
    ]
    return Table(columns=("model", "pictures", outcome.ranking.first, "low", "high"), rows=rows)


def _classes(outcome: Outcome) -> Table:
    rows = [
        [label, each.name, *_ends(value)]
        for each in outcome.ranking.standings
        for label, value in each.per_class.items()
    ]
    return Table(columns=("class", "model", outcome.ranking.per_class, "low", "high"), rows=rows)


def _agreement(outcome: Outcome) -> Table:
    names = list(outcome.agreement)
    rows = [[name, *(outcome.agreement[name][other] for other in names)] for name in names]
    return Table(columns=("model", *names), rows=rows)


def _robustness(outcome: Outcome) -> Table:
    found = outcome.robustness
    rows = [
        [kind, name, strength, *_ends(value)]
        for kind, models in (found.values if found else {}).items()
        for name, values in models.items()
        for strength, value in enumerate(values)
    ]
    header = ("corruption", "model", "strength", outcome.ranking.first, "low", "high")
    return Table(columns=header, rows=rows)


def _calibration(outcome: Outcome) -> Table:
    rows = [
        [name, when, metric, *_ends(value), each.temperature]
        for name, each in outcome.calibration.items()
        for when, values in (("before", each.before), ("after", each.after))
        for metric, value in values.items()
    ]
    return Table(columns=("model", "when", "metric", "value", "low", "high", "temperature"), rows=rows)


def _elsewhere(outcome: Outcome) -> Table:
    rows = [
        [each.where, name, *_ends(value)] for each in outcome.elsewhere for name, value in each.values.items()
    ]
    return Table(columns=("data", "model", outcome.ranking.first, "low", "high"), rows=rows)


def _search(outcome: Outcome) -> Table:
    rows = [
        [each.name, one.words, one.settings, one.value, one.taken]
        for each in outcome.entrants
        for one in each.tries
    ]
    return Table(columns=("model", "tried", "settings", "validation", "taken"), rows=rows)


TABLES: Mapping[str, Callable[[Outcome], Table]] = {
    "results": _results,
    "seeds": _seeds,
    "differences": _differences,
    "costs": _costs,
    "learning-curves": _curves,
    "classes": _classes,
    "agreement": _agreement,
    "robustness": _robustness,
    "calibration": _calibration,
    "other-data": _elsewhere,
    "search": _search,
}


def _ends(value: Estimate) -> tuple[float, float, float]:
    return value.value, value.low, value.high
