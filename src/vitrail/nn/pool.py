"""Many tokens to one."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vitrail.nn.attention import CrossAttention, Mask
from vitrail.nn.block import PreNorm


class AttentionPool(nn.Module):
    """A learned probe looks at all tokens and is fed: ``b n d`` to ``b d``.

    The pooling of SigLIP and of ViT-G (Zhai et al. 2021, "Scaling vision transformers", who save the class
    token's place in every layer by it; Lee et al. 2019, "Set Transformer").
    """

    def __init__(self, width: int, *, cross: CrossAttention, around_feed: PreNorm, feed: nn.Module) -> None:
        super().__init__()
        self.probe = nn.Parameter(torch.empty(1, width))
        nn.init.trunc_normal_(self.probe, std=0.02)
        self.cross, self.around_feed, self.feed = cross, around_feed, feed

    def forward(self, x: Float[Tensor, "b n d"], mask: Mask | None = None) -> Float[Tensor, "b d"]:
        """Return what the probe gathered; ``mask`` is true where a token may be looked at."""
        found = self.cross(self.probe.expand(len(x), 1, -1), x, mask)
        fed = self.around_feed.leave(found, self.feed(self.around_feed.enter(found)))
        return fed[:, 0]
