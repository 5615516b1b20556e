"""Explanations for pages: why a model answered what it answered, on a few pictures that it has answered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from vitrail.data.preprocess import Preprocess
from vitrail.errors import UsageError
from vitrail.explain.about import ask
from vitrail.explain.faithfulness import HEAT, Judge
from vitrail.models.vision import Vision
from vitrail.run.answer import batch_of
from vitrail.run.engine import Engine
from vitrail.run.explain.choice import explainer_of, preferred
from vitrail.run.explain.explanation import AT_ONCE
from vitrail.run.explain.question import asked_of
from vitrail.values import Batch, Heat

QUICK = Judge(steps=1)
"""ROAD alone, of which a picture and map take ten answers: insertion and deletion keep their ends only."""


@dataclass(frozen=True, kw_only=True)
class Looks:
    """The heat of some canvases by one method, and the mean over them of its ROAD and of a map at random's.

    These two are not numbers where nothing was judged.
    """

    method: str
    heats: Sequence[Heat]
    road: float = float("nan")
    random: float = float("nan")


def look(
    model: Vision,
    engine: Engine,
    preprocess: Preprocess,
    canvases: Sequence[np.ndarray],
    *,
    about: Sequence[Any] | None = None,
    judged: bool = False,
) -> Looks | None:
    """Explain the answers to canvases (uint8 ``h w c``) by the first method that suits the model.

    ``about`` says of each what is explained instead of its answer.
    None when there are no canvases, and for a model that no method is for: a page does without.
    """
    for method in preferred(model) if len(canvases) else ():
        try:
            explainer = explainer_of(model, method)
            heats: list[Heat] = []
            marks: list[tuple[float, float]] = []
            for first in range(0, len(canvases), AT_ONCE):
                part = slice(first, first + AT_ONCE)
                batch = engine.ready(batch_of(canvases[part]), preprocess)
                with torch.no_grad():
                    asked = ask(model, batch, about[part] if about else None)[1]
                asked = asked_of(model, batch, asked) if model.head.levels else asked
                some = explainer(model, batch, asked)
                heats += some
                marks += _judge(model, batch, some, asked) if judged else []
        except UsageError:
            continue
        road, random = np.mean(marks, axis=0).tolist() if marks else (float("nan"),) * 2
        return Looks(method=method, heats=heats, road=road, random=random)
    return None


def _judge(model: Vision, batch: Batch, heats: Sequence[Heat], about: object) -> list[tuple[float, float]]:
    """Return the ROAD of each heat map and of a map at random."""
    maps = {HEAT: [heat.values for heat in heats], "random": QUICK.baselines(batch)["random"]}
    found = QUICK(model, batch, maps, about)
    return [
        (ours.marks["road"], theirs.marks["road"])
        for ours, theirs in zip(found[HEAT], found["random"], strict=True)
    ]
