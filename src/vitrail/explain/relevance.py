"""Attention from the first layer to the last: what flowed, and what of it spoke for the answer."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vitrail.errors import UsageError
from vitrail.explain.about import ask
from vitrail.explain.tap import at_rest, gradients_from, heats
from vitrail.models.vision import Vision
from vitrail.values import Batch, Heat


@dataclass(frozen=True, kw_only=True)
class Rollout:
    """How much of each patch arrives at the summary when attention is multiplied up through all layers.

    Abnar and Zuidema 2020, "Quantifying attention flow in transformers": a layer passes on half of what it
    has and half of what its heads, on average, looked at. Like attention, it is the same for every answer.
    """

    name: ClassVar[str] = "rollout"
    class_specific: ClassVar[bool] = False

    def __call__(self, model: Vision, batch: Batch, about: Any = None) -> list[Heat]:
        """Return one heat map a sample, ``h w`` patches.

        Raises UsageError for a network without attention of ours.
        """
        return self.through(model, batch, about)[-1]

    @torch.no_grad()
    def through(self, model: Vision, batch: Batch, about: Any = None) -> list[list[Heat]]:
        """Return what has arrived after each layer, first to last, in one pass; raises as a call does."""
        blocks_of(model)
        backbone, arrived = model.backbone, list[Tensor]()
        with at_rest(model, batch) as ready, torch.no_grad():
            layers = backbone.each_attention(ready.pixels["image"], ready.valid)
            for flow in accumulate(map(_passed, layers), lambda below, above: above @ below):
                arrived.append(torch.einsum("n,bnm->bm", summing(backbone, flow), flow))
        return [heats(on_patches(backbone, ready, row), about, self.name) for row in arrived]


@dataclass(frozen=True, kw_only=True)
class Relevance:
    """Attention weighted by its gradient, summed up through all layers: what of it spoke for the answer.

    Chefer, Gur and Wolf 2021, "Generic attention-model explainability", the rule for self-attention: from the
    identity, each layer adds the positive part of its attention times its gradient, averaged over heads,
    times the relevance so far. Only the summary's row is wanted, so it is multiplied from the last layer,
    which needs one layer's attention at a time. What the identity alone gives each token is left out.
    """

    name: ClassVar[str] = "relevance"
    class_specific: ClassVar[bool] = True

    def __call__(self, model: Vision, batch: Batch, about: Any = None) -> list[Heat]:
        """Return one heat map a sample, ``h w`` patches.

        Raises UsageError for a network without attention of ours.
        """
        blocks, given = blocks_of(model), list[tuple[Any, ...]]()
        with at_rest(model, batch) as ready:
            with (
                on_blocks(blocks, lambda _, entered: given.append(entered)),
                gradients_from(blocks[-1]) as leaves,
            ):
                scores, settled = ask(model, ready, about)
                (gradients,) = torch.autograd.grad(scores.sum(), leaves)
            start = summing(model.backbone, gradients).expand(gradients.shape[:2])
            row = start
            for block, (x, *others) in zip(blocks[::-1], given[::-1], strict=True):
                with torch.enable_grad():
                    x = x.detach().requires_grad_()
                    out, weights = block.watched(x, *others)
                    gradients, slopes = torch.autograd.grad(out, (x, weights), gradients)
                speaks = (weights.detach() * slopes).float().clamp(min=0).mean(dim=1)
                row = row + torch.einsum("bn,bnm->bm", row, speaks)
        # Where patches sum the picture up, all begin with the same share: it would hide the rest.
        return heats(on_patches(model.backbone, ready, row - start), settled, self.name)


def _passed(weights: Float[Tensor, "b h n n"]) -> Float[Tensor, "b n n"]:
    """Return what a layer passes on to each token, and from which."""
    paid = weights.float().mean(dim=1)
    return (paid + torch.eye(paid.shape[1], device=paid.device)) / 2


def blocks_of(model: Any) -> list[Any]:
    """Return the layers of a Transformer of ours; raise UsageError for another network."""
    encoder = getattr(model.backbone, "encoder", None)
    if encoder is None or not hasattr(model.backbone, "attention"):
        raise UsageError("this network has no attention to show: explain it by another method.")
    return list(encoder.blocks)


def summing(backbone: Any, like: Float[Tensor, "b n *others"]) -> Float[Tensor, " n"]:
    """Return how much each token has in the summary: the class token all, or the patches alike."""
    skip, count = backbone.skip, like.shape[1]
    shares = torch.zeros(count, device=like.device)
    if backbone.pool in ("class", "class+mean"):
        shares[0] = 1
    if backbone.pool == "class+distilled":
        shares[:2] = 1
    if backbone.pool in ("mean", "class+mean", "attention"):
        shares[skip:] = 1 / (count - skip)
    return shares / shares.sum()


def on_patches(backbone: Any, batch: Batch, row: Float[Tensor, "b n"]) -> Float[Tensor, "b h w"]:
    """Lay what each token has on the patches' grid."""
    return row[:, backbone.skip :].reshape(len(row), *backbone.grid(batch.pixels["image"]))


@contextmanager
def on_blocks(blocks: list[nn.Module], do: Any) -> Iterator[None]:
    """Call ``do`` with each block and what enters it."""
    handles = [block.register_forward_pre_hook(do) for block in blocks]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
