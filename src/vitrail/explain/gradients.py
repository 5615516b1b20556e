"""Which pixels the score hangs on: its gradient by them, smoothed or summed along a way."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from vitrail.explain.about import ask
from vitrail.explain.tap import at_rest, heats
from vitrail.models.vision import Vision
from vitrail.values import Batch, Heat


@dataclass(frozen=True, kw_only=True)
class Saliency:
    """The gradient of the score by each pixel, the strongest of its channels.

    Simonyan et al. 2013, "Deep inside convolutional networks".
    """

    name: ClassVar[str] = "saliency"
    class_specific: ClassVar[bool] = True

    def __call__(self, model: Vision, batch: Batch, about: Any = None) -> list[Heat]:
        """Return one heat map a sample, a value a pixel."""
        with at_rest(model, batch) as ready:
            gradients, settled = pixel_gradients(model, ready, about)
        return heats(gradients.abs().amax(dim=1), settled, self.name)


def pixel_gradients(model: Vision, batch: Batch, about: Any) -> tuple[Float[Tensor, "b c h w"], Any]:
    """Return the gradient of each score by its picture, from a model at rest, and what it is about."""
    with torch.enable_grad():
        pixels = batch.pixels["image"].detach().requires_grad_()
        scores, settled = ask(model, batch.with_(pixels={**batch.pixels, "image": pixels}), about)
        (gradients,) = torch.autograd.grad(scores.sum(), pixels)
    return gradients, settled
