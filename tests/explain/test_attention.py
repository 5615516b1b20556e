import weakref

import numpy as np
import pytest
import torch

from vitrail.backbones.vit import ViTConfig
from vitrail.errors import UsageError
from vitrail.explain.attention import AttentionMap
from vitrail.explain.relevance import Relevance, Rollout
from vitrail.heads.linear import LinearConfig
from vitrail.models.vision import Vision
from vitrail.nn import attention
from vitrail.values import Batch


def model(pool):
    torch.manual_seed(0)
    backbone = ViTConfig(size="pico", patch=8, pool=pool).build((32, 32), 3)
    return Vision(backbone, LinearConfig().build(backbone, ("a", "b"), False)).eval()


def batch(size=(32, 32)):
    torch.manual_seed(1)
    return Batch(keys=["x", "y"], pixels={"image": torch.randn(2, 3, *size)})


def weights_by_hand(backbone, pixels, layer):
    """Run the blocks one by one and attend as the formula says."""
    x = backbone.embed(pixels).flatten(2).mT + backbone.positions((4, 4))
    if backbone.prefix is not None:
        x = torch.cat([backbone.prefix.expand(len(x), 1, -1), x], dim=1)
    for block in backbone.encoder.blocks[:layer]:
        x = block(x)
    block = backbone.encoder.blocks[layer]
    query, key, _ = (
        part.unflatten(-1, (block.mix.heads, -1)).transpose(1, 2)
        for part in block.mix.qkv(block.around_mix.norm(x)).chunk(3, dim=-1)
    )
    return (query @ key.mT / query.shape[-1] ** 0.5).softmax(-1)


@pytest.mark.parametrize("layer", [-1, 0, 3])
@pytest.mark.parametrize("pool", ["class", "mean"])
def test_equal_to_the_formula(pool, layer):
    vision, pictures = model(pool), batch()
    weights = weights_by_hand(vision.backbone, pictures.pixels["image"], layer % 6).mean(1)
    expected = weights[:, 0, 1:] if pool == "class" else weights.mean(1)
    heats = AttentionMap(layer=layer)(vision, pictures, "a")
    assert [(heat.about, heat.method, heat.source) for heat in heats] == [
        ("a", "attention", i) for i in (0, 1)
    ]
    for heat, row in zip(heats, expected, strict=True):
        np.testing.assert_allclose(heat.values, row.reshape(4, 4).detach().numpy(), atol=1e-6)
        assert heat.values.min() >= 0


def test_pictures_that_are_not_square():
    (heat, _) = AttentionMap()(model("class"), batch((16, 40)), None)
    assert heat.values.shape == (2, 5)


def test_a_network_without_attention_and_a_layer_that_is_not_there():
    vision = model("class")
    with pytest.raises(UsageError, match="no layer -7"):
        AttentionMap(layer=-7)(vision, batch(), None)
    with pytest.raises(UsageError, match="this network has no attention to show"):
        AttentionMap()(Vision(torch.nn.Identity(), vision.head), batch(), None)


@pytest.mark.parametrize(
    ("method", "computed"), [(AttentionMap(layer=1), 1), (Rollout(), 3), (Relevance(), 3)], ids=str
)
def test_no_more_layers_than_asked_for_and_one_at_a_time(method, computed, make, pictures, monkeypatch):
    made, together = [], []

    def watch(*given):
        together.append(sum(each() is not None for each in made))
        weights = attend(*given)
        made.append(weakref.ref(weights))
        return weights

    attend = attention._weights
    monkeypatch.setattr(attention, "_weights", watch)
    method(make(), pictures(), "a")
    assert len(made) == computed
    assert max(together) <= 1  # the one that the next takes the place of


def test_one_head(make, pictures):
    vision = make(heads=4)
    weights = vision.backbone.attention(pictures().pixels["image"])
    assert AttentionMap(head=3)(vision, pictures(), None)[1].values.ravel() == pytest.approx(
        weights[1, 3, 0, 1:].tolist(), abs=1e-6
    )
    with pytest.raises(UsageError, match="no head 4: each layer has heads 0 to 3"):
        AttentionMap(head=4)(vision, pictures(), None)
