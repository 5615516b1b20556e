import pytest
import torch
from torch import nn

from vitrail.nn.attention import Attention
from vitrail.nn.block import Block
from vitrail.nn.droppath import DropPath
from vitrail.nn.encoder import Encoder
from vitrail.nn.feedforward import MLP


def block(drop=0.0):
    return Block(
        norm_mix=nn.LayerNorm(8),
        mix=Attention(8, 2),
        norm_feed=nn.LayerNorm(8),
        feed=MLP(8, 16),
        drop=DropPath(drop),
    )


def test_block_normalises_before_each_branch_and_adds():
    torch.manual_seed(0)
    layer, x = block(), torch.randn(2, 5, 8)
    mixed = x + layer.mix(layer.norm_mix(x))
    torch.testing.assert_close(layer(x), mixed + layer.feed(layer.norm_feed(mixed)))


def test_encoder_stacks_blocks_and_normalises_once():
    torch.manual_seed(0)
    encoder, x = Encoder([block(), block()], nn.LayerNorm(8)), torch.randn(2, 5, 8)
    first, second = encoder.blocks
    torch.testing.assert_close(encoder(x), encoder.norm(second(first(x))))
    for layer, expected in ((0, first.weights(x)), (1, second.weights(first(x)))):
        torch.testing.assert_close(encoder.weights(x, layer), expected)
        torch.testing.assert_close(encoder.weights(x, layer - 2), expected)
    with pytest.raises(IndexError):
        encoder.weights(x, 2)


def test_drop_path_drops_whole_samples_and_keeps_the_mean():
    torch.manual_seed(0)
    path, branch = DropPath(0.25), torch.ones(4000, 3, 2)
    out = path(branch)
    kept = out[:, 0, 0] > 0
    torch.testing.assert_close(out, kept[:, None, None] * branch / 0.75)
    assert 0.72 < kept.float().mean() < 0.78
    assert path.eval()(branch) is branch
    assert DropPath(0.0)(branch) is branch


def test_mlp_is_two_layers_with_a_gelu():
    torch.manual_seed(0)
    mlp, x = MLP(8, 16), torch.randn(3, 8)
    torch.testing.assert_close(mlp(x), mlp.down(torch.nn.functional.gelu(mlp.up(x))))
    assert mlp.up.out_features == 16
