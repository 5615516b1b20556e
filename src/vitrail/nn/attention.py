"""Multi-head attention (Vaswani et al. 2017, "Attention is all you need"), within and across sequences."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn

from vitrail.errors import UsageError
from vitrail.nn.rotary import Rotation, rotate

Mask = Bool[Tensor, "b m"] | Bool[Tensor, "b n m"] | Float[Tensor, "b m"] | Float[Tensor, "b n m"]
"""What queries (n) may look at among keys (m): true where they may; or numbers, added to the scores."""

OwnMask = Bool[Tensor, "b n"] | Bool[Tensor, "b n n"] | Float[Tensor, "b n"] | Float[Tensor, "b n n"]
"""The same within one sequence, beside another's `Mask`."""


class Attention(nn.Module):
    """Let every token look at every other: ``b n d`` to ``b n d``, through the fastest kernel that torch has.

    ``norm`` makes the norm of a head's queries and keys, which keeps their scores from growing without bound
    (Dehghani et al. 2023, "Scaling vision transformers to 22 billion parameters"). ``causal`` hides what
    comes later, as language models need. The weights never leave the kernel; who wants to see them asks
    ``weights``, which computes them once more beside it.
    Raises UsageError when ``heads`` does not divide ``width``.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        *,
        bias: bool = True,
        out_bias: bool = True,
        norm: Callable[[int], nn.Module] | None = None,
        causal: bool = False,
    ) -> None:
        super().__init__()
        check_heads(width, heads)
        self.heads, self.causal = heads, causal
        self.qkv = nn.Linear(width, 3 * width, bias=bias)
        self.norm_query, self.norm_key = _norms(norm, width // heads)
        self.out = nn.Linear(width, width, bias=out_bias)

    def forward(
        self, x: Float[Tensor, "b n d"], mask: Mask | None = None, rotation: Rotation | None = None
    ) -> Float[Tensor, "b n d"]:
        """Return what each token gathered from the others; ``rotation`` tells where they lie."""
        query, key, value = self.project(x, rotation)
        return self.gather(query, key, value, mask)

    def project(
        self, x: Float[Tensor, "b n d"], rotation: Rotation | None = None
    ) -> tuple[Float[Tensor, "b h n c"], Float[Tensor, "b h n c"], Float[Tensor, "b h n c"]]:
        """Return each head's queries, keys and values."""
        query, key, value = rearrange(self.qkv(x), "b n (three h c) -> three b h n c", three=3, h=self.heads)
        query, key = self.norm_query(query), self.norm_key(key)
        if rotation is not None:
            query, key = rotate(query, rotation), rotate(key, rotation)
        return query, key, value

    def gather(
        self,
        query: Float[Tensor, "b h n c"],
        key: Float[Tensor, "b h m c"],
        value: Float[Tensor, "b h m c"],
        mask: Mask | None = None,
    ) -> Float[Tensor, "b n d"]:
        """Return what queries gather from values, all heads put together again."""
        visible = _visible(mask, query, causal=self.causal)
        alone = self.causal and mask is None  # the kernel's own triangle costs no mask
        gathered = F.scaled_dot_product_attention(
            query, key, value, attn_mask=None if alone else visible, is_causal=alone
        )
        mixed: Tensor = self.out(rearrange(gathered, "b h n c -> b n (h c)"))
        return mixed

    def weights(
        self, x: Float[Tensor, "b n d"], mask: Mask | None = None, rotation: Rotation | None = None
    ) -> Float[Tensor, "b h n n"]:
        """Return how much each query (third axis) looked at each key (fourth); every row sums to one."""
        query, key, _ = self.project(x, rotation)
        return _weights(query, key, _visible(mask, query, causal=self.causal))

    def watched(
        self, x: Float[Tensor, "b n d"], mask: Mask | None = None, rotation: Rotation | None = None
    ) -> tuple[Float[Tensor, "b n d"], Float[Tensor, "b h n n"]]:
        """Return what ``forward`` returns, outside the kernel, and the weights that it comes from."""
        query, key, value = self.project(x, rotation)
        weights = _weights(query, key, _visible(mask, query, causal=self.causal))
        mixed: Tensor = self.out(rearrange(weights @ value, "b h n c -> b n (h c)"))
        return mixed, weights


