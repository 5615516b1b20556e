"""What keeps the strength of tokens even on their way through depth."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn


def layer_norm(width: int, eps: float = 1e-6, bias: bool = True) -> nn.Module:
    """Return the norm of nearly every Transformer (Ba et al. 2016, "Layer normalization").

    Mean and variance of each token become 0 and 1, then those that were learned.
    """
    return nn.LayerNorm(width, eps=eps, bias=bias)


class RMSNorm(nn.RMSNorm):
    """Torch's own, which autocast forgets: it computes in the precision of its weight, whatever comes in."""

    def forward(self, x: Float[Tensor, "*b d"]) -> Float[Tensor, "*b d"]:
        """Set the strength of each token."""
        return super().forward(x.to(self.weight.dtype)).to(x.dtype)


def rms_norm(width: int, eps: float = 1e-6, bias: bool = False) -> nn.Module:  # noqa: ARG001
    """Return the norm of the language models of today (Zhang & Sennrich 2019, "Root mean square norm").

    Only the strength of each token is set, not its mean: there is less to compute, and never a bias.
    """
    return RMSNorm(width, eps=eps)


class ChannelNorm(nn.LayerNorm):
    """LayerNorm of the channels of each place of a map, as ViTDet and ConvNeXt have it."""

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Make mean and variance of each place 0 and 1, then those that were learned."""
        return super().forward(x.movedim(1, -1)).movedim(-1, 1)


NORMS: dict[str, Callable[[int, float, bool], nn.Module]] = {"layer": layer_norm, "rms": rms_norm}


class LayerScale(nn.Module):
    """Multiply each feature of a branch by a learned factor that starts small.

    So every layer begins as nearly nothing and deep networks train (Touvron et al. 2021, "Going deeper with
    image transformers"). DeiT III and DINOv2 have it.
    """

    def __init__(self, width: int, start: float) -> None:
        super().__init__()
        self.values = nn.Parameter(torch.full((width,), start))

    def forward(self, branch: Float[Tensor, "*b d"]) -> Float[Tensor, "*b d"]:
        """Return the branch, scaled."""
        return branch * self.values
