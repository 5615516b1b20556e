"""Reading a folder of transformers: its config says which network, `families` what the tensors are called."""

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

from vitrail.backbones.checkpoints.families import TITLES, embedding, layout
from vitrail.backbones.checkpoints.preparation import read_preparation
from vitrail.backbones.checkpoints.pretrained import Pretrained, shape, take, within
from vitrail.backbones.published import distinct
from vitrail.backbones.vision_transformer import Pool
from vitrail.backbones.vit import ViTConfig
from vitrail.backbones.weights import CONFIG, read_config, read_weights
from vitrail.errors import UsageError, VitrailError
from vitrail.values import Size

log = logging.getLogger(__name__)

FAMILIES = {
    **{family: family for family in TITLES},
    "clip_vision_model": "clip",
    "siglip_vision_model": "siglip",
}
"""The ``model_type`` of a config, and which family that is."""

_BASE = {
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-12,
    "image_size": 224,
    "patch_size": 16,
    "qkv_bias": True,
}
_DINO = {**_BASE, "layer_norm_eps": 1e-6, "patch_size": 14, "mlp_ratio": 4, "use_swiglu_ffn": False}
DEFAULTS: dict[str, Mapping[str, Any]] = {
    "vit": _BASE,
    "deit": _BASE,
    "vit_mae": _BASE,
    "dinov2": _DINO,
    "dinov2_with_registers": {**_DINO, "patch_size": 16, "num_register_tokens": 4},
    "clip": {**_BASE, "layer_norm_eps": 1e-5, "patch_size": 32, "hidden_act": "quick_gelu"},
    "siglip": {**_BASE, "layer_norm_eps": 1e-6, "hidden_act": "gelu_pytorch_tanh"},
}
"""What each class of transformers takes for what a config leaves out."""

ACTIVATIONS: dict[str, Literal["gelu", "gelu_tanh", "quick_gelu", "relu"]] = {
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "quick_gelu": "quick_gelu",
    "relu": "relu",
}


def read_transformers(folder: Path, like: ViTConfig | None, values: bool) -> Pretrained:  # noqa: ARG001
    """Return the checkpoint of a folder that transformers 4 or 5 wrote.

    Raises VitrailError for another network, and for tensors that are not those that its config describes.
    """
    stated = read_config(folder)
    family = FAMILIES.get(stated["model_type"])
    if family is None:
        raise VitrailError(
            f'{folder}: looks like transformers\' "{stated["model_type"]}", which is no plain ViT and no '
            f"ResNet; of its families Vitrail reads {', '.join(TITLES)}, resnet.\n"
            "A network of timm may do: `vitrail models WORD`."
        )
    theirs = read_weights(folder, values=values)
    try:
        config, native = _understand(family, {**DEFAULTS[family], **_vision(stated)}, theirs)
    except (KeyError, TypeError, UsageError, ValueError, ZeroDivisionError) as error:
        raise VitrailError(f"{folder / CONFIG}: describes no {family}: {error}.") from None
    head = {"classifier.weight", "cls_classifier.weight"} & theirs.keys()
    if head and family == "clip":
        log.warning("%s: its classifier looks at tokens that no norm has seen: it is left out.", folder)
        head = set()
    grid = (native[0] // config.patch, native[1] // config.patch)
    table = layout(family, config, grid, at=_prefix(family, theirs), head=bool(head))
    tensors, classifier = take(table, theirs, config, native, folder)
    preparation = read_preparation(folder, family, native, tensors["embed.weight"].shape[1])
    return Pretrained(
        title=f"{TITLES[family]} of transformers",
        config=config,
        tensors=tensors,
        head=classifier,
        classes=None if classifier is None else class_names(stated, len(classifier[0]), folder),
        preprocessing=preparation | {"size": within(preparation["size"], config.patch, folder)},
    )


def _vision(stated: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a config says of the tower that sees; files of 2022 say it twice, and the second counts."""
    if "vision_config" not in stated:
        return dict(stated)
    return {**(stated["vision_config"] or {}), **(stated.get("vision_config_dict") or {})}


def _understand(family: str, stated: Mapping[str, Any], names: Iterable[str]) -> tuple[ViTConfig, Size]:
    """Return the network that a config describes, and the size of its pictures, less what no patch covers."""
    patch, other = _pair(stated["patch_size"])
    if patch != other:
        raise ValueError(f"patches of {patch}x{other} pixels, and only squares are known here")
    height, width = _pair(stated["image_size"])
    activation = ACTIVATIONS.get(stated["hidden_act"])
    if activation is None:
        raise ValueError(f"hidden_act {stated['hidden_act']!r} is none of {', '.join(ACTIVATIONS)}")
    dino, swiglu = family.startswith("dinov2"), bool(stated.get("use_swiglu_ffn"))
    wide = int(stated["hidden_size"] * stated["mlp_ratio"]) if dino else stated["intermediate_size"]
    config = ViTConfig(
        **shape(
            width=stated["hidden_size"],
            depth=stated["num_hidden_layers"],
            heads=stated["num_attention_heads"],
            mlp=(int(wide * 2 / 3) + 7) // 8 * 8 if swiglu else wide,
            gated=swiglu,
        ),
        patch=patch,
        patch_bias=family != "clip",
        antialias=family == "dinov2_with_registers",
        pool=_pool(family, set(names)),
        registers=_registers(family, stated, set(names)),
        enter_norm=family == "clip",
        eps=float(stated["layer_norm_eps"]),
        feed="swiglu" if swiglu else "mlp",
        activation=activation,
        bias="all" if stated["qkv_bias"] else "not-qkv",
        layer_scale=float(stated["layerscale_value"]) if dino else None,
    )
    return config, (height // patch * patch, width // patch * patch)


def _pool(family: str, names: set[str]) -> Pool:
    """Return what the classifier on disk looks at, or without one what the family calls its summary."""
    if family == "siglip":
        pooled = any(name.endswith("head.probe") for name in names) and "classifier.weight" not in names
        return "attention" if pooled else "mean"
    if "cls_classifier.weight" in names:
        return "class+distilled"
    return "class+mean" if family.startswith("dinov2") and "classifier.weight" in names else "class"


def _registers(family: str, stated: Mapping[str, Any], names: set[str]) -> int:
    if family == "deit":  # its distillation token is always there; a summary without it leaves it a register
        return int("cls_classifier.weight" not in names)
    return int(stated.get("num_register_tokens", 0))


def _pair(sides: Any) -> Size:
    return (int(sides[0]), int(sides[1])) if isinstance(sides, list | tuple) else (int(sides), int(sides))


def _prefix(family: str, names: Iterable[str]) -> str:
    """Return what stands before the names of the tower that sees."""
    end = embedding(family) + ".weight"
    return next((name.removesuffix(end) for name in names if name.endswith(end)), "")


def class_names(stated: Mapping[str, Any], count: int, folder: Path) -> tuple[str, ...]:
    """Return the names of the classes in order, as a config states them.

    Raises VitrailError when they are not as many as the classifier has.
    """
    labels = stated.get("id2label") or {index: f"LABEL_{index}" for index in range(count)}
    try:
        names = [str(label) for _, label in sorted((int(index), label) for index, label in labels.items())]
    except (AttributeError, TypeError, ValueError) as error:
        raise VitrailError(f"{folder / CONFIG}: id2label cannot be understood ({error}).") from None
    if len(names) != count:
        raise VitrailError(f"{folder / CONFIG}: names {len(names)} classes, but the classifier has {count}.")
    return distinct(names)
