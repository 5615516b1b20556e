"""What is asked about pixels: of people in pixels of a picture, of a model in those of its canvas."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from vitrail.errors import UsageError
from vitrail.explain import Region, Versus
from vitrail.heads.dense import Box
from vitrail.values import Frame, Mask, Size


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
