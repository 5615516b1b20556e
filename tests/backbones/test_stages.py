import re

import pytest
import timm
import torch
from timm.optim import param_groups_layer_decay
from torch import nn

from vitrail.backbones.stages import depth_of
from vitrail.backbones.timm import TimmBackbone
from vitrail.backbones.trial import Trial
from vitrail.backbones.vit import ViTConfig

UNTRIED = Trial(
    arguments={},
    multiple=1,
    least=(1, 1),
    only=None,
    stages=(),
    strides=(),
    channels=(),
    width=1,
    normed=False,
)
"""Nothing of how a network runs matters here."""


def scales_of(net, decay):
    """Return timm's own learning-rate scales by the parameter's name."""
    groups = param_groups_layer_decay(net, layer_decay=decay)
    by_identity = {id(p): group["lr_scale"] for group in groups for p in group["params"]}
    return {name: by_identity[id(parameter)] for name, parameter in net.named_parameters()}


@pytest.mark.parametrize(
    "name",
    [
        "vit_tiny_patch16_224",
        "vit_base_patch16_siglip_gap_224",
        "swin_tiny_patch4_window7_224",
        "convnext_atto",
        "resnet18",
        "res2net50d",
        "inception_v3",
        "mobilevit_xxs",
        "maxvit_rmlp_pico_rw_256",
        "test_efficientnet",
    ],
)
def test_the_rate_of_every_weight_of_timms_networks_is_timms(name):
    with torch.device("meta"):
        whole = timm.create_model(name, num_classes=7)
        backbone = TimmBackbone(timm.create_model(name, num_classes=0), UNTRIED)
    theirs, depth = scales_of(whole, 0.5), depth_of(backbone)
    assert depth.keys() == {n for n, _ in backbone.named_parameters()}
    assert {name: 0.5 ** depth[f"net.{name}"] for name in theirs if f"net.{name}" in depth} == {
        name: scale for name, scale in theirs.items() if f"net.{name}" in depth
    }
    left = {scale for name, scale in theirs.items() if f"net.{name}" not in depth}
    assert left == {1.0}, "only the classifier is not in the backbone"


NAMES = {
    r"patch_embed\.proj": "embed",
    r"(cls_token|pos_embed)": "prefix",
    r"blocks\.(\d+)\.norm1": r"encoder.blocks.\1.around_mix.norm",
    r"blocks\.(\d+)\.attn\.qkv": r"encoder.blocks.\1.mix.qkv",
    r"blocks\.(\d+)\.mlp\.fc2": r"encoder.blocks.\1.feed.down",
    r"norm": "encoder.norm",
}


def test_our_transformer_is_as_deep_as_timms():
    with torch.device("meta"):
        theirs = scales_of(timm.create_model("vit_tiny_patch16_224", num_classes=7), 0.5)
        depth = depth_of(ViTConfig(size="ti").build((224, 224), 3))
    assert depth["embed.weight"] == depth["positions.values"] == depth["prefix"] == 13
    compared = 0
    for name, scale in theirs.items():
        for pattern, ours in NAMES.items():
            if found := re.fullmatch(rf"{pattern}(\.weight|\.bias)?", name):
                mine = re.sub(rf"{pattern}(\.weight|\.bias)?", ours + (found[found.re.groups] or ""), name)
                assert 0.5 ** depth[mine] == scale, name
                compared += 1
    assert compared == 2 * (2 + 3 * 12) + 2


def test_what_pools_lies_beside_the_head():
    with torch.device("meta"):
        pooled = depth_of(ViTConfig(size="pico", patch=4, pool="attention").build((28, 28), 1))
        normed = depth_of(ViTConfig(size="pico", patch=4, final_norm="summary").build((28, 28), 1))
    assert {depth for name, depth in pooled.items() if name.startswith("pooling.")} == {0}
    assert normed["norm_summary.weight"] == 0
    assert pooled["encoder.norm.weight"] == pooled["encoder.blocks.5.mix.out.bias"] == 1
    assert pooled["encoder.blocks.0.mix.out.bias"] == 6


def test_parts_of_any_other_network_are_stages_in_their_order():
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2)))
    depth = depth_of(net)
    assert {name: depth[name] for name in ("0.weight", "0.bias", "2.0.weight", "2.1.bias")} == {
        "0.weight": 2,
        "0.bias": 2,
        "2.0.weight": 1,
        "2.1.bias": 1,
    }
