"""How large a pixel is: what a file says credibly, what people type, and areas as people read them.

Only TIFFs are believed. The dpi of JPEG and PNG, and usual ones of TIFF, are what a camera, a screen or a
printer was set to; they are no measurement. In this order: GeoTIFF, whose map is projected in metres;
OME-XML; Aperio; ImageJ; the resolution. A page after the first is not asked: its description may be about
another one.
"""

import contextlib
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

from PIL import Image

from vitrail.data.header import identify, open_source
from vitrail.errors import UsageError

Sides = tuple[float, float]
"""Across and down a pixel, in metres."""

UNITS = {
    "pm": 1e-12,
    "å": 1e-10,
    "nm": 1e-9,
    "um": 1e-6,
    "micron": 1e-6,
    "microns": 1e-6,
    "micrometer": 1e-6,
    "mm": 1e-3,
    "cm": 1e-2,
    "m": 1.0,
}
"""In metres. The micro sign is read as u."""
INCH = 0.0254
SETTINGS = (72, 75, 90, 96, 100, 120, 144, 150, 180, 200, 240, 300, 350, 360, 400, 600, 720, 1200)
"""The dpi that cameras, screens, scanners' programs and printers put into files."""
LEAST_DPI = 3
"""Below it a resolution is an empty field: 0, or 1 an inch or a centimetre."""
SMALLEST, LARGEST = 1e-12, 1e5
UNEVEN = 0.01
"""Sides that differ by more are not those of a square."""

DESCRIPTION, X_RESOLUTION, Y_RESOLUTION, RESOLUTION_UNIT = 270, 282, 283, 296
PIXEL_SCALE, GEO_KEYS = 33550, 34735
MODEL_TYPE, PROJECTED, CODE, METHOD, LINEAR_UNITS, METRE = 1024, 1, 3072, 3075, 3076, 9001
UNTRUE_CODES = (3857, 3785, 3395, 4087, 32662)
"""Maps of the world by Mercator and plate carrée, whose metre is one on the ground at the equator only."""
UNTRUE_METHODS = (7, 17)

MICRO = re.compile(r"(?i)\u00c2?\u00b5|\u00ce\u00bc|\u03bc|\\u0(?:0b5|3bc)|&#(?:181|956|xb5|x3bc);")
PIXELS = re.compile(r"<(?:\w+:)?Pixels\b([^>]*)>")
ATTRIBUTE = re.compile(r"(PhysicalSize[XY](?:Unit)?)\s*=\s*[\"']([^\"']*)[\"']")
MPP = re.compile(r"\|\s*MPP\s*=\s*([0-9.eE+-]+)")
UNIT_LINE = re.compile(r"^unit=(.*)$", re.MULTILINE)
TYPED = re.compile(r"\s*([0-9.]+(?:e[+-]?[0-9]+)?)\s*(\D+?)\s*", re.IGNORECASE)


def read_pixel_size(image: Image.Image) -> float | None:
    """Return the side of a pixel in metres; None where the file does not say it, or pixels are no squares."""
    return _side(read_sides(image))


def pixel_size_of(tags: Mapping[int, Any]) -> float | None:
    """Return the same of the tags of a TIFF's first page."""
    return _side(_read_tags(tags))


def _side(sides: Sides | None) -> float | None:
    return None if sides is None or uneven(sides) else math.sqrt(sides[0] * sides[1])


def uneven_sides(path: str) -> Sides | None:
    """Return the sides of a file's pixels, in metres, where it says them and they are no squares."""
    with contextlib.suppress(Exception), open_source(path) as file, identify(file) as image:
        sides = read_sides(image)
        return sides if sides and uneven(sides) else None
    return None


def uneven(sides: Sides) -> bool:
    """Return whether pixels are no squares."""
    return abs(sides[0] - sides[1]) > UNEVEN * max(sides)


def read_sides(image: Image.Image) -> Sides | None:
    """Return how far a pixel reaches across and down, of a file of which the header is read, or None."""
    tags = getattr(image, "tag_v2", None)
    if image.format != "TIFF" or not tags:
        return None
    try:
        return None if image.tell() else _read_tags(tags)
    except Exception:  # broken tags do not make a good picture a bad one
        return None


