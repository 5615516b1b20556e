"""The charts of a report: what training did, what is confused, whether confidence is deserved."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from PIL import Image

from vitrail.draw.chart import Axis, Chart, Point, short, svg
from vitrail.draw.html import Html, element, join
from vitrail.values import Estimate

TONES = ("s1", "s2", "s3", "s4", "s5", "s6")
NUMBERED = 20
"""Up to so many classes a confusion matrix shows its counts; more are colours only."""
NAMED = 40
"""Up to so many classes are squares; more are a picture of at most ``CELLS`` a side."""
CELLS = 250
WIDTH = 6.4
"""About how wide a letter is, in user units."""
LETTERS = 16
"""Letters of a name beside a matrix."""
RIGHT, WRONG = (58, 110, 205), (214, 64, 84)
"""Colours of answers that stand out from a light page and from a dark one."""

Bin = tuple[int, float, float, float, float]
"""Answers of about one confidence: how many, mean confidence, how often right, and that share's interval."""


def curves(
    series: Mapping[str, Sequence[Point]], *, title: str, percent: bool = False, best: int | None = None
) -> Html:
    """Return lines over epochs, one a series, with a mark at the ``best`` epoch."""
    series = {name: [point for point in points if math.isfinite(point[1])] for name, points in series.items()}
    points = [point for each in series.values() for point in each]
    if not points:
        return Html()
    epochs, values = zip(*points, strict=True)
    chart = Chart(
        x=padded(epochs, title="epoch", whole=True),
        y=padded(values, percent=percent, margin=0.06),
    )
    if best is not None and chart.x.low <= best <= chart.x.high:
        chart.whisker((best, best), (chart.y.low, chart.y.high), "mark")
        across = chart.x.place(best)
        anchor = "start" if across < 0.15 else "end" if across > 0.85 else "middle"
        chart.say(best, chart.y.high, f"kept: epoch {best}", anchor=anchor, shift=(0, -8), tone="faint")
    for tone, (name, line) in zip(TONES, series.items(), strict=False):
        chart.line(line, tone)
        for epoch, value in line if len(line) <= 60 else line[-1:]:
            says = f"{name}, epoch {epoch:g}: {chart.y.label(round(value, 4))}"
            chart.dot(epoch, value, tone, says, 2.2 if len(line) > 1 else 3.5)
    last = ", ".join(f"{name} {each[-1][1]:.4g}" for name, each in series.items() if each)
    alt = f"{title} by epoch, {min(epochs):g} to {max(epochs):g}. At the end: {last}."
    key = legend(dict(zip(series, TONES, strict=False))) if len(series) > 1 else None
    return join([key, chart.svg(alt)])


def legend(tones: Mapping[str, str]) -> Html:
    """Return which tone stands for what."""
    entries = (element("li", element("i", class_=tone), name) for name, tone in tones.items())
    return element("ul", *entries, class_="legend")


def confusion_matrix(counts: np.ndarray, classes: Sequence[str]) -> Html:
    """Return how often each true class (rows) got each answer (columns), shaded by the share of the row.

    Readable for 2 to 1,000 classes: with counts, then with names only, then as one picture in which a cell
    may stand for several classes and shows the largest share among them.
    """
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    wrong = int(counts.sum() - np.trace(counts))
    count = len(classes)
    alt = f"Confusion matrix of {count} classes: {wrong} of {int(counts.sum())} answers off the diagonal."
    letters = min(max(map(len, classes)), LETTERS)
    side = 92 if count <= 4 else 44 if count <= 12 else 29 if count <= NUMBERED else 16
    shown = range(count) if count <= NAMED else range(0, count, math.ceil(count / 12))
    cells = _cells(counts, shares, classes, side) if count <= NAMED else _picture(shares)
    extent = side * count if count <= NAMED else 520.0
    upright = count <= NAMED and WIDTH * letters < side - 2
    left, foot = 34 + WIDTH * letters, 36 if upright else 26 + WIDTH * letters
    names = []
    for index in shown:
        place, name = extent * (index + 0.5) / count, cut(classes[index], LETTERS)
        names.append(_text(name, left - 8, place + 4, anchor="end"))
        if upright:
            names.append(_text(name, left + place, extent + 17))
        else:
            turned = f"translate({left + place + 4:.1f} {extent + 8:.1f}) rotate(-90)"
            names.append(element("text", name, transform=turned, text_anchor="end", class_="tick"))
    sideways = f"translate(12 {extent / 2:.1f}) rotate(-90)"
    titles = (
        _text("answer", left + extent / 2, extent + foot, tone="title"),
        element("text", "true class", transform=sideways, text_anchor="middle", class_="title"),
    )
    moved = element("g", cells, transform=f"translate({left:.1f} 0)")
    width = left + extent + 2
    tone = "chart matrix large" if width > 460 else "chart matrix"
    return svg(width, extent + foot + 8, alt, moved, *names, *titles, tone=tone)


