"""Markup that cannot be broken by what it shows: whatever is not markup already is escaped."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Iterable

from vitrail.draw.sheet import Pixels, resize, to_image

VOID = frozenset(
    {"meta", "img", "br", "col", "line", "rect", "circle", "path", "polyline", "polygon", "image"}
)


class Html(str):
    """Text that is markup already."""

    __slots__ = ()


Content = str | int | float | None
"""Markup as it is, other values as escaped text, None as nothing."""


def element(name: str, /, *content: Content, **attributes: str | float | bool | None) -> Html:
    """Return ``<name attributes>content</name>``.

    In attribute names ``_`` stands for ``-``, and one at the end is dropped (``class_``). False and None
    leave an attribute out, True names it only; numbers are written to a hundredth.
    """
    written = "".join(_attribute(key, value) for key, value in attributes.items())
    if name in VOID and not content:
        return Html(f"<{name}{written}>" if name in ("meta", "img", "br", "col") else f"<{name}{written}/>")
    return Html(f"<{name}{written}>{join(content)}</{name}>")


def join(content: Iterable[Content]) -> Html:
    """Return pieces one after the other."""
    return Html(
        "".join(part if isinstance(part, Html) else escape(part) for part in content if part is not None)
    )


def escape(value: Content) -> Html:
    """Return a value as text, in which nothing is markup."""
    return Html(html.escape(str(value), quote=True))


def embed(picture: Pixels, alt: str, *, side: int = 160) -> Html:
    """Return a picture of at most ``side`` pixels as an ``img`` that needs no file beside the page."""
    image, tiny = resize(picture, side), max(to_image(picture).size) <= side // 2
    file = io.BytesIO()
    if tiny:  # enlarged pixels are few colours in squares
        image.save(file, "PNG", optimize=True)
    else:
        image.save(file, "JPEG", quality=88)
    data = base64.b64encode(file.getvalue()).decode()
    source = f"data:image/{'png' if tiny else 'jpeg'};base64,{data}"
    return element("img", src=source, alt=alt, width=image.width, height=image.height)


def _attribute(key: str, value: str | float | bool | None) -> str:
    key = key.rstrip("_").replace("_", "-")
    if value is None or value is False:
        return ""
    if value is True:
        return f" {key}"
    text = f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
    return f' {key}="{html.escape(text, quote=True)}"'
