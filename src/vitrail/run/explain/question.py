"""What is asked about pixels: by people in pixels of a picture, of a model in those of its canvas."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch

from vitrail.contracts import Task
from vitrail.data.faults import Unreadable
from vitrail.data.windows import Windows, fullest
from vitrail.errors import UsageError
from vitrail.explain import Region, Versus
from vitrail.heads.dense import Box
from vitrail.models.vision import Vision
from vitrail.run.answer import answer_batch, views_of
from vitrail.values import Batch, Frame, Mask, Size

if TYPE_CHECKING:
    from vitrail.run.asked import Picture
    from vitrail.run.predict import Predictor


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What a model sees, uint8 ``h w c``, and where that lies on the picture.

    Of a picture that is larger than that there is the ``answer`` to all of it.
    """

    canvas: np.ndarray
    frame: Frame
    answer: Mask | None = None


def see(predictor: Predictor, picture: Picture, about: Any) -> Seen | Unreadable:
    """Return what is looked at of a picture to explain its answer, or why it cannot be read.

    Of one that is seen in windows, that is the window around the region that is asked about, or the one that
    has most pixels of the class. Raises UsageError for a region that is larger than a window.
    """
    views = predictor.views(picture)
    if isinstance(views, Unreadable):
        return views
    try:
        if not isinstance(views, Windows) or len(views) == 1:
            canvas, frame = next(iter(views))
            return Seen(canvas=canvas, frame=frame)
        preprocess, task = views.preprocess, cast(Task, predictor.contract.task)
        batch = views_of([views], preprocess)
        (answer,) = answer_batch(predictor.model, batch, predictor.engine, preprocess, scores=False)
        assert isinstance(answer, Mask), "what is seen in windows is answered by pixels"
        canvas, frame = views.at(corner_of(settled(about, answer, task.about), answer, preprocess.size))
        return Seen(canvas=canvas, frame=frame, answer=answer)
    except Unreadable as fault:  # what is read while it is looked at
        return fault


def corner_of(about: Any, answer: Mask, window: Size) -> tuple[int, int]:
    """Return the upper left corner (y, x) of the window in which pixels are explained."""
    region = about.a if isinstance(about, Versus) else about
    if not isinstance(region, Region) or region.box is None:
        rows, columns = fullest(pixels_of(about, answer), window)
        return rows.start, columns.start
    left, top, right, bottom = region.box
    if right - left > window[1] or bottom - top > window[0]:
        raise UsageError(
            f"the box is {right - left:g} wide and {bottom - top:g} high, and the model sees {window[1]} x "
            f"{window[0]} pixels at once: ask about a part of it."
        )
    wanted = (top + bottom - window[0]) / 2, (left + right - window[1]) / 2
    y, x = (
        round(min(max(0, start), max(0, side - length)))
        for start, side, length in zip(wanted, answer.size, window, strict=True)
    )
    return y, x


def settled(about: Any, answer: Mask, usual: Callable[[Mask], str]) -> Any:
    """Return what is asked about an answer with no class left open: what is ``usual`` of it, or of a box."""
    if isinstance(about, Versus):
        return Versus(settled(about.a, answer, usual), settled(about.b, answer, usual))
    if isinstance(about, Region) and about.box is not None:
        box = inside(about.box, answer.size)
        return replace(about, box=box, label=usual(part(answer, box)) if about.label is None else about.label)
    label = about.label if isinstance(about, Region) else about
    return usual(answer) if label is None else label


def on_canvas(about: Any, frame: Frame) -> Any:
    """Return what a model is asked on its canvas for what people ask (see `settled`).

    One class rather than another is asked of the same pixels: those that are answered as the first.
    """
    if isinstance(about, Versus):
        a, b = on_canvas(about.a, frame), on_canvas(about.b, frame)
        return Versus(a, replace(b, box=a.box, where=a.label))
    region = about if isinstance(about, Region) else Region(label=about)
    return region if region.box is None else replace(region, box=_moved(region.box, frame))


def together(asked: Sequence[Any]) -> Any:
    """Return what is asked of each sample as what a batch is asked."""
    if isinstance(asked[0], Versus):
        return Versus([each.a for each in asked], [each.b for each in asked])
    return [*asked]


def asked_of(model: Vision, batch: Batch, told: Sequence[Any]) -> Any:
    """Return what a model is asked of a batch, for what people ask of each sample, about pixels that stay."""
    frames = batch.frames or [Frame(size=(1, 1))] * len(told)
    asked = together([on_canvas(*each) for each in zip(told, frames, strict=True)])
    with torch.no_grad():
        return fixed(model.head, model.outputs(batch), asked)


def fixed(head: Any, output: Any, asked: Any) -> Any:
    """Return what a batch is asked, about the pixels that count now, whatever becomes of the pictures."""
    if isinstance(asked, Versus):
        return Versus(head.fixed(output, asked.a), head.fixed(output, asked.b))
    return head.fixed(output, asked)


def pixels_of(about: Any, answer: Mask) -> np.ndarray:
    """Return the pixels that an explanation is about, bool ``h w``."""
    region = about.a if isinstance(about, Versus) else about
    region = region if isinstance(region, Region) else Region(label=region)
    label = region.label
    index = label if isinstance(label, int) else answer.names.index(str(label))
    layer: np.ndarray = answer.values[index] if answer.multi else answer.values == index
    if region.box is None:
        return layer
    left, top, right, bottom = (round(side) for side in region.box)
    found = np.zeros_like(layer)
    found[top:bottom, left:right] = layer[top:bottom, left:right]
    return found


def part(answer: Mask, box: Box) -> Mask:
    """Return the answer to a part of a picture."""
    left, top, right, bottom = (round(side) for side in box)
    return replace(answer, values=answer.values[..., top:bottom, left:right], scores=None)


def inside(box: Box, size: Size) -> Box:
    """Return the part of a box that lies on a picture. Raises UsageError when there is none."""
    left, top, right, bottom = box
    left, top, right, bottom = max(0, left), max(0, top), min(size[1], right), min(size[0], bottom)
    if round(right) <= round(left) or round(bottom) <= round(top):
        raise UsageError(
            f"the box {' '.join(f'{side:g}' for side in box)} (left, top, right, bottom) has no pixel of a "
            f"picture {size[0]} high and {size[1]} wide."
        )
    return left, top, right, bottom


def in_words(about: Any) -> str:
    """Return what an explanation is about, for people."""
    if isinstance(about, Versus):
        return f"{in_words(about.a)} rather than {in_words(about.b)}"
    if isinstance(about, Region) and about.box is not None:
        left, top, right, bottom = (f"{side:g}" for side in about.box)
        return f"{about.label} in {left}, {top} to {right}, {bottom}"
    return str(about.label if isinstance(about, Region) else about)


def _moved(box: Box, frame: Frame) -> Box:
    a, b, c, d, e, f = frame.matrix
    left, top, right, bottom = box
    corners = [(a * x + b * y + c, d * x + e * y + f) for x in (left, right) for y in (top, bottom)]
    across, down = zip(*corners, strict=True)
    return min(across), min(down), max(across), max(down)