def share_table(
    shares: np.ndarray, *, rows: Sequence[str], columns: Sequence[str], row_title: str, column_title: str
) -> Html:
    """Return the shares of a whole that each row is divided into, as squares that are darker the larger.

    Each says its per cent where there is room for it, and when it is pointed at.
    """
    side = 44 if len(columns) <= 12 else 29 if len(columns) <= NUMBERED else 16
    left, width, height = 34 + WIDTH * max(map(len, rows)), side * len(columns), side * len(rows)
    most = max(float(shares.max()), 2 / len(columns))
    drawn = [element("rect", width=width, height=height, class_="ground")]
    for (row, column), share in np.ndenumerate(shares):
        says = f"{row_title} {rows[row]}, {column_title} {columns[column]}: {share:.1%}"
        count = f"{100 * share:.0f}" if len(columns) <= NUMBERED else ""
        drawn.append(_square(side * column, side * row, side, share / most, says, "right", count))
    names = [_text(name, left - 8, side * (row + 0.5) + 4, anchor="end") for row, name in enumerate(rows)]
    step = 1 if side > 16 else 4
    names += [
        _text(columns[column], left + side * (column + 0.5), height + 17)
        for column in range(0, len(columns), step)
    ]
    sideways = f"translate(12 {height / 2:.1f}) rotate(-90)"
    titles = (
        _text(column_title, left + width / 2, height + 34, tone="title"),
        element("text", row_title, transform=sideways, text_anchor="middle", class_="title"),
    )
    alt = f"Shares of {len(columns)} {column_title}s in {len(rows)} {row_title}s, in per cent."
    moved = element("g", *drawn, transform=f"translate({left:.1f} 0)")
    return svg(left + width + 2, height + 42, alt, moved, *names, *titles, tone="chart matrix")


def reliability_plot(bins: Sequence[Bin], error: float) -> Html:
    """Return frequency against confidence, with intervals, over a histogram of the confidences.

    The ``bins`` are of equal width, from confidence 0 to 1; ``error`` is their calibration error. On the
    dashed line, confidence is deserved.
    """
    chart = Chart(
        x=Axis(low=0, high=1, title="confidence", percent=True),
        y=Axis(low=0, high=1, title="how often it was right", percent=True),
        width=380,
        height=330,
        left=60,
        top=12,
    )
    total, most = sum(count for count, *_ in bins), max(count for count, *_ in bins)
    for index, (count, *_) in enumerate(bins):
        low, high = index / len(bins), (index + 1) / len(bins)
        says = f"{count} of {total} answers have a confidence of {low:.0%} to {high:.0%}"
        chart.box((low + 0.004, high - 0.004), (0, 0.3 * count / max(most, 1)), "soft", says)
    chart.whisker((0, 1), (0, 1), "diagonal")
    for count, confidence, frequency, low, high in bins:
        if count:
            chart.whisker((confidence, confidence), (low, high), "s1")
            says = f"{count} answers of confidence {confidence:.1%}: right in {frequency:.1%}"
            chart.dot(confidence, frequency, "s1", says, 2.5 + 4.5 * (count / most) ** 0.5)
    return chart.svg(f"Reliability: calibration error {error:.3f} over {total} answers.")


def survival(values: Mapping[str, np.ndarray], *, x_title: str, y_title: str, unit: str) -> Html:
    """Return for each name the share of its values, all within 0 and 1, that are ``x`` or more, over ``x``.

    A dot is the median, and says what the values are of (``unit``).
    """
    known = {name: np.sort(each[np.isfinite(each)]) for name, each in values.items()}
    known = {name: each for name, each in known.items() if len(each)}
    if not known:
        return Html()
    chart = Chart(
        x=Axis(low=0, high=1, title=x_title, percent=True),
        y=Axis(low=0, high=1, title=y_title, percent=True),
        width=660,
        height=330,
        left=62,
        top=12,
    )
    tones, grid = tones_of(known), np.linspace(0, 1, 201)
    for name, each in known.items():
        shares = 1 - np.searchsorted(each, grid - 1e-9) / len(each)
        chart.line(list(zip(grid.tolist(), shares.tolist(), strict=True)), tones[name])
    middles = {name: float(np.median(each)) for name, each in known.items()}
    for name, middle in middles.items():
        says = f"{name}: half of {len(known[name]):,} {unit} have {chart.x.tell(middle)} or more"
        chart.dot(middle, 0.5, tones[name], says, 4)
    told = "; ".join(f"{name} {chart.x.tell(middle)}" for name, middle in middles.items())
    alt = f"{y_title} with {x_title} of so much or more. Medians: {told}."
    return join([legend(tones), chart.svg(alt, large=True)])


