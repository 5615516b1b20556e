"""Residual networks that transformers wrote, as timm's of the same shape: the same layers by other names.

Residual networks: He et al. 2015. Both libraries halve pictures in a bottleneck's middle convolution.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from vitrail.backbones.checkpoints.preparation import read_preparation
from vitrail.backbones.checkpoints.pretrained import Pretrained, hold
from vitrail.backbones.checkpoints.rules import Layout, Rule, dense, same
from vitrail.backbones.checkpoints.transformers import class_names
from vitrail.backbones.timm import TimmConfig
from vitrail.backbones.trial import Net
from vitrail.backbones.vit import ViTConfig
from vitrail.backbones.weights import CONFIG, read_config, read_weights
from vitrail.errors import VitrailError

NAMES: Mapping[tuple[str, tuple[int, ...]], str] = {
    ("basic", (2, 2, 2, 2)): "resnet18",
    ("basic", (3, 4, 6, 3)): "resnet34",
    ("bottleneck", (2, 2, 2, 2)): "resnet26",
    ("bottleneck", (3, 4, 6, 3)): "resnet50",
    ("bottleneck", (3, 4, 23, 3)): "resnet101",
    ("bottleneck", (3, 8, 36, 3)): "resnet152",
}
"""What timm calls a network of these layers, so many a stage."""

CONVOLUTIONS = {"basic": 2, "bottleneck": 3}
"""How many convolutions a layer has; a bottleneck gives four times the channels of its middle one."""

DEFAULTS: Mapping[str, Any] = {
    "num_channels": 3,
    "embedding_size": 64,
    "hidden_sizes": (256, 512, 1024, 2048),
    "depths": (3, 4, 6, 3),
    "layer_type": "bottleneck",
    "hidden_act": "relu",
    "downsample_in_first_stage": False,
    "downsample_in_bottleneck": False,
}
"""What transformers takes for what a config leaves out."""

NATIVE = (224, 224)
"""The pictures that such networks are published for, which their config does not say."""


def read_resnet(folder: Path, like: ViTConfig | None, values: bool) -> Pretrained:  # noqa: ARG001
    """Return the checkpoint of a folder that transformers 4 or 5 wrote, by timm's names of its tensors.

    Raises VitrailError for a network that timm's cannot express, and for tensors that are not those that the
    config describes.
    """
    stated = {**DEFAULTS, **read_config(folder)}
    try:
        kind, depths = str(stated["layer_type"]), tuple(map(int, stated["depths"]))
        name = _timm_name(kind, depths, stated)
    except (TypeError, ValueError) as error:
        raise VitrailError(f"{folder / CONFIG}: no network of timm is the same: {error}.") from None
    theirs = read_weights(folder, values=values)
    at = "resnet." if any(each.startswith("resnet.") for each in theirs) else ""
    table = layout(kind, depths, at=at, head="classifier.1.weight" in theirs)
    net = _skeleton(name, stated["num_channels"])
    tensors, classifier = hold(table.read(theirs, folder), table, net, net.num_features, folder)
    return Pretrained(
        title="a ResNet of transformers",
        config=TimmConfig(name=name),
        tensors=tensors,
        head=classifier,
        classes=None if classifier is None else class_names(stated, len(classifier[0]), folder),
        preprocessing=read_preparation(folder, "resnet", NATIVE, stated["num_channels"]),
    )


def _timm_name(kind: str, depths: tuple[int, ...], stated: Mapping[str, Any]) -> str:
    """Return timm's name of the network that a config describes.

    Raises ValueError, with the reason, when timm has none that computes the same.
    """
    name = NAMES.get((kind, depths))
    if name is None:
        known = ", ".join(f"{each} {' '.join(map(str, those))}" for each, those in NAMES)
        raise ValueError(f"layers and depths are {kind} {' '.join(map(str, depths))}, and it has {known}")
    widths = [width * (4 if kind == "bottleneck" else 1) for width in (64, 128, 256, 512)]
    wanted = {
        "embedding_size": (64,),
        "hidden_sizes": (widths,),
        "hidden_act": ("relu",),
        "downsample_in_first_stage": (False,),
        "downsample_in_bottleneck": (False,) if kind == "bottleneck" else (False, True),  # else unused
        "num_channels": (3, 1),
    }
    for key, choices in wanted.items():
        value = list(stated[key]) if isinstance(stated[key], tuple) else stated[key]
        if value not in choices:
            raise ValueError(f"{key} is {value!r}, and {choices[0]!r} in timm's {name}")
    return name


def _skeleton(name: str, channels: int) -> Net:
    """Return timm's network without values or classifier, to hold a checkpoint against."""
    import timm

    with torch.device("meta"):
        net: Net = timm.create_model(name, num_classes=0, in_chans=channels)
    return net


# ---------------------------------------------------------------- what the tensors are called


def layout(kind: str, depths: tuple[int, ...], *, at: str = "", head: bool = False) -> Layout:
    """Return how a network of `NAMES` lies on disk, below the prefix ``at``; ours are timm's names.

    With ``head`` its classifier belongs to it.
    """
    stem = f"{at}embedder.embedder"
    rules = [same("conv1.weight", f"{stem}.convolution.weight"), *_norm("bn1", f"{stem}.normalization")]
    for stage, depth in enumerate(depths):
        for layer in range(depth):
            ours, theirs = f"layer{stage + 1}.{layer}", f"{at}encoder.stages.{stage}.layers.{layer}"
            for each in range(CONVOLUTIONS[kind]):
                part = f"{theirs}.layer.{each}"
                rules.append(same(f"{ours}.conv{each + 1}.weight", f"{part}.convolution.weight"))
                rules += _norm(f"{ours}.bn{each + 1}", f"{part}.normalization")
            if layer == 0 and (stage or kind == "bottleneck"):  # elsewhere channels and size stay
                around = f"{theirs}.shortcut"
                rules.append(same(f"{ours}.downsample.0.weight", f"{around}.convolution.weight"))
                rules += _norm(f"{ours}.downsample.1", f"{around}.normalization")
    return Layout(rules=(*rules, *(dense("head", "classifier.1") if head else ())))


def _norm(ours: str, theirs: str) -> list[Rule]:
    statistics = ("running_mean", "running_var", "num_batches_tracked")
    return dense(ours, theirs) + [same(f"{ours}.{part}", f"{theirs}.{part}") for part in statistics]
