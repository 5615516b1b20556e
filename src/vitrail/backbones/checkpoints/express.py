"""Our ViT in the words of other libraries: which network of theirs it is, or which switch they have not."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from vitrail.backbones.checkpoints.families import layout as transformers_layout
from vitrail.backbones.checkpoints.timm_names import TOKENS
from vitrail.backbones.checkpoints.timm_names import layout as timm_layout
from vitrail.backbones.checkpoints.transformers import ACTIVATIONS
from vitrail.backbones.names import SIZES
from vitrail.backbones.vit import ViTConfig
from vitrail.errors import UsageError
from vitrail.nn.feedforward import gated_width
from vitrail.values import Size

Head = tuple[Tensor, Tensor]
"""Weight ``c d`` and bias ``c`` of a classifier on the summary."""


@dataclass(frozen=True, kw_only=True)
class Expressed:
    """A network and its classifier as another library's: its name there, what builds it, and its tensors."""

    architecture: str
    arguments: Mapping[str, Any]
    tensors: Mapping[str, Tensor]


BOTH: Mapping[str, Sequence[Any]] = {
    "tubelet": (0,),
    "stem": ("patch",),
    "norm_place": ("pre",),
    "experts": (0,),
}
"""What neither library has otherwise."""


def _require(config: ViTConfig, library: str, allowed: Mapping[str, Sequence[Any]]) -> None:
    """Raise UsageError for the first switch that is not among the values that a library can express."""
    for name, values in {**BOTH, **allowed}.items():
        value = getattr(config, name)
        if value not in values:
            cures = " or ".join([_flag(name, values[0]), *map(str, values[1:])])
            raise UsageError(f"{library} has no {_flag(name, value)}: a run with {cures} can be exported.")


def _flag(name: str, value: Any) -> str:
    word = name.replace("_", "-")
    if isinstance(value, bool):
        return f"--model.{word}" if value else f"--model.no-{word}"
    return f"--model.{word} {f'{value:g}' if isinstance(value, float) else value}"


def _shape(config: ViTConfig) -> dict[str, int]:
    """Return width, depth, heads and mlp, with nothing left to the size's name."""
    usual = SIZES[config.size]
    hidden = gated_width(usual.mlp) if config.feed == "swiglu" else usual.mlp
    return {
        "width": config.width or usual.width,
        "depth": config.depth or usual.depth,
        "heads": config.heads or usual.heads,
        "mlp": config.mlp or hidden,
    }


def _grid(config: ViTConfig, size: Size) -> Size:
    return size[0] // config.patch, size[1] // config.patch


# ---------------------------------------------------------------- timm


POOLS = {"class": "token", "mean": "avg", "attention": "map", "class+distilled": "token"}
"""What sums a picture up, in timm's words."""


def as_timm(config: ViTConfig, size: Size, tensors: Mapping[str, Tensor], head: Head) -> Expressed:
    """Return a network of timm for pictures of this size.

    Its architecture is the one with what no argument of timm can state; all else is stated.
    Raises UsageError, with the switch and the cure, when timm has no such network.
    """
    _require(config, "timm", _allowed_by_timm(config))
    shape, gated = _shape(config), config.feed == "swiglu"
    class_token, distilled = config.pool.startswith("class"), config.pool == "class+distilled"
    arguments = {
        "img_size": list(size),
        "patch_size": config.patch,
        "in_chans": tensors["embed.weight"].shape[1],
        "embed_dim": shape["width"],
        "depth": shape["depth"],
        "num_heads": shape["heads"],
        "mlp_ratio": _ratio(shape["width"], shape["mlp"] * (1 + gated)),
        "qkv_bias": config.bias == "all",
        "proj_bias": config.bias != "none",
        "qk_norm": config.qk_norm,
        "init_values": 0 if config.layer_scale is None else config.layer_scale or 1e-5,
        "pos_embed": "learn" if config.positions == "learned" else "none",
        "no_embed_class": not distilled,  # whose two tokens always have positions in timm
        "pre_norm": config.enter_norm,
        "global_pool": POOLS[config.pool],
        "fc_norm": config.final_norm == "summary",
        "class_token": class_token,
        "reg_tokens": config.registers,
        **({} if gated else {"act_layer": config.activation}),
        **({"norm_layer": "rmsnorm"} if config.norm == "rms" else {}),
    }
    there = {"cls_token": class_token, "dist_token": distilled, "reg_token": bool(config.registers)}
    tokens = [name for name in TOKENS if there[name]]
    table = timm_layout(config, _grid(config, size), tokens, beside=2 * distilled, head=True)
    return Expressed(
        architecture=_architecture(config),
        arguments=arguments,
        tensors=table.write({**tensors, "head.weight": head[0], "head.bias": head[1]}),
    )


