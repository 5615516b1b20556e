"""A backbone and a head: the model of most tasks."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vitrail.errors import UsageError
from vitrail.values import Answer, Batch, Features, Given, Losses


class Vision(nn.Module):
    """Pixels to features to answers: ``backbone`` keeps the contract Backbone, ``head`` the contract Head.

    Batches carry the role ``image``: normalised float pixels, ``b c h w``. The parts in ``resting``, in which
    nothing is learned, stay as in ``eval()`` also in training.
    """

    backbone: Any
    head: Any

    def __init__(self, backbone: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.backbone, self.head = backbone, head
        self.resting: tuple[nn.Module, ...] = ()

    def train(self, mode: bool = True) -> "Vision":
        """Let dropout and batch statistics be as in training, except in what rests."""
        super().train(mode)
        for part in self.resting:
            part.eval()
        return self

    def calibrate(self, temperature: float) -> None:
        """Let the head's answers be probabilities at this temperature."""
        self.head.temperature = temperature

    def merge(self, tokens: int) -> None:
        """Let the backbone merge so many tokens a layer when it answers, which is faster (see `nn.merging`).

        Raises UsageError for less than none, and for a backbone that has no tokens to merge.
        """
        if tokens < 0:
            raise UsageError(f"--merge {tokens}: tokens to merge in each layer are 0 or more.")
        if tokens and not hasattr(self.backbone, "merge"):
            raise UsageError(
                f"--merge {tokens}: only a Vision Transformer of ours (such as vit-s16) can merge its tokens."
            )
        if hasattr(self.backbone, "merge"):
            self.backbone.merge = tokens

    def features(self, batch: Batch, levels: bool = True) -> Features:
        """Return what the backbone sees; without ``levels`` it saves itself what only they cost."""
        features: Features = self.backbone(batch.pixels["image"], batch.valid, levels)
        return features

    def outputs(self, batch: Batch) -> Any:
        """Return the head's raw output, which `answer` decodes."""
        return self.head(self.features(batch, self.head.levels), _given(batch))

    def loss(self, batch: Batch, progress: float) -> Losses:
        """Return what head and backbone minimise and log; ``progress`` is the fraction of the run done."""
        features, given = self.features(batch, self.head.levels), _given(batch)
        losses: Losses = self.head.loss(self.head(features, given), given, progress)
        return Losses(terms={**losses.terms, **features.aux}, seen={**losses.seen, **features.seen})

    @torch.inference_mode()
    def answer(self, batch: Batch) -> Sequence[Answer]:
        """Return one answer a sample. Dropout and batch statistics follow ``eval()``, as everywhere."""
        answers: Sequence[Answer] = self.head.decode(self.outputs(batch), batch.frames)
        return answers

    def score(self, batch: Batch, about: Any) -> Float[Tensor, " b"]:
        """Return the scalar per sample that an explanation of ``about`` differentiates."""
        score: Tensor = self.head.score(self.outputs(batch), about)
        return score


def _given(batch: Batch) -> Given:
    return Given(
        pixels=batch.pixels,
        valid=batch.valid,
        frames=batch.frames,
        prompt=batch.prompt,
        targets=batch.targets or None,
    )
