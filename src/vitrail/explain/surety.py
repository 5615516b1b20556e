"""How sure a model is of what an explanation is about."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from vitrail.explain.about import Versus, of_sample, scored
from vitrail.models.vision import Vision
from vitrail.values import Batch, Label


def surety(model: Vision, batch: Batch, about: Any) -> tuple[Float[Tensor, " b"], bool]:
    """Return how sure a model is of ``about``, for each sample, and whether that is a probability.

    Where answers state probabilities it is the one that people are told, at the calibrated temperature; of
    one class rather than another it is the first one's share of both. Other answers have a score and no more,
    whose unit and zero are the head's own: `as_share` makes sense of it. ``about`` leaves no answer open.
    """
    output = model.outputs(batch)
    answers = model.head.decode(output, batch.frames)
    if all(isinstance(answer, Label) for answer in answers):
        stated = [_stated(answer, of_sample(about, index)) for index, answer in enumerate(answers)]
        return torch.tensor(stated), True
    return scored(model.head, output, about).float().cpu(), False


def as_share(scores: Tensor, nothing: Tensor, whole: Tensor) -> Tensor:
    """Return scores on a scale of each picture's own: 0 for ``nothing`` to see, 1 for the ``whole`` picture.

    Not a number where these two score alike: the model sees nothing there that an explanation could point at.
    """
    span = whole - nothing
    return (scores - nothing) / torch.where(span == 0, torch.nan, span)


def _stated(answer: Label, about: Any) -> float:
    if isinstance(about, Versus):
        ours, theirs = _stated(answer, about.a), _stated(answer, about.b)
        return ours / max(ours + theirs, 1e-30)
    return float(answer.scores[about if isinstance(about, int) else answer.names.index(about)])
