import math

import pytest
import torch
from torch import nn

from vitrail.nn.attention import Attention
from vitrail.nn.embed import PatchEmbed
from vitrail.nn.feedforward import MLP
from vitrail.nn.init import INITS
from vitrail.nn.positions import LearnedPositions


@pytest.mark.parametrize("name", INITS)
def test_biases_start_at_zero(name):
    torch.manual_seed(0)
    mlp = MLP(64, 128).apply(INITS[name])
    assert not mlp.up.bias.any()
    assert not mlp.down.bias.any()


def test_normal_is_of_deviation_two_hundredths_at_any_width():
    torch.manual_seed(0)
    for width in (64, 512):
        weight = nn.Linear(width, 512).apply(INITS["normal"]).weight.detach()
        assert math.isclose(weight.std(), 0.02, rel_tol=0.05)


def test_xavier_keeps_the_variance_of_each_matrix():
    torch.manual_seed(0)
    attention = Attention(128, 2).apply(INITS["xavier"])
    for matrix in (*attention.qkv.weight.chunk(3), attention.out.weight):
        assert math.isclose(matrix.detach().std(), 128**-0.5, rel_tol=0.05)
        assert matrix.abs().max() <= math.sqrt(6 / 256)
    embed = PatchEmbed(3, 128, 8).apply(INITS["xavier"])
    assert math.isclose(embed.weight.detach().std(), math.sqrt(2 / (128 + 3 * 64)), rel_tol=0.05)


def test_xavier_starts_positions_as_waves_of_half_strength():
    positions = LearnedPositions((6, 6), 32).apply(INITS["xavier"])
    assert math.isclose(positions.values.detach().square().mean().sqrt(), 0.5, rel_tol=1e-3)
