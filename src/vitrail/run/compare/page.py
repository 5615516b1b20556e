"""The page of a comparison: the verdict first, then plots, then tables, then how it was done."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence

from vitrail.draw.html import Html, element, join
from vitrail.draw.page import (
    Cell,
    Row,
    Section,
    brand,
    download,
    facts,
    figure,
    page,
    paragraph,
    table,
)
from vitrail.draw.plots import tones_of
from vitrail.draw.versus import differences, learning_curves, ranges
from vitrail.run.compare import apart, method, spent
from vitrail.run.compare.outcome import Outcome
from vitrail.run.compare.tables import Table, tables
from vitrail.run.compare.verdict import difference_in_words, reservations, short, verdict
from vitrail.run.content import digits_of, in_text, interval, is_share, title_of, written
from vitrail.run.files import write_atomic
from vitrail.run.findings import metric_cell
from vitrail.run.folder import REPORT
from vitrail.run.report import foot

Part = Callable[["Outcome", "Looks"], Section | None]


class Looks:
    """What all parts of a page share: each model's colour, and the tables behind the figures."""

    def __init__(self, outcome: Outcome) -> None:
        self.tones = tones_of([each.name for each in outcome.ranking.standings])
        self.tables: Mapping[str, Table] = tables(outcome)

    def link(self, name: str) -> Html | None:
        """Return the link that saves a figure's table."""
        if (found := self.tables.get(name)) is None:
            return None
        return download(f"{name}.csv", found.columns, found.rows)


def write_page(outcome: Outcome) -> None:
    """Write ``report.html`` into the comparison's folder."""
    looks = Looks(outcome)
    sections = [section for part in PARTS if (section := part(outcome, looks)) is not None]
    title = _title(outcome)
    write_atomic(
        outcome.folder / REPORT,
        page(f"{title} · Vitrail", _head(outcome, title), sections, foot(outcome.made)),
    )


def _title(outcome: Outcome) -> str:
    return f"{short([each.name for each in outcome.ranking.standings])} on {outcome.data}"


def _head(outcome: Outcome, title: str) -> Html:
    """Return the verdict and what it is about."""
    ranking = outcome.ranking
    best = ranking.standings[0]
    value = best.metrics[ranking.first]
    said = verdict(ranking)
    failed = [each for each in outcome.entrants if each.failed]
    warnings = [f"{each.name} dropped out: {each.failed}" for each in failed] + reservations(ranking)
    told = {
        "Data": outcome.data,
        "Models": f"{len(ranking.standings)}",
        "Seeds each": f"{outcome.seeds}",
        "Test part": ranking.units,
        "Classes": f"{len(outcome.classes):,}",
        **({"Trained on": f"{outcome.sizes['train']:,} pictures"} if "train" in outcome.sizes else {}),
    }
    return join(
        [
            brand("Comparison"),
            element("h1", title),
            element(
                "div",
                element("div", written(ranking.first, value.value, digits_of(value)), class_="number"),
                element(
                    "div",
                    paragraph(best.name, tone="name"),
                    *(paragraph(sentence) for sentence in said),
                    paragraph(
                        f"{title_of(ranking.first)}, mean over seeds; 95 % interval "
                        f"{interval(ranking.first, value)}.",
                        tone="quiet",
                    ),
                    *(paragraph(line, tone="quiet") for line in warnings),
                ),
                class_="verdict",
            ),
            facts(told),
        ]
    )


def side_by_side(outcome: Outcome, looks: Looks) -> Section:
    """Return every model with its interval and its seeds, and all metrics."""
    ranking = outcome.ranking
    first = ranking.first
    rows = [(each.name, each.metrics[first], each.by_seed[first]) for each in ranking.standings]
    drawing = ranges(rows, title=title_of(first), percent=is_share(first), tones=looks.tones)
    others = [name for name in ranking.orders if name != first]
    body: list[Row] = [
        [
            _linked(outcome, each.name),
            metric_cell(first, each.metrics[first]),
            Cell(shown=interval(first, each.metrics[first]), order=each.metrics[first].low),
            *(metric_cell(name, each.metrics[name]) for name in others),
        ]
        for each in ranking.standings
    ]
    header = ["Model", title_of(first), "95 % interval", *map(title_of, others)]
    lead = (
        f"Means over {outcome.seeds} seeds on {ranking.units}, which chose neither weights nor settings. An "
        "interval counts both: other pictures and other seeds. Small dots are single seeds."
    )
    if outcome.seeds == 1:
        lead = f"One seed each on {ranking.units}. The intervals are over pictures alone."
    return Section(
        title="Side by side",
        lead=lead,
        content=[
            figure(drawing, link=looks.link("seeds")),
            table("Metrics", header, body),
            paragraph(looks.link("results")),
        ],
    )


