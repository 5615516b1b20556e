"""The page and the table of a benchmark of explanations."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vitrail.draw.chart import Axis, Chart
from vitrail.draw.html import Html, element, embed, join
from vitrail.draw.page import (
    Cell,
    Row,
    Section,
    brand,
    csv_text,
    download,
    facts,
    figure,
    page,
    paragraph,
    table,
)
from vitrail.draw.plots import legend, padded, tones_of
from vitrail.draw.versus import differences
from vitrail.explain.faithfulness import BASELINES, MEASURES
from vitrail.run.explain.benchmark import Benchmark
from vitrail.run.explain.keep import BESIDE, TITLES, draw_sheet
from vitrail.run.explain.standing import Standing
from vitrail.run.files import write_atomic, write_json
from vitrail.run.folder import REPORT
from vitrail.run.report import foot
from vitrail.values import Estimate

WHAT = {
    "insertion": "How sure the model is while a blurred picture comes back, what the map calls most relevant "
    "first: the area under the curve, more is better.",
    "deletion": "How sure it stays while the picture is blanked in that order: less is better.",
    "road": "What goes is filled with what is around it. How much surer the model stays when the least "
    "relevant goes first than when the most relevant does: more is better, 0 is a map at random.",
}
COLUMNS = ("method", "measure", "value", "low", "high", "better_than_random_by", "from", "to", "pictures")
WIDE = 1100
"""Of a sheet on the page, in pixels."""


def write_benchmark(found: Benchmark, folder: Path) -> None:
    """Write ``benchmark.csv``, ``benchmark.json`` and ``report.html`` into a folder."""
    write_atomic(folder / "benchmark.csv", csv_text(COLUMNS, rows_of(found)))
    write_json(folder / "benchmark.json", found.to_dict())
    title = f"Explaining {found.model} on {found.data}"
    sections = [
        _side_by_side(found),
        *(_measure(found, measure) for measure in MEASURES),
        _pictures(found),
    ]
    write_atomic(
        folder / REPORT,
        page(
            f"{title} · Vitrail", _head(found, title), [each for each in sections if each], foot(found.made)
        ),
    )


def rows_of(found: Benchmark) -> list[list[object]]:
    """Return the rows of ``benchmark.csv``."""
    rows: list[list[object]] = []
    for each in found.standings:
        for measure, value in each.marks.items():
            over = each.over_random[measure].estimate
            rows.append(
                [
                    each.method,
                    measure,
                    *(value.value, value.low, value.high),
                    *(over.value, over.low, over.high),
                    found.pictures,
                ]
            )
        for name, number in (("inside", each.inside), ("points", each.points)):
            if number is not None:
                rows.append([each.method, name, number.value, number.low, number.high, *[None] * 3, None])
        for name, single in (("seconds", each.seconds), ("alike_when_shuffled", each.alike)):
            if single is not None:
                rows.append([each.method, name, single, *[None] * 5, None])
    return rows


def verdict(found: Benchmark) -> str:
    """Say in a sentence which method to take."""
    methods = [each for each in found.standings if each.method not in BASELINES]
    edge = next(each for each in found.standings if each.method == "edge")
    good = [each for each in methods if each.better("road")]
    if not good:
        return (
            f"On these {found.pictures:,} pictures no method is shown to be better than a map at random by "
            "ROAD: measure more, or trust none of them for this model."
        )
    best = good[0]
    beaten = best.marks["road"].value > edge.marks["road"].value
    rest = "" if beaten else ", but not than the picture's own edges"
    return f"{best.method} points best at what this model's answers hang on: better than at random{rest}."


def number(value: Estimate | None, digits: int = 2) -> str:
    """Return a number with its interval, or a dash."""
    if value is None or not np.isfinite(value.value):
        return "–"
    if not np.isfinite(value.low + value.high):
        return f"{value.value:.{digits}f}"
    return f"{value.value:.{digits}f} ({value.low:.{digits}f} to {value.high:.{digits}f})"


def _head(found: Benchmark, title: str) -> Html:
    best = found.standings[0]
    told = {
        "Model": found.model,
        "Data": found.data,
        "Pictures": f"{found.pictures:,}",
        "Methods": f"{sum(each.method not in BASELINES for each in found.standings)}",
    }
    refused = [paragraph(f"Without {name}: {reason}", tone="quiet") for name, reason in found.refused.items()]
    return join(
        [
            brand("Explanations"),
            element("h1", title),
            element(
                "div",
                element("div", f"{best.marks['road'].value:.2f}", class_="number"),
                element(
                    "div",
                    paragraph(best.method, tone="name"),
                    paragraph(verdict(found)),
                    paragraph(
                        f"ROAD, mean over {found.pictures:,} pictures; {number(best.marks['road'])}.",
                        tone="quiet",
                    ),
                    *refused,
                ),
                class_="verdict",
            ),
            facts(told),
        ]
    )


def _side_by_side(found: Benchmark) -> Section:
    known = any(each.inside is not None for each in found.standings)
    rows: list[Row] = []
    for each in found.standings:
        cells = [Cell(shown=number(value), order=value.value) for value in each.marks.values()]
        if known:
            cells += [
                Cell(shown=number(value), order=float("nan") if value is None else value.value)
                for value in (each.inside, each.points)
            ]
        cells += [_plain(each.alike, 2), _plain(each.seconds, 3)]
        rows.append([BESIDE.get(each.method, each.method), *cells])
    objects = ["Heat inside", "Points inside"] if known else []
    header = ["Method", *map(_title, MEASURES), *objects, "Alike when shuffled", "Seconds a picture"]
    notes = [
        "Means with 95 % intervals over pictures. Alike when shuffled: the rank correlation of a method's "
        "maps with those of the same network after all its weights were shuffled; near 1, they show the "
        "picture and not the model.",
    ]
    if known:
        notes.append(
            "Heat inside: the share of the heat on the object over the object's share of the picture; 1 is "
            "even heat. Points inside: how often the hottest place is on it."
        )
    link = download("benchmark.csv", COLUMNS, rows_of(found))
    return Section(
        title="Side by side",
        lead=verdict(found),
        content=[
            table("Methods", header, rows),
            paragraph(" ".join(notes), Html(" "), link, tone="quiet"),
        ],
    )


def _title(measure: str) -> str:
    return TITLES[measure][0].upper() + TITLES[measure][1:]


def _plain(value: float | None, digits: int) -> Cell:
    if value is None:
        return Cell(shown="–", order=float("nan"))
    return Cell(shown=f"{value:.{digits}f}", order=value)


def _measure(found: Benchmark, measure: str) -> Section:
    """Return how much better than at random each method is, and the mean courses where there are any."""
    others = [each for each in found.standings if each.method != "random"]
    rows = [
        (BESIDE.get(each.method, each.method), each.over_random[measure].estimate, each.better(measure))
        for each in others
    ]
    content = [figure(differences(rows, title="better than a map at random by", points=False))]
    if measure in others[0].courses:
        content.insert(0, figure(_courses(found.standings, measure)))
    return Section(title=_title(measure), lead=WHAT[measure], content=content)


def _courses(standings: Sequence[Standing], measure: str) -> Html:
    """Return the mean course of each method over the share of the picture."""
    names = [BESIDE.get(each.method, each.method) for each in standings]
    tones = tones_of(names)
    lines = {name: each.courses[measure] for name, each in zip(names, standings, strict=True)}
    ends = [float(value) for line in lines.values() for value in line]
    verb = "brought back" if measure == "insertion" else "taken away"
    chart = Chart(
        x=Axis(low=0, high=1, title=f"share of the picture that is {verb}", percent=True),
        y=padded(ends, title="how sure the model is", percent=True, margin=0.06),
        width=660,
        height=320,
        left=62,
        top=12,
    )
    for name, line in lines.items():
        chart.line([(at / (len(line) - 1), float(value)) for at, value in enumerate(line)], tones[name])
    told = "; ".join(f"{name} {np.mean(line):.2f}" for name, line in lines.items())
    return join([legend(tones), chart.svg(f"{_title(measure)} by method. On average: {told}.", large=True)])


def _pictures(found: Benchmark) -> Section | None:
    sheets = [
        figure(embed(draw_sheet(None, each.by_method), f"{name} by every method", side=WIDE), name)
        for name, each in found.shown
    ]
    lead = "What the model saw by every method: from dark, none, to light, the most."
    return Section(title="Pictures", lead=lead, content=sheets) if sheets else None
