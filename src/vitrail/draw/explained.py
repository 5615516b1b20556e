"""An explanation as a picture: the original beside its heat, with a colour bar and what it is about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from vitrail.draw.overlay import heat_at, overlay
from vitrail.draw.palette import heat_colours, paint_heat
from vitrail.draw.sheet import Pixels, to_image
from vitrail.values import Frame, Size

INK, SOFT, GROUND = "#1d2430", "#5a6372", "#ffffff"
LEAST = 384
"""Pictures whose longer side has fewer pixels are enlarged by a whole number, so that they can be seen."""
CELL = 12
"""From so many pixels a side on, cells are drawn with thin lines between them."""
LEVELS = (0.25, 0.5, 0.75)
"""Contours: the shares of the strongest heat that they run along."""
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
    image, frame = _large(to_image(picture).convert("RGB"), frame)
    hot = heat_over(image, values, frame, canvas, contours=contours)
    unit = max(13, min(round(image.width / 24), round((image.width + image.height) / 42)))
    gap = round(0.8 * unit)
    bar = _bar(image.height, unit)
    width = 3 * gap + 2 * image.width + gap // 2 + bar.width + gap
    text = _words(title, lines, width - 2 * gap, unit)
    panel = Image.new("RGB", (width, 2 * gap + image.height + text.height), GROUND)
    panel.paste(image, (gap, gap))
    panel.paste(hot, (2 * gap + image.width, gap))
    panel.paste(bar, (2 * gap + 2 * image.width + gap // 2, gap))
    panel.paste(text, (gap, gap + image.height + gap // 2))
    return panel


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
    image, frame = _sized(to_image(picture).convert("RGB"), frame, PANE)
    panes = {"picture": image} | {
        name: heat_over(image, values, frame, canvas, contours=contours) for name, values in heats.items()
    }
    columns = min(4, len(panes))
    unit, gap = 22, 16
    across, down = image.width + gap, image.height + round(1.9 * unit) + gap
    width = gap + columns * across
    text = _words(title, lines, width - 2 * gap, unit)
    top = gap + text.height
    whole = Image.new("RGB", (width, top + -(-len(panes) // columns) * down), GROUND)
    whole.paste(text, (gap, gap))
    pen, font = ImageDraw.Draw(whole), ImageFont.load_default(unit)
    for index, (name, pane) in enumerate(panes.items()):
        left, upper = gap + index % columns * across, top + index // columns * down
        pen.text((left, upper + 0.8 * unit), name, fill=INK, font=font, anchor="lm")
        note = (notes or {}).get(name, "")
        pen.text((left + image.width, upper + 0.8 * unit), note, fill=SOFT, font=font, anchor="rm")
        whole.paste(pane, (left, upper + round(1.7 * unit)))
    return whole


def _large(image: Image.Image, frame: Frame) -> tuple[Image.Image, Frame]:
    """Enlarge a small picture by a whole number, every pixel to a square."""
    factor = -(-LEAST // max(image.size))
    if factor == 1:
        return image, frame
    size = (image.width * factor, image.height * factor)
    return image.resize(size, Image.Resampling.NEAREST), _scaled(frame, size)


def _sized(image: Image.Image, frame: Frame, side: int) -> tuple[Image.Image, Frame]:
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
    pen = ImageDraw.Draw(lines)
    for x in xs:
        pen.line((x, top, x, bottom), fill=46)
    for y in ys:
        pen.line((left, y, right, y), fill=46)
    return Image.composite(Image.new("RGB", image.size, "white"), image, lines)


def _contours(image: Image.Image, values: np.ndarray, frame: Frame, canvas: Size) -> Image.Image:
    """Draw lines of equal heat on the picture, each in its colour with a dark edge."""
    heat, seen = heat_at(values, (image.width, image.height), frame, canvas)
    image = image.convert("RGB")
    width = max(1, round(max(image.size) / 300))
    # What the model did not see has no heat, and its outline is no line of equal heat.
    within = np.asarray(Image.fromarray(seen.astype(np.uint8)).filter(ImageFilter.MinFilter(4 * width + 1)))
    for level in LEVELS:
        above = Image.fromarray(((heat >= level) * 255).astype(np.uint8))
        for reach, colour in (
            (2 * width, (10, 12, 24)),
            (width, tuple(paint_heat(np.array(level)).tolist())),
        ):
            inner = above.filter(ImageFilter.MinFilter(2 * reach + 1))
            outer = above.filter(ImageFilter.MaxFilter(2 * (reach - width) + 1)) if reach > width else above
            line = Image.fromarray(np.asarray(outer) & ~np.asarray(inner) & (255 * within))
            image.paste(Image.new("RGB", image.size, colour), mask=line)
    return image


def _bar(height: int, unit: int) -> Image.Image:
    """Return the colours from none, at the foot, to the most."""
    font = ImageFont.load_default(round(0.8 * unit))
    words = ("most", "none")
    room = max(round(font.getlength(word)) for word in words)
    wide = max(8, round(0.8 * unit))
    bar = Image.new("RGB", (wide + unit // 3 + room, height), GROUND)
    colours = Image.fromarray(heat_colours()[::-1][:, None].copy()).resize((wide, height))
    bar.paste(colours, (0, 0))
    pen = ImageDraw.Draw(bar)
    pen.text((wide + unit // 3, 0), words[0], fill=SOFT, font=font, anchor="la")
    pen.text((wide + unit // 3, height), words[1], fill=SOFT, font=font, anchor="ld")
    return bar


def _words(title: str, lines: Sequence[str], width: int, unit: int) -> Image.Image:
    """Return a title and lines below it, broken where they are too long."""
    large, small = ImageFont.load_default(round(1.25 * unit)), ImageFont.load_default(unit)
    written = [(part, large, INK, round(1.8 * unit)) for part in _broken(title, large, width)]
    written += [
        (part, small, SOFT, round(1.45 * unit)) for line in lines for part in _broken(line, small, width)
    ]
    text = Image.new("RGB", (width, sum(height for *_, height in written) + unit // 2), GROUND)
    pen, top = ImageDraw.Draw(text), 0
    for part, font, ink, height in written:
        pen.text((0, top + height / 2), part, fill=ink, font=font, anchor="lm")
        top += height
    return text


def _broken(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> list[str]:
    """Return a text in lines of at most ``width`` pixels; a longer word stands alone."""
    lines: list[str] = []
    for word in text.split():
        if lines and font.getlength(f"{lines[-1]} {word}") <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines
