"""One explanation seen more closely: layer after layer, and head beside head."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from vitrail.errors import UsageError
from vitrail.explain import EXPLAINERS, layers_of
from vitrail.explain.attention import AttentionMap
from vitrail.explain.relevance import Rollout, blocks_of
from vitrail.run.explain.explanation import Explanation
from vitrail.run.explain.question import asked_of
from vitrail.values import Heat, Mask

if TYPE_CHECKING:
    from vitrail.models.vision import Vision
    from vitrail.run.predict import Predictor

MAPS = "layer-cam"
"""What shows a network without attention layer by layer."""


def check_heads(model: Vision) -> None:
    """Raise UsageError for a network that has no heads to show."""
    try:
        blocks_of(model)
    except UsageError:
        raise UsageError("--heads: this network has no attention of ours, and so no heads.") from None


def check_depth(model: Vision) -> None:
    """Raise UsageError for a network that cannot be followed through its layers."""
    if not layers_of(model):
        raise UsageError("--animate: this network names no layers to follow.")


def by_head(predictor: Predictor, found: Explanation, layer: int = -1) -> dict[str, np.ndarray]:
    """Return where each head of a layer looked on an explained picture, ``h w`` by name, their mean first."""
    batch = predictor.ready([(found.canvas, found.frame)])
    maps = AttentionMap(layer=layer).by_head(predictor.model, batch)[0].cpu().numpy()
    return {"mean of heads": maps.mean(axis=0)} | {f"head {index}": each for index, each in enumerate(maps)}


def through_depth(predictor: Predictor, found: Explanation) -> list[tuple[str, Explanation]]:
    """Return an explanation of the same picture after each layer, first to last, by the layer's name.

    Of a Transformer of ours it is rollout, and of others `MAPS` at each layer that has a name.
    """
    batch = predictor.ready([(found.canvas, found.frame)])
    model = predictor.model
    about = asked_of(model, batch, [found.about]) if isinstance(found.answer, Mask) else found.about
    if hasattr(model.backbone, "attention"):
        steps = Rollout().through(model, batch, about)
        heats: list[tuple[str, Heat]] = [(f"layer {index}", maps[0]) for index, maps in enumerate(steps)]
    else:
        kind = EXPLAINERS[MAPS]
        named = [(name, kind(layer=name)) for name in layers_of(model)]  # type: ignore[call-arg]
        heats = [(name, explainer(model, batch, about)[0]) for name, explainer in named]
    return [(name, replace(found, heat=heat, layer=name, trust=None)) for name, heat in heats]
