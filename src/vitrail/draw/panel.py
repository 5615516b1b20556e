"""Pictures with what is said of them, on white: two beside each other, or many under their names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from PIL import Image, ImageDraw

from vitrail.draw.letters import breadth, broken, write

INK, SOFT, GROUND = "#1d2430", "#5a6372", "#ffffff"
UNIT, GAP = 22, 16
"""Of a sheet, in pixels: the height of its letters, and between its pictures."""


def panel(
    pictures: Sequence[Image.Image], *, title: str, lines: Sequence[str] = (), bar: Image.Image | None = None
) -> Image.Image:
    """Return pictures of one size beside each other, perhaps a bar, and what is said of them below."""
    first = pictures[0]
    unit = unit_of(first.size)
    gap = round(0.8 * unit)
    width = gap + sum(each.width + gap for each in pictures)
    width += 0 if bar is None else bar.width + gap - gap // 2
    text = words(title, lines, width - 2 * gap, unit)
    whole = Image.new("RGB", (width, 2 * gap + first.height + text.height), GROUND)
    left = gap
    for each in pictures:
        whole.paste(each, (left, gap))
        left += each.width + gap
    if bar is not None:
        whole.paste(bar, (left - gap + gap // 2, gap))
    whole.paste(text, (gap, gap + first.height + gap // 2))
    return whole


def unit_of(size: tuple[int, int]) -> int:
    """Return the height of letters beside two pictures of a size (width, height)."""
    return max(13, min(round(size[0] / 24), round(sum(size) / 42)))


def panes(
    pictures: Mapping[str, Image.Image],
    *,
    title: str,
    lines: Sequence[str] = (),
    notes: Mapping[str, str] | None = None,
    bar: Image.Image | None = None,
) -> Image.Image:
    """Return pictures of one size in rows, each under its name and perhaps a note, with a bar on top."""
    notes = notes or {}
    first = next(iter(pictures.values()))
    named = max(breadth(f"{name}  {notes.get(name, '')}".strip(), UNIT) for name in pictures)
    across, down = max(first.width, round(named)) + GAP, first.height + round(1.9 * UNIT) + GAP
    columns = columns_of(len(pictures))
    width = GAP + columns * across
    text = words(title, lines, width - 2 * GAP, UNIT)
    top = GAP + text.height + (0 if bar is None else bar.height + GAP // 2)
    whole = Image.new("RGB", (width, top + -(-len(pictures) // columns) * down), GROUND)
    whole.paste(text, (GAP, GAP))
    if bar is not None:
        whole.paste(bar, (GAP, GAP + text.height))
    pen = ImageDraw.Draw(whole)
    for index, (name, pane) in enumerate(pictures.items()):
        left, upper = GAP + index % columns * across, top + index // columns * down
        write(pen, (left, upper + 0.8 * UNIT), name, UNIT, INK, "lm")
        write(pen, (left + across - GAP, upper + 0.8 * UNIT), notes.get(name, ""), UNIT, SOFT, "rm")
        whole.paste(pane, (left, upper + round(1.7 * UNIT)))
    return whole


def columns_of(count: int) -> int:
    """Return how many of so many pictures stand in a row: 3 to 5, with the fewest empty places at the end."""
    return count if count <= 4 else min((4, 5, 3), key=lambda columns: -count % columns)


def words(title: str, lines: Sequence[str], width: int, unit: int) -> Image.Image:
    """Return a title and lines below it, broken where they are too long."""
    large = round(1.25 * unit)
    written = [(part, large, INK, round(1.8 * unit)) for part in broken(title, large, width)]
    written += [
        (part, unit, SOFT, round(1.45 * unit)) for line in lines for part in broken(line, unit, width)
    ]
    text = Image.new("RGB", (width, sum(height for *_, height in written) + unit // 2), GROUND)
    pen, top = ImageDraw.Draw(text), 0
    for part, size, ink, height in written:
        write(pen, (0, top + height / 2), part, size, ink, "lm")
        top += height
    return text


def upright_bar(
    colours: Image.Image, unit: int, ends: tuple[str, str], marks: Mapping[str, float] | None = None
) -> Image.Image:
    """Return colours, a picture with the most on top, beside what their ends mean and ``marks`` between.

    A mark is a share of the way from the foot to the top.
    """
    size, away = round(0.8 * unit), unit // 3
    marks = marks or {}
    room = max(round(breadth(word, size)) for word in (*ends, *marks))
    bar = Image.new("RGB", (colours.width + away + room, colours.height), GROUND)
    bar.paste(colours, (0, 0))
    pen = ImageDraw.Draw(bar)
    left = colours.width + away
    write(pen, (left, 0), ends[1], size, SOFT, "la")
    write(pen, (left, colours.height), ends[0], size, SOFT, "ld")
    for word, share in marks.items():
        write(pen, (left, (1 - share) * colours.height), word, size, SOFT, "lm")
    return bar


def level_bar(colours: Image.Image, unit: int, ends: tuple[str, str]) -> Image.Image:
    """Return colours, a picture with the most at its right, between what their ends mean."""
    least, most = (round(breadth(word, unit)) for word in ends)
    away = unit // 2
    bar = Image.new("RGB", (least + most + 2 * away + colours.width, round(1.4 * unit)), GROUND)
    bar.paste(colours, (least + away, (bar.height - colours.height) // 2))
    pen = ImageDraw.Draw(bar)
    write(pen, (0, bar.height / 2), ends[0], unit, SOFT, "lm")
    write(pen, (bar.width, bar.height / 2), ends[1], unit, SOFT, "rm")
    return bar
