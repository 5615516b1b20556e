"""Which places of a layer speak for the answer: class activation maps, and what gradients made of them."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vitrail.backbones.layers import FINAL
from vitrail.errors import UsageError
from vitrail.explain.tap import Tapped, at_rest, heats, layers_of, tap, trimmed
from vitrail.models.vision import Vision
from vitrail.values import Batch, Heat


@dataclass(frozen=True, kw_only=True)
class _Activation:
    """What weighted maps have in common. ``layer`` is the name of theirs (None: the last that says where)."""

    layer: str | None = None

    name: ClassVar[str]
    class_specific: ClassVar[bool] = True

    def __call__(self, model: Vision, batch: Batch, about: Any = None) -> list[Heat]:
        """Return one heat map a sample, on the layer's grid.

        Raises UsageError for a layer that there is not, and for a network that the method is not for.
        """
        with at_rest(model, batch) as ready:
            tapped = tap(model, ready, about, self.layer)
            maps = trimmed(model, ready, self.weigh(tapped).clamp(min=0), self.layer)
        return heats(maps, tapped.about, self.name)

    def weigh(self, tapped: Tapped) -> Float[Tensor, "b h w"]:
        """Return the weighted sum of a layer's maps, negative where they speak against the answer."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class GradCam(_Activation):
    """Each map weighted by its mean gradient (Selvaraju et al. 2017, "Grad-CAM"); for any network."""

    name = "grad-cam"

    def weigh(self, tapped: Tapped) -> Float[Tensor, "b h w"]:
        """Return the weighted sum of a layer's maps, negative where they speak against the answer."""
        return torch.einsum("bchw,bc->bhw", tapped.values, tapped.gradients.mean(dim=(2, 3)))


@dataclass(frozen=True, kw_only=True)
class GradCamPlusPlus(_Activation):
    """Each map weighted by its positive gradients, so that several things of a kind count alike.

    Chattopadhay et al. 2018, "Grad-CAM++": a gradient's share is its square over twice that and the map's sum
    times its cube, which is 1 over 2 and the sum times the gradient. Its maps come out of a ReLU; of
    others the positive part is summed there, since with negative sums the share has poles.
    """

    name = "grad-cam++"

    def weigh(self, tapped: Tapped) -> Float[Tensor, "b h w"]:
        """Return the weighted sum of a layer's maps, negative where they speak against the answer."""
        total = tapped.values.clamp(min=0).sum(dim=(2, 3), keepdim=True)
        positive = tapped.gradients.clamp(min=0)
        weights = (positive / (2 + total * positive)).sum(dim=(2, 3))
        return torch.einsum("bchw,bc->bhw", tapped.values, weights)


@dataclass(frozen=True, kw_only=True)
class LayerCam(_Activation):
    """Each place of each map weighted by its own positive gradient, which keeps early layers sharp.

    Jiang et al. 2021, "LayerCAM: exploring hierarchical class activation maps for localization".
    """

    name = "layer-cam"

    def weigh(self, tapped: Tapped) -> Float[Tensor, "b h w"]:
        """Return the weighted sum of a layer's maps, negative where they speak against the answer."""
        return (tapped.gradients.clamp(min=0) * tapped.values).sum(dim=1)


@dataclass(frozen=True, kw_only=True)
class Cam:
    """The last maps weighted by the classifier's own weights: their mean and the bias are the very score.

    Zhou et al. 2016, "Learning deep features for discriminative localization". For networks that end in
    average pooling and one linear layer.
    """

    name: ClassVar[str] = "cam"
    class_specific: ClassVar[bool] = True

    def __call__(self, model: Vision, batch: Batch, about: Any = None) -> list[Heat]:
        """Return one heat map a sample, on the last grid.

        Raises UsageError for a network that ends otherwise.
        """
        with at_rest(model, batch) as ready:
            maps, settled = activation(model, ready, about)
            if maps[0].numel() == 1:
                raise UsageError(
                    "the last map of this network has one cell on these pictures: use layer-cam."
                )
            maps = trimmed(model, ready, maps.clamp(min=0), FINAL)
        return heats(maps, settled, self.name)


def activation(model: Vision, batch: Batch, about: Any) -> tuple[Float[Tensor, "b h w"], Any]:
    """Return the signed class activation map of a model at rest, and what it is about.

    Raises UsageError for a network that does not end in average pooling and one linear layer.
    """
    kinds = [type(part) for part in model.head.modules() if not list(part.children())]
    linear = kinds.count(nn.Linear) == 1 and set(kinds) <= {nn.Linear, nn.Dropout, nn.Identity}
    other = UsageError("this network does not end in average pooling and one linear layer: use grad-cam.")
    if not linear or FINAL not in layers_of(model):
        raise other
    tapped = tap(model, batch, about, FINAL)
    pooled, summary = tapped.values.mean(dim=(2, 3)), tapped.summary.float()
    # In units of what is compared: sums in another order differ in the last digits.
    if pooled.shape != summary.shape or (pooled - summary).abs().max() > 1e-3 * summary.abs().max():
        raise other
    # The gradient by a mean is shared out evenly; its sum over places is the linear layer's row.
    weights = tapped.gradients.sum(dim=(2, 3))
    return torch.einsum("bchw,bc->bhw", tapped.values, weights), tapped.about
