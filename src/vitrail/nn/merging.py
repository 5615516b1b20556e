"""Fewer tokens from layer to layer: those that are alike become one, and nothing has to be trained for it.

Bolya et al. 2022, "Token merging: your ViT but faster".
"""

from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from einops import repeat
from jaxtyping import Bool, Float, Int
from torch import Tensor

from vitrail.nn.attention import Mask
from vitrail.nn.block import Block
from vitrail.nn.encoder import Encoder
from vitrail.nn.rotary import Rotation


class Matching(NamedTuple):
    """Which tokens become one: ``kept`` are those that stay, ``into`` says in which of them each is now."""

    kept: Int[Tensor, "b m"]
    into: Int[Tensor, "b n"]


class Merged(NamedTuple):
    """What is left of ``n`` tokens: their ``values``, how many each stands for, and who holds each of all."""

    values: Float[Tensor, "b m d"]
    sizes: Float[Tensor, "b m"]
    holders: Int[Tensor, "b n"]

    def spread(self) -> Float[Tensor, "b n d"]:
        """Return every token as the one that holds it is."""
        return _take(self.values, self.holders)


def match(
    keys: Float[Tensor, "b n c"],
    remove: int,
    prefix: int = 0,
    sizes: Float[Tensor, "b n"] | None = None,
) -> Matching:
    """Find ``remove`` tokens and those that they are to become one with, by the likeness of their keys.

    The tokens after ``prefix`` belong in turn to two sets. Each of the first asks the most similar of the
    second (by cosine), and of these pairs the most similar are joined: no pair waits for another, so all are
    found at once. ``remove`` is at most half of the tokens after the prefix.

    With ``sizes``, tokens that have none (padding) come after all others, and of each sample's others at most
    half are joined, ``remove`` of them or fewer; the rest of ``remove`` goes from the end, where its padding
    is. So every sample is left with as many tokens, and what becomes of those that count does not depend on
    how much padding stands beside them.
    """
    count = keys.shape[1]
    keys = F.normalize(keys[:, prefix:].float(), dim=-1)
    likeness = keys[:, ::2] @ keys[:, 1::2].mT
    most: int | Tensor = remove
    if sizes is not None:
        asking, asked = sizes[:, prefix::2], sizes[:, None, prefix + 1 :: 2]
        likeness = likeness.masked_fill((asking[..., None] == 0) | (asked == 0), float("-inf"))
        most = (
            (sizes[:, prefix:] > 0).sum(dim=1, keepdim=True).div(2, rounding_mode="floor").clamp(max=remove)
        )
    best, partner = likeness.max(dim=-1)
    first = torch.arange(best.shape[1], device=keys.device).expand_as(best) < most
    going = torch.zeros_like(first).scatter(1, best.argsort(dim=1, descending=True, stable=True), first)

    tokens = torch.arange(count, device=keys.device).repeat(len(keys), 1)
    stays, holder = torch.ones_like(tokens, dtype=torch.bool), tokens.clone()
    stays[:, prefix::2] = ~going
    holder[:, prefix::2] = torch.where(going, prefix + 2 * partner + 1, tokens[:, prefix::2])
    stays &= stays.cumsum(dim=1) <= count - remove  # padding at the end makes room, where too few have gone
    into = stays.cumsum(dim=1) - 1
    slots = torch.where(stays, into, count - remove)  # the last slot is for those that go
    kept = tokens.new_empty(len(keys), count - remove + 1).scatter(1, slots, tokens)[:, :-1]
    return Matching(kept, into.gather(1, holder))


def join(
    x: Float[Tensor, "b n d"], sizes: Float[Tensor, "b n"], matching: Matching
) -> tuple[Float[Tensor, "b m d"], Float[Tensor, "b m"]]:
    """Return the means of the tokens that become one, each counted as many times as it stands for, and sizes.

    What has no size has no part in a mean.
    """
    batch, count = matching.kept.shape
    rows = (matching.into + count * torch.arange(batch, device=x.device)[:, None]).flatten()
    total = sizes.new_zeros(batch * count).index_add(0, rows, sizes.flatten())
    share = sizes.flatten() / total[rows].clamp(min=1)
    parts = x.flatten(0, 1) * share[:, None].to(x.dtype)
    joined = x.new_zeros(batch * count, x.shape[2]).index_add(0, rows, parts)
    return joined.view(batch, count, -1), total.view(batch, count)


def encode_merging(
    encoder: Encoder,
    x: Float[Tensor, "b n d"],
    *,
    remove: int,
    prefix: int = 0,
    visible: Bool[Tensor, "b n"] | None = None,
    rotation: Rotation | None = None,
) -> Merged:
    """Run an encoder, with ``remove`` tokens fewer after each of its layers' attention, at most half.

    Tokens are compared by the keys that attention has just used, averaged over heads. One that stands for
    several is looked at as many times (log size on its scores), and is turned as the token that stayed. The
    ``prefix`` never merges. What is not ``visible`` has no size: nobody looks at it or is changed by it, and
    it is put behind all else first, so that the two sets of `match` are the same with it as without. A
    picture's tokens are thus the same alone, in any batch and on any canvas.
    """
    batch, count, _ = x.shape
    sizes = x.new_ones(batch, count, dtype=torch.float32) if visible is None else visible.float()
    holders = repeat(torch.arange(count, device=x.device), "n -> b n", b=batch)
    mask: Mask | None = visible
    if visible is not None:
        behind = (~visible[:, prefix:]).int().argsort(dim=1, stable=True)
        order = torch.cat([holders[:, :prefix], prefix + behind], dim=1)
        x, sizes, mask = _take(x, order), sizes.gather(1, order), visible.gather(1, order)
        rotation = _turned(rotation, order)
        holders = order.argsort(dim=1)
    for block in cast("list[Block]", encoder.blocks):
        query, key, value = block.mix.project(block.around_mix.enter(x), rotation)
        x = block.around_mix.leave(x, block.mix.gather(query, key, value, mask))
        remove = min(remove, (x.shape[1] - prefix) // 2)
        if remove:
            matching = match(key.mean(dim=1), remove, prefix, None if visible is None else sizes)
            x, sizes = join(x, sizes, matching)
            holders, mask = matching.into.gather(1, holders), sizes.log()
            rotation = _turned(rotation, matching.kept)
        x = block.fed(x, mask)
    return Merged(encoder.norm(x), sizes, holders)


def _turned(rotation: Rotation | None, index: Int[Tensor, "b m"]) -> Rotation | None:
    """Return the turns of these tokens, which differ from sample to sample."""
    if rotation is None:
        return None
    return Rotation(*(_take(each.expand(len(index), -1, -1), index) for each in rotation))


def _take(x: Float[Tensor, "b n d"], index: Int[Tensor, "b m"]) -> Float[Tensor, "b m d"]:
    return x[torch.arange(len(x), device=x.device)[:, None], index]
