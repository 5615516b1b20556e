"""What timm's files call the tensors of a ViT: one layout for all its variants, to read and to write."""

from collections.abc import Sequence

import torch
from einops import rearrange

from vitrail.backbones.checkpoints.rules import (
    Layout,
    Parts,
    Rule,
    averaged,
    dense,
    parted,
    placed,
    same,
    stacked,
    turned,
)
from vitrail.backbones.names import SIZES
from vitrail.backbones.vit import ViTConfig
from vitrail.values import Size

TOKENS = ("cls_token", "dist_token", "reg_token")
"""What timm calls the tokens before the patches, in our order."""


def layout(
    config: ViTConfig,
    grid: Size,
    tokens: Sequence[str],
    *,
    beside: int = 0,
    head: bool = False,
    exchanged: bool = False,
) -> Layout:
    """Return how a network lies on disk in timm's names, with positions on a ``grid``.

    ``tokens`` are those of `TOKENS` that there are; the first ``beside`` of theirs have a position each. With
    ``head`` the classifier belongs to it. ``exchanged``: see `Untold`.
    """
    rules = [
        *dense("embed", "patch_embed.proj", bias=config.patch_bias),
        *_token_rules(config, grid, tokens, beside),
    ]
    normed = config.norm == "layer" and config.bias != "none"
    if config.enter_norm:
        rules += dense("enter", "norm_pre", bias=normed)
    last = ("encoder.norm", "norm") if config.final_norm == "tokens" else ("norm_summary", "fc_norm")
    rules += dense(*last, bias=normed)
    for layer in range(config.depth or SIZES[config.size].depth):
        rules += _block_rules(config, f"encoder.blocks.{layer}", f"blocks.{layer}", normed, exchanged)
    if config.pool == "attention":
        rules += _pooling_rules(normed)
    if head and config.pool == "class+distilled":
        rules.append(averaged("head", ("head", "head_dist")))
    elif head:
        rules += dense("head", "head")
    return Layout(rules=tuple(rules), dropped=(r"mask_token", r"pre_logits\..*"))


def _token_rules(config: ViTConfig, grid: Size, tokens: Sequence[str], beside: int) -> list[Rule]:
    if config.positions == "learned":
        return [placed(grid, "pos_embed", tokens, beside=beside)]
    return [stacked(tokens)] if tokens else []


def _block_rules(config: ViTConfig, ours: str, theirs: str, normed: bool, exchanged: bool) -> list[Rule]:
    biased = config.bias != "none"
    rules = dense(f"{ours}.around_mix.norm", f"{theirs}.norm1", bias=normed)
    rules += dense(f"{ours}.around_feed.norm", f"{theirs}.norm2", bias=normed)
    mix = dense(f"{ours}.mix.qkv", f"{theirs}.attn.qkv", bias=config.bias == "all")
    heads = config.heads or SIZES[config.size].heads
    rules += [_exchanged(rule, heads) for rule in mix] if exchanged else mix
    if config.qk_norm:
        for name, norm in (("query", "q_norm"), ("key", "k_norm")):
            rules += dense(f"{ours}.mix.norm_{name}", f"{theirs}.attn.{norm}", bias=normed)
    rules += dense(f"{ours}.mix.out", f"{theirs}.attn.proj", bias=biased)
    rules += dense(f"{ours}.feed.down", f"{theirs}.mlp.fc2", bias=biased)
    if config.feed == "swiglu":
        for part in ("weight", "bias")[: 1 + biased]:
            both = [f"{ours}.feed.{name}.{part}" for name in ("gate", "up")]
            rules.append(parted(both, f"{theirs}.mlp.fc1.{part}", (1, 1)))
    else:
        rules += dense(f"{ours}.feed.up", f"{theirs}.mlp.fc1", bias=biased)
    if config.layer_scale is not None:
        scales = ("gamma_1", "gamma_2") if config.positions == "rotary" else ("ls1.gamma", "ls2.gamma")
        rules.append(same(f"{ours}.around_mix.scale.values", f"{theirs}.{scales[0]}"))
        rules.append(same(f"{ours}.around_feed.scale.values", f"{theirs}.{scales[1]}"))
    return rules


def _exchanged(rule: Rule, heads: int) -> Rule:
    """Return the rule of queries, keys and values whose features that turn by columns come first in a head.

    Scores do not depend on the order of the features, if it is the same in queries and keys.
    """

    def exchange(parts: Parts) -> Parts:
        query, key, value = parts[0].chunk(3)
        halves = (rearrange(rows, "(h half c) ... -> half h c ...", half=2, h=heads) for rows in (query, key))
        turned = (rearrange(both.flip(0), "half h c ... -> (h half c) ...") for both in halves)
        return (torch.cat([*turned, value]),)

    return Rule(ours=rule.ours, theirs=rule.theirs, read=exchange, write=exchange)


def _pooling_rules(normed: bool) -> list[Rule]:
    rules = [turned("pooling.probe", "attn_pool.latent", "1 n d -> n d")]
    names = {"cross.query": "q", "cross.key_value": "kv", "cross.out": "proj"}
    names |= {"feed.up": "mlp.fc1", "feed.down": "mlp.fc2"}
    for ours, theirs in names.items():
        rules += dense(f"pooling.{ours}", f"attn_pool.{theirs}")
    return rules + dense("pooling.around_feed.norm", "attn_pool.norm", bias=normed)
