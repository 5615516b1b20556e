"""An explanation as a picture: the original beside its heat, with a colour bar and what it is about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from vitrail.draw.overlay import heat_at, overlay
from vitrail.draw.palette import heat_colours, paint_heat
from vitrail.draw.panel import UNIT, level_bar, panel, panes, unit_of, upright_bar
from vitrail.draw.sheet import Pixels, to_image
from vitrail.values import Frame, Size

ENDS = ("none", "most")
"""What the ends of the colours mean."""
LEAST = 384
"""Pictures whose longer side has fewer pixels are enlarged by a whole number, so that they can be seen."""
CELL = 12
"""From so many pixels a side on, cells are drawn with thin lines between them."""
FINE = 800
"""Lines between cells are as wide as this part of the picture's longer side."""
LEVELS = (0.25, 0.5, 0.75)
"""Contours: the shares of the strongest heat that they run along."""
COARSE = 28
"""Contours of maps with more cells than this a side are those of means: single pixels have no outline."""
DARK, LIGHT = (10, 12, 24), (176, 182, 205)
"""The edges of light and of dark contours."""
PANE = 336
"""The longer side of a picture on a sheet."""


def heat_over(
    picture: Pixels, values: np.ndarray, frame: Frame, canvas: Size, *, contours: bool = False
) -> Image.Image:
    """Return a picture under the colours of its heat, or with ``contours`` under lines of equal heat.

    ``values`` (``h w``) cover the ``canvas`` that the ``frame`` lays on the picture. The strongest colour is
    that of the hottest cell, or of all but one in 200 where there are so many: single pixels would leave the
    rest dark. Between the middles of cells colours go over evenly, and lines show how large cells are.
    """
    image = to_image(picture)
    values = np.minimum(values, np.quantile(values, 0.995, method="higher"))
    drawn = (
        _contours(image, values, frame, canvas)
        if contours
        else overlay(image, values, frame=frame, canvas=canvas)
    )
    return _ruled(drawn, (values.shape[0], values.shape[1]), frame, canvas)


def explained(
    picture: Pixels,
    values: np.ndarray,
    frame: Frame,
    canvas: Size,
    *,
    title: str,
    lines: Sequence[str] = (),
    contours: bool = False,
) -> Image.Image:
    """Return the picture beside its heat at its full resolution, a colour bar, and what is said of it."""
    image, frame = large(to_image(picture).convert("RGB"), frame)
    hot = heat_over(image, values, frame, canvas, contours=contours)
    unit = unit_of(image.size)
    marks = (
        {f"{100 * level:.0f} %": level for level in LEVELS} if contours and image.height > 8 * unit else None
    )
    bar = upright_bar(
        _colours(max(12, unit), image.height, contours).rotate(90, expand=True), unit, ENDS, marks
    )
    return panel([image, hot], title=title, lines=lines, bar=bar)


def explained_sheet(
    picture: Pixels,
    heats: Mapping[str, np.ndarray],
    frame: Frame,
    canvas: Size,
    *,
    title: str,
    lines: Sequence[str] = (),
    notes: Mapping[str, str] | None = None,
    contours: bool = False,
) -> Image.Image:
    """Return one picture and all its heat maps (``h w`` by name, perhaps with notes) on one sheet."""
    image, frame = sized(to_image(picture).convert("RGB"), frame, PANE)
    drawn = {"picture": image} | {
        name: heat_over(image, values, frame, canvas, contours=contours) for name, values in heats.items()
    }
    bar = level_bar(_colours(round(0.9 * UNIT), 10 * UNIT, contours), UNIT, ENDS)
    return panes(drawn, title=title, lines=lines, notes=notes, bar=bar)


def _colours(thick: int, long: int, contours: bool) -> Image.Image:
    """Return the colours from none to the most, ``long`` pixels; overlays have them over dark and light."""
    if contours:
        return Image.fromarray(heat_colours()[None].copy()).resize((long, thick))
    ground = np.ascontiguousarray(np.broadcast_to(np.linspace(0, 255, thick)[:, None], (thick, long)))
    return overlay(ground.astype(np.uint8), np.linspace(0, 1, 256)[None])


