"""What decoders of maps are made of: a convolution, a norm and a bend; and enlarging in place."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


class BatchNorm(nn.BatchNorm2d):
    """Torch's own, which has an answer to the smallest batch, too.

    One picture that shrank to one place has no variance. Where torch stops a training for that, such a step
    is normalised by what was seen so far.
    """

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Make mean and variance of each channel 0 and 1, then those that were learned."""
        if self.training and x.shape[0] * x.shape[2] * x.shape[3] == 1:
            return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        return super().forward(x)


class Convolved(nn.Sequential):
    """A convolution, a batch norm and a bend, one after the other.

    Where nothing is learned, and no gradient asked for, the norm is a factor and a shift that go into the
    convolution, which saves one way through the map.
    """

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d H W"]:
        """Return the map after all three."""
        parts: list[Any] = list(self)
        convolution, norm, bend = parts
        if norm.training or torch.is_grad_enabled():
            learned: Tensor = super().forward(x)  # type: ignore[no-untyped-call]
            return learned
        factor = norm.weight * (norm.running_var + norm.eps).rsqrt()
        weight = convolution.weight * factor[:, None, None, None]
        bias = norm.bias - norm.running_mean * factor
        answer: Tensor = bend(F.conv2d(x, weight, bias, convolution.stride, convolution.padding))
        return answer


def convolve(channels: int, width: int, size: int = 3, stride: int = 1) -> Convolved:
    """Return a convolution with a batch norm and a ReLU, which keeps the grid or halves it, rounded up."""
    return Convolved(
        nn.Conv2d(channels, width, size, stride=stride, padding=size // 2, bias=False),
        BatchNorm(width),
        nn.ReLU(inplace=True),
    )


def enlarge(
    x: Float[Tensor, "b c h w"], ratio: int | float, size: Sequence[int], mode: str = "bilinear"
) -> Float[Tensor, "b c H W"]:
    """Enlarge a map by a ratio of strides and cut it to ``size``.

    A stride that does not divide a canvas leaves cells that reach over its right and lower border. Stretching
    them onto the canvas instead would move all that they say.
    """
    height, width = size
    reach = [max(round(side * ratio), least) for side, least in zip(x.shape[2:], size, strict=True)]
    if tuple(reach) != tuple(x.shape[2:]):
        x = _Orderly.apply(F.interpolate(x, size=reach, mode=mode))
    return x[:, :, :height, :width]


class _Orderly(torch.autograd.Function):
    """Nothing forwards; on the way back a gradient is laid out as the map was.

    A map that was put beside another gets a part of their gradient, of which torch's enlarging makes copies
    in another layout, back and forth, at several times the cost of its arithmetic.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.last = x.is_contiguous(memory_format=torch.channels_last)
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        layout = torch.channels_last if ctx.last else torch.contiguous_format
        return gradient.contiguous(memory_format=layout)