def tones_of(names: Iterable[str]) -> dict[str, str]:
    """Return a tone for each name, in the order given; from the seventh on, they come again, with dashes."""
    again = ("", " again")
    return {
        name: TONES[index % len(TONES)] + again[index // len(TONES) % 2]
        for index, name in enumerate(dict.fromkeys(names))
    }


def ends_of(value: Estimate) -> list[float]:
    """Return what of a value and its interval is a number, for the scale that must hold it."""
    return [end for end in (value.low, value.value, value.high) if math.isfinite(end)]


def padded(
    values: Sequence[float],
    *,
    title: str = "",
    margin: float = 0.0,
    percent: bool = False,
    whole: bool = False,
    signed: bool = False,
) -> Axis:
    """Return an axis that holds the values, with a share of its length to spare; shares end at 0 and 1."""
    least, most = min(values), max(values)
    low, high = least, most
    if low == high:
        low, high = low - (abs(low) / 10 or 0.5), high + (abs(high) / 10 or 0.5)
    spare = margin * (high - low)
    low, high = low - spare, high + spare
    if percent:
        low, high = max(low, 0.0) if least >= 0 else low, min(high, 1.0) if most <= 1 else high
    return Axis(low=low, high=high, title=title, percent=percent, whole=whole, signed=signed)


def cut(name: str, most: int) -> str:
    """Return a name of at most ``most`` letters: its beginning and its end, which often tells it apart."""
    end = (most - 1) // 2
    return name if len(name) <= most else f"{name[: most - 1 - end]}…{name[-end:]}"


def _cells(counts: np.ndarray, shares: np.ndarray, classes: Sequence[str], side: float) -> Html:
    """Return one square a cell that is not empty, with its count where there is room."""
    extent = side * len(classes)
    drawn = [element("rect", width=extent, height=extent, class_="ground")]
    numbered = len(classes) <= NUMBERED
    for row, column in np.argwhere(counts > 0):
        share, x, y = float(shares[row, column]), float(side * column), float(side * row)
        part = f"{counts[row, column]} of {counts[row].sum()} ({share:.1%})"
        says = f"{classes[row]}, answered {classes[column]}: {part}"
        count = short(int(counts[row, column])) if numbered else ""
        drawn.append(_square(x, y, side, share, says, "right" if row == column else "wrong", count))
    return join(drawn)


def _square(x: float, y: float, side: float, strength: float, says: str, tone: str, count: str) -> Html:
    """Return a cell that is the darker the nearer its ``strength`` is to 1, with a number if there is one."""
    square = element(
        "rect",
        element("title", says),
        x=x + 1,
        y=y + 1,
        width=side - 2,
        height=side - 2,
        rx=3,
        class_=tone,
        fill_opacity=0.2 + 0.8 * strength,
    )
    tone = "count inverse" if strength > 0.5 else "count"
    return join([square, _text(count, x + side / 2, y + side / 2 + 4, tone=tone) if count else None])


def _text(words: str, x: float, y: float, *, anchor: str = "middle", tone: str = "tick") -> Html:
    return element("text", words, x=x, y=y, text_anchor=anchor, class_=tone)


def _picture(shares: np.ndarray) -> Html:
    """Return a matrix of many classes as a picture of 520 units, at most ``CELLS`` cells a side."""
    block = math.ceil(len(shares) / CELLS)
    count = math.ceil(len(shares) / block)
    padding = count * block - len(shares)
    padded_shares = np.pad(shares, (0, padding)).reshape(count, block, count, block)
    most = padded_shares.max((1, 3))
    strength = np.where(most > 0, 0.2 + 0.8 * np.sqrt(most), 0)
    pixels = np.empty((count, count, 4), np.uint8)
    pixels[..., :3] = WRONG
    pixels[np.arange(count), np.arange(count), :3] = RIGHT
    pixels[..., 3] = np.round(255 * strength)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", optimize=True)
    data = "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
    ground = element("rect", width=520, height=520, class_="ground")
    return join([ground, element("image", href=data, width=520, height=520, class_="pixels")])
