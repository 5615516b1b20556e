"""What files of transformers call the tensors of each of its families: one layout each, to read and to write.

Versions 4 and 5 write the same names, below a prefix that differs (``vit.``, ``vision_model.``, none).
"""

import re

from vitrail.backbones.checkpoints.rules import (
    Layout,
    Rule,
    averaged,
    dense,
    joined,
    parted,
    placed,
    same,
    turned,
)
from vitrail.backbones.names import SIZES
from vitrail.backbones.vit import ViTConfig
from vitrail.values import Size

TITLES = {
    "vit": "a ViT",
    "deit": "a DeiT",
    "vit_mae": "a masked autoencoder (ViTMAE)",
    "dinov2": "a DINOv2",
    "dinov2_with_registers": "a DINOv2 with registers",
    "clip": "a CLIP",
    "siglip": "a SigLIP",
}
"""The families, by the names that transformers has for them, and what people call them."""

EMBED = {"clip": "embeddings.patch_embedding", "siglip": "embeddings.patch_embedding"}
"""What a family calls the map of patches, where it is not ``embeddings.patch_embeddings.projection``."""


def layout(family: str, config: ViTConfig, grid: Size, *, at: str = "", head: bool = False) -> Layout:
    """Return how a network of a family lies on disk, below the prefix ``at``, with positions on a ``grid``.

    With ``head`` its classifier belongs to it.
    """
    tower = _clip_rules if family in ("clip", "siglip") else _vit_rules
    embed = dense("embed", at + embedding(family), bias=config.patch_bias)
    return Layout(
        rules=(*embed, *tower(family, config, grid, at), *(_head_rules(config) if head else ())),
        dropped=tuple(pattern.replace("AT", re.escape(at)) for pattern in _dropped(family, config)),
    )


def embedding(family: str) -> str:
    """Return what a family calls the map of patches, by which the prefix of its names is found."""
    return EMBED.get(family, "embeddings.patch_embeddings.projection")


def _dropped(family: str, config: ViTConfig) -> list[str]:
    """Return what else a family's files hold: ``AT`` stands for the prefix."""
    if family in ("clip", "siglip"):  # the other tower, what joins the two, old constants
        other = r"text_model\..*", r"(text|visual)_projection\.weight", r"logit_(scale|bias)"
        heads = [] if config.pool == "attention" else [r"AThead\..*"]
        return [*other, r"ATembeddings\.position_ids", *heads, *([r"classifier\..*"] * (family == "clip"))]
    return [r"ATpooler\.dense\..*", r"ATembeddings\.mask_token", r"decoder\..*"]


def _head_rules(config: ViTConfig) -> list[Rule]:
    if config.pool != "class+distilled":
        return dense("head", "classifier")
    return [averaged("head", ("cls_classifier", "distillation_classifier"))]


def _vit_rules(family: str, config: ViTConfig, grid: Size, at: str) -> list[Rule]:
    """Return the rules of ViT, DeiT, ViTMAE and DINOv2, whose blocks are BERT's."""
    tokens = [f"{at}embeddings.cls_token"]
    if family == "deit":
        tokens.append(f"{at}embeddings.distillation_token")
    beside = len(tokens)
    if family == "dinov2_with_registers":
        tokens.append(f"{at}embeddings.register_tokens")
    rules = [placed(grid, f"{at}embeddings.position_embeddings", tokens, beside=beside)]
    rules += dense("encoder.norm", f"{at}layernorm")
    dino = family.startswith("dinov2")
    norms = ("norm1", "norm2") if dino else ("layernorm_before", "layernorm_after")
    for layer in range(config.depth or SIZES[config.size].depth):
        ours, theirs = f"encoder.blocks.{layer}", f"{at}encoder.layer.{layer}"
        mix = f"{theirs}.attention.attention"
        rules += _mix_rules(config, ours, [f"{mix}.{part}" for part in ("query", "key", "value")])
        rules += dense(f"{ours}.mix.out", f"{theirs}.attention.output.dense")
        rules += dense(f"{ours}.around_mix.norm", f"{theirs}.{norms[0]}")
        rules += dense(f"{ours}.around_feed.norm", f"{theirs}.{norms[1]}")
        rules += _dino_rules(config, ours, theirs) if dino else _feed_rules(ours, theirs)
    return rules