class CrossAttention(nn.Module):
    """Let tokens look at others, of another sequence: ``b n d`` and ``b m context`` to ``b n d``."""

    def __init__(
        self,
        width: int,
        heads: int,
        *,
        context: int | None = None,
        bias: bool = True,
        out_bias: bool = True,
        norm: Callable[[int], nn.Module] | None = None,
    ) -> None:
        super().__init__()
        check_heads(width, heads)
        self.heads = heads
        self.query = nn.Linear(width, width, bias=bias)
        self.key_value = nn.Linear(context or width, 2 * width, bias=bias)
        self.norm_query, self.norm_key = _norms(norm, width // heads)
        self.out = nn.Linear(width, width, bias=out_bias)

    def forward(
        self, x: Float[Tensor, "b n d"], context: Float[Tensor, "b m e"], mask: Mask | None = None
    ) -> Float[Tensor, "b n d"]:
        """Return what each token gathered from the context; ``mask`` is the context's."""
        query, key, value = self._project(x, context)
        gathered = F.scaled_dot_product_attention(query, key, value, attn_mask=_visible(mask, query))
        mixed: Tensor = self.out(rearrange(gathered, "b h n c -> b n (h c)"))
        return mixed

    def weights(
        self, x: Float[Tensor, "b n d"], context: Float[Tensor, "b m e"], mask: Mask | None = None
    ) -> Float[Tensor, "b h n m"]:
        """Return how much each token (third axis) looked at each of the context (fourth)."""
        query, key, _ = self._project(x, context)
        return _weights(query, key, _visible(mask, query))

    def _project(self, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        query = rearrange(self.query(x), "b n (h c) -> b h n c", h=self.heads)
        key, value = rearrange(self.key_value(context), "b m (two h c) -> two b h m c", two=2, h=self.heads)
        return self.norm_query(query), self.norm_key(key), value


def check_heads(width: int, heads: int) -> None:
    """Raise UsageError, naming the nearest numbers that would do, unless the heads divide the width."""
    if width % heads:
        fewer = next(number for number in range(min(heads, width), 0, -1) if width % number == 0)
        more = next((number for number in range(heads, width + 1) if width % number == 0), fewer)
        raise UsageError(f"{heads} heads do not divide a width of {width}: take {fewer} or {more}.")


def seen_by_any(mask: Mask | None) -> Bool[Tensor, "b m"] | None:
    """Return which keys at least one query may look at; None are all."""
    if mask is None:
        return None
    seen = mask if mask.dtype == torch.bool else mask > float("-inf")
    return seen if seen.ndim == 2 else seen.any(dim=1)


def _norms(norm: Callable[[int], nn.Module] | None, width: int) -> tuple[nn.Module, nn.Module]:
    return (nn.Identity(), nn.Identity()) if norm is None else (norm(width), norm(width))


def _visible(mask: Tensor | None, query: Tensor, *, causal: bool = False) -> Tensor | None:
    """Return what the kernels want: ``b 1 (1|n) m``, true or a number to add."""
    visible = None
    if mask is not None:
        visible = mask[:, None, None, :] if mask.ndim == 2 else mask[:, None]
        if visible.is_floating_point():
            visible = visible.to(query.dtype)
    if not causal:
        return visible
    count = query.shape[-2]
    earlier = torch.ones(count, count, dtype=torch.bool, device=query.device).tril()
    if visible is None:
        return earlier
    return visible.masked_fill(~earlier, float("-inf")) if visible.is_floating_point() else visible & earlier


def _weights(query: Tensor, key: Tensor, visible: Tensor | None) -> Tensor:
    scores = (query * query.shape[-1] ** -0.5) @ key.mT
    if visible is not None:
        scores = (
            scores + visible if visible.is_floating_point() else scores.masked_fill(~visible, float("-inf"))
        )
    weights: Tensor = scores.softmax(dim=-1)
    if visible is None:
        return weights
    # Who may look at nothing gathers nothing, as in the kernels.
    return weights.masked_fill(scores.amax(dim=-1, keepdim=True) == float("-inf"), 0.0)
