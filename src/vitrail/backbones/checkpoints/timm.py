"""timm's Vision Transformers on disk as ours, and ours as timm's: one network, two sets of names."""

import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from torch import Tensor

from vitrail.backbones.checkpoints.pretrained import Pretrained, shape, take, within
from vitrail.backbones.checkpoints.timm_names import TOKENS, layout
from vitrail.backbones.checkpoints.timm_networks import Untold, build, understand
from vitrail.backbones.names import SIZES
from vitrail.backbones.published import stated_classes, timm_preprocessing
from vitrail.backbones.vision_transformer import Pool
from vitrail.backbones.vit import ViTConfig
from vitrail.backbones.weights import CONFIG, read_config, read_weights
from vitrail.errors import UsageError, VitrailError
from vitrail.values import Size

log = logging.getLogger(__name__)

USUAL = "vit_base_patch16_224"
"""Whose pictures those of a file without a config are prepared like."""


def read_timm(path: Path, like: ViTConfig | None, values: bool) -> Pretrained:
    """Return the checkpoint of a folder of timm, or of a file whose names are those of timm's ViT.

    A file alone does not tell all: the rest is that of ``like``. Raises VitrailError for a network that is
    none of ours, and for tensors that are not those that the folder's config describes; UsageError for a
    file alone without ``like``.
    """
    theirs = read_weights(path, values=values)
    if path.is_dir():
        untold, title = _untold_by_timm(path), f"timm's {read_config(path)['architecture']}"
    else:
        untold, title = _untold_by_like(theirs, like, path), "a ViT of timm"
    config, size, tensors, head = interpret(theirs, untold, path)
    channels = tensors["embed.weight"].shape[1]
    stated = timm_preprocessing(str(path) if path.is_dir() else USUAL)
    if not path.is_dir():
        log.warning("%s: no %s: pictures are prepared as for timm's %s.", path, CONFIG, USUAL)
        stated["size"] = size
    return Pretrained(
        title=title,
        config=config,
        tensors=tensors,
        head=head,
        classes=stated_classes(path, len(head[0])) if head else None,
        preprocessing=stated | {"size": within(stated["size"], config.patch, path), "channels": channels},
    )


def is_ours(folder: Path) -> bool:
    """Whether a folder of timm holds a network that is one of our ViTs."""
    try:
        understand(build(folder))
    except ValueError:
        return False
    return True


# ---------------------------------------------------------------- which network


def interpret(
    theirs: Mapping[str, Tensor], untold: Untold, source: object
) -> tuple[ViTConfig, Size, dict[str, Tensor], tuple[Tensor, Tensor | None] | None]:
    """Return the network of ours, the size that it was trained on, its tensors and its classifier.

    Raises VitrailError when they are not the tensors of a ViT.
    """
    try:
        config = _config(theirs, untold)
        grid, beside = _grid(theirs, config.patch, untold.size)
    except (KeyError, ValueError, IndexError) as error:
        raise VitrailError(f"{source}: these are not the tensors of a ViT of timm: {error}.") from None
    size = (grid[0] * config.patch, grid[1] * config.patch)
    tokens = [name for name in TOKENS if name in theirs]
    head, exchanged = "head.weight" in theirs, untold.exchanged
    table = layout(config, grid, tokens, beside=beside, head=head, exchanged=exchanged)
    return config, size, *take(table, theirs, config, size, source)


def _untold_by_timm(folder: Path) -> Untold:
    try:
        return understand(build(folder))
    except ValueError as reason:
        raise VitrailError(f"{folder}: no ViT of ours: {reason}. It can be used as timm's own.") from None


def _untold_by_like(theirs: Mapping[str, Tensor], like: ViTConfig | None, file: Path) -> Untold:
    """Return what is assumed of a file without a config: what the network has that was asked for."""
    if like is None:
        raise UsageError(
            f"{file}: a ViT of timm; no file tells its heads and activation. Put its {CONFIG} beside it, or\n"
            f"name the network too: --model vit-b16 --model.weights {file}"
        )
    width = len(theirs.get("patch_embed.proj.weight", ()))
    asked = SIZES[like.size]
    pools: dict[str, Pool] = {
        "attn_pool.latent": "attention",
        "dist_token": "class+distilled",
        "fc_norm.weight": "mean",
        "cls_token": "class",
    }
    rotary = like.positions == "rotary"
    return Untold(
        heads=(like.heads or asked.heads) if width == (like.width or asked.width) else max(1, width // 64),
        pool=next((pool for name, pool in pools.items() if name in theirs), "mean"),
        eps=like.eps,
        activation=like.activation,
        positions="rotary" if rotary else "none",
        exchanged=rotary,  # as in those that timm publishes
    )


def _config(theirs: Mapping[str, Tensor], untold: Untold) -> ViTConfig:
    """Return the network that names and shapes describe, with what they leave untold."""
    width, _, patch, _ = theirs["patch_embed.proj.weight"].shape
    at = "blocks.0."
    block = {name.removeprefix(at): part for name, part in theirs.items() if name.startswith(at)}
    hidden = block["mlp.fc2.weight"].shape[1]
    gated = len(block["mlp.fc1.weight"]) == 2 * hidden
    summed = untold.pool.startswith("class") + (untold.pool == "class+distilled")
    biases: dict[tuple[bool, bool], Literal["all", "not-qkv", "none"]]
    biases = {(True, True): "all", (False, True): "not-qkv", (False, False): "none"}
    return ViTConfig(
        **shape(width=width, depth=_depth(theirs), heads=untold.heads, mlp=hidden, gated=gated),
        patch=patch,
        patch_bias="patch_embed.proj.bias" in theirs,
        positions="learned" if "pos_embed" in theirs else untold.positions,
        pool=untold.pool,
        registers=sum(theirs[name].shape[1] for name in TOKENS if name in theirs) - summed,
        enter_norm="norm_pre.weight" in theirs,
        final_norm="tokens" if "norm.weight" in theirs else "summary",
        norm="layer" if "norm1.bias" in block else "rms",
        eps=untold.eps,
        feed="swiglu" if gated else "mlp",
        activation=untold.activation,
        bias=biases["attn.qkv.bias" in block, "attn.proj.bias" in block],
        qk_norm="attn.q_norm.weight" in block,
        layer_scale=1e-5 if {"ls1.gamma", "gamma_1"} & block.keys() else None,
    )


def _depth(theirs: Mapping[str, Tensor]) -> int:
    numbers = [int(name.split(".")[1]) for name in theirs if name.startswith("blocks.")]
    return max(numbers, default=-1) + 1


def _grid(theirs: Mapping[str, Tensor], patch: int, size: Size | None) -> tuple[Size, int]:
    """Return the grid of the positions on disk, and how many positions of tokens stand before them.

    It is that of the pictures' ``size``, or else a square.
    """
    stated = (size[0] // patch, size[1] // patch) if size else (14, 14)
    if "pos_embed" not in theirs:
        return stated, 0
    count = theirs["pos_embed"].shape[1]
    prefix = sum(theirs[name].shape[1] for name in TOKENS if name in theirs)
    choices = [(count - beside, beside) for beside in dict.fromkeys((prefix, 0)) if count > beside]
    for places, beside in choices:
        if places == stated[0] * stated[1]:
            return stated, beside
    for places, beside in choices:
        side = math.isqrt(places)
        if side * side == places:
            return (side, side), beside
    raise ValueError(f"{count} positions are of no square")
