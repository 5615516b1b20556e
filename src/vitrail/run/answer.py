"""Answering pictures: one way for validation, evaluation and prediction."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from vitrail.contracts import Metric, Task
from vitrail.data.loader import Loader, stack
from vitrail.data.preprocess import Preprocess
from vitrail.data.windows import View, Windows
from vitrail.models.vision import Vision
from vitrail.run.engine import Engine
from vitrail.run.progress import Progress, Silent, follow
from vitrail.run.tiles import answer_windows
from vitrail.values import Answer, Batch, Frame


@dataclass(kw_only=True)
class Answers:
    """The answers to the pictures of a loader that could be read, in order; ``seconds`` is the time taken."""

    keys: list[str] = field(default_factory=list)
    answers: list[Any] = field(default_factory=list)
    targets: np.ndarray | None = None
    groups: np.ndarray | None = None
    seconds: float = 0.0


def views_of(seen: Sequence[Windows | Sequence[View]], preprocess: Preprocess) -> Batch:
    """Return what a model sees of some pictures, one canvas or several windows each, as one uint8 batch."""
    if preprocess.fit == "tile":
        return Batch(keys=[str(number) for number in range(len(seen))], pixels={}, windows=seen)
    return batch_of(*zip(*(view for views in seen for view in views), strict=True))


def batch_of(canvases: Sequence[np.ndarray], frames: Sequence[Frame] = ()) -> Batch:
    """Return canvases ``h w c`` of one size as one batch of uint8, called by their numbers."""
    keys = [str(number) for number in range(len(canvases))]
    return Batch(keys=keys, pixels={"image": stack(canvases)}, frames=frames)


@torch.inference_mode()
def answer_batch(
    model: Vision,
    batch: Batch,
    engine: Engine,
    preprocess: Preprocess,
    *,
    scores: bool = True,
    progress: Progress | None = None,
    title: str = "windows",
) -> Sequence[Answer]:
    """Answer one batch of uint8 pictures; ``model`` is in ``eval()``.

    Of those seen in windows, ``progress`` tells under ``title``, and without ``scores`` answers have none.
    """
    with engine.precision():
        if batch.windows:
            return answer_windows(
                model, batch.windows, engine, preprocess, scores=scores, progress=progress, title=title
            )
        return model.answer(engine.ready(batch, preprocess))


def answer_all(
    model: Vision,
    loader: Loader,
    engine: Engine,
    preprocess: Preprocess,
    task: Task,
    metric: Metric | None = None,
    *,
    progress: Progress | None = None,
    title: str = "answering",
) -> Answers:
    """Answer every picture of ``loader`` and update ``metric``, if any, with what ``task`` keeps of it."""
    model.eval()
    found, targets = Answers(), []
    started = time.perf_counter()
    for batch in follow(progress or Silent(), title, loader.epoch(0), len(loader)):
        found.answers += task.kept(answer_batch(model, batch, engine, preprocess), batch)
        found.keys += batch.keys
        if (truth := task.truth(batch)) is not None:
            targets.append(truth)
    found.seconds = time.perf_counter() - started
    found.targets = np.concatenate(targets) if targets else None
    found.groups = _groups(loader, found.keys)
    if metric is not None:
        metric.update(found.answers, found.targets, found.groups)
    return found


def _groups(loader: Loader, keys: Sequence[str]) -> np.ndarray | None:
    """Return the group of each answered picture; some pictures may not have been readable."""
    groups = loader.samples.groups
    if groups is None:
        return None
    group_of = dict(zip(loader.samples.keys, groups.tolist(), strict=True))
    return np.array([group_of[key] for key in keys])