def _read_tags(tags: Mapping[int, Any]) -> Sides | None:
    try:
        sides = _sides(tags)
        return sides if sides and all(SMALLEST < side < LARGEST for side in sides) else None
    except Exception:  # as above
        return None


def _sides(tags: Mapping[int, Any]) -> Sides | None:
    if GEO_KEYS in tags:
        return _on_the_ground(tags)
    text = tags.get(DESCRIPTION)
    text = text if isinstance(text, str) else ""
    if "<OME" in text and (pixels := PIXELS.search(text)):
        told = dict(ATTRIBUTE.findall(pixels[1]))
        if "PhysicalSizeX" in told and "PhysicalSizeY" in told:
            across, down = (
                float(told[f"PhysicalSize{axis}"]) * _metres(told.get(f"PhysicalSize{axis}Unit", "um"))
                for axis in "XY"
            )
            return across, down
    if text.startswith("Aperio") and (found := MPP.search(text)):
        return float(found[1]) * 1e-6, float(found[1]) * 1e-6
    per = float(tags[X_RESOLUTION]), float(tags[Y_RESOLUTION])
    if not all(number > 0 and math.isfinite(number) for number in per):
        return None
    if text.startswith("ImageJ=") and (line := UNIT_LINE.search(text)):
        word = _plain(line[1])
        if word not in ("inch", "cm"):
            return _metres(word) / per[0], _metres(word) / per[1]
        unit = INCH if word == "inch" else 0.01
    else:
        unit = {2: INCH, 3: 0.01}.get(tags.get(RESOLUTION_UNIT, 2), math.nan)
    dpi = per[0] * INCH / unit
    if not dpi >= LEAST_DPI or any(abs(dpi - setting) < 1 for setting in SETTINGS):
        return None
    return unit / per[0], unit / per[1]


def _on_the_ground(tags: Mapping[int, Any]) -> Sides | None:
    """Return the sides that a GeoTIFF's model gives, if it is a map in metres that are true to the ground."""
    numbers = tags[GEO_KEYS]
    keys = {
        numbers[start]: numbers[start + 3]
        for start in range(4, 4 + 4 * numbers[3], 4)
        if not numbers[start + 1]  # else the number is where the value lies
    }
    metres = keys.get(LINEAR_UNITS) == METRE or (LINEAR_UNITS not in keys and _is_utm(keys.get(CODE, 0)))
    untrue = keys.get(CODE) in UNTRUE_CODES or keys.get(METHOD) in UNTRUE_METHODS
    if keys.get(MODEL_TYPE) != PROJECTED or not metres or untrue or PIXEL_SCALE not in tags:
        return None
    across, down = tags[PIXEL_SCALE][:2]
    return abs(float(across)), abs(float(down))


def _is_utm(code: int) -> bool:
    """Return whether a map is of UTM on WGS 84, which is in metres whether or not it says so."""
    return 32601 <= code <= 32660 or 32701 <= code <= 32760


def _plain(unit: str) -> str:
    return MICRO.sub("u", unit).strip().lower()


def _metres(unit: str) -> float:
    """Return a unit in metres; raises KeyError for one that is no length."""
    return UNITS[_plain(unit)]


def parse_pixel_size(text: str) -> float:
    """Return what people type, ``0.5um``, in metres; raises UsageError for what is no length."""
    found = TYPED.fullmatch(text)
    try:
        size = float(found[1]) * _metres(found[2]) if found else math.nan
    except (KeyError, ValueError):
        size = math.nan
    if not SMALLEST < size < LARGEST:
        raise UsageError(f"{text!r} is no size of a pixel: write a number and nm, um, mm, cm or m, as 0.5um.")
    return size


AREAS = (("nm²", 1e-18), ("µm²", 1e-12), ("mm²", 1e-6), ("m²", 1.0), ("km²", 1e6))


def area_unit(square_metres: Iterable[float]) -> tuple[str, float]:
    """Return the unit, and its size in square metres, in which the largest of areas is at least 1."""
    largest = max(square_metres, default=0.0)
    return next((unit for unit in reversed(AREAS) if largest >= unit[1] * (1 - 1e-9)), AREAS[0])


def in_area(square_metres: float) -> str:
    """Return an area for people, with three digits."""
    name, size = area_unit([square_metres])
    return f"{float(f'{square_metres / size:.3g}'):,.10g} {name}"
