"""One battery over every listed explainer: a newcomer is tested by being listed."""

import functools

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from skimage import data

from vitrail.backbones.timm import TimmConfig
from vitrail.backbones.vit import ViTConfig
from vitrail.errors import UsageError
from vitrail.explain import EXPLAINERS, Versus
from vitrail.heads.linear import LinearConfig
from vitrail.models.vision import Vision
from vitrail.values import Batch

SIZE = (64, 96)
NAMES = ("cat", "cup", "owl")
NETWORKS = {
    "vit-class": ViTConfig(size="pico", depth=3, patch=16),
    "vit-mean-registers": ViTConfig(size="pico", depth=3, patch=16, pool="mean", registers=2),
    "swin": TimmConfig(name="swin_tiny_patch4_window7_224"),
    "resnet": TimmConfig(name="test_resnet"),
    "efficientnet": TimmConfig(name="test_efficientnet"),
    "inception": TimmConfig(name="inception_v3"),
}
LAST = {"swin": (2, 3), "resnet": (2, 3), "efficientnet": (2, 3), "inception": (2, 3)}
"""The grids of the last maps; methods that find their layer take (4, 6), as many as a ViT has patches."""
QUICK = {
    "smoothgrad": {"samples": 3},
    "integrated-gradients": {"steps": 4},
    "occlusion": {"cells": 4, "window": 1},
}
"""Of methods that ask many times; as listed they would ask more often, and no otherwise."""
BY_PIXEL = {"saliency", "smoothgrad", "integrated-gradients"}
BY_WINDOW = {"occlusion"}
BY_ATTENTION = {"attention", "rollout", "relevance"}


def allowed(network, method):
    """Whether a method is for a network."""
    if method in BY_ATTENTION:
        return network.startswith("vit")
    return (network, method) != ("vit-class", "cam")


PAIRS = [(network, method) for network in NETWORKS for method in EXPLAINERS if allowed(network, method)]
REFUSED = [(network, method) for network in NETWORKS for method in EXPLAINERS if not allowed(network, method)]


def photographs():
    """Return a cat and a cup of coffee, normalised."""
    pictures = []
    for picture in (data.chelsea(), data.coffee()):
        tensor = torch.from_numpy(picture.copy()).permute(2, 0, 1)[None].float() / 255
        pictures.append((F.interpolate(tensor, SIZE, mode="bilinear", antialias=True) - 0.45) / 0.25)
    return Batch(keys=["cat", "cup"], pixels={"image": torch.cat(pictures)})


@functools.cache
def network(title):
    """Return a network whose classifier tells the two photographs apart."""
    torch.manual_seed(0)
    backbone = NETWORKS[title].build(SIZE, 3)
    model = Vision(backbone, LinearConfig().build(backbone, NAMES, False)).eval()
    with torch.no_grad():
        cat, cup = model.features(photographs()).summary
        apart = F.normalize(cat - cup, dim=0)
        model.head.layers[-1].weight[:2] = torch.stack([apart, -apart])
    model.title = title
    return model


@pytest.fixture
def model(request):
    return network(request.param)


@pytest.fixture
def explainer(request):
    return EXPLAINERS[request.param](**QUICK.get(request.param, {}))


pairs = pytest.mark.parametrize(("model", "explainer"), PAIRS, indirect=True)


def values(heats):
    return np.stack([heat.values for heat in heats])


@pairs
def test_maps_are_finite_and_say_something(model, explainer):
    batch = photographs()
    heats = explainer(model, batch, None)
    assert [heat.source for heat in heats] == [0, 1]
    assert {heat.method for heat in heats} == {explainer.name}
    found = values(heats)
    assert np.isfinite(found).all()
    assert found.min() >= 0
    assert all(np.ptp(each) > 0 for each in found)
    if explainer.name in BY_PIXEL:
        assert found.shape[1:] == SIZE
    elif explainer.name not in BY_WINDOW:
        last = LAST.get(model.title, (4, 6))
        assert found.shape[1:] == (last if explainer.name == "cam" else (4, 6))


@pairs
def test_other_classes_have_other_maps(model, explainer):
    batch = photographs()
    maps = [values(explainer(model, batch, about)) for about in ("cat", 2, Versus("cat", "owl"))]
    differ = not all(np.allclose(each, maps[0], rtol=1e-3, atol=0) for each in maps[1:])
    assert differ == explainer.class_specific


@pairs
def test_a_batch_is_explained_as_each_picture_alone(model, explainer):
    batch = photographs()
    together = explainer(model, batch, None)
    for index, heat in enumerate(together):
        pixels = {"image": batch.pixels["image"][index : index + 1]}
        (alone,) = explainer(model, batch.with_(keys=batch.keys[index : index + 1], pixels=pixels), None)
        assert (alone.source, alone.about) == (0, heat.about)
        scale = heat.values.max()
        # Rounding may turn the maximum of a pool over, and with it single pixels' gradients.
        near = 1e-2 if explainer.name in BY_PIXEL else 1e-3
        np.testing.assert_allclose(alone.values / scale, heat.values / scale, atol=near)


@pytest.mark.parametrize(
    ("model", "explainer"),
    [pair for pair in PAIRS if EXPLAINERS[pair[1]].class_specific],
    indirect=True,
)
def test_the_answer_is_what_is_explained_unless_another_is_named(model, explainer):
    batch = photographs()
    answers = [answer.name for answer in model.answer(batch)]
    asked, named = explainer(model, batch, None), explainer(model, batch, answers)
    assert [heat.about for heat in asked] == [heat.about for heat in named] == answers
    np.testing.assert_array_equal(values(asked), values(named))


@pairs
def test_nothing_is_left_behind(model, explainer):
    batch = photographs()
    before = values(explainer(model, batch, None))
    try:
        model.train().requires_grad_(False)
        with torch.inference_mode():
            again = values(explainer(model, batch, None))
        with pytest.raises(UsageError, match="no class 'dog'"):
            explainer(model, batch, "dog") if explainer.class_specific else model.score(batch, "dog")
        assert all(module.training for module in model.modules())
    finally:
        model.eval().requires_grad_(True)
    np.testing.assert_allclose(again, before, rtol=1e-4, atol=1e-6 * before.max())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert batch.pixels["image"].grad is None
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_every_explainer_is_listed_under_its_name_and_needs_no_words():
    assert all(kind() is not None for kind in EXPLAINERS.values())
    assert {name: kind.name for name, kind in EXPLAINERS.items()} == {name: name for name in EXPLAINERS}


@pytest.mark.parametrize(("model", "explainer"), REFUSED, indirect=True)
def test_what_is_not_for_a_network_says_what_to_use_instead(model, explainer):
    with pytest.raises(UsageError, match=r"use grad-cam|explain it by another method"):
        explainer(model, photographs(), None)
