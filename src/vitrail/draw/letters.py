"""Letters on pictures, in any script that some font of the machine has."""

from __future__ import annotations

import logging
import unicodedata
from functools import cache, lru_cache

from PIL import ImageDraw, ImageFont

log = logging.getLogger(__name__)

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

OTHERS = (
    "NotoSans-Regular.ttf",
    "DejaVuSans.ttf",
    "segoeui.ttf",
    "Arial Unicode.ttf",
    "NotoSansCJK-Regular.ttc",
    "NotoSansCJKjp-Regular.otf",
    "NotoSansCJKsc-Regular.otf",
    "wqy-microhei.ttc",
    "wqy-zenhei.ttc",
    "DroidSansFallbackFull.ttf",
    "PingFang.ttc",
    "Hiragino Sans GB.ttc",
    "msyh.ttc",
    "YuGothM.ttc",
    "malgun.ttf",
    "AppleSDGothicNeo.ttc",
    "NotoSansArabic-Regular.ttf",
    "NotoSansHebrew-Regular.ttf",
    "NotoSansDevanagari-Regular.ttf",
    "NotoSansBengali-Regular.ttf",
    "NotoSansTamil-Regular.ttf",
    "NotoSansThai-Regular.ttf",
    "Nirmala.ttc",
    "LeelawUI.ttf",
    "unifont.otf",
)
"""Fonts of Linux, macOS and Windows that are looked for, in this order, when Pillow's own lacks a letter."""
NOTHING = "\U0010ffff"
"""What no font has: it is drawn as letters are that are missing."""
PLAIN = str.maketrans("–—−‘’“”\u00a0\u202f×", "---''\"\"  x")
"""What is written where no font has the better sign."""


def breadth(text: str, size: int) -> float:
    """Return how wide a text is in pixels."""
    return sum(_font(name, size).getlength(part) for name, part in _runs(text))


def write(
    pen: ImageDraw.ImageDraw, place: tuple[float, float], text: str, size: int, fill: str, anchor: str = "la"
) -> None:
    """Write one line of text; ``anchor`` is Pillow's, of l, m or r and a, m or d."""
    ascent, descent = _metrics(size)
    left = place[0] - {"l": 0.0, "m": 0.5, "r": 1.0}[anchor[0]] * breadth(text, size)
    base = place[1] + {"a": ascent, "m": (ascent - descent) / 2, "d": -descent}[anchor[1]]
    for name, part in _runs(text):
        font = _font(name, size)
        pen.text((left, base), part, fill=fill, font=font, anchor="ls")
        left += font.getlength(part)


def cut(text: str, size: int, width: float) -> str:
    """Return a text on one line, cut to a width in pixels with an ellipsis."""
    text = " ".join(text.split())
    if breadth(text, size) <= width:
        return text
    kept = len(text)
    while kept and breadth(text[:kept] + "…", size) > width:
        kept -= 1
    return text[:kept].rstrip() + "…"


def broken(text: str, size: int, width: float) -> list[str]:
    """Return a text in lines of at most ``width`` pixels; a word that is longer is cut in pieces."""
    lines: list[str] = []
    for word in text.split():
        if lines and breadth(f"{lines[-1]} {word}", size) <= width:
            lines[-1] += f" {word}"
            continue
        while breadth(word, size) > width and len(word) > 1:
            kept = len(word) - 1
            while kept > 1 and breadth(word[:kept], size) > width:
                kept -= 1
            lines.append(word[:kept])
            word = word[kept:]
        lines.append(word)
    return lines


@lru_cache(4096)
def _runs(text: str) -> tuple[tuple[str, str], ...]:
    """Return a text as parts, each with the name of a font that has its letters (none: Pillow's own).

    One font for all of it is best; what no font has is spelt in letters that there are.
    """
    text = unicodedata.normalize("NFC", text)
    for name in ("", *OTHERS):
        if all(_has(name, letter) for letter in text):
            return ((name, text),)
    runs: list[tuple[str, str]] = []
    spelt = False
    for letter in text:
        if unicodedata.category(letter)[0] in "MC":  # marks and joiners go with the letter before them
            name, written = (runs[-1][0] if runs else ""), "" if spelt else letter
        else:
            name, written = _found(letter)
            spelt = written != letter
        if runs and runs[-1][0] == name:
            runs[-1] = name, runs[-1][1] + written
        else:
            runs.append((name, written))
    return tuple(runs)


@cache
def _found(letter: str) -> tuple[str, str]:
    """Return the first font that has a letter, and how it is written in it."""
    for name in ("", *OTHERS):
        if _has(name, letter):
            return name, letter
    plain = "".join(
        each for each in unicodedata.normalize("NFKD", letter) if not unicodedata.combining(each)
    ).translate(PLAIN)
    if plain and all(_has("", each) for each in plain):
        return "", plain
    _warn()
    return "", f"[U+{ord(letter):04X}]"


@cache
def _warn() -> None:
    log.warning("Letters that no font here has are written as their numbers on pictures: install Noto Sans.")


@cache
def _has(name: str, letter: str) -> bool:
    """Whether a font has a letter: a missing one is drawn as what no font has."""
    if letter == " ":
        return True
    if not _there(name):
        return False
    font = _font(name, 24)
    drawn, missing = font.getmask(letter), font.getmask(NOTHING)
    return bool(drawn.size != missing.size or bytes(drawn) != bytes(missing))


@cache
def _there(name: str) -> bool:
    """Whether this machine has a font; looking for one that it has not takes a while."""
    try:
        _font(name, 24)
    except OSError:
        return False
    return True


@lru_cache(64)
def _font(name: str, size: int) -> Font:
    return ImageFont.truetype(name, size) if name else ImageFont.load_default(size)


def _metrics(size: int) -> tuple[int, int]:
    """Return how far Pillow's own font goes above and below the line, in pixels."""
    font = _font("", size)
    return font.getmetrics() if isinstance(font, ImageFont.FreeTypeFont) else (size, 0)
