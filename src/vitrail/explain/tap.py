"""What a layer says and how the score hangs on it: one forward pass, and one way back as far as the layer."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vitrail.backbones.layers import Layer, layers, telling
from vitrail.errors import UsageError, nearest
from vitrail.explain.about import ask, of_sample
from vitrail.values import Batch, Features, Heat


@dataclass(frozen=True, slots=True, kw_only=True)
class Tapped:
    """A layer's output on its grid and the scores' gradient by it, ``b c h w``; and the summary, ``b d``.

    ``about`` is what the scores are about, with no answer left open.
    """

    values: Float[Tensor, "b c h w"]
    gradients: Float[Tensor, "b c h w"]
    summary: Float[Tensor, "b d"]
    about: Any


def layers_of(model: Any) -> list[str]:
    """Return the names of the layers that a model can be explained at, in the order that data passes them."""
    return list(layers(model.backbone))


@contextmanager
def at_rest(model: Any, batch: Batch) -> Iterator[Batch]:
    """Let a model be explained as it answers, whole: no dropout, no merged tokens; what it was is restored.

    Yields the batch with pixels that gradients can be asked of, also where the caller computes without any.
    Raises UsageError for what are not pictures.
    """
    pixels = batch.pixels["image"]
    if pixels.ndim != 4:
        raise UsageError("heat maps are for pictures: this model looks at volumes or videos.")
    modes = [(module, module.training) for module in model.modules()]
    merge = getattr(model.backbone, "merge", None)
    with torch.inference_mode(False):
        try:
            model.eval()
            if merge:
                model.backbone.merge = 0
            yield batch.with_(pixels={role: each.detach().clone() for role, each in batch.pixels.items()})
        finally:
            for module, training in modes:
                module.training = training
            if merge:
                model.backbone.merge = merge


def tap(model: Any, batch: Batch, about: Any, layer: str | None = None) -> Tapped:
    """Ask a model at rest, and return what a layer said and how the scores hang on it.

    Before the layer nothing is kept for the way back, so that at the last one it costs next to nothing.
    Raises UsageError for a layer that there is not.
    """
    pixels = batch.pixels["image"]
    chosen = _find(model, layer, pixels)
    with gradients_from(chosen.module) as leaves, _on_entering(model.head) as entered:
        scores, settled = ask(model, batch, about)
        (gradients,) = torch.autograd.grad(scores.sum(), leaves[-1:], materialize_grads=True)
    return Tapped(
        values=chosen.lay(leaves[-1].detach(), pixels).float(),
        gradients=chosen.lay(gradients, pixels).float(),
        summary=entered[-1].summary.detach(),
        about=settled,
    )


@contextmanager
def gradients_from(module: nn.Module) -> Iterator[list[Tensor]]:
    """Keep nothing for the way back before a module's output, which is collected and where gradients begin.

    Raises UsageError for a module with more than one output.
    """
    leaves: list[Tensor] = []

    def begin(_: nn.Module, __: Any, output: Any) -> Tensor:
        if not isinstance(output, Tensor):
            raise UsageError("this layer gives more than one map: take another layer.")
        leaves.append(output.detach().requires_grad_())
        torch.set_grad_enabled(True)
        return leaves[-1].clone()  # some networks change what they are given in place

    handle = module.register_forward_hook(begin)
    try:
        with torch.no_grad():
            yield leaves
    finally:
        handle.remove()


def trimmed(model: Any, batch: Batch, maps: Float[Tensor, "b h w"], layer: str | None = None) -> Tensor:
    """Return the part of a layer's maps that lies on the pictures."""
    pixels = batch.pixels["image"]
    return _find(model, layer, pixels).trim(maps[:, None], pixels)[:, 0]


def heats(maps: Float[Tensor, "b h w"], about: Any, method: str) -> list[Heat]:
    """Return maps as heat, one a sample; what speaks against the answer is no heat."""
    values = maps.detach().float().clamp(min=0).cpu().numpy()
    return [
        Heat(values=each, about=of_sample(about, index), method=method, source=index)
        for index, each in enumerate(values)
    ]


def _find(model: Any, layer: str | None, pixels: Tensor) -> Layer:
    known = layers(model.backbone)
    if not known:
        raise UsageError("this network names no layers: explain it by saliency or occlusion.")
    name = telling(known, pixels) if layer is None else layer
    if name not in known:
        raise UsageError(
            f"there is no layer {name!r}.{nearest(name, known)} This network has {', '.join(known)}."
        )
    return known[name]


@contextmanager
def _on_entering(head: nn.Module) -> Iterator[list[Features]]:
    """Collect the features that a head is given."""
    entered: list[Features] = []
    handle = head.register_forward_pre_hook(lambda _, given: entered.append(given[0]))
    try:
        yield entered
    finally:
        handle.remove()