def pairs(outcome: Outcome, looks: Looks) -> Section | None:
    """Return all paired differences by the first metric."""
    ranking = outcome.ranking
    found = ranking.of(ranking.first)
    if not found:
        return None
    share = is_share(ranking.first)
    rows = [(f"{pair.ours} - {pair.theirs}", pair.found.estimate, pair.shown) for pair in found]
    drawing = differences(rows, title=f"difference in {in_text(ranking.first)}", points=share)
    tested = any(pair.mcnemar is not None for pair in found)
    body: list[Row] = []
    for pair in found:
        ends, value = pair.found.estimate, pair.found.value
        numbers = (
            (
                f"{100 * value:+.2f}",
                f"{100 * ends.low:+.2f} to {100 * ends.high:+.2f}",
                f"{100 * pair.found.reach:.2f}",
            )
            if share
            else (f"{value:+.4f}", f"{ends.low:+.4f} to {ends.high:+.4f}", f"{pair.found.reach:.4f}")
        )
        body.append(
            [
                f"{pair.ours} − {pair.theirs}",
                Cell(shown=numbers[0], order=value),
                Cell(shown=numbers[1], order=ends.low),
                Cell(shown=numbers[2], order=pair.found.reach),
                Cell(shown=_chance(pair.found.p_value), order=pair.found.p_value),
                Cell(shown=_chance(pair.p_adjusted), order=pair.p_adjusted),
                *([Cell(shown=_chance(pair.mcnemar), order=pair.mcnemar or 0.0)] if tested else []),
                "a difference is shown" if pair.shown else "no difference is shown",
            ]
        )
    unit = ", points" if share else ""
    header = [f"Models{unit}", "Difference", "95 % interval", "Smallest seen", "p", "p, all pairs"]
    header += [*(["McNemar's p"] if tested else []), "What follows"]
    words = [difference_in_words(pair, pairs=len(found)) for pair in found]
    return Section(
        title="Who is better",
        lead="Differences on the same pictures. To the right of zero the first of a pair is ahead; what "
        "stands out is shown with all pairs counted (Holm's correction).",
        content=[
            figure(drawing, link=looks.link("differences")),
            table("Paired differences", header, body),
            element("details", element("summary", "The same in sentences"), *map(paragraph, words)),
        ],
    )


def _chance(p: float | None) -> str:
    if p is None or p != p:
        return "–"
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def curves(outcome: Outcome, looks: Looks) -> Section | None:
    """Return what more pictures bring."""
    if not outcome.curves:
        return None
    first = outcome.ranking.first
    drawing = learning_curves(
        outcome.curves,
        x_title="training pictures",
        y_title=title_of(first),
        percent=is_share(first),
        tones=looks.tones,
    )
    least = min(points[0][0] for points in outcome.curves.values())
    lead_at = max(
        outcome.curves,
        key=lambda name: (
            outcome.curves[name][0][1].value * (1 if outcome.ranking.orders[first] == "max" else -1)
        ),
    )
    return Section(
        title="With fewer pictures",
        lead="Each fraction holds the smaller ones, is the same for all models, and is trained on for as "
        "many epochs, so in fewer steps.",
        content=[
            figure(drawing, link=looks.link("learning-curves")),
            paragraph(f"With the fewest pictures ({least:,.0f}) {lead_at} comes out first."),
        ],
    )


def _linked(outcome: Outcome, name: str) -> Html | str:
    """Return a model's name as a link to the report of its first run, where that lies below this page."""
    for each in outcome.entrants:
        if each.name == name and each.whole and each.whole[0].report.exists():
            return element("a", name, href=os.path.relpath(each.whole[0].report, outcome.folder))
    return name


PARTS: Sequence[Part] = (
    side_by_side,
    pairs,
    spent.cost,
    curves,
    apart.elsewhere,
    apart.examples,
    apart.classes,
    apart.robust,
    apart.calibrated,
    method.care,
    method.making,
)
"""The page's sections, in order."""
