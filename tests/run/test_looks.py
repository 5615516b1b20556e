"""Explanations for pages: by what suits the model, judged, and never a reason for a run to fail."""

import numpy as np
import pytest
import torch

from vitrail.backbones import configure
from vitrail.data.preprocess import Preprocess
from vitrail.errors import UsageError
from vitrail.explain import EXPLAINERS
from vitrail.heads.linear import LinearConfig
from vitrail.models.vision import Vision
from vitrail.run.engine import Engine
from vitrail.run.explain.choice import default_method, preferred
from vitrail.run.explain.looks import look

PREPROCESS = Preprocess(size=(64, 64))


@pytest.fixture(scope="module")
def canvases():
    return list(np.random.default_rng(0).integers(0, 256, (10, 64, 64, 3), np.uint8))


def make(name):
    torch.manual_seed(0)
    backbone = configure(name).build((64, 64), 3)
    head = LinearConfig().build(backbone, ("a", "b"))
    torch.nn.init.normal_(head.layers[-1].weight)
    return Vision(backbone, head).eval()


@pytest.mark.parametrize("name", ["vit-pico16", "test_resnet", "swin_tiny_patch4_window7_224"])
def test_every_kind_of_model_is_explained_and_judged(name, canvases):
    model, engine = make(name), Engine(device=torch.device("cpu"))
    found = look(model, engine, PREPROCESS, canvases, judged=True)
    assert found.method == default_method(model)
    assert len(found.heats) == len(canvases)  # more than are explained at once
    assert -1 <= found.road <= 1
    assert -1 <= found.random <= 1
    alone = look(model, engine, PREPROCESS, canvases[9:])
    assert np.isnan(alone.road)
    np.testing.assert_allclose(alone.heats[0].values, found.heats[9].values, rtol=1e-3, atol=1e-6)


def test_what_is_asked_of_each_picture_is_explained(canvases):
    model, engine = make("test_resnet"), Engine(device=torch.device("cpu"))
    named = look(model, engine, PREPROCESS, canvases, about=["b"] * 8 + ["a", "b"])
    assert [heat.about for heat in named.heats] == ["b"] * 8 + ["a", "b"]  # more than are explained at once
    own = look(model, engine, PREPROCESS, canvases[:1], about=[named.heats[0].about])
    np.testing.assert_allclose(own.heats[0].values, named.heats[0].values, rtol=1e-3, atol=1e-6)


def test_what_is_refused_makes_room_for_the_next(monkeypatch, canvases):
    model, engine = make("test_resnet"), Engine(device=torch.device("cpu"))

    class Never:
        def __call__(self, *_):
            raise UsageError("not for this model")

    first, second = preferred(model)[:2]
    monkeypatch.setitem(EXPLAINERS, first, Never)
    assert look(model, engine, PREPROCESS, canvases[:2]).method == second
    for name in preferred(model):
        monkeypatch.setitem(EXPLAINERS, name, Never)
    assert look(model, engine, PREPROCESS, canvases[:2]) is None
    assert look(model, engine, PREPROCESS, []) is None