def _allowed_by_timm(config: ViTConfig) -> dict[str, Sequence[Any]]:
    """Return the values that timm can express beside the other switches, of each that may stand otherwise."""
    plain = config.feed == "mlp" and config.norm == "layer" and config.pool != "class+distilled"
    allowed: dict[str, Sequence[Any]] = {
        "pool": tuple(POOLS),
        "positions": ("learned", "none"),
        "patch_bias": (not config.enter_norm,),
        "eps": (1e-6, 1e-5) if plain else (1e-6,),
    }
    if config.norm == "layer" or config.pool == "attention":
        allowed["bias"] = ("all", "not-qkv")
    if config.pool in ("attention", "class+distilled"):
        allowed["feed"] = ("mlp",)
    if config.pool == "class+distilled":
        allowed |= {"registers": (0,), "final_norm": ("tokens",), "positions": ("learned",)}
    return allowed


def _architecture(config: ViTConfig) -> str:
    """Return the architecture of timm with the right tokens, gates and norms."""
    if config.pool == "class+distilled":
        return "deit_base_distilled_patch16_224"
    if config.feed == "swiglu":
        return "vit_giant_patch14_dinov2"
    return "vit_base_patch16_clip_224" if config.eps == 1e-5 else "vit_base_patch16_224"


def _ratio(width: int, hidden: int) -> float:
    """Return the factor by which timm multiplies a width, and rounds down, to this hidden width."""
    ratio = hidden / width
    return ratio if int(width * ratio) == hidden else math.nextafter(ratio, math.inf)


# ---------------------------------------------------------------- transformers

PREFIXES = {"siglip": "vision_model."}
"""What stands before the names of a family's tower, where it is not the family's own name."""

CLASSES = {
    "vit": "ViTForImageClassification",
    "deit": "DeiTForImageClassificationWithTeacher",
    "dinov2": "Dinov2ForImageClassification",
    "dinov2_with_registers": "Dinov2WithRegistersForImageClassification",
    "siglip": "SiglipForImageClassification",
}
"""The classifier of each family."""


def as_transformers(config: ViTConfig, size: Size, tensors: Mapping[str, Tensor], head: Head) -> Expressed:
    """Return a classifier of transformers for pictures of this size; ``arguments`` are its ``config.json``.

    A class token sums up in ViT; where there are registers, LayerScale or gates besides, in DINOv2, whose
    classifier then pays no heed to the mean that stands beside it. A plain mean is SigLIP's classifier.
    Raises UsageError, with the switch and the cure, when transformers has no such network.
    """
    family = _family(config)
    _require(config, "transformers", _allowed_by(family))
    if size[0] != size[1] and family not in ("vit", "deit"):
        raise UsageError(
            f"transformers' {CLASSES[family]} takes squares only: a run with --image-size N can be exported."
        )
    at = PREFIXES.get(family, f"{family}.")
    settings, extra = _settings(family, config, size, tensors["embed.weight"].shape[1]), {}
    if family.startswith("dinov2"):
        extra[f"{at}embeddings.mask_token"] = torch.zeros(1, settings["hidden_size"])
        tensors, head = _as_dino(config, tensors, head)
        config = replace(config, pool="class+mean", layer_scale=settings["layerscale_value"])
    if family == "siglip":
        text = {"bos_token_id": 0, "eos_token_id": 1}  # there is no text, but it warns of its own numbers
        settings = {"text_config": text, "vision_config": settings}
    table = transformers_layout(family, config, _grid(config, size), at=at, head=True)
    return Expressed(
        architecture=CLASSES[family],
        arguments={"model_type": family, "architectures": [CLASSES[family]], **settings},
        tensors=table.write({**tensors, "head.weight": head[0], "head.bias": head[1]}) | extra,
    )


