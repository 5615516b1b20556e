"""Which pixels the score hangs on: its gradient by them, smoothed or summed along a way."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from vitrail.errors import UsageError
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


@dataclass(frozen=True, kw_only=True)
class SmoothGrad:
    """The gradient of the score by each pixel, averaged over noisy copies of the picture.

    Smilkov et al. 2017, "SmoothGrad": ``samples`` copies, with normal noise. Its deviation is ``noise`` times
    the distance between the picture's least and greatest value. It comes from ``seed`` and is the same for
    every picture, so that none depends on its batch.
    """

    samples: int = 25
    noise: float = 0.15
    seed: int = 0

    name: ClassVar[str] = "smoothgrad"
    class_specific: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.samples < 1 or self.noise < 0:
            raise UsageError(
                f"{self.samples} samples with noise of {self.noise:g}: take 1 or more, and 0 or more."
            )

    def __call__(self, model: Vision, batch: Batch, about: Any = None) -> list[Heat]:
        """Return one heat map a sample, a value a pixel."""
        with at_rest(model, batch) as ready:
            pixels, settled = ready.pixels["image"], _settle(model, ready, about)
            span = pixels.amax(dim=(1, 2, 3), keepdim=True) - pixels.amin(dim=(1, 2, 3), keepdim=True)
            chance, total = torch.Generator().manual_seed(self.seed), torch.zeros_like(pixels)
            for _ in range(self.samples):
                noise = torch.randn(pixels.shape[1:], generator=chance).to(pixels)
                noisy = pixels + self.noise * span * noise
                total += pixel_gradients(model, _with_pixels(ready, noisy), settled)[0]
        return heats((total / self.samples).abs().amax(dim=1), settled, self.name)


@dataclass(frozen=True, kw_only=True)
class IntegratedGradients:
    """What each pixel adds to the score on the straight way from a grey picture to this one.

    Sundararajan, Taly and Yan 2017, "Axiomatic attribution for deep networks", with the midpoints of
    ``steps`` equal steps. Grey is the mean that normalising takes away, so 0. The heat is the sum over
    channels without its sign; `integrated` has the signs.
    """

    steps: int = 32

    name: ClassVar[str] = "integrated-gradients"
    class_specific: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise UsageError(f"{self.steps} steps: take 1 or more.")

    def __call__(self, model: Vision, batch: Batch, about: Any = None) -> list[Heat]:
        """Return one heat map a sample, a value a pixel."""
        with at_rest(model, batch) as ready:
            added, settled = integrated(model, ready, about, self.steps)
        return heats(added.sum(dim=1).abs(), settled, self.name)


def integrated(model: Vision, batch: Batch, about: Any, steps: int) -> tuple[Float[Tensor, "b c h w"], Any]:
    """Return what each pixel adds to the score of a model at rest, and what that is about.

    The sum over a picture is nearly its score less that of the grey picture; the more steps, the nearer.
    """
    pixels, settled = batch.pixels["image"], _settle(model, batch, about)
    total = torch.zeros_like(pixels)
    for step in range(steps):
        total += pixel_gradients(model, _with_pixels(batch, pixels * ((step + 0.5) / steps)), settled)[0]
    return pixels * total / steps, settled


def pixel_gradients(model: Vision, batch: Batch, about: Any) -> tuple[Float[Tensor, "b c h w"], Any]:
    """Return the gradient of each score by its picture, from a model at rest, and what it is about."""
    with torch.enable_grad():
        pixels = batch.pixels["image"].detach().requires_grad_()
        scores, settled = ask(model, _with_pixels(batch, pixels), about)
        (gradients,) = torch.autograd.grad(scores.sum(), pixels)
    return gradients, settled


@torch.no_grad()
def _settle(model: Vision, batch: Batch, about: Any) -> Any:
    """Return what is asked with no answer left open: changed pictures may be answered otherwise."""
    return ask(model, batch, about)[1]


def _with_pixels(batch: Batch, pixels: Tensor) -> Batch:
    return batch.with_(pixels={**batch.pixels, "image": pixels})
