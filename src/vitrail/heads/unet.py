"""U-Net's way back to the pixels (Ronneberger et al. 2015, "U-Net"), on any backbone."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from vitrail.backbones.pyramid import Pyramid
from vitrail.errors import UsageError
from vitrail.heads.dense import Dense, DenseConfig, Pixelwise, canvas
from vitrail.nn.convolve import BatchNorm, convolve, enlarge
from vitrail.values import Features, Given


class Stem(nn.Module):
    """The picture itself as levels finer than the backbone's: small convolutions, each grid half the last.

    ``widths`` are their channels, finest first.
    """

    def __init__(self, inputs: int, widths: Sequence[int]) -> None:
        super().__init__()
        channels = (inputs, *widths)
        self.layers = nn.ModuleList(
            convolve(channels[place], width, stride=2 if place else 1) for place, width in enumerate(widths)
        )

    def forward(self, pixels: Float[Tensor, "b c H W"]) -> list[Float[Tensor, "b _c _h _w"]]:
        """Return the levels, finest first."""
        levels, x = [], pixels
        for layer in self.layers:
            x = layer(x)
            levels.append(x)
        return levels


class Interpolated(nn.Module):
    """Enlarge by repeating, or bilinearly; there is nothing to learn."""

    def __init__(self, ratio: float, mode: Literal["nearest", "bilinear"]) -> None:
        super().__init__()
        self.ratio, self.mode = ratio, mode

    def forward(
        self, x: Float[Tensor, "b c h w"], skip: Float[Tensor, "b d H W"]
    ) -> Float[Tensor, "b c H W"]:
        """Return the map in the size of ``skip``."""
        return enlarge(x, self.ratio, skip.shape[2:], self.mode)


class Transposed(nn.Module):
    """Enlarge by a learned pattern of 2 x 2 for each channel, as U-Net's authors do."""

    def __init__(self, ratio: float, channels: int, width: int) -> None:
        super().__init__()
        self.rest = ratio / 2
        self.pattern = nn.ConvTranspose2d(channels, width, 2, stride=2)

    def forward(
        self, x: Float[Tensor, "b c h w"], skip: Float[Tensor, "b d H W"]
    ) -> Float[Tensor, "b e H W"]:
        """Return the map in the size of ``skip``."""
        return enlarge(self.pattern(x), self.rest, skip.shape[2:])


class Unpooled(nn.Module):
    """Put each value where the finer level was largest, and zeros beside it.

    (Badrinarayanan et al. 2015, "SegNet".) That level's channels say where: so there are as many values, made
    by a 1x1 convolution. No two places of a channel are one, so that the result does not depend on an order.
    """

    def __init__(self, ratio: float, channels: int, width: int) -> None:
        super().__init__()
        self.rest = ratio / 2
        self.match = nn.Conv2d(channels, width, 1)

    def forward(
        self, x: Float[Tensor, "b c h w"], skip: Float[Tensor, "b d H W"]
    ) -> Float[Tensor, "b d H W"]:
        """Return the map in the size of ``skip``; its windows at the border may have one row or column."""
        _, places = F.max_pool2d(skip, 2, ceil_mode=True, return_indices=True)
        values = self.match(enlarge(x, self.rest, places.shape[2:]))
        sparse = values.new_zeros(skip.shape).flatten(2)
        filled: Tensor = sparse.scatter(2, places.flatten(2), values.flatten(2)).view(skip.shape)
        return filled


class Pixels(nn.Module):
    """A map of whole pixels beside the picture itself, convolved twice.

    To convolve the two and add them up is to convolve both side by side, and saves to put them there.
    """

    def __init__(self, channels: int, inputs: int, width: int) -> None:
        super().__init__()
        self.coarse = nn.Conv2d(channels, width, 3, padding=1, bias=False)
        self.picture = nn.Conv2d(inputs, width, 3, padding=1, bias=False)
        self.norm, self.again = BatchNorm(width), convolve(width, width)

    def forward(
        self, x: Float[Tensor, "b c H W"], pixels: Float[Tensor, "b d H W"]
    ) -> Float[Tensor, "b e H W"]:
        """Return the map of the same grid."""
        both = self.coarse(x).add_(self.picture(pixels))
        last: Tensor = self.again(F.relu_(self.norm(both)))
        return last


