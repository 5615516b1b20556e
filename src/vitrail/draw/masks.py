"""Masks as pictures: colours over the picture, truth beside answer and error, class numbers as a PNG."""

from __future__ import annotations

import colorsys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image, ImageColor, ImageDraw

from vitrail.draw.letters import breadth, cut, write
from vitrail.draw.palette import CATEGORIES
from vitrail.draw.sheet import Pixels, to_image
from vitrail.values import IGNORED, STRIP, Mask

Colour = tuple[int, int, int]
LARGE = 2**24
"""Pixels of masks from which on a smaller file is not worth the time."""
GROUND = ("background", "void", "other", "unlabelled", "unlabeled", "nothing")
"""What the first class is called where it is what nothing else is: it is left as the picture is."""
CLEAR: Colour = (0, 0, 0)
WRONG, UNSURE, INK, PAPER = (213, 94, 0), (150, 150, 150), "#1d2430", "#ffffff"
"""Vermilion, which is told from grey with any colour vision; what is ignored; text and what is behind it."""
STRENGTH = 0.55
"""How much of what is seen is the class's colour, and not the picture's."""


def palette_of(names: Sequence[str]) -> list[Colour]:
    """Return a colour for each class: Okabe and Ito's, then hues and lightnesses as far apart as they go.

    A first class that is a background has none: black.
    """
    ground = bool(names) and names[0].strip().lower() in GROUND
    count = len(names) - ground
    found: list[Colour] = [CLEAR] if ground else []
    for index in range(count):
        if index < len(CATEGORIES) - 1:  # black, the last one, is the picture's shadow
            red, green, blue = ImageColor.getrgb(CATEGORIES[index])[:3]
        else:
            hue, light = (index * 0.618034) % 1, (0.42, 0.58, 0.74)[index % 3]
            red, green, blue = (round(255 * part) for part in colorsys.hls_to_rgb(hue, light, 0.65))
        found.append((red, green, blue))
    return found


