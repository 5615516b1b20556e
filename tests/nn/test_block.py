import pytest
import torch
from torch import nn

from vitrail.nn.attention import Attention
from vitrail.nn.block import Block, PostNorm, PreNorm
from vitrail.nn.droppath import DropPath
from vitrail.nn.encoder import Encoder
from vitrail.nn.feedforward import ACTIVATIONS, MLP, SwiGLU, gated_width
from vitrail.nn.norm import NORMS, LayerScale


def block(residual=PreNorm, **parts):
    return Block(
        around_mix=residual(nn.LayerNorm(8), **parts),
        mix=Attention(8, 2),
        around_feed=residual(nn.LayerNorm(8), **parts),
        feed=MLP(8, 16),
    )


def test_block_normalises_before_each_branch_and_adds():
    torch.manual_seed(0)
    layer, x = block(), torch.randn(2, 5, 8)
    mixed = x + layer.mix(layer.around_mix.norm(x))
    torch.testing.assert_close(layer(x), mixed + layer.feed(layer.around_feed.norm(mixed)))


def test_block_of_2017_normalises_each_sum():
    torch.manual_seed(0)
    layer, x = block(PostNorm), torch.randn(2, 5, 8)
    mixed = layer.around_mix.norm(x + layer.mix(x))
    torch.testing.assert_close(layer(x), layer.around_feed.norm(mixed + layer.feed(mixed)))
    torch.testing.assert_close(layer.weights(x), layer.mix.weights(x))


@pytest.mark.parametrize("residual", [PreNorm, PostNorm])
def test_scale_and_drop_act_on_what_is_added(residual):
    torch.manual_seed(0)
    x, branch = torch.randn(2, 5, 8), torch.randn(2, 5, 8)
    around = residual(nn.LayerNorm(8), scale=LayerScale(8, 0.5), drop=nn.Dropout(1.0))
    torch.testing.assert_close(
        around.eval().leave(x, branch),
        around.norm(x + branch / 2) if residual is PostNorm else x + branch / 2,
    )
    torch.testing.assert_close(around.train().leave(x, branch), around.norm(x) if residual is PostNorm else x)


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
    assert [name for name, _ in MLP(8, 16, bias=False).named_parameters()] == ["up.weight", "down.weight"]


def test_activations_are_their_formulas():
    x = torch.linspace(-4, 4, 41)
    erf, tanh = torch.erf(x / 2**0.5), torch.tanh((2 / torch.pi) ** 0.5 * (x + 0.044715 * x**3))
    formulas = {
        "gelu": x * (1 + erf) / 2,
        "gelu_tanh": x * (1 + tanh) / 2,
        "quick_gelu": x / (1 + torch.exp(-1.702 * x)),
        "relu": x.clamp(min=0),
    }
    assert formulas.keys() == ACTIVATIONS.keys()
    for name, expected in formulas.items():
        torch.testing.assert_close(ACTIVATIONS[name]()(x), expected, atol=1e-6, rtol=1e-5)


def test_swiglu_is_its_formula_and_has_an_mlps_parameters():
    torch.manual_seed(0)
    swiglu, x = SwiGLU(8, 16), torch.randn(3, 8)
    gate = swiglu.gate(x)
    torch.testing.assert_close(swiglu(x), swiglu.down(gate / (1 + torch.exp(-gate)) * swiglu.up(x)))
    for width, hidden in ((64, 128), (384, 1536), (1280, 5120)):
        gated = sum(p.numel() for p in SwiGLU(width, gated_width(hidden)).parameters())
        plain = sum(p.numel() for p in MLP(width, hidden).parameters())
        assert 0.97 < gated / plain < 1.04
    assert gated_width(6144) == 4096  # as DINOv2's giant has it


def test_norms_are_their_formulas():
    torch.manual_seed(0)
    x = torch.randn(3, 8) + 1
    centred = x - x.mean(-1, keepdim=True)
    layer, rms = (NORMS[name](8, 0.1, True) for name in ("layer", "rms"))
    expected = centred / (centred.square().mean(-1, keepdim=True) + 0.1).sqrt()
    torch.testing.assert_close(layer(x), expected, atol=1e-6, rtol=1e-5)
    expected = x / (x.square().mean(-1, keepdim=True) + 0.1).sqrt()
    torch.testing.assert_close(rms(x), expected, atol=1e-6, rtol=1e-5)
    assert dict(NORMS["layer"](8, 1e-6, False).named_parameters()).keys() == {"weight"}