class UNet(nn.Module):
    """From the coarsest level to the pixels: enlarge, put the finer level beside it, convolve twice.

    ``ups`` and ``merges`` are one a level but the coarsest, from coarse to fine; the finest levels are the
    ``stem``'s. Without one there may be one more of both: whole pixels, with the picture itself beside them.
    ``stride`` is that of the finest level.
    """

    def __init__(
        self,
        pyramid: Pyramid,
        stem: Stem | None,
        *,
        ups: Sequence[nn.Module],
        merges: Sequence[nn.Module],
        last: nn.Module,
        stride: float,
    ) -> None:
        super().__init__()
        self.pyramid, self.stem = pyramid, stem
        self.ups, self.merges = nn.ModuleList(ups), nn.ModuleList(merges)
        self.last, self.stride = last, stride

    def forward(self, features: Features, given: Given) -> Pixelwise:
        """Return logits of the canvas' size."""
        pixels = given.pixels["image"]
        *skips, x = ([] if self.stem is None else self.stem(pixels)) + self.pyramid(features)
        for up, merge, skip in zip(self.ups, self.merges, reversed(skips), strict=False):
            x = merge(torch.cat([up(x, skip), skip], dim=1))
        if len(self.ups) > len(skips):
            x = self.merges[-1](self.ups[-1](x, pixels), pixels)
        return Pixelwise(logits=enlarge(self.last(x), self.stride, canvas(given)))


@dataclass(frozen=True, kw_only=True)
class UNetConfig(DenseConfig):
    """From coarse to fine, with the backbone's levels and the picture beside."""

    name: Literal["unet"] = "unet"
    """The head."""
    up: Literal["bilinear", "nearest", "transposed", "unpool"] = "bilinear"
    """How a level is enlarged: without learning, by learned patterns, or to where the finer was largest."""
    widths: tuple[int, ...] = (256, 128, 64, 32, 16)
    """Channels from coarse to fine; the last are those of whole pixels, however many levels there are."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.widths or min(self.widths) < 1:
            raise UsageError("name at least one of the widths, each at least 1.")

    def build(self, backbone: Any, classes: Sequence[str], multi: bool = False) -> Dense:
        """Return the head for this backbone's features, with fresh weights from torch's global generator."""
        pyramid = Pyramid(backbone.strides, backbone.channels)
        strides, channels = list(pyramid.strides), list(pyramid.channels)
        finer = [float(stride) for stride in (1, 2, 4, 8) if stride < strides[0]]
        widths = [self.widths[max(0, len(self.widths) - 1 - place)] for place in range(8)]  # fine to coarse
        # Convolutions of whole pixels are the dearest of all. Beside a network's own level of stride 2 they
        # see the picture as it is: without a layer before it.
        alone = finer == [1.0] and min(backbone.strides) == 2 and self.up != "unpool"
        stem = Stem(backbone.inputs, widths[: len(finer)]) if finer and not alone else None
        strides, channels = finer + strides, ([0] if alone else widths[: len(finer)]) + channels
        ups: list[nn.Module] = []
        merges: list[nn.Module] = []
        coarse = channels[-1]
        for place in range(len(strides) - 2, -1, -1):
            width, skip = widths[min(place, 7)], channels[place]
            up, enlarged = self._up(strides[place + 1] / strides[place], coarse, width, skip)
            ups.append(up)
            if alone and not place:
                merges.append(Pixels(enlarged, backbone.inputs, width))
            else:
                merges.append(nn.Sequential(convolve(enlarged + skip, width), convolve(width, width)))
            coarse = width
        last = nn.Conv2d(coarse, len(classes), 3, padding=1)  # sees enough to learn as fast as the rest
        net = UNet(pyramid, stem, ups=ups, merges=merges, last=last, stride=strides[0])
        return self.head(net, classes, multi=multi)

    def _up(self, ratio: float, channels: int, width: int, skip: int) -> tuple[nn.Module, int]:
        """Return what enlarges, and how many channels it leaves."""
        if self.up == "transposed":
            return Transposed(ratio, channels, width), width
        if self.up == "unpool":
            return Unpooled(ratio, channels, skip), skip
        return Interpolated(ratio, self.up), channels
