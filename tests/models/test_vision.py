import pytest
import torch
from torch import nn

from vitrail.backbones.vit import ViTConfig
from vitrail.heads.linear import LinearConfig
from vitrail.models.vision import Vision
from vitrail.values import Batch, Features


@pytest.fixture
def model():
    torch.manual_seed(0)
    backbone = ViTConfig(size="pico", patch=8).build((16, 16), 3)
    return Vision(backbone, LinearConfig().build(backbone, ("a", "b"), False)).eval()


@pytest.fixture
def batch():
    torch.manual_seed(1)
    pixels = {"image": torch.randn(3, 3, 16, 16)}
    return Batch(keys=["x", "y", "z"], pixels=pixels, targets={"label": torch.eye(2)[[0, 1, 0]]})


def test_loss_answer_and_score_come_from_one_output(model, batch):
    output = model.outputs(batch)
    expected = torch.nn.functional.cross_entropy(output, batch.targets["label"])
    torch.testing.assert_close(model.loss(batch, 0.5).total, expected)
    assert [answer.name for answer in model.answer(batch)] == ["ab"[i] for i in output.argmax(1)]
    torch.testing.assert_close(model.score(batch, "b"), output[:, 1])
    assert model.score(batch, "b").requires_grad
    assert not torch.is_inference(output)


def test_features_have_levels_when_they_are_asked_for(model, batch):
    assert [tuple(level.shape) for level in model.features(batch).levels] == [(3, 64, 2, 2)]
    assert model.features(batch, levels=False).levels == ()


class Noisy(nn.Module):
    """A backbone with a loss of its own, as a router of experts has."""

    width = 3

    def forward(self, pixels, valid=None, levels=True):
        summary = pixels.mean((2, 3))
        return Features(levels=(), strides=(), summary=summary, aux={"balance": summary.square().mean()})


def test_a_backbones_own_loss_is_minimised_too(batch):
    torch.manual_seed(0)
    model = Vision(Noisy(), LinearConfig().build(Noisy, ("a", "b"), False))
    losses = model.loss(batch, 0.0)
    assert set(losses.terms) == {"cross_entropy", "balance"}
    torch.testing.assert_close(losses.total, losses.terms["cross_entropy"] + losses.terms["balance"])
