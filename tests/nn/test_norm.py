import pytest
import torch

from vitrail.nn.norm import NORMS, LayerScale


@pytest.mark.parametrize("name", NORMS)
def test_what_goes_in_stronger_comes_out_the_same(name):
    torch.manual_seed(0)
    norm, x = NORMS[name](8, 1e-12, True), torch.randn(3, 8)
    torch.testing.assert_close(norm(1000 * x), norm(x))
    torch.testing.assert_close(norm(x).square().mean(-1), torch.ones(3))


def test_a_layer_norm_takes_the_mean_away_and_an_rms_norm_does_not():
    x = torch.randn(3, 8)
    layer, rms = (NORMS[name](8, 1e-6, True) for name in ("layer", "rms"))
    torch.testing.assert_close(layer(x + 5), layer(x), atol=1e-4, rtol=1e-4)
    assert not torch.allclose(rms(x + 5), rms(x), atol=0.1)
    assert [name for name, _ in layer.named_parameters()] == ["weight", "bias"]
    assert [name for name, _ in rms.named_parameters()] == ["weight"]


@pytest.mark.parametrize("name", NORMS)
def test_autocast_computes_in_the_precision_of_the_weights(name):
    norm, x = NORMS[name](8, 1e-6, True), torch.randn(3, 8).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        normed = norm(x)
    assert normed.dtype == torch.bfloat16
    torch.testing.assert_close(normed, norm(x.float()).bfloat16(), atol=0.01, rtol=0.01)
    assert norm.bfloat16()(x).dtype == torch.bfloat16


def test_a_layer_scale_starts_as_its_number_and_learns_one_a_feature():
    scale, x = LayerScale(8, 1e-5), torch.randn(2, 3, 8)
    torch.testing.assert_close(scale(x), 1e-5 * x)
    scale(x).sum().backward()
    torch.testing.assert_close(scale.values.grad, x.sum((0, 1)))
