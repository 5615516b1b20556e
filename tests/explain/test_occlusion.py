import numpy as np
import pytest
import torch
from torch import nn

from vitrail.errors import UsageError
from vitrail.explain.occlusion import Occlusion
from vitrail.heads.linear import LinearConfig
from vitrail.models.vision import Vision
from vitrail.values import Batch, Features


def test_equal_to_covering_places_one_by_one(make, pictures):
    model, batch = make("test_resnet", (24, 40)), pictures((24, 40))
    pixels = batch.pixels["image"]
    before = model.score(batch, "b")
    total, covered = torch.zeros(2, 3, 5), torch.zeros(3, 5)
    for top in range(2):
        for left in range(4):
            copy = pixels.clone()
            copy[:, :, 8 * top : 8 * top + 16, 8 * left : 8 * left + 16] = 0
            fall = before - model.score(batch.with_(pixels={"image": copy}), "b")
            total[:, top : top + 2, left : left + 2] += fall.detach()[:, None, None]
            covered[top : top + 2, left : left + 2] += 1
    expected = (total / covered).clamp(min=0).numpy()
    for at_once in (1, 5, 64):
        heats = Occlusion(cells=5, at_once=at_once)(model, batch, "b")
        np.testing.assert_allclose([heat.values for heat in heats], expected, atol=1e-5)


class Corner(nn.Module):
    """Sees nothing but the upper left corner."""

    width = 3

    def forward(self, pixels, valid=None, levels=True):
        return Features(levels=(), strides=(), summary=pixels[:, :, :4, :4].mean((2, 3)))


def test_any_network_will_do_and_heat_is_where_it_looks():
    torch.manual_seed(0)
    model = Vision(Corner(), LinearConfig().build(Corner, ("a", "b"), False))
    nn.init.ones_(model.head.layers[-1].weight)
    batch = Batch(keys=["x"], pixels={"image": torch.ones(1, 3, 30, 28)})
    (heat,) = Occlusion(cells=7, window=1)(model, batch, None)
    assert heat.values.shape == (6, 6)
    assert heat.values[0, 0] == heat.values.max() > 0
    assert not heat.values[1:, 1:].any()


def test_the_answer_stays_the_one_that_was_given(make, pictures):
    """Covered pictures may be answered otherwise; what is explained is the answer to the whole one."""
    model, batch = make("test_resnet"), pictures()
    names = [answer.name for answer in model.answer(batch)]
    asked, named = Occlusion(cells=4)(model, batch, None), Occlusion(cells=4)(model, batch, names)
    assert [heat.about for heat in asked] == names
    for heat, other in zip(asked, named, strict=True):
        np.testing.assert_array_equal(heat.values, other.values)


@pytest.mark.parametrize("words", [{"window": 0}, {"window": 15}, {"at_once": 0}])
def test_windows_that_cannot_be(words):
    with pytest.raises(UsageError, match="take a window from 1 to as many as there are cells"):
        Occlusion(**words)
