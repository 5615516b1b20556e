"""Models against each other: how good, how different, with how much data, how robust, at what cost.

A model has one tone in all plots of a page: that of its place among the names given to `tones_of`, or else
of its place in the plot. From the seventh on, tones come again with dashes and hollow points. What is not a
number is not drawn.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from vitrail.draw.chart import Axis, Chart
from vitrail.draw.html import Html, element, join
from vitrail.draw.labels import LINE, breadth, wrapped
from vitrail.draw.plots import cut, ends_of, legend, padded, tones_of
from vitrail.values import Estimate

ACROSS = 400
"""Between the axes of a plot of rows, in user units."""
COLUMN = 200
"""A wider name beside a row takes two lines."""
LONGEST = 44
"""Letters of a line, of which there may be two."""


def ranges(
    rows: Sequence[tuple[str, Estimate, Sequence[float]]],
    *,
    title: str,
    percent: bool,
    tones: Mapping[str, str] | None = None,
) -> Html:
    """Return one row a model: its mean as a point on its 95 % interval, above what each seed gave."""
    ends = [end for _, mean, seeds in rows for end in (*ends_of(mean), *seeds) if math.isfinite(end)]
    if not ends:
        return Html()
    tones = tones or tones_of(name for name, *_ in rows)
    axis = padded(ends, title=title, margin=0.04, percent=percent)
    chart, downs = _rows([name for name, *_ in rows], axis, [axis.tell(mean.value) for _, mean, _ in rows])
    for down, (name, mean, seeds) in zip(downs, rows, strict=True):
        known = [seed for seed in seeds if math.isfinite(seed)]
        below = down - 7 * chart.y.high / (chart.height - chart.top - chart.bottom)
        for seed in known:
            chart.dot(seed, below, f"{tones[name]} seed", f"{name}, one seed: {axis.tell(seed)}", 2.2)
        if math.isfinite(mean.low + mean.high):
            chart.whisker((mean.low, mean.high), (down, down), tones[name])
        if math.isfinite(mean.value):
            says = f"{name}: {axis.tell_range(mean)}"
            chart.dot(mean.value, down, tones[name], f"{says}, {len(known)} seeds" if known else says, 4.5)
    told = "; ".join(f"{name} {axis.tell_range(mean)}" for name, mean, _ in rows)
    return chart.svg(f"{title} with 95 % intervals. {told}.", x_grid=True, y_grid=False, large=True)


def differences(rows: Sequence[tuple[str, Estimate, bool]], *, title: str, points: bool) -> Html:
    """Return one row a pair: the difference's 95 % interval beside a line at zero, strong where it is shown.

    With ``points`` the values are differences of shares and are written in percentage points.
    """
    by = 100 if points else 1
    rows = [
        (name, Estimate(value=by * value.value, low=by * value.low, high=by * value.high), shown)
        for name, value, shown in rows
    ]
    ends = [end for _, value, _ in rows for end in ends_of(value)]
    if not ends:
        return Html()
    words = f"{title}, percentage points" if points else title
    axis = padded([*ends, 0.0], title=words, margin=0.05, signed=True)
    names = [name.replace(" - ", " \N{MINUS SIGN} ") for name, *_ in rows]
    tones = ["ink" if shown else "pale" for *_, shown in rows]
    texts = ["" if shown else "faint" for *_, shown in rows]
    chart, downs = _rows(names, axis, [axis.tell_range(value) for _, value, _ in rows], texts)
    chart.whisker((0, 0), (chart.y.low, chart.y.high), "zero")
    for down, name, tone, (_, value, shown) in zip(downs, names, tones, rows, strict=True):
        if math.isfinite(value.low + value.high):
            chart.whisker((value.low, value.high), (down, down), tone)
        if math.isfinite(value.value):
            says = f"{name}: {axis.tell_range(value)}, {'' if shown else 'not '}shown"
            chart.dot(value.value, down, tone, says, 4.5 if shown else 3.5)
    told = "; ".join(
        f"{name} {axis.tell_range(value)}, {'' if shown else 'not '}shown"
        for name, (_, value, shown) in zip(names, rows, strict=True)
    )
    return chart.svg(f"{words}, with 95 % intervals. {told}.", x_grid=True, y_grid=False, large=True)


def learning_curves(
    series: Mapping[str, Sequence[tuple[float, Estimate]]],
    *,
    x_title: str,
    y_title: str,
    percent: bool,
    tones: Mapping[str, str] | None = None,
) -> Html:
    """Return a line a model over the number of training pictures, on a logarithmic scale, with intervals."""
    tones = tones or tones_of(series)
    lines = {
        name: [(size, value) for size, value in line if size > 0 and math.isfinite(value.value)]
        for name, line in series.items()
    }
    sizes = sorted({size for line in lines.values() for size, _ in line})
    if not sizes:
        return Html()
    spare = max(1.15, (sizes[-1] / sizes[0]) ** 0.05)
    low, high = sizes[0] / spare, sizes[-1] * spare
    ends = [end for line in lines.values() for _, value in line for end in ends_of(value)]
    chart = Chart(
        x=Axis(low=low, high=high, title=x_title, log=True, given=_apart(sizes, low, high)),
        y=replace(padded(ends, title=y_title, margin=0.06, percent=percent), most=8),
        width=660,
        height=350,
        left=62,
        top=12,
    )
    steps = _dodges(len(lines), 4)
    for step, (name, line) in zip(steps, lines.items(), strict=True):
        by = (high / low) ** (step / (chart.width - chart.left - chart.right))
        says = [f"{name}, {x_title} {size:,.0f}: {chart.y.tell_range(value)}" for size, value in line]
        _series(chart, [(size * by, value) for size, value in line], tones[name], says)
    last = "; ".join(f"{name} {chart.y.tell_range(line[-1][1])}" for name, line in lines.items() if line)
    alt = f"{y_title} by {x_title}, {sizes[0]:,.0f} to {sizes[-1]:,.0f}. At the end: {last}."
    return join([legend({name: tones[name] for name in lines}), chart.svg(alt, large=True)])


def robustness(
    panels: Mapping[str, Mapping[str, Sequence[Estimate]]],
    *,
    y_title: str,
    percent: bool,
    tones: Mapping[str, str] | None = None,
) -> Html:
    """Return a panel a corruption, all on one scale: a line a model over its strength, from 0 (none)."""
    names = list(dict.fromkeys(name for panel in panels.values() for name in panel))
    tones = tones or tones_of(names)
    values = [value for panel in panels.values() for line in panel.values() for value in line]
    ends = [end for value in values for end in ends_of(value)]
    if not ends:
        return Html()
    y = padded(ends, title=y_title, margin=0.05, percent=percent)
    drawn = []
    for title, panel in panels.items():
        most = max(map(len, panel.values()), default=1) - 1
        x = Axis(low=-0.25, high=most + 0.25, title="strength", given=range(most + 1))
        chart = Chart(x=x, y=y, width=270, height=230, left=58, right=8, top=28)
        chart.say(x.low, y.high, title, shift=(0, -11), tone="head")
        wide = (x.high - x.low) / (chart.width - chart.left - chart.right)
        for step, (name, line) in zip(_dodges(len(panel), 2.5), panel.items(), strict=True):
            known = [(at, value) for at, value in enumerate(line) if math.isfinite(value.value)]
            says = [f"{name}, {title} of strength {at}: {y.tell_range(value)}" for at, value in known]
            _series(chart, [(at + step * wide, value) for at, value in known], tones[name], says, 2.4)
        told = "; ".join(
            f"{name} {', '.join(y.tell(value.value) for value in line)}" for name, line in panel.items()
        )
        drawn.append(chart.svg(f"{y_title} under {title} of strength 0 to {most}: {told}."))
    key = legend({name: tones[name] for name in names})
    return join([key, element("div", *drawn, class_="panels")])


def _rows(
    names: Sequence[str], x: Axis, tails: Sequence[str], tones: Sequence[str] = ()
) -> tuple[Chart, list[float]]:
    """Return a chart with a name at the left and a text at the right of each row, and the rows' places."""
    written = [[cut(line, LONGEST) for line in wrapped(name, COLUMN)] for name in names]
    height = 36 if any(len(lines) > 1 for lines in written) else 30
    left = 16 + max(breadth(line) for lines in written for line in lines)
    right = 16 + max(map(breadth, tails))
    y = Axis(low=0, high=len(names), given=())
    chart = Chart(
        x=x,
        y=y,
        width=left + ACROSS + right,
        height=8 + height * len(names) + 42,
        left=left,
        right=right,
        top=8,
    )
    downs = [len(names) - row - 0.5 for row in range(len(names))]
    for down, lines, tail, tone in zip(downs, written, tails, tones or [""] * len(names), strict=True):
        for number, line in enumerate(lines):
            lower = 4 + LINE * (number - (len(lines) - 1) / 2)
            chart.say(x.low, down, line, anchor="end", shift=(-10, lower), tone=tone)
        chart.say(x.high, down, tail, shift=(10, 4), tone=tone)
    return chart, downs


def _series(
    chart: Chart, line: Sequence[tuple[float, Estimate]], tone: str, says: Sequence[str], size: float = 3.2
) -> None:
    """Draw a line through values, with a whisker and a point at each."""
    chart.line([(at, value.value) for at, value in line], tone)
    for (at, value), words in zip(line, says, strict=True):
        if math.isfinite(value.low + value.high):
            chart.whisker((at, at), (value.low, value.high), tone)
        chart.dot(at, value.value, tone, words, size)


def _apart(sizes: Sequence[float], low: float, high: float) -> list[float]:
    """Return the sizes that have room for their number on a logarithmic axis, the largest first of all."""
    kept: list[float] = []
    for size in reversed(sizes):
        if not kept or math.log(kept[-1] / size) > 0.07 * math.log(high / low):
            kept.append(size)
    return kept[::-1]


def _dodges(count: int, step: float) -> list[float]:
    """Return how far each of several series stands aside, in user units, so that whiskers do not overlap."""
    step = min(step, 24 / max(count - 1, 1))
    return [step * (number - (count - 1) / 2) for number in range(count)]
