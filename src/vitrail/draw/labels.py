"""Where the names in a chart go: how wide they are, where they break, and beside which point they fit."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

LINE = 13.0
"""From one line of text to the next, in user units."""
LONG = 110.0
"""A wider name may have two lines beside a point."""
SLIM, STOUT = frozenset("iljtfrI.,:;'|!/()[] -"), frozenset("mwMWGOQ@%")
BREAKS = (r"(?<= [-−] )", r"(?<= )", r"(?<=/)", r"(?<=[-_:.])")
"""Where a name may go on in the next line, the best place first."""

Box = tuple[float, float, float, float]
"""Left, top, right, bottom, in user units."""


@dataclass(frozen=True, kw_only=True)
class Spot:
    """A point that wants a name beside it: its centre, its size, and how far its whisker goes up and down."""

    name: str
    across: float
    down: float
    radius: float
    top: float
    bottom: float


@dataclass(frozen=True, kw_only=True)
class Label:
    """Lines of text, the first one's place (its baseline), and which end of them is there."""

    lines: Sequence[str]
    across: float
    down: float
    anchor: str
    box: Box


def breadth(text: str) -> float:
    """Return about how wide a text is, in user units, in the wider ones of the usual fonts."""
    return sum(map(_breadth, text))


def wrapped(name: str, most: float) -> list[str]:
    """Return a name in one line, or in two where it is wider than ``most`` user units.

    It breaks where its parts end: at the best of ``BREAKS`` that makes lines of ``most`` or less, else where
    the lines are narrowest. A name of one part stays whole.
    """
    if breadth(name) <= most:
        return [name]
    ways: list[list[str]] = []
    for places in BREAKS:
        ends = [found.start() for found in re.finditer(places, name) if 0 < found.start() < len(name)]
        ways += [[name[:end].strip(), name[end:].strip()] for end in ends]
        best = min(ways, key=_widest, default=[name])
        if _widest(best) <= most:
            return best
    return min(ways, key=_widest, default=[name])


def place(spots: Sequence[Spot], room: Box, lines: Sequence[Box] = ()) -> list[Label | None]:
    """Return a label for each spot, or None where none fits, so that nothing is written over anything.

    Each is tried to the right, left, above, below and at the corners, a long one in two lines as well, first
    clear of whiskers and ``lines`` too, then of points and other labels only. Who is served first matters:
    several orders are tried, and the one is taken that leaves the fewest without and then crosses the fewest
    lines.
    """
    numbers = range(len(spots))
    orders = [
        sorted(numbers, key=lambda i: (spots[i].across, spots[i].down)),
        sorted(numbers, key=lambda i: (-spots[i].across, spots[i].down)),
        sorted(numbers, key=lambda i: spots[i].down),
        sorted(numbers, key=lambda i: -spots[i].down),
        sorted(numbers, key=lambda i: -breadth(spots[i].name)),
    ]
    tried = [_place(spots, room, lines, order) for order in orders]
    thin = [*map(_whisker, spots), *lines]

    def flaws(labels: Sequence[Label | None]) -> tuple[int, int]:
        kept = [label for label in labels if label]
        crossed = sum(any(_meet(label.box, line) for line in thin) for label in kept)
        return len(labels) - len(kept), crossed

    return min(tried, key=flaws)


def _place(
    spots: Sequence[Spot], room: Box, lines: Sequence[Box], order: Sequence[int]
) -> list[Label | None]:
    """Return labels in one order of who is served first."""
    labels: list[Label | None] = [None] * len(spots)
    dots = [_around(spot) for spot in spots]
    whiskers = [_whisker(spot) for spot in spots]
    taken: list[Box] = []
    for number in order:
        name = spots[number].name
        ways = [[name]] if breadth(name) < LONG else [[name], wrapped(name, 0)]
        tries = [
            (label, hindered)
            for hindered in ([*dots, *whiskers, *lines], dots)
            for way in ways
            for label in _tries(spots[number], way)
        ]
        for label, hindered in tries:
            if _within(label.box, room) and not any(_meet(label.box, box) for box in (*taken, *hindered)):
                labels[number] = label
                taken.append(label.box)
                break
    return labels


def _tries(spot: Spot, lines: Sequence[str]) -> list[Label]:
    """Return where a name may go, best first; above and below are beyond the whisker."""
    wide, tall, away = _widest(lines), LINE * len(lines), spot.radius + 4
    x, y = spot.across, spot.down
    up, under = min(spot.top, y - spot.radius) - 3 - tall, max(spot.bottom, y + spot.radius) + 3
    sides = [
        ("start", x + away, y - tall / 2),
        ("end", x - away, y - tall / 2),
        ("middle", x, up),
        ("middle", x, under),
        *(
            (anchor, edge, top)
            for top in (y - tall - 1, y + 1)
            for anchor, edge in (("start", x + away), ("end", x - away))
        ),
        *((anchor, x, top) for top in (up, under) for anchor in ("start", "end")),
    ]
    labels = []
    for anchor, edge, top in sides:
        left = edge - {"start": 0, "middle": wide / 2, "end": wide}[anchor]
        box = (left, top, left + wide, top + tall)
        # Texts hang from their baseline, which is about a quarter of a line above the bottom of the line.
        labels.append(Label(lines=lines, across=edge, down=top + 0.76 * LINE, anchor=anchor, box=box))
    return labels


def _around(spot: Spot) -> Box:
    reach = spot.radius + 1
    return spot.across - reach, spot.down - reach, spot.across + reach, spot.down + reach


def _whisker(spot: Spot) -> Box:
    return spot.across - 2, spot.top, spot.across + 2, spot.bottom


def _meet(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _within(box: Box, room: Box) -> bool:
    return box[0] >= room[0] and box[1] >= room[1] and box[2] <= room[2] and box[3] <= room[3]


def _widest(lines: Sequence[str]) -> float:
    return max(map(breadth, lines))


def _breadth(letter: str) -> float:
    if unicodedata.east_asian_width(letter) in "WF":
        return 11.5
    if unicodedata.combining(letter):
        return 0.0
    return 4.2 if letter in SLIM else 9.6 if letter in STOUT else 7.6 if letter.isupper() else 6.4
