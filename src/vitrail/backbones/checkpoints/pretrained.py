"""Somebody else's checkpoint as ours: the network it is, its tensors by our names, and what came with it."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vitrail.backbones.checkpoints.rules import Layout, listed, shape_text
from vitrail.backbones.names import SIZES
from vitrail.backbones.timm import TimmConfig
from vitrail.backbones.vision_transformer import ViT
from vitrail.backbones.vit import ViTConfig
from vitrail.errors import UsageError, VitrailError
from vitrail.nn.feedforward import gated_width
from vitrail.values import Size

log = logging.getLogger(__name__)

HEAD = ("head.weight", "head.bias")
"""What the rules of a classifier call it; it belongs to no backbone."""


@dataclass(frozen=True, kw_only=True)
class Pretrained:
    """A checkpoint, understood.

    ``title`` says what it is; ``config`` builds its network, and names no weights. ``tensors`` are all its
    parameters and statistics by our names (of a network of timm: by its own), in float32, or on the meta
    device when only their shapes were asked for.
    ``head`` are weight and bias of its classifier on the network's summary, whose outputs ``classes`` names
    in order. ``preprocessing`` is how its pictures were prepared, as `timm_preprocessing` states it.
    """

    title: str
    config: ViTConfig | TimmConfig
    tensors: Mapping[str, Tensor]
    head: tuple[Tensor, Tensor | None] | None = None
    classes: tuple[str, ...] | None = None
    preprocessing: Mapping[str, Any]


Reader = Callable[[Path, ViTConfig | None, bool], Pretrained]
"""Reads a file or folder; a config says what a file that tells too little is of; False: shapes alone."""


def shape(*, width: int, depth: int, heads: int, mlp: int, gated: bool = False) -> dict[str, Any]:
    """Return the fields of a `ViTConfig` of this shape: the nearest size's name, and what departs from it.

    ``mlp`` is the hidden width, of one of the two parallel layers when ``gated``.
    """
    size = min(SIZES, key=lambda name: (abs(SIZES[name].width - width), abs(SIZES[name].depth - depth)))
    usual = asdict(SIZES[size])
    if gated:
        usual["mlp"] = gated_width(usual["mlp"])
    wanted = {"width": width, "depth": depth, "heads": heads, "mlp": mlp}
    return {"size": size, **{name: value for name, value in wanted.items() if value != usual[name]}}


def within(size: Size, patch: int, source: object) -> Size:
    """Return a size less what its patches leave over, as SigLIP's 384 pixels leave 6 over patches of 14."""
    height, width = (max(side // patch, 1) * patch for side in size)
    if (height, width) != size:
        log.warning(
            "%s: patches of %d do not divide %dx%d: pictures of %dx%d.", source, patch, *size, height, width
        )
    return height, width


def take(
    layout: Layout, theirs: Mapping[str, Tensor], config: ViTConfig, size: Size, source: object
) -> tuple[dict[str, Tensor], tuple[Tensor, Tensor | None] | None]:
    """Read a network's tensors and its classifier by a layout, and hold each against the network's own shape.

    ``size`` are the pictures that the checkpoint was trained on. Raises VitrailError when its config
    describes no network, or its tensors are not that network's.
    """
    tensors = layout.read(theirs, source)
    vit = _skeleton(config, size, tensors["embed.weight"].shape[1], source)
    return hold(tensors, layout, vit, vit.width, source)


def hold(
    tensors: dict[str, Tensor], layout: Layout, net: nn.Module, width: int, source: object
) -> tuple[dict[str, Tensor], tuple[Tensor, Tensor | None] | None]:
    """Hold what a layout read against a network, whose summary has a ``width``; part off the classifier.

    Raises VitrailError, with the names on disk, for what does not fit.
    """
    weight, bias = (tensors.pop(name, None) for name in HEAD)
    wanted = {name: parameter.shape for name, parameter in net.state_dict().items()}
    if tensors.keys() != wanted.keys():
        what = listed(tensors.keys() ^ wanted.keys())
        raise VitrailError(f"{source}: it and the network that its config describes differ in {what}.")
    wrong = [name for name, tensor in tensors.items() if tensor.shape != wanted[name]]
    if wrong:
        name = min(wrong)
        theirs_of = {ours: rule.theirs for rule in layout.rules for ours in rule.ours}
        found, right = shape_text(tensors[name].shape), shape_text(wanted[name])
        more = f" ({len(wrong) - 1} more are wrong)" if len(wrong) > 1 else ""
        raise VitrailError(
            f"{source}: not the shape that its config describes: {', '.join(theirs_of[name])} would make "
            f"{name} {found}, not {right}{more}."
        )
    if weight is None:
        return tensors, None
    if weight.shape[1] != width:
        raise VitrailError(f"{source}: its classifier takes {weight.shape[1]} features, not {width}.")
    return tensors, (weight, bias)


def _skeleton(config: ViTConfig, size: Size, channels: int, source: object) -> ViT:
    """Return the network without values, to hold a checkpoint against."""
    try:
        with torch.device("meta"):  # and the weights that start plainest: no waves over no grid
            return replace(config, init="normal").build(size, channels)
    except UsageError as error:
        raise VitrailError(f"{source}: its config describes no network: {error}") from None