def large(image: Image.Image, frame: Frame) -> tuple[Image.Image, Frame]:
    """Enlarge a small picture by a whole number, every pixel to a square."""
    factor = -(-LEAST // max(image.size))
    if factor == 1:
        return image, frame
    size = (image.width * factor, image.height * factor)
    return image.resize(size, Image.Resampling.NEAREST), _scaled(frame, size)


def sized(image: Image.Image, frame: Frame, side: int) -> tuple[Image.Image, Frame]:
    """Bring a picture's longer side to ``side`` pixels."""
    scale = side / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    way = Image.Resampling.NEAREST if scale >= 2 else Image.Resampling.LANCZOS
    return image.resize(size, way), _scaled(frame, size)


def _scaled(frame: Frame, size: tuple[int, int]) -> Frame:
    """Return how a canvas lies on a picture that was brought to another size (width, height)."""
    across, down = frame.size[1] / size[0], frame.size[0] / size[1]
    a, b, c, d, e, f = frame.matrix
    matrix = (a * across, b * down, c, d * across, e * down, f)
    return Frame(size=(size[1], size[0]), matrix=matrix)


def _ruled(image: Image.Image, grid: Size, frame: Frame, canvas: Size) -> Image.Image:
    """Draw thin lines between cells that are large enough, on the part of the picture that the model saw."""
    a, b, c, d, e, f = frame.matrix
    if b or d or not a or not e:
        return image
    xs = [(column * canvas[1] / grid[1] - c) / a for column in range(grid[1] + 1)]
    ys = [(row * canvas[0] / grid[0] - f) / e for row in range(grid[0] + 1)]
    if min(abs(xs[1] - xs[0]), abs(ys[1] - ys[0])) < CELL:
        return image
    left, right = max(0.0, min(xs)), min(image.width - 1.0, max(xs))
    top, bottom = max(0.0, min(ys)), min(image.height - 1.0, max(ys))
    lines = Image.new("L", image.size)
    pen, wide = ImageDraw.Draw(lines), max(1, round(max(image.size) / FINE))
    for x in xs:
        pen.line((x, top, x, bottom), fill=46, width=wide)
    for y in ys:
        pen.line((left, y, right, y), fill=46, width=wide)
    return Image.composite(Image.new("RGB", image.size, "white"), image, lines)


def _contours(image: Image.Image, values: np.ndarray, frame: Frame, canvas: Size) -> Image.Image:
    """Draw lines of equal heat on the picture, each in its colour with an edge that stands out from it."""
    heat, seen = heat_at(_coarse(values), (image.width, image.height), frame, canvas)
    image = image.convert("RGB")
    width = max(1, round(max(image.size) / 300))
    # What the model did not see has no heat, and its outline is no line of equal heat.
    within = np.asarray(Image.fromarray(seen.astype(np.uint8)).filter(ImageFilter.MinFilter(4 * width + 1)))
    for level in LEVELS:
        above = Image.fromarray(((heat >= level) * 255).astype(np.uint8))
        own = tuple(paint_heat(np.array(level)).tolist())
        for reach, colour in ((2 * width, DARK if sum(own) > 300 else LIGHT), (width, own)):
            inner = above.filter(ImageFilter.MinFilter(2 * reach + 1))
            outer = above.filter(ImageFilter.MaxFilter(2 * (reach - width) + 1)) if reach > width else above
            line = Image.fromarray(np.asarray(outer) & ~np.asarray(inner) & (255 * within))
            image.paste(Image.new("RGB", image.size, colour), mask=line)
    return image


def _coarse(values: np.ndarray) -> np.ndarray:
    """Return means over larger cells where there are more than `COARSE` a side."""
    longer = max(values.shape)
    if longer <= COARSE:
        return values
    height, width = (max(1, round(side * COARSE / longer)) for side in values.shape)
    whole = Image.fromarray(np.asarray(values, np.float32))
    return np.asarray(whole.resize((width, height), Image.Resampling.BOX))
