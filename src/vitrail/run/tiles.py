"""Answers to pictures that are seen in windows: laid over each other smoothly, a row of windows at a time."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import groupby

import numpy as np
import torch
from torch import Tensor

from vitrail.data.preprocess import Preprocess
from vitrail.heads.dense import Pixelwise
from vitrail.models.vision import Vision
from vitrail.run.engine import Engine
from vitrail.values import Batch, Frame, Mask

ROOM = 2_000_000
"""Pixels of windows that are looked at together."""

Part = tuple[Frame, Tensor]
"""Where a window lies, and the logits ``c h w`` of its pixels."""


def answer_windows(
    model: Vision, batch: Batch, engine: Engine, preprocess: Preprocess, overlap: int
) -> list[Mask]:
    """Answer the pictures whose windows a batch holds; neighbours share ``overlap`` pixels or more."""
    logits = _logits(model, batch, engine, preprocess)
    parts = zip(batch.owners, zip(batch.frames, logits, strict=True), strict=True)
    return [
        replace(joined(model, (part for _, part in windows), overlap), source=owner)
        for owner, windows in groupby(parts, key=lambda each: each[0])
    ]


def _logits(model: Vision, batch: Batch, engine: Engine, preprocess: Preprocess) -> Iterator[Tensor]:
    """Yield the logits ``c h w`` of each window."""
    pixels = batch.pixels["image"]
    some = max(1, ROOM // (preprocess.size[0] * preprocess.size[1]))
    for start in range(0, len(pixels), some):
        part = Batch(keys=(), pixels={"image": pixels[start : start + some]})
        output: Pixelwise = model.outputs(engine.ready(part, preprocess))
        yield from output.logits.float()


def joined(model: Vision, parts: Iterable[Part], overlap: int) -> Mask:
    """Return the answer to one picture from its windows, which come row by row.

    Where windows share pixels their logits are averaged, with weights that rise smoothly from 0 to 1 over the
    middle half of ``overlap``. So a network that sees no further than a quarter of the overlap answers as it
    would answer the whole picture. One row of windows is held at a time, and what the next one shares.
    """
    strips: list[Mask] = []
    above = None  # what the row above has of pixels that the next shares with it: weighted logits, weights
    rows = _rows(parts)
    row = next(rows)
    while row:
        below = next(rows, None)
        top, (height, width) = row[0][0].origin[0], row[0][0].size
        sums, weights = _laid(row, overlap, width)
        if above is not None:
            shared = above[0].shape[1]
            sums[:, :shared] += above[0]
            weights[:shared] += above[1]
        end = below[0][0].origin[0] if below else height
        done = min(end, height) - top
        strips.append(_decoded(model, sums[:, :done] / weights[:done], row[0][0]))
        above = (sums[:, done:], weights[done:])
        row = below or []
    return _stacked(strips)


def _rows(parts: Iterable[Part]) -> Iterator[list[Part]]:
    for _, row in groupby(parts, key=lambda part: part[0].origin[0]):
        yield list(row)


def _laid(row: Sequence[Part], overlap: int, width: int) -> tuple[Tensor, Tensor]:
    """Return the sums of weighted logits, ``c h W``, and of weights, ``h W``, of a row of windows."""
    classes, tall, wide = row[0][1].shape
    top, height = row[0][0].origin[0], row[0][0].size[0]
    sums = row[0][1].new_zeros(classes, tall, width)
    weights = sums.new_zeros(tall, width)
    down = _weights(tall, overlap, first=top == 0, last=top + tall >= height)
    for frame, logits in row:
        left = frame.origin[1]
        right = min(left + wide, width)
        across = _weights(wide, overlap, first=left == 0, last=left + wide >= width)
        weight = torch.from_numpy(np.outer(down, across)).to(sums)[:, : right - left]
        sums[:, :, left:right] += logits[:, :, : right - left] * weight
        weights[:, left:right] += weight
    return sums, weights


def _weights(count: int, overlap: int, *, first: bool, last: bool) -> np.ndarray:
    """Return the weight of each of a window's pixels along one side: 1 up to the ends of the picture."""
    weights = np.ones(count)
    if overlap:
        place = np.arange(count) + 0.5
        rise = np.sin(np.pi / 2 * np.clip((place - overlap / 4) / (overlap / 2), 0, 1)) ** 2
        weights = weights if first else weights * rise
        weights = weights if last else weights * rise[::-1]
    return weights


def _decoded(model: Vision, logits: Tensor, frame: Frame) -> Mask:
    """Return the answer to a strip of a picture."""
    height, width = logits.shape[1:]
    whole = Frame(size=(height, width), pixel_size=frame.pixel_size)
    mask: Mask = model.head.decode(Pixelwise(logits=logits[None]), [whole])[0]
    return mask


def _stacked(strips: Sequence[Mask]) -> Mask:
    """Return strips of a picture as one answer."""
    if len(strips) == 1:
        return strips[0]
    values = np.concatenate([strip.values for strip in strips], axis=-2)
    scores = [strip.scores for strip in strips if strip.scores is not None]
    return replace(strips[0], values=values, scores=np.concatenate(scores, axis=-2) if scores else None)