def mask_over(
    picture: Pixels, mask: Mask, *, strength: float = STRENGTH, outlines: bool = True
) -> Image.Image:
    """Return a picture (of the mask's size) under the colours of its classes, as RGB.

    With ``outlines`` regions have borders. A background is left clear, and so is what is ignored (255).
    """
    image, colours, (height, width) = to_image(picture), palette_of(mask.names), mask.size
    shown = np.empty((height, width, 3), np.uint8)
    rows = max(1, STRIP // width)
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        strip = np.asarray(image.crop((0, top, width, bottom)).convert("RGB"), np.float32)
        first = max(top - 1, 0)  # one more row on either side tells what is a border
        around = replace(mask, values=mask.values[..., first : bottom + 1, :], scores=None)
        for index, layer in _layers(around):
            if colours[index] == CLEAR:
                continue
            colour, own = np.array(colours[index], np.float32), slice(top - first, bottom - first)
            strip[layer[own]] += strength * (colour - strip[layer[own]])
            if outlines:
                strip[(layer & ~_inner(layer))[own]] = colour
        shown[top:bottom] = np.round(strip)
    return Image.fromarray(shown)


def outlined(picture: Pixels, layer: np.ndarray) -> Image.Image:
    """Return a picture with a light line, dark beside it, around the pixels of ``layer`` (bool ``h w``)."""
    shown = np.array(to_image(picture).convert("RGB"))
    inner = _inner(layer)
    shown[layer & ~inner] = ImageColor.getrgb(PAPER)
    shown[inner & ~_inner(inner)] = ImageColor.getrgb(INK)
    return Image.fromarray(shown)


def index_png(mask: Mask, file: str | Path | IO[bytes]) -> None:
    """Write class numbers as a PNG of mode P: its values are the classes, and it shows them in colour."""
    image = Image.fromarray(np.ascontiguousarray(mask.values, np.uint8), "P")
    colours = [*palette_of(mask.names)]
    table = [*colours, *[UNSURE] * (256 - len(colours))]
    image.putpalette([part for colour in table for part in colour])
    image.save(file, "PNG", optimize=mask.values.size < LARGE)


def truth_answer_error(
    picture: Pixels, answer: Mask, truth: np.ndarray | None = None, *, least: int = 0
) -> Image.Image:
    """Return a picture, its truth, the answer and where that is wrong beside each other, above the classes.

    In the last part right pixels are grey, wrong ones vermilion, ignored ones plain. See `answers_beside`.
    """
    return answers_beside(picture, {"answer": answer}, truth, errors=True, least=least)


def answers_beside(
    picture: Pixels,
    answers: Mapping[str, Mask],
    truth: np.ndarray | None = None,
    *,
    errors: bool = False,
    least: int = 0,
) -> Image.Image:
    """Return a picture, its truth, and answers by their titles beside each other, above the classes.

    ``truth`` is as a reader gives it, uint8 ``h w`` (or ``c h w``), 255 ignored; without one there are
    picture and answers alone. With ``errors`` each answer is followed by where it is wrong. Smaller pictures
    are enlarged, every pixel to a square, to about ``least`` pixels.
    """
    image = to_image(picture).convert("RGB")
    if (times := max(1, least // max(image.size))) > 1:
        image = image.resize((image.width * times, image.height * times), Image.Resampling.NEAREST)
        truth = None if truth is None else enlarged(truth, times)
        answers = {
            title: replace(each, values=enlarged(each.values, times), scores=None)
            for title, each in answers.items()
        }
    first = next(iter(answers.values()))
    shown, panes = list(answers.values()), [("picture", image)]
    if truth is not None:
        values = truth == 1 if first.multi else truth
        known = Mask(names=first.names, values=values, source=0, multi=first.multi)
        shown, panes = [known, *shown], [*panes, ("truth", mask_over(image, known))]
    for title, answer in answers.items():
        panes.append((title, mask_over(image, answer)))
        if errors and truth is not None:
            panes.append(("error", error(image, answer, truth)))
    unit = max(12, min(22, image.width // 14))
    side = max(image.width, 9 * unit)
    gap, line = unit // 2, round(1.6 * unit)
    width = len(panes) * (side + gap) + gap
    classes = _legend(shown, unit, width - 2 * gap)
    height = line + image.height + gap + (classes.height + gap if classes else 0)
    whole = Image.new("RGB", (width, height), PAPER)
    pen = ImageDraw.Draw(whole)
    for index, (title, pane) in enumerate(panes):
        left = gap + index * (side + gap)
        write(pen, (left, line / 2), cut(title, unit, side), unit, INK, "lm")
        whole.paste(pane, (left, line))
    if classes:
        whole.paste(classes, (gap, line + image.height + gap))
    return whole


def error(picture: Image.Image, answer: Mask, truth: np.ndarray) -> Image.Image:
    """Return where an answer is wrong, over the picture in pale grey."""
    grey = np.asarray(picture.convert("L"), np.float32)
    pale = np.repeat((150 + grey * 105 / 255)[:, :, None], 3, 2)
    known = truth != IGNORED
    wrong = (answer.values != (truth == 1 if answer.multi else truth)) & known
    if answer.multi:
        wrong, known = wrong.any(0), known.any(0)
    pale[wrong] += 0.8 * (np.array(WRONG, np.float32) - pale[wrong])
    pale[~known] = UNSURE
    return Image.fromarray(np.round(pale).astype(np.uint8))


def _layers(mask: Mask) -> list[tuple[int, np.ndarray]]:
    """Return the classes that there are with where they are, bool ``h w``."""
    if mask.multi:
        return [(index, layer) for index, layer in enumerate(mask.values) if layer.any()]
    there = [index for index in np.unique(mask.values).tolist() if index < len(mask.names)]
    return [(index, mask.values == index) for index in there]


def _inner(layer: np.ndarray) -> np.ndarray:
    """Return the pixels of a region all of whose four neighbours belong to it; the picture's border does."""
    inner = layer.copy()
    inner[1:] &= layer[:-1]
    inner[:-1] &= layer[1:]
    inner[:, 1:] &= layer[:, :-1]
    inner[:, :-1] &= layer[:, 1:]
    return inner


def enlarged(pixels: np.ndarray, times: int) -> np.ndarray:
    """Return pixels ``... h w`` as squares, so many times as large."""
    larger: np.ndarray = pixels.repeat(times, -2).repeat(times, -1)
    return larger


def _legend(masks: Sequence[Mask], unit: int, width: int) -> Image.Image | None:
    """Return the classes that masks show, each with its colour, in lines of a width."""
    shown = {index for mask in masks for index, _ in _layers(mask)}
    names = masks[0].names
    colours = palette_of(names)
    entries = [(names[index], colours[index]) for index in sorted(shown) if colours[index] != CLEAR]
    if not entries:
        return None
    line, places, left, top = round(1.5 * unit), [], 0, 0
    for name, colour in entries:
        text = cut(name, unit, width - 2 * unit)
        wide = round(breadth(text, unit) + 2.6 * unit)
        if left and left + wide > width:
            left, top = 0, top + line
        places.append((text, colour, left, top))
        left += wide
    legend = Image.new("RGB", (width, top + line), PAPER)
    pen = ImageDraw.Draw(legend)
    for text, colour, left, top in places:
        box = (left, top + (line - unit) // 2, left + unit, top + (line + unit) // 2)
        pen.rectangle(box, fill=colour)
        write(pen, (left + 1.4 * unit, top + line / 2), text, unit, INK, "lm")
    return legend
