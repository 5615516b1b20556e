"""Axes and marks as inline SVG, whose colours are the page's: charts follow light and dark with it.

Texts stay texts (any script, selectable, read aloud), and every mark says its numbers when pointed at.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from vitrail.draw.html import Html, element, join
from vitrail.values import Estimate

Point = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Axis:
    """A scale from ``low`` to ``high`` with about ``most`` ticks, or with those that are ``given``.

    ``percent`` writes shares as per cent, ``signed`` writes differences.
    """

    low: float
    high: float
    title: str = ""
    log: bool = False
    percent: bool = False
    whole: bool = False
    signed: bool = False
    most: int = 5
    given: Sequence[float] | None = None

    def place(self, value: float) -> float:
        """Return where a value lies: 0 at ``low``, 1 at ``high``."""
        low, high, value = (math.log(each) if self.log else each for each in (self.low, self.high, value))
        return (value - low) / (high - low)

    @property
    def ticks(self) -> list[float]:
        """Round numbers within the scale: in steps of 1, 2 or 5 times a power of ten, or of a factor.

        A logarithmic scale too short for three of these has even steps.
        """
        if self.given is not None:
            return list(self.given)
        if self.log:
            powers = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            steps = (1,) if len(powers) > 4 else (1, 2, 5)
            ticks = [step * 10.0**power for power in powers for step in steps]
            ticks = [tick for tick in ticks if self._holds(tick)]
            if len(ticks) > 2:
                return ticks
        step = round_step((self.high - self.low) / self.most)
        step = max(1.0, step) if self.whole else step
        first = math.ceil(self.low / step - 1e-9)
        return [step * (first + i) for i in range(int((self.high - step * first) / step + 1e-9) + 1)]

    def label(self, value: float) -> str:
        """Return how a tick is written."""
        if self.percent:
            return f"{100 * value:.10g} %"
        if self.signed and value:
            return f"{value:+.3g}".replace("-", "−")
        return short(value)

    def tell(self, value: float) -> str:
        """Return a value with the decimals that this scale gives sense to; 99.97 % never becomes 100 %."""
        if not math.isfinite(value):
            return "\N{EN DASH}"
        by, least = (100, 1) if self.percent else (1, 0)
        step = by * round_step((self.high - self.low) / self.most)
        decimals = max(least, 1 - math.floor(math.log10(step)))
        while self.percent and value < 1 and decimals < 4 and round(100 * value, decimals) >= 100:
            decimals += 1
        sign, unit = "+" if self.signed else "", " %" if self.percent else ""
        return f"{by * value:{sign}.{decimals}f}{unit}".replace("-", "\N{MINUS SIGN}")

    def tell_range(self, value: Estimate) -> str:
        """Return a value with its interval, if it has one."""
        if not math.isfinite(value.low + value.high):
            return self.tell(value.value)
        return (
            f"{self.tell(value.value)} ({self.tell(value.low).removesuffix(' %')} to {self.tell(value.high)})"
        )

    def _holds(self, value: float) -> bool:
        return self.low * (1 - 1e-9) <= value <= self.high * (1 + 1e-9)


def round_step(rough: float) -> float:
    """Return the smallest of 1, 2, 5, 10, ... (times a power of ten) that is ``rough`` or more."""
    power = 10.0 ** math.floor(math.log10(rough))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= rough * (1 - 1e-9))


def short(value: float) -> str:
    """Return a number in few letters: 1.5k, 21M, 0.003."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:.3g}"


