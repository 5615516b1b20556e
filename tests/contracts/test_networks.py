"""One battery over every listed backbone and head: a newcomer is tested by being listed."""

import copy

import pytest
import safetensors.torch
import torch

from vitrail.backbones import BACKBONES
from vitrail.backbones.timm import TimmConfig
from vitrail.backbones.vit import ViTConfig
from vitrail.heads import HEADS
from vitrail.models.vision import Vision
from vitrail.values import Batch, Features

NAMES = ("cat", "dog", "owl", "yak")
SIZE = (48, 64)
EXAMPLES = {
    "vit": [
        ViTConfig(size="pico", patch=8, pool="class", stem="patch"),
        ViTConfig(size="pico", patch=16, pool="mean", stem="conv", init="normal"),
        ViTConfig(size="ti", patch=16, pool="mean", dropout=0.1, drop_path=0.1),
    ],
    "timm": [
        TimmConfig(name="resnet10t", drop_path=0.1),
        TimmConfig(name="mobilenetv4_conv_small_035"),
        TimmConfig(name="test_vit"),
    ],
}
NETWORKS = [(config, head) for family in EXAMPLES.values() for config in family for head in HEADS]


def title(network):
    config, head = network
    return "-".join([*(str(value) for value in vars(config).values() if value), head])


def build(network, multi=False):
    config, head = network
    torch.manual_seed(0)
    backbone = config.build(SIZE, 3)
    return Vision(backbone, HEADS[head]().build(backbone.width, NAMES, multi))


@pytest.fixture(scope="module", params=NETWORKS, ids=title)
def network(request):
    return request.param


@pytest.fixture(scope="module")
def answering(network):
    return build(network).eval()


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(1)
    pixels = torch.randn(4, 3, *SIZE, generator=generator)
    return Batch(keys=list("wxyz"), pixels={"image": pixels}, targets={"label": torch.eye(4)})


def only(batch, index):
    pixels = batch.pixels["image"][index : index + 1]
    return batch.with_(keys=batch.keys[index : index + 1], pixels={"image": pixels}, targets={})


def test_every_family_is_tried_and_named_by_its_config():
    assert EXAMPLES.keys() == BACKBONES.keys()
    for family, configs in EXAMPLES.items():
        assert all(type(config) is BACKBONES[family] and config.family == family for config in configs)


def test_features_have_the_promised_shapes(answering, batch):
    backbone = answering.backbone
    features = answering.features(batch)
    assert isinstance(features, Features)
    assert features.summary.shape == (4, backbone.width)
    assert tuple(features.strides) == tuple(backbone.strides)
    for level, stride, channels in zip(features.levels, backbone.strides, backbone.channels, strict=True):
        assert level.shape == (4, channels, -(-SIZE[0] // stride), -(-SIZE[1] // stride))
    assert features.prefix is None or features.prefix.shape[::2] == (4, backbone.width)
    assert all(least <= side for least, side in zip(backbone.least, SIZE, strict=True))
    alone = answering.features(batch, levels=False)
    torch.testing.assert_close(alone.summary, features.summary, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("multi", [False, True])
def test_gradients_reach_every_parameter(network, batch, multi):
    model = build(network, multi).train()
    losses = model.loss(batch, 0.5)
    losses.total.backward()
    assert losses.total.isfinite()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
    if network[0].family == "vit":  # other networks start some branches at zero
        assert not [name for name, parameter in model.named_parameters() if not parameter.grad.any()]


def test_the_seed_decides_weights_and_random_draws(network, batch):
    def trained():
        model = build(network).train()
        torch.manual_seed(7)
        model.loss(batch, 0.0).total.backward()
        return {name: (p.detach(), p.grad) for name, p in model.named_parameters()}

    first, second = trained(), trained()
    for name, (value, gradient) in first.items():
        assert torch.equal(value, second[name][0]), name
        assert torch.equal(gradient, second[name][1]), name


def test_a_picture_alone_is_answered_as_in_a_batch(answering, batch):
    together = answering.answer(batch)
    for index, answer in enumerate(together):
        (alone,) = answering.answer(only(batch, index))
        assert (answer.source, alone.source) == (index, 0)
        torch.testing.assert_close(
            torch.as_tensor(alone.scores), torch.as_tensor(answer.scores), atol=1e-5, rtol=1e-5
        )


def test_bf16_stays_finite(network, batch):
    model = build(network).train()
    with torch.autocast("cpu", torch.bfloat16):
        loss = model.loss(batch, 0.0).total
    loss.backward()
    assert loss.dtype == torch.float32
    assert loss.isfinite()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


def test_weights_survive_a_file_and_a_copy(network, answering, batch, tmp_path):
    expected = answering.outputs(batch)
    safetensors.torch.save_file(answering.state_dict(), tmp_path / "weights.safetensors")
    other = build(network).eval()
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(1)
    other.load_state_dict(safetensors.torch.load_file(tmp_path / "weights.safetensors"))
    torch.testing.assert_close(other.outputs(batch), expected, rtol=0, atol=0)
    twin = copy.deepcopy(other)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.zero_()
    torch.testing.assert_close(twin.outputs(batch), expected, rtol=0, atol=0)


def test_explanations_can_differentiate_the_score(answering, batch):
    pixels = batch.pixels["image"].clone().requires_grad_()
    scores = answering.score(batch.with_(pixels={"image": pixels}), "owl")
    assert scores.shape == (4,)
    (gradient,) = torch.autograd.grad(scores.sum(), pixels)
    assert gradient.flatten(1).any(1).all()


def test_it_can_be_built_again_without_weights_to_start_from(network):
    config, _ = network
    rebuilt = config.untrained().build(SIZE, 3)
    assert rebuilt.state_dict().keys() == config.build(SIZE, 3).state_dict().keys()
    assert config.preprocessing() == {}
    assert all(side > 0 for side in config.suitable_size((30, 40)))
