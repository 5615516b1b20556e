"""One page that sets several runs on the same data side by side, with links to what each wrote."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from vitrail.draw.frontier import frontier
from vitrail.draw.html import Html, element, join
from vitrail.draw.page import (
    Cell,
    Row,
    Section,
    Shown,
    beside,
    brand,
    commands,
    figure,
    gallery,
    page,
    paragraph,
    range_bar,
    table,
)
from vitrail.run.content import Cost, amount, digits_of, duration, interval, is_share, title_of, written
from vitrail.run.files import write_atomic
from vitrail.run.findings import metric_cell
from vitrail.run.report import foot
from vitrail.values import Estimate


@dataclass(frozen=True, kw_only=True)
class OverviewRow:
    """One run: its metrics on the shared test part, its cost, and its report's address from this page."""

    name: str
    metrics: Mapping[str, Estimate]
    cost: Cost = field(default_factory=Cost)
    report: str | None = None


def write_overview(
    path: Path,
    rows: Sequence[OverviewRow],
    *,
    title: str,
    data: str,
    first: str = "accuracy",
    drawn: str = "",
    notes: Sequence[str] = (),
    samples: Sequence[Shown] = (),
    following: Mapping[str, str] | None = None,
    made: str = "",
) -> Path:
    """Write a page that compares runs by their ``first`` metric and return its path.

    ``data`` says what they were trained on, ``drawn`` what the intervals are over (``360 pictures``);
    ``notes`` are shown below the table, ``samples`` are pictures of the data, ``following`` maps a purpose
    to a command line.
    """
    if not rows:
        raise ValueError("an overview needs at least one run")
    ranked = sorted(rows, key=lambda row: -_sign(first) * row.metrics[first].value)
    head = join([brand("Overview"), element("h1", title), _verdict(ranked, first, data, drawn)])
    sections = [Section(title="Side by side", content=[_table(ranked, first), *map(paragraph, notes)])]
    if plots := _plots(ranked, first):
        lead = "Left is cheaper; bars are 95 % intervals, and the line is the best that each cost buys."
        sections.append(Section(title="What it costs", lead=lead, content=[beside(*plots)]))
    if samples:
        sections.append(Section(title="The pictures", content=[gallery(samples)]))
    if following:
        sections.append(Section(title="What next", content=[commands(following)]))
    write_atomic(Path(path), page(f"{title} · Vitrail", head, sections, foot(made)))
    return Path(path)


def _verdict(ranked: Sequence[OverviewRow], first: str, data: str, drawn: str) -> Html:
    """Return the best run, and whether the second is worse for sure."""
    best = ranked[0]
    value = best.metrics[first]
    over = f", on {drawn}" if drawn else ""
    sure = f"{title_of(first)} on {data}; 95 % interval {interval(first, value)}{over}."
    compared = None
    if len(ranked) > 1 and math.isfinite(value.low):
        second = ranked[1].metrics[first]
        apart = value.low > second.high or value.high < second.low
        words = "Its interval lies apart from the next one's" if apart else "The next one's interval overlaps"
        close = "" if apart else ": so few pictures do not settle which is better"
        compared = paragraph(f"{words} ({ranked[1].name}, {interval(first, second)}){close}.", tone="quiet")
    return element(
        "div",
        element("div", written(first, value.value, digits_of(value)), class_="number"),
        element("div", paragraph(best.name, tone="name"), paragraph(sure), range_bar(value), compared),
        class_="verdict",
    )


def _table(ranked: Sequence[OverviewRow], first: str) -> Html:
    """Return every run's metrics and cost."""
    ends = [low for row in ranked if math.isfinite(low := row.metrics[first].low)]
    start = min(math.floor(10 * min(ends, default=0)) / 10, 0.9)
    others = [name for name in ranked[0].metrics if name != first]
    rows: list[Row] = []
    for row in ranked:
        value, cost = row.metrics[first], row.cost
        bar = range_bar(value, start) if is_share(first) else Html()
        spread = join([bar, Html(" "), element("small", interval(first, value))])
        rows.append(
            [
                element("a", row.name, href=row.report) if row.report else row.name,
                metric_cell(first, value),
                Cell(shown=spread, order=value.low, tone="track"),
                _cost_cell(cost.parameters, amount),
                _cost_cell(cost.train_seconds, duration),
                _cost_cell(cost.answer_rate, lambda rate: f"{rate:,.0f}"),
                *(
                    metric_cell(name, row.metrics[name]) if name in row.metrics else UNKNOWN
                    for name in others
                ),
            ]
        )
    track = f"Interval, {100 * start:.0f} to 100 %" if is_share(first) else "Interval"
    costs = ["Parameters", "Training time", "Pictures/s"]
    header = ["Run", title_of(first), track, *costs, *map(title_of, others)]
    return table("Runs", header, rows)


def _plots(ranked: Sequence[OverviewRow], first: str) -> list[Html]:
    """Return the metric against training time and against parameters, where they are known of every run."""
    plots = []
    for name, of in (
        ("training time, seconds", [row.cost.train_seconds for row in ranked]),
        ("parameters", [row.cost.parameters for row in ranked]),
    ):
        points = [
            (row.name, float(known), row.metrics[first])
            for row, known in zip(ranked, of, strict=True)
            if known
        ]
        if len(points) == len(ranked) > 1:
            drawn = frontier(
                points,
                x_title=name,
                y_title=title_of(first),
                percent=is_share(first),
                better="max" if _sign(first) > 0 else "min",
            )
            plots.append(figure(drawn))
    return plots


UNKNOWN = Cell(shown="–", order=math.nan)


def _sign(metric: str) -> int:
    """Return 1 where more is better, else -1."""
    return 1 if is_share(metric) and metric != "ece" else -1


def _cost_cell(known: float | None, write: Callable[[float], str]) -> Cell:
    return UNKNOWN if known is None else Cell(shown=write(known), order=known)
