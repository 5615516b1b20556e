"""What decoders of maps are made of: a convolution, a norm and a bend; and enlarging in place."""

from collections.abc import Sequence

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


def convolve(channels: int, width: int, size: int = 3, stride: int = 1) -> nn.Sequential:
    """Return a convolution with a batch norm and a ReLU, which keeps the grid or halves it, rounded up."""
    return nn.Sequential(
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
        x = F.interpolate(x, size=reach, mode=mode)
    return x[:, :, :height, :width]
