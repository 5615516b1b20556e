import logging
from functools import cache, partial
from typing import ClassVar

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import nn

from vitrail.backbones.costs import read_costs
from vitrail.backbones.timm import TimmConfig
from vitrail.backbones.trial import round_up, try_out
from vitrail.errors import UsageError

# Small networks of each kind, at a size that keeps them cheap.
FAMILIES = {
    "test_resnet": 64,
    "test_byobnet": 64,
    "regnetx_002": 64,
    "densenet121": 64,
    "inception_v3": 96,
    "test_efficientnet": 64,
    "lcnet_035": 64,
    "test_nfnet": 64,
    "test_convnext": 64,
    "test_mambaout": 64,
    "edgenext_xx_small": 64,
    "mobilevit_xxs": 64,
    "test_coatnet": 64,
    "test_maxvit": 64,
    "pvt_v2_b0": 64,
    "swin_tiny_patch4_window7_224": 56,
    "test_vit": 48,
    "test_vit_relpos": 48,
}


@cache
def built(name, size, channels=3):
    torch.manual_seed(0)
    return TimmConfig(name=name).build(size, channels).eval()


def check_levels(backbone, features, pixels):
    assert features.summary.shape == (len(pixels), backbone.width)
    assert features.summary.isfinite().all()
    assert tuple(features.strides) == tuple(backbone.strides) == tuple(sorted(set(backbone.strides)))
    height, width = pixels.shape[2:]
    for level, stride, channels in zip(features.levels, backbone.strides, backbone.channels, strict=True):
        assert level.shape == (len(pixels), channels, -(-height // stride), -(-width // stride))
        assert level.isfinite().all()


@pytest.mark.parametrize("name", FAMILIES)
def test_the_summary_gives_timms_logits_and_the_levels_keep_their_promise(name):
    side = FAMILIES[name]
    backbone = built(name, (side, side))
    whole = whole_network(name, side)
    state = whole.state_dict() | backbone.net.state_dict()
    assert len(state) == len(backbone.net.state_dict()) + 2, "all but the classifier's weight and bias"
    whole.load_state_dict(state)
    pixels = torch.randn(2, 3, side, side)
    with torch.no_grad():
        features, logits = backbone(pixels), whole(pixels)
        torch.testing.assert_close(whole.get_classifier()(features.summary), logits, rtol=0, atol=0)
        torch.testing.assert_close(backbone(pixels, levels=False).summary, features.summary, rtol=0, atol=0)
        check_levels(backbone, features, pixels)
        for size in [(side + 5, 2 * side - 3), (9, 30)]:  # of another shape; below the least
            pixels = torch.randn(1, 3, *size)
            check_levels(backbone, backbone(pixels), pixels)


def whole_network(name, side):
    """Return timm's own network with a classifier, built for the size if it wants to be."""
    try:
        return timm.create_model(name, num_classes=5, img_size=side).eval()
    except TypeError:
        return timm.create_model(name, num_classes=5).eval()


def test_only_what_needs_it_is_padded_or_enlarged(caplog):
    caplog.set_level(logging.WARNING)
    resnet = TimmConfig(name="resnet10t").build((70, 70), 3)
    deit = TimmConfig(name="deit_tiny_distilled_patch16_224").build((70, 70), 3)
    assert (resnet.multiple, resnet.only) == (1, None)
    assert (deit.multiple, deit.least, deit.only) == (16, (16, 16), None)
    assert not caplog.messages
    convnext = TimmConfig(name="convnext_atto").build((20, 48), 3)
    assert convnext.least == (32, 32)
    levit = TimmConfig(name="levit_128s").build((60, 70), 3)
    assert levit.only == (64, 80)
    assert caplog.messages == [
        "convnext_atto takes no pictures below 32x32: smaller ones are enlarged.",
        "levit_128s takes 64x80 pictures only: others are resized to that.",
    ]


@pytest.mark.parametrize("size", [(33, 70), (7, 90)])
def test_a_network_for_one_size_takes_any(size):
    backbone = built("levit_128s", (64, 64))
    assert backbone.only == (64, 64)
    pixels = torch.randn(1, 3, *size)
    with torch.no_grad():
        check_levels(backbone, backbone(pixels), pixels)


def test_a_network_whose_branches_round_differently_is_padded():
    """At 60x90, and one pixel more, all its halvings happen to come out alike."""
    with torch.device("meta"):
        backbone = TimmConfig(name="resnetaa34d").build((60, 90), 3).eval()
        assert backbone.multiple == 32
        for size in [(60, 90), (65, 122), (15, 300)]:
            assert backbone(torch.empty(1, 3, *size)).summary.shape == (1, 512)


class Hybrid(nn.Module):
    """Begins a token every 16 pixels, but folds them by a ratio, rounded for the size it was built for."""

    pretrained_cfg: ClassVar = {"input_size": (3, 224, 224), "fixed_input_size": True}
    feature_info: ClassVar = [{"reduction": 16}]

    def __init__(self, img_size=(224, 224)):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, kernel_size=16, stride=16)
        self.ratio = [side // -(-side // 16) for side in img_size]

    def forward_intermediates(self, x, indices, output_fmt, norm=False):
        height, width = x.shape[2:]
        tokens = self.stem(F.pad(x, (0, -width % 16, 0, -height % 16))).flatten(2).mT
        grid = tokens.reshape(len(x), height // self.ratio[0], width // self.ratio[1], -1)
        return tokens, [grid.movedim(-1, 1)]

    def forward_head(self, tokens, pre_logits):
        return tokens.mean(dim=1)


def test_a_network_that_folds_tokens_wrongly_at_other_sizes_is_padded():
    """It would run: right at 33x20, with 16 channels at 49x33, and not at all far away."""
    trial = try_out(Hybrid, "hybrid", (33, 20), 3)
    assert trial.arguments == {"img_size": (48, 32)}
    assert (trial.multiple, trial.least, trial.only, trial.channels) == (16, (16, 16), None, (8,))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["vitamin_small_224", "vit_base_mci_224"])
@pytest.mark.parametrize("size", [(33, 20), (60, 90), (224, 224)])
def test_timms_networks_that_fold_tokens_wrongly(name, size):
    with torch.device("meta"):
        backbone = TimmConfig(name=name).build(size, 3).eval()
        for other in (size, (size[0] + 5, size[1] + 32), (15, 300)):
            for level in backbone(torch.empty(1, 3, *other)).levels:
                assert level.shape == (1, backbone.width, -(-other[0] // 16), -(-other[1] // 16))


# Networks that cannot be tried without values, and why.
UNTRIED = {
    "gemma4_vit": r"Tensor.item\(\) cannot be called on meta tensors"
}  # to ask for the largest position


def test_a_network_without_a_summary_is_refused():
    """It is one half of a model of vision and language."""
    with pytest.raises(UsageError, match=r"cannot be tried: \w+ does not support classification use cases\."):
        TimmConfig(name="deepseek_vit_412m_enc").build((70, 70), 3)


@pytest.mark.slow
@pytest.mark.parametrize("module", timm.list_modules())
def test_a_network_of_each_of_timms_modules(module):
    costs = read_costs()
    name = min(timm.list_models(module=module), key=lambda name: costs[name].parameters)
    if module in UNTRIED:
        with pytest.raises(UsageError, match=f"{name} cannot be tried: {UNTRIED[module]}"):
            built(name, (60, 90))
        return
    before = torch.get_rng_state()
    try_out(partial(timm.create_model, name, num_classes=0), name, (60, 90), 3)
    assert torch.equal(torch.get_rng_state(), before), "weights are the same without a trial"
    backbone = TimmConfig(name=name).build((60, 90), 3).eval()
    accepted = round_up((max(64, backbone.least[0]), max(96, backbone.least[1])), backbone.multiple)
    with torch.no_grad():
        pixels = torch.randn(2, 3, *(backbone.only or accepted))
        torch.testing.assert_close(backbone(pixels).summary, backbone.net(pixels), rtol=0, atol=0)
        for size in [pixels.shape[2:], (60, 90), (20, 33)]:
            pixels = torch.randn(1, 3, *size)
            check_levels(backbone, backbone(pixels), pixels)