def _family(config: ViTConfig) -> str:
    """Return the family whose classifier looks at the same summary."""
    if config.pool in ("class", "class+mean"):
        bare = config.layer_scale is None and config.feed == "mlp" and not config.registers
        if config.pool == "class" and bare:
            return "vit"
        return "dinov2_with_registers" if config.registers else "dinov2"
    return "deit" if config.pool == "class+distilled" else "siglip"


def _allowed_by(family: str) -> Mapping[str, Sequence[Any]]:
    """Return the values that a family can express, of every switch that may stand otherwise."""
    dino = family.startswith("dinov2")
    pools = {"siglip": ("mean", "class"), "deit": ("class+distilled",), "vit": ("class",)}
    return {
        "pool": pools.get(family, ("class", "class+mean")),
        "positions": ("learned",),
        "norm": ("layer",),
        "enter_norm": (False,),
        "final_norm": ("tokens",),
        "patch_bias": (True,),
        "qk_norm": (False,),
        "bias": ("all",) if family == "siglip" else ("all", "not-qkv"),
        **({} if dino else {"layer_scale": (None,), "registers": (0,), "feed": ("mlp",)}),
    }


def _settings(family: str, config: ViTConfig, size: Size, channels: int) -> dict[str, Any]:
    """Return what a family's config says of the tower that sees."""
    shape = _shape(config)
    settings: dict[str, Any] = {
        "hidden_size": shape["width"],
        "num_hidden_layers": shape["depth"],
        "num_attention_heads": shape["heads"],
        "hidden_act": {ours: word for word, ours in ACTIVATIONS.items()}[config.activation],
        "layer_norm_eps": config.eps,
        "image_size": size[0] if size[0] == size[1] else list(size),
        "patch_size": config.patch,
        "num_channels": channels,
    }
    if family == "siglip":
        return settings | {
            "model_type": "siglip_vision_model",
            "intermediate_size": shape["mlp"],
            "vision_use_head": False,
        }
    settings["qkv_bias"] = config.bias == "all"
    if not family.startswith("dinov2"):
        return settings | {"intermediate_size": shape["mlp"]}
    if config.registers:
        settings["num_register_tokens"] = config.registers
    return settings | {
        "mlp_ratio": _dino_ratio(config, shape),
        "use_swiglu_ffn": config.feed == "swiglu",
        "layerscale_value": config.layer_scale or 1.0,
    }


def _dino_ratio(config: ViTConfig, shape: Mapping[str, int]) -> int:
    """Return the whole multiple of the width that DINOv2's hidden width is, or with gates is 2/3 of."""
    widths = {ratio: ratio * shape["width"] for ratio in range(1, 17)}
    if config.feed == "swiglu":
        widths = {ratio: (int(wide * 2 / 3) + 7) // 8 * 8 for ratio, wide in widths.items()}
    for ratio, wide in widths.items():
        if wide == shape["mlp"]:
            return ratio
    near = min(widths.values(), key=lambda wide: abs(wide - shape["mlp"]))
    raise UsageError(
        f"transformers' DINOv2 has no {_flag('mlp', shape['mlp'])}: a run with {_flag('mlp', near)} can be "
        "exported."
    )


def _as_dino(
    config: ViTConfig, tensors: Mapping[str, Tensor], head: Head
) -> tuple[Mapping[str, Tensor], Head]:
    """Return tensors with a scale of 1 where there is none, and a classifier that has a mean to look at."""
    shape, ones = _shape(config), dict[str, Tensor]()
    if config.layer_scale is None:
        for layer in range(shape["depth"]):
            for around in ("around_mix", "around_feed"):
                ones[f"encoder.blocks.{layer}.{around}.scale.values"] = torch.ones(shape["width"])
    if config.pool == "class":
        head = (torch.cat([head[0], torch.zeros_like(head[0])], dim=1), head[1])
    return {**tensors, **ones}, head