def _mix_rules(config: ViTConfig, ours: str, theirs: list[str]) -> list[Rule]:
    parts = ("weight", "bias") if config.bias == "all" else ("weight",)
    return [joined(f"{ours}.mix.qkv.{part}", [f"{name}.{part}" for name in theirs]) for part in parts]


def _feed_rules(ours: str, theirs: str) -> list[Rule]:
    up = dense(f"{ours}.feed.up", f"{theirs}.intermediate.dense")
    return up + dense(f"{ours}.feed.down", f"{theirs}.output.dense")


def _dino_rules(config: ViTConfig, ours: str, theirs: str) -> list[Rule]:
    around = {"around_mix": "layer_scale1", "around_feed": "layer_scale2"}
    scales = [
        same(f"{ours}.{name}.scale.values", f"{theirs}.{scale}.lambda1") for name, scale in around.items()
    ]
    if config.feed == "mlp":
        up, down = (
            dense(f"{ours}.feed.{name}", f"{theirs}.mlp.{layer}")
            for name, layer in (("up", "fc1"), ("down", "fc2"))
        )
        return scales + up + down
    gates = [
        parted(
            [f"{ours}.feed.gate.{part}", f"{ours}.feed.up.{part}"], f"{theirs}.mlp.weights_in.{part}", (1, 1)
        )
        for part in ("weight", "bias")
    ]
    return scales + gates + dense(f"{ours}.feed.down", f"{theirs}.mlp.weights_out")


def _clip_rules(family: str, config: ViTConfig, grid: Size, at: str) -> list[Rule]:
    """Return the rules of the vision towers of CLIP and SigLIP."""
    clip = family == "clip"
    tokens = [f"{at}embeddings.class_embedding"] if clip else []
    places = f"{at}embeddings.position_embedding.weight"
    rules = [placed(grid, places, tokens, beside=len(tokens), flat=True)]
    rules += dense("enter", f"{at}pre_layrnorm") if clip else []  # so it is spelt
    rules += dense("encoder.norm", f"{at}post_layernorm")
    for layer in range(config.depth or SIZES[config.size].depth):
        ours, theirs = f"encoder.blocks.{layer}", f"{at}encoder.layers.{layer}"
        rules += _mix_rules(config, ours, [f"{theirs}.self_attn.{part}_proj" for part in "qkv"])
        rules += dense(f"{ours}.mix.out", f"{theirs}.self_attn.out_proj")
        rules += dense(f"{ours}.around_mix.norm", f"{theirs}.layer_norm1")
        rules += dense(f"{ours}.around_feed.norm", f"{theirs}.layer_norm2")
        rules += dense(f"{ours}.feed.up", f"{theirs}.mlp.fc1") + dense(
            f"{ours}.feed.down", f"{theirs}.mlp.fc2"
        )
    if config.pool == "attention":
        rules += _pooling_rules(f"{at}head")
    return rules


def _pooling_rules(at: str) -> list[Rule]:
    """Return the rules of SigLIP's attention pooling, whose attention is one of torch's own."""
    rules = [turned("pooling.probe", f"{at}.probe", "1 n d -> n d")]
    for part in ("weight", "bias"):
        ours = [f"pooling.cross.query.{part}", f"pooling.cross.key_value.{part}"]
        rules.append(parted(ours, f"{at}.attention.in_proj_{part}", (1, 2)))
    rules += dense("pooling.cross.out", f"{at}.attention.out_proj")
    rules += dense("pooling.around_feed.norm", f"{at}.layernorm")
    return rules + dense("pooling.feed.up", f"{at}.mlp.fc1") + dense("pooling.feed.down", f"{at}.mlp.fc2")
