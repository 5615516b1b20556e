"""Multi-head self-attention (Vaswani et al. 2017, "Attention is all you need")."""

import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn

from vitrail.errors import UsageError


class Attention(nn.Module):
    """Let every token look at every other: ``b n d`` to ``b n d``, through the fastest kernel that torch has.

    ``mask`` is ``b n``, true where a token may be looked at. The weights never leave the kernel; who wants
    to see them asks ``weights``, which computes them once more beside it.
    Raises UsageError when ``heads`` does not divide ``width``.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        if width % heads:
            fewer = next(number for number in range(min(heads, width), 0, -1) if width % number == 0)
            more = next((number for number in range(heads, width + 1) if width % number == 0), fewer)
            raise UsageError(f"{heads} heads do not divide a width of {width}: take {fewer} or {more}.")
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(
        self, x: Float[Tensor, "b n d"], mask: Bool[Tensor, "b n"] | None = None
    ) -> Float[Tensor, "b n d"]:
        """Return what each token gathered from the others."""
        query, key, value = self._project(x)
        visible = None if mask is None else _for_heads(mask)
        gathered = F.scaled_dot_product_attention(query, key, value, attn_mask=visible)
        mixed: Tensor = self.out(rearrange(gathered, "b h n d -> b n (h d)"))
        return mixed

    def weights(
        self, x: Float[Tensor, "b n d"], mask: Bool[Tensor, "b n"] | None = None
    ) -> Float[Tensor, "b h n n"]:
        """Return how much each query (third axis) looked at each key (fourth); every row sums to one."""
        query, key, _ = self._project(x)
        scores = query @ key.mT * query.shape[-1] ** -0.5
        if mask is not None:
            scores = scores.masked_fill(~_for_heads(mask), float("-inf"))
        weights: Tensor = scores.softmax(dim=-1)
        return weights

    def _project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        query, key, value = rearrange(self.qkv(x), "b n (three h d) -> three b h n d", three=3, h=self.heads)
        return query, key, value


def _for_heads(mask: Tensor) -> Tensor:
    return mask[:, None, None, :]
