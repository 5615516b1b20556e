"""One page that needs nothing but itself: light and dark, wide, narrow and on paper."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from vitrail.draw.html import Content, Html, element, embed
from vitrail.draw.sheet import Pixels
from vitrail.values import Estimate

THUMBNAIL = 144
"""The side of a picture in a gallery, in pixels."""
LISTED = 5
"""Pages of so many sections or more have a list of contents."""
LONG = 25
"""Tables of more rows scroll within themselves."""
FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""What a text begins with that a spreadsheet may run."""


@dataclass(frozen=True, kw_only=True)
class Shown:
    """A picture with its words; ``tone`` is ``good`` or ``bad`` where the answer was right or wrong."""

    picture: Pixels
    caption: str
    remark: str = ""
    tone: str = ""


@dataclass(frozen=True, kw_only=True)
class Section:
    """A part of a page; the page's contents list its ``title``."""

    title: str
    content: Sequence[Html]
    lead: str = ""

    @property
    def anchor(self) -> str:
        """The name that a link within the page calls it by."""
        return "".join(letter if letter.isalnum() else "-" for letter in self.title.lower())


def page(title: str, head: Html, sections: Sequence[Section], foot: Html) -> str:
    """Return a whole page: ``head`` first, then the sections, beside a list of them when there are many."""
    script, style = _read("page.js"), _read("page.css")
    allowed = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = (
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{allowed}'; base-uri 'none'; form-action 'none'"
    )
    listed = len(sections) >= LISTED
    links = [element("li", element("a", each.title, href=f"#{each.anchor}")) for each in sections]
    contents = element("nav", element("ol", *links), aria_label="Contents", class_="contents")
    document = element(
        "html",
        element(
            "head",
            element("meta", charset="utf-8"),
            element("meta", http_equiv="Content-Security-Policy", content=policy),
            element("meta", name="viewport", content="width=device-width, initial-scale=1"),
            element("meta", name="color-scheme", content="light dark"),
            element("meta", name="generator", content="Vitrail"),
            element("title", title),
            element("style", Html(style)),
        ),
        element(
            "body",
            element("a", "Skip to the results", href="#main", class_="skip"),
            element("div", class_="glass", aria_hidden="true"),
            element("header", head, class_="wide"),
            element(
                "div",
                contents if listed else None,
                element("main", *map(_section, sections), id="main"),
                class_="wide columns" if listed else "wide",
            ),
            element("footer", foot, class_="wide"),
            element("script", Html(script)),
        ),
        lang="en",
    )
    return f"<!doctype html>\n{document}\n"


def facts(values: Mapping[str, str]) -> Html:
    """Return names with their values, as many beside each other as there is room for."""
    pairs = (
        element("div", element("dt", name), element("dd", value, title=value))
        for name, value in values.items()
    )
    return element("dl", *pairs, class_="facts")


@dataclass(frozen=True, kw_only=True)
class Cell:
    """What a table's cell shows, and the number it is sorted by."""

    shown: Content
    order: float | str
    tone: str = "number"


Row = Sequence[Content | Cell]
"""What a table's row shows, its name first."""


def table(caption: str, header: Sequence[str], rows: Sequence[Row], *, sortable: bool = True) -> Html:
    """Return a table that scrolls within itself when it is too large; the first column names the row."""
    heads = []
    for index, name in enumerate(header):
        below = rows[0][index] if rows else None
        tone = below.tone if isinstance(below, Cell) else ""
        label = element("button", name, type="button") if sortable and len(rows) > 1 else name
        heads.append(element("th", label, scope="col", class_=tone or None))
    body = [element("tr", *(_cell(value, index) for index, value in enumerate(row))) for row in rows]
    whole = element(
        "table",
        element("caption", caption, class_="unseen"),
        element("thead", element("tr", *heads)),
        element("tbody", *body),
        data_sortable=sortable and len(rows) > 1,
    )
    tone = "scroll long" if len(rows) > LONG else "scroll"
    return element("div", whole, class_=tone, role="region", tabindex="0", aria_label=caption)


