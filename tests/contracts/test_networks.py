"""One battery over every listed backbone and head: a newcomer is tested by being listed."""

import copy
import dataclasses

import pytest
import safetensors.torch
import timm
import torch

from vitrail.backbones import BACKBONES
from vitrail.backbones.names import SIZES
from vitrail.backbones.timm import TimmConfig
from vitrail.backbones.vit import ViTConfig
from vitrail.heads import HEADS
from vitrail.models.vision import Vision
from vitrail.values import Batch, Features

NAMES = ("cat", "dog", "owl", "yak")
SIZE = (48, 64)
SWITCHES = {
    "width": [48],
    "mlp": [200],
    "stem": ["conv"],
    "patch_bias": [False],
    "positions": ["none", "sine", "rotary"],
    "antialias": [False],
    "pool": ["mean", "attention", "class+mean", "class+distilled"],
    "registers": [1, 4],
    "enter_norm": [True],
    "final_norm": ["summary"],
    "norm": ["rms"],
    "norm_place": ["post"],
    "eps": [1e-5],
    "feed": ["swiglu"],
    "activation": ["gelu_tanh", "quick_gelu", "relu"],
    "bias": ["not-qkv", "none"],
    "qk_norm": [True],
    "layer_scale": [1e-5],
    "drop_path": [0.1],
    "dropout": [0.1],
    "patch_drop": [0.5],
    "init": ["normal"],
}
"""The departures of a Vision Transformer of ours, one at a time."""
TOGETHER = [  # as the papers' networks have them, and what leans on each other
    {"pool": "mean", "final_norm": "summary", "registers": 1},  # timm's mean pooling beside a class token
    {"pool": "mean", "stem": "conv", "positions": "rotary", "heads": 2},
    {"pool": "class+mean", "registers": 4, "feed": "swiglu", "layer_scale": 1e-5},  # DINOv2
    {"pool": "attention", "positions": "sine", "activation": "gelu_tanh", "norm_place": "post"},
    {"norm": "rms", "qk_norm": True, "bias": "none", "positions": "rotary"},  # ViT-22B and its like
    {"experts": 3, "pool": "mean"},  # a class token alone would use one expert of the last layer
    {"experts": 3, "experts_top": 2, "experts_capacity": 2.0, "pool": "mean", "patch_drop": 0.25},
    {"enter_norm": True, "patch_bias": False, "activation": "quick_gelu", "eps": 1e-5},  # CLIP
]
SINGLY = [{name: value} for name, values in SWITCHES.items() for value in values]
EXAMPLES = {
    "vit": [
        ViTConfig(size="pico", patch=8),
        *(ViTConfig(**{"size": "pico", "depth": 2, "patch": 16} | switch) for switch in SINGLY + TOGETHER),
    ],
    "timm": [
        TimmConfig(name="resnet10t", drop_path=0.1),
        TimmConfig(name="mobilenetv4_conv_small_035"),
        TimmConfig(name="test_vit"),
        TimmConfig(name="test_convnext"),
    ],
}
NETWORKS = [(config, head) for family in EXAMPLES.values() for config in family for head in HEADS["classify"]]


def title(network):
    """Return how a config departs from its family's default."""
    config, head = network
    words = [
        f"{field.name}={getattr(config, field.name)}"
        for field in dataclasses.fields(config)
        if getattr(config, field.name) != field.default
    ]
    return "-".join([*words, head])


def build(network, multi=False):
    config, head = network
    torch.manual_seed(0)
    backbone = config.build(SIZE, 3)
    return Vision(backbone, HEADS["classify"][head]().build(backbone, NAMES, multi))


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


def test_every_switch_of_our_transformer_is_tried():
    tried = {field for words in SINGLY + TOGETHER for field in words}
    elsewhere = {"family", "size", "patch", "depth", "tubelet", "weights"}  # sizes below, tests/backbones
    assert tried | elsewhere == {field.name for field in dataclasses.fields(ViTConfig)}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("patch", [14, 16])
def test_every_size_has_the_parameters_of_its_paper(size, patch):
    """Layer by layer, and as timm counts, whose class token has a position where ours is one with it."""
    width, depth, mlp = (SIZES[size].width, SIZES[size].depth, SIZES[size].mlp)
    with torch.device("meta"):
        vit = ViTConfig(size=size, patch=patch).build((224, 224), 3)
        theirs = None if size == "pico" else timm_vit(size, patch)
    attention = 4 * width * width + 4 * width
    feed = 2 * width * mlp + width + mlp
    tokens = (3 * patch**2 + 1) * width + (224 // patch) ** 2 * width + width
    total = sum(parameter.numel() for parameter in vit.parameters())
    assert total == tokens + depth * (attention + feed + 4 * width) + 2 * width
    if theirs is not None:
        assert total + width == sum(parameter.numel() for parameter in theirs.parameters())


def timm_vit(size, patch):
    """Return timm's network of a size; the patch that it has in timm's name is not the one that it gets."""
    known = {"ti": "tiny_patch16", "s": "small_patch16", "b": "base_patch16", "l": "large_patch16"}
    known |= {"h": "huge_patch14", "g": "giant_patch14"}
    return timm.create_model(f"vit_{known[size]}_224", patch_size=patch, num_classes=0)


def test_features_have_the_promised_shapes(answering, batch):
    backbone = answering.backbone
    features = answering.features(batch)
    assert isinstance(features, Features)
    assert features.summary.shape == (4, backbone.width)
    assert tuple(features.strides) == tuple(backbone.strides)
    for level, stride, channels in zip(features.levels, backbone.strides, backbone.channels, strict=True):
        assert level.shape == (4, channels, -(-SIZE[0] // stride), -(-SIZE[1] // stride))
    assert features.prefix is None or features.prefix.shape[::2] == (4, backbone.channels[-1])
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
