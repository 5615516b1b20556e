"""What each cost buys: values against costs, and the line of the best."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Literal

from vitrail.draw.chart import Axis, Chart, Point
from vitrail.draw.html import Html, element, join
from vitrail.draw.labels import LINE, Spot, place
from vitrail.draw.plots import ends_of, legend, padded, tones_of
from vitrail.values import Estimate

Priced = tuple[str, float, Estimate]
"""A model's name, its cost and its value."""


def frontier(
    points: Sequence[Priced],
    *,
    x_title: str,
    y_title: str,
    percent: bool,
    better: Literal["max", "min"],
    tones: Mapping[str, str] | None = None,
    wide: bool = False,
) -> Html:
    """Return values with intervals against a cost on a logarithmic scale, a ``(name, cost, value)`` a model.

    The line steps along the best value that each cost buys. Names that find no room beside their point are
    listed above.
    """
    tones = tones or tones_of(name for name, *_ in points)
    points = [each for each in points if 0 < each[1] < math.inf and math.isfinite(each[2].value)]
    if not points:
        return Html()
    costs = [cost for _, cost, _ in points]
    spare = max(1.6, (max(costs) / min(costs)) ** 0.12)
    chart = Chart(
        x=Axis(low=min(costs) / spare, high=max(costs) * spare, title=x_title, log=True),
        y=padded(
            [end for *_, value in points for end in ends_of(value)],
            title=y_title,
            margin=0.12,
            percent=percent,
        ),
        width=700 if wide else 440,
        height=380 if wide else 290,
        left=62,
        top=12,
    )
    best = _best(points, better)
    stairs = _stairs([(cost, value.value) for _, cost, value in best], chart.x.high)
    chart.line(stairs, "edge")
    spots = []
    for name, cost, value in points:
        sure = math.isfinite(value.low + value.high)
        if sure:
            chart.whisker((cost, cost), (value.low, value.high), tones[name])
        chart.dot(
            cost, value.value, tones[name], f"{name}: {chart.y.tell_range(value)}, {cost:,.4g} {x_title}", 5
        )
        across, down = chart.at(cost, value.value)
        top, bottom = (chart.at(cost, end)[1] if sure else down for end in (value.high, value.low))
        spots.append(Spot(name=name, across=across, down=down, radius=5, top=top, bottom=bottom))
    room = (chart.left + 2, 2, chart.width - 2, chart.height - chart.bottom - 2)
    turns = itertools.pairwise(chart.at(*corner) for corner in stairs)
    # Each step is level or upright; to the right costs only rise, but what is better may be up or down.
    lines = [(x1 - 1, min(y1, y2) - 1, x2 + 1, max(y1, y2) + 1) for (x1, y1), (x2, y2) in turns]
    labels = place(spots, room, lines)
    for label in filter(None, labels):
        for number, line in enumerate(label.lines):
            down = label.down + LINE * number
            chart.marks.append(
                element("text", line, x=label.across, y=down, text_anchor=label.anchor, class_="says")
            )
    homeless = {spot.name: tones[spot.name] for spot, label in zip(spots, labels, strict=True) if not label}
    told = "; ".join(f"{name} {chart.y.tell_range(value)} for {cost:,.4g}" for name, cost, value in points)
    alt = f"{y_title} against {x_title}: {told}. Best for their cost: {', '.join(name for name, *_ in best)}."
    return join([legend(homeless) if homeless else None, chart.svg(alt, x_grid=True, large=wide)])


def _best(points: Sequence[Priced], better: str) -> list[Priced]:
    """Return the points that none beats at the same cost or a lower one, cheapest first (Pareto's)."""
    sign = 1 if better == "max" else -1
    best: list[Priced] = []
    for point in sorted(points, key=lambda each: (each[1], -sign * each[2].value)):
        if not best or sign * point[2].value > sign * best[-1][2].value:
            best.append(point)
    return best


def _stairs(corners: Sequence[Point], end: float) -> list[Point]:
    """Return a line that holds each value until the next corner, and the last one to the ``end``."""
    ups = [corner for one, other in itertools.pairwise(corners) for corner in (one, (other[0], one[1]))]
    return [*ups, corners[-1], (end, corners[-1][1])]