def gallery(
    pictures: Sequence[Shown],
    *,
    side: int = THUMBNAIL,
    wide: bool = False,
    wider: bool = False,
    alone: bool = False,
) -> Html:
    """Return pictures with their captions, as many beside each other as there is room for.

    Each is shown in a square, or as it is when ``wide`` or ``wider``; one below the other when ``alone``.
    """
    figures = []
    for each in pictures:
        alt = ", ".join(filter(None, (each.caption, each.remark)))
        words = [element("strong", each.caption)] if each.caption else []
        if each.remark:
            words.append(element("span", each.remark))
        caption = element("figcaption", *words) if words else None
        figures.append(
            element(
                "figure",
                embed(each.picture, alt, side=side),
                caption,
                class_=each.tone or None,
                title=alt or None,
            )
        )
    tone = " widest" if alone else " wider broad" if wider else " wider" if wide else ""
    return element("div", *figures, class_=f"gallery{tone}")


def figure(drawing: Html, caption: Content = None, title: str = "", link: Html | None = None) -> Html:
    """Return a drawing with a title above and a caption below.

    The ``link``, such as a `download`, is beside the title, or in the caption where there is no title.
    """
    above = element("h3", title) if title else None
    if above and link:
        above, link = element("div", above, link, class_="titled"), None
    below = (
        element("figcaption", caption, Html(" ") if caption and link else None, link)
        if caption or link
        else None
    )
    return element("figure", above, drawing, below, class_="plot")


def csv_text(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return a table as CSV (RFC 4180): numbers in full, nothing for None and for what is not a number.

    A text that a spreadsheet would run as a formula gets an apostrophe before it.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerows([_csv_cell(value) for value in row] for row in (columns, *rows))
    return text.getvalue()


def download(name: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> Html:
    """Return a link that saves a table as the file ``name``, such as ``robustness.csv``.

    The table is within the link, and browsers take links of up to about a million letters.
    """
    data = base64.b64encode(csv_text(columns, rows).encode()).decode()
    source = f"data:text/csv;charset=utf-8;base64,{data}"
    return element("a", "CSV", href=source, download=name, class_="download", aria_label=f"CSV: {name}")


def beside(*parts: Html) -> Html:
    """Return parts side by side where there is room, else one below the other."""
    return element("div", *parts, class_="beside")


def folded(summary: str, *content: Html, opened: bool = False) -> Html:
    """Return content that is unfolded by a click."""
    return element("details", element("summary", summary), *content, open=opened)


def paragraph(*content: Content, tone: str | None = None) -> Html:
    """Return a paragraph."""
    return element("p", *content, class_=tone)


def code(text: str) -> Html:
    """Return commands or JSON, letter by letter."""
    return element("pre", element("code", text), tabindex="0")


def commands(lines: Mapping[str, str]) -> Html:
    """Return command lines, each below what it is for."""
    blocks = (element("div", element("h3", purpose), code(line)) for purpose, line in lines.items())
    return element("div", *blocks, class_="commands")


def range_bar(value: Estimate, low: float = 0.0, high: float = 1.0, mark: float | None = None) -> Html:
    """Return a value with its interval on a track from ``low`` to ``high``, and another to ``mark``."""
    if not math.isfinite(value.value):
        return Html()

    def place(number: float) -> str:
        number = number if math.isfinite(number) else value.value
        return f"{100 * min(max((number - low) / (high - low), 0), 1):.2f}%"

    style = f"--at:{place(value.value)};--from:{place(value.low)};--to:{place(value.high)}"
    other = None if mark is None else element("i", style=f"left:{place(mark)}")
    return element("span", other, class_="range", style=style, aria_hidden="true")


def brand(words: str) -> Html:
    """Return Vitrail's mark, a window of coloured panes held by one frame, and its name with a few words."""
    return element("div", Html(_read("logo.svg")), paragraph("Vitrail · ", words), class_="brand")


def _section(section: Section) -> Html:
    lead = paragraph(section.lead, tone="lead") if section.lead else None
    return element("section", element("h2", section.title), lead, *section.content, id=section.anchor)


def _csv_cell(value: object) -> object:
    if isinstance(value, float | np.floating):
        return "" if math.isnan(value) else repr(float(value))
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value


def _cell(value: Content | Cell, index: int) -> Html:
    if isinstance(value, Cell):
        return element("td", value.shown, class_=value.tone or None, data_order=_order(value.order))
    return element("th", value, scope="row") if index == 0 else element("td", value)


def _order(order: float | str) -> str:
    return order if isinstance(order, str) else "" if math.isnan(order) else repr(float(order))


@cache
def _read(name: str) -> str:
    return Path(__file__).with_name(name).read_text(encoding="utf-8")
