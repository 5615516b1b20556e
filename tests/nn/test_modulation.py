import pytest
import torch
import torch.nn.functional as F
from torch import nn

from vitrail.nn.attention import Attention
from vitrail.nn.feedforward import MLP
from vitrail.nn.init import INITS
from vitrail.nn.modulation import ModulatedBlock, Modulation
from vitrail.nn.rotary import RotaryPositions


def block(condition=5):
    torch.manual_seed(0)
    return ModulatedBlock(
        norm_mix=nn.LayerNorm(8, eps=1e-6, elementwise_affine=False),
        mix=Attention(8, 2),
        norm_feed=nn.LayerNorm(8, eps=1e-6, elementwise_affine=False),
        feed=MLP(8, 32, activation="gelu_tanh"),
        modulation=Modulation(condition, 8, 6),
    )


def awake():
    layer = block()
    nn.init.normal_(layer.modulation.weight, std=0.5)
    nn.init.normal_(layer.modulation.bias, std=0.5)
    return layer


@pytest.fixture
def given():
    torch.manual_seed(1)
    return torch.randn(3, 6, 8), torch.randn(3, 5)


@pytest.mark.parametrize("init", [None, *INITS])
def test_a_layer_begins_as_the_identity_whatever_draws_its_weights(init, given):
    layer = block() if init is None else block().apply(INITS[init])
    torch.testing.assert_close(layer(*given), given[0], rtol=0, atol=0)
    assert layer.mix.qkv.weight.any()
    assert {name for name, _ in layer.named_parameters() if "norm" in name} == set()


def test_it_is_the_papers_formula(given):
    """DiT (Peebles & Xie 2022), section 3.2 and figure 3, sample by sample."""
    x, condition = given
    layer = awake()
    rows = []
    for tokens, wish in zip(x, condition, strict=True):
        wish = wish * torch.sigmoid(wish)
        gamma1, beta1, alpha1, gamma2, beta2, alpha2 = (
            layer.modulation.weight[8 * part : 8 * part + 8] @ wish
            + layer.modulation.bias[8 * part : 8 * part + 8]
            for part in (1, 0, 2, 4, 3, 5)
        )
        entered = F.layer_norm(tokens, (8,), eps=1e-6) * (1 + gamma1) + beta1
        tokens = tokens + alpha1 * layer.mix(entered[None])[0]
        entered = F.layer_norm(tokens, (8,), eps=1e-6) * (1 + gamma2) + beta2
        rows.append(tokens + alpha2 * layer.feed(entered))
    torch.testing.assert_close(layer(x, condition), torch.stack(rows), atol=1e-6, rtol=1e-5)


def test_it_wakes_up_by_learning(given):
    """The branches learn only once their strengths left zero: the first step is the modulation's."""
    x, condition = given
    layer, wanted = block(), torch.randn(3, 6, 8)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.5)
    touched = []
    for _ in range(2):
        optimizer.zero_grad()
        F.mse_loss(layer(x, condition), wanted).backward()
        touched.append({name for name, parameter in layer.named_parameters() if parameter.grad.any()})
        optimizer.step()
    assert touched[0] == {"modulation.weight", "modulation.bias"}
    assert touched[1] == {name for name, _ in layer.named_parameters()}


def test_masks_turns_and_weights_are_the_attentions(given):
    x, condition = given
    layer, turns = awake(), RotaryPositions(4)((2, 3))
    seen = torch.tensor([[True] * 6, [True] * 4 + [False] * 2, [True] * 5 + [False]])
    other = torch.where(seen[..., None], x, 9.0)
    expected = layer(x, condition, seen, turns)[seen]
    torch.testing.assert_close(layer(other, condition, seen, turns)[seen], expected)
    assert not torch.allclose(layer(x, condition, seen)[seen], expected)
    weights = layer.weights(x, condition, seen, turns)
    shift, scale = layer.modulation(condition)[:2]
    entered = F.layer_norm(x, (8,), eps=1e-6) * (1 + scale) + shift
    torch.testing.assert_close(weights, layer.mix.weights(entered, seen, turns))
    assert not weights[1, ..., 4:].any()
