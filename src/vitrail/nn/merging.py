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
    found at once. ``remove`` is at most half of the tokens after the prefix. With ``sizes``, tokens that have
    none (padding) are the first to go, and take others in last.
    """
    count = keys.shape[1]
    keys = F.normalize(keys[:, prefix:].float(), dim=-1)
    likeness = keys[:, ::2] @ keys[:, 1::2].mT
    if sizes is not None:
        asking, asked = sizes[:, prefix::2], sizes[:, None, prefix + 1 :: 2]
        likeness = likeness.masked_fill(asked == 0, float("-inf"))
        likeness = likeness.masked_fill(asking[..., None] == 0, float("inf"))
    best, partner = likeness.max(dim=-1)
    going = best.topk(remove).indices
    sources = prefix + 2 * going
    takers = prefix + 2 * partner.gather(1, going) + 1

    tokens = torch.arange(count, device=keys.device).expand(len(keys), -1)
    stays = torch.ones_like(tokens, dtype=torch.bool).scatter(1, sources, False)
    into = stays.cumsum(dim=1) - 1
    slots = torch.where(stays, into, count - remove)  # the last slot is for those that go
    kept = tokens.new_empty(len(keys), count - remove + 1).scatter(1, slots, tokens)[:, :-1]
    return Matching(kept, into.scatter(1, sources, into.gather(1, takers)))


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
    ``prefix`` never merges. What is not ``visible`` has no size: nobody looks at it or is changed by it.
    """
    batch, count, _ = x.shape
    sizes = x.new_ones(batch, count, dtype=torch.float32) if visible is None else visible.float()
    holders = repeat(torch.arange(count, device=x.device), "n -> b n", b=batch)
    mask: Mask | None = visible
    for block in cast("list[Block]", encoder.blocks):
        query, key, value = block.mix.project(block.around_mix.enter(x), rotation)
        x = block.around_mix.leave(x, block.mix.gather(query, key, value, mask))
        remove = min(remove, (x.shape[1] - prefix) // 2)
        if remove:
            matching = match(key.mean(dim=1), remove, prefix, None if visible is None else sizes)
            x, sizes = join(x, sizes, matching)
            holders, mask = matching.into.gather(1, holders), sizes.log()
            if rotation is not None:
                turns = (_take(each.expand(batch, -1, -1), matching.kept) for each in rotation)
                rotation = Rotation(*turns)
        x = block.around_feed.leave(x, block.feed(block.around_feed.enter(x)))
    return Merged(encoder.norm(x), sizes, holders)


def _take(x: Float[Tensor, "b n d"], index: Int[Tensor, "b m"]) -> Float[Tensor, "b m d"]:
    return x[torch.arange(len(x), device=x.device)[:, None], index]
