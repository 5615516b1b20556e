"""What models cost, as a section of the page of a comparison."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from vitrail.draw.frontier import frontier
from vitrail.draw.html import Html
from vitrail.draw.page import Cell, Row, Section, beside, figure, paragraph, table
from vitrail.run.compare.costs import Spending
from vitrail.run.compare.outcome import Outcome
from vitrail.run.content import amount, duration, is_share, title_of

if TYPE_CHECKING:
    from vitrail.run.compare.page import Looks


def cost(outcome: Outcome, looks: Looks) -> Section | None:
    """Return the first metric against what models cost, and all costs."""
    ranking, first = outcome.ranking, outcome.ranking.first
    if not outcome.costs:
        return None
    value_of = {each.name: each.metrics[first] for each in ranking.standings}
    drawn: list[Html] = []
    for title, of in AXES.items():
        points = [(name, of(spent), value_of[name]) for name, spent in outcome.costs.items()]
        drawing = frontier(
            points,
            x_title=title,
            y_title=title_of(first),
            percent=is_share(first),
            better=ranking.orders[first],
            tones=looks.tones,
        )
        drawn.append(figure(drawing, link=looks.link("costs") if not drawn else None))
    body: list[Row] = [
        [
            name,
            Cell(shown=amount(each.parameters), order=each.parameters),
            Cell(shown=amount(each.flops, "FLOP"), order=each.flops),
            Cell(shown=duration(each.train_seconds), order=each.train_seconds),
            Cell(shown=f"{each.train_rate:,.0f}", order=each.train_rate),
            Cell(shown=f"{1000 * each.latency:.3g} ms", order=each.latency),
            Cell(shown=f"{1 / each.latency:,.0f}", order=1 / each.latency),
            Cell(shown=f"{each.answer_rate:,.0f}", order=each.answer_rate),
            Cell(shown=amount(each.memory, "B"), order=each.memory),
            Cell(shown=amount(each.disk, "B"), order=each.disk),
        ]
        for name, each in outcome.costs.items()
    ]
    header = ["Model", "Parameters", "A picture", "Training", "Pictures/s in training", "Latency"]
    header += ["Pictures/s, one by one", "Pictures/s, 16 at once", "Memory to train", "On disk"]
    machine = outcome.environment.get("processor", "this machine")
    memory = "as measured" if outcome.environment.get("device") == "cuda" else "computed from the shapes"
    return Section(
        title="What it costs",
        lead="Left is cheaper; bars are 95 % intervals, and the line is the best that each cost buys.",
        content=[
            beside(*drawn),
            table("Costs", header, body),
            paragraph(
                f"On {machine}. Answering was measured for all models in turn, without decoding; the memory "
                f"to train is {memory}; a multiplication and an addition are two operations.",
                tone="quiet",
            ),
        ],
    )


AXES: Mapping[str, Callable[[Spending], float]] = {
    "training time, seconds": lambda spent: spent.train_seconds,
    "seconds a picture, one by one": lambda spent: spent.latency,
    "operations a picture": lambda spent: spent.flops,
    "parameters": lambda spent: float(spent.parameters),
}