@dataclass(kw_only=True)
class Chart:
    """A drawing of ``width`` by ``height`` user units with two axes; marks are added in the axes' values.

    ``tone`` is a class of the page's style: ``s1`` to ``s6`` for series, ``soft`` for what stands back.
    """

    x: Axis
    y: Axis
    width: float = 440
    height: float = 270
    left: float = 46
    right: float = 14
    top: float = 24
    bottom: float = 40
    marks: list[Html] = field(default_factory=list)

    def at(self, x: float, y: float) -> Point:
        """Return the place of a value in user units."""
        across = self.left + self.x.place(x) * (self.width - self.left - self.right)
        down = self.top + (1 - self.y.place(y)) * (self.height - self.top - self.bottom)
        return across, down

    def line(self, points: Sequence[Point], tone: str) -> None:
        """Draw a line through values."""
        places = " ".join(
            f"{across:.1f},{down:.1f}" for across, down in (self.at(*point) for point in points)
        )
        self.marks.append(element("polyline", points=places, class_=f"line {tone}"))

    def dot(self, x: float, y: float, tone: str, says: str = "", size: float = 3.5) -> None:
        """Draw a point that says something when pointed at."""
        across, down = self.at(x, y)
        told = (element("title", says),) if says else ()
        self.marks.append(element("circle", *told, cx=across, cy=down, r=size, class_=f"dot {tone}"))

    def whisker(self, x: tuple[float, float], y: tuple[float, float], tone: str) -> None:
        """Draw an interval as a line from one value to another."""
        (x1, y1), (x2, y2) = self.at(x[0], y[0]), self.at(x[1], y[1])
        self.marks.append(element("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=f"whisker {tone}"))

    def box(self, x: tuple[float, float], y: tuple[float, float], tone: str, says: str = "") -> None:
        """Fill from one value to another."""
        (x1, y1), (x2, y2) = self.at(x[0], y[0]), self.at(x[1], y[1])
        told = (element("title", says),) if says else ()
        left, top = min(x1, x2), min(y1, y2)
        size = {"width": abs(x2 - x1), "height": abs(y2 - y1)}
        self.marks.append(element("rect", *told, x=left, y=top, class_=f"box {tone}", **size))

    def say(
        self, x: float, y: float, text: str, *, anchor: str = "start", shift: Point = (0, 0), tone: str = ""
    ) -> None:
        """Write a text beside a value, ``shift`` user units away."""
        across, down = self.at(x, y)
        place = {"x": across + shift[0], "y": down + shift[1]}
        self.marks.append(element("text", text, text_anchor=anchor, class_=f"says {tone}".strip(), **place))

    def svg(self, alt: str, *, x_grid: bool = False, y_grid: bool = True, large: bool = False) -> Html:
        """Return the chart; ``alt`` says what it shows, and a ``large`` one scrolls on narrow screens."""
        tone = "chart large" if large else "chart"
        return svg(self.width, self.height, alt, *self._axes(x_grid, y_grid), *self.marks, tone=tone)

    def _axes(self, x_grid: bool, y_grid: bool) -> list[Html]:
        right, bottom = self.width - self.right, self.height - self.bottom
        drawn = []
        for value in self.y.ticks:
            down = self.at(self.x.low, value)[1]
            if y_grid:
                drawn.append(element("line", x1=self.left, y1=down, x2=right, y2=down, class_="grid"))
            drawn.append(
                element(
                    "text", self.y.label(value), x=self.left - 7, y=down + 4, text_anchor="end", class_="tick"
                )
            )
        for value in self.x.ticks:
            across = self.at(value, self.y.low)[0]
            if x_grid:
                drawn.append(element("line", x1=across, y1=self.top, x2=across, y2=bottom, class_="grid"))
            drawn.append(
                element(
                    "text", self.x.label(value), x=across, y=bottom + 16, text_anchor="middle", class_="tick"
                )
            )
        drawn.append(element("line", x1=self.left, y1=bottom, x2=right, y2=bottom, class_="rule"))
        middle = (self.left + right) / 2
        if self.x.title:
            drawn.append(
                element(
                    "text", self.x.title, x=middle, y=self.height - 6, text_anchor="middle", class_="title"
                )
            )
        if self.y.title:
            turned = f"translate(12 {(self.top + bottom) / 2:.1f}) rotate(-90)"
            drawn.append(
                element("text", self.y.title, transform=turned, text_anchor="middle", class_="title")
            )
        return drawn


def svg(width: float, height: float, alt: str, *content: Html, tone: str = "chart") -> Html:
    """Return a drawing that is as wide as its place allows, at most ``width``."""
    return element(
        "svg",
        join(content),
        viewBox=f"0 0 {width:.0f} {height:.0f}",
        width=round(width),
        height=round(height),
        role="img",
        aria_label=alt,
        class_=tone,
    )
