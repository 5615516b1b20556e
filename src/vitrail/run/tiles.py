"""Answers to pictures that are seen in windows: laid over each other smoothly, one window after the other."""

import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice

import numpy as np
import torch
from torch import Tensor

from vitrail.data.loader import stack
from vitrail.data.preprocess import Preprocess
from vitrail.data.windows import Corner, View, Windows
from vitrail.heads.dense import Pixelwise
from vitrail.models.vision import Vision
from vitrail.run.engine import Engine
from vitrail.run.progress import Progress, Silent, follow
from vitrail.values import Batch, Frame, Mask

FAR = sys.maxsize
ROOM, ROOM_OF_PROCESSOR = 2_000_000, 500_000
"""Pixels of windows that are looked at together; a processor is as fast with few, and they take memory."""

Part = tuple[Frame, Tensor]
"""Where a window lies, and the logits ``c h w`` of its pixels."""
Laid = tuple[Tensor, Tensor]
"""The sums of weighted logits, ``c h w``, and of the weights, ``h w``."""
Block = tuple[Corner, Tensor]
"""The upper left corner of a part of a picture, and the logits ``c h w`` of its pixels."""


def answer_windows(
    model: Vision,
    pictures: Sequence[Windows],
    engine: Engine,
    preprocess: Preprocess,
    *,
    scores: bool = True,
    progress: Progress | None = None,
    title: str = "windows",
) -> list[Mask]:
    """Answer pictures by their windows, which are cut out while they are answered; ``progress`` counts them.

    Without ``scores`` answers do not say how sure they are, which for a large picture takes most of the room.
    """
    count = sum(map(len, pictures))
    views = (view for windows in pictures for view in windows)
    parts = logits_of(model, follow(progress or Silent(), title, views, count), engine, preprocess)
    answers = []
    for owner, windows in enumerate(pictures):
        own = islice(parts, len(windows))
        answer = joined(model, windows.corners, own, windows.overlap, scores=scores)
        answers.append(replace(answer, source=owner))
    next(parts, None)  # the progress comes to its end
    return answers


def logits_of(model: Vision, views: Iterable[View], engine: Engine, preprocess: Preprocess) -> Iterator[Part]:
    """Yield the logits of each window, some worked out together."""
    room = ROOM_OF_PROCESSOR if engine.device.type == "cpu" else ROOM
    some = max(1, room // (preprocess.size[0] * preprocess.size[1]))
    waiting = iter(views)
    while together := list(islice(waiting, some)):
        part = Batch(keys=(), pixels={"image": stack([canvas for canvas, _ in together])})
        output: Pixelwise = model.outputs(engine.ready(part, preprocess))
        for (_, frame), logits in zip(together, output.logits, strict=True):
            yield frame, logits.float()


def joined(
    model: Vision, corners: Sequence[Corner], parts: Iterable[Part], overlap: int, *, scores: bool = True
) -> Mask:
    """Return the answer to one picture from its windows at ``corners``, which come row by row."""
    whole: Mask | None = None
    for (top, left), logits, frame in _blocks(corners, parts, overlap):
        block = _decoded(model, logits, frame)
        if block.size == frame.size:
            return block if scores else replace(block, scores=None)
        if whole is None:
            whole = _empty(block, frame, scores=scores)
        place = (..., slice(top, top + block.size[0]), slice(left, left + block.size[1]))
        whole.values[place] = block.values
        if whole.scores is not None:
            whole.scores[place] = block.scores
    assert whole is not None, "a picture has windows"
    return whole


def blended(corners: Sequence[Corner], parts: Iterable[Part], overlap: int) -> Iterator[Block]:
    """Yield the logits of a picture, part by part, from its windows at ``corners``, which come row by row.

    Where windows share pixels their logits are averaged, with weights that rise smoothly from 0 to 1 over the
    middle half of ``overlap``. So a network that sees no further than a quarter of the overlap answers as it
    would answer the whole picture. What is held is one window, and what the next one and the next row share.
    """
    for corner, logits, _ in _blocks(corners, parts, overlap):
        yield corner, logits


def _blocks(
    corners: Sequence[Corner], parts: Iterable[Part], overlap: int
) -> Iterator[tuple[Corner, Tensor, Frame]]:
    tops, lefts = sorted({y for y, _ in corners}), sorted({x for _, x in corners})
    given = iter(parts)
    above: Laid | None = None
    for top, below in zip(tops, [*tops[1:], FAR], strict=True):
        kept: Laid | None = None
        beside: Laid | None = None
        for left, after in zip(lefts, [*lefts[1:], FAR], strict=True):
            frame, logits = next(given)
            height, width = frame.size
            sums, weights = _laid(frame, logits, overlap)
            if beside is not None:
                _add((sums, weights), beside)
            down, across = min(below, height) - top, min(after, width) - left
            beside = sums[:, :, across:].clone(), weights[:, across:].clone()
            done: Laid = sums[:, :, :across], weights[:, :across]
            if above is not None:
                _add(done, (above[0][:, :, left : left + across], above[1][:, left : left + across]))
            if kept is None:
                shared = len(weights) - down
                kept = sums.new_empty(len(sums), shared, width), weights.new_empty(shared, width)
            kept[0][:, :, left : left + across] = done[0][:, down:]
            kept[1][:, left : left + across] = done[1][down:]
            yield (top, left), done[0][:, :down] / done[1][:down], frame
        above = kept


def _laid(frame: Frame, logits: Tensor, overlap: int) -> Laid:
    """Return a window's part of its picture, weighted."""
    (top, left), (height, width), (tall, wide) = frame.origin, frame.size, logits.shape[1:]
    down = _weights(tall, overlap, first=top == 0, last=top + tall >= height)
    across = _weights(wide, overlap, first=left == 0, last=left + wide >= width)
    weights = torch.from_numpy(np.outer(down[: height - top], across[: width - left])).to(logits)
    return logits[:, : height - top, : width - left] * weights, weights


def _add(to: Laid, more: Laid) -> None:
    """Add to the upper left corner."""
    rows, columns = more[1].shape
    to[0][:, :rows, :columns] += more[0]
    to[1][:rows, :columns] += more[1]


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
    """Return the answer to a part of a picture."""
    height, width = logits.shape[1:]
    part = Frame(size=(height, width), pixel_size=frame.pixel_size)
    mask: Mask = model.head.decode(Pixelwise(logits=logits[None]), [part])[0]
    return mask


def _empty(block: Mask, frame: Frame, *, scores: bool) -> Mask:
    """Return an answer of the picture's size, to be filled with those to its parts."""
    shape = (*block.values.shape[:-2], *frame.size)
    sure = block.scores if scores else None
    return replace(
        block,
        values=np.empty(shape, block.values.dtype),
        scores=None if sure is None else np.empty(shape, sure.dtype),
    )
