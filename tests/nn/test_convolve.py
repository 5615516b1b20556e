"""What decoders of maps are made of."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from vitrail.nn.convolve import BatchNorm, convolve, enlarge


@pytest.mark.parametrize("mode", ["bilinear", "nearest"])
def test_cells_that_reach_over_the_border_are_cut_not_squeezed(mode):
    whole = torch.randn(2, 3, 3, 4)
    large = F.interpolate(whole, scale_factor=4, mode=mode)
    torch.testing.assert_close(enlarge(whole, 4, (10, 13), mode), large[:, :, :10, :13])
    assert not torch.allclose(enlarge(whole, 4, (10, 13), mode), F.interpolate(whole, (10, 13), mode=mode))


def test_a_ratio_need_not_be_whole_and_the_size_is_always_met():
    x = torch.randn(1, 2, 4, 6)
    torch.testing.assert_close(enlarge(x, 1.75, (7, 10)), F.interpolate(x, (7, 10), mode="bilinear"))
    assert enlarge(x, 1.75, (8, 11)).shape == (1, 2, 8, 11)
    torch.testing.assert_close(enlarge(x, 1, (4, 6)), x)


def test_the_norm_is_torchs_where_torch_has_one():
    torch.manual_seed(0)
    ours, theirs, x = BatchNorm(3), nn.BatchNorm2d(3), torch.randn(2, 3, 4, 4)
    torch.testing.assert_close(ours(x), theirs(x))
    torch.testing.assert_close(ours.running_var, theirs.running_var)
    torch.testing.assert_close(ours.eval()(x), theirs.eval()(x))


def test_one_place_alone_is_normalised_by_what_was_seen_so_far():
    norm, x = BatchNorm(3), torch.randn(1, 3, 1, 1)
    with pytest.raises(ValueError, match="more than 1 value"):
        nn.BatchNorm2d(3)(x)
    norm.running_mean.fill_(0.5)
    torch.testing.assert_close(norm(x), (x - 0.5) / (1 + norm.eps) ** 0.5)
    assert (norm.running_mean == 0.5).all()


@pytest.mark.parametrize(("stride", "size"), [(1, (5, 7)), (2, (3, 4))])
def test_a_convolution_keeps_the_grid_or_halves_it(stride, size):
    assert convolve(2, 4, stride=stride)(torch.randn(2, 2, 5, 7)).shape == (2, 4, *size)


def test_an_answer_folds_the_norm_into_the_convolution():
    torch.manual_seed(0)
    layer, x = convolve(3, 5, stride=2).double(), torch.randn(4, 3, 9, 8, dtype=torch.float64)
    layer[1].weight.data.uniform_(0.5, 2), layer[1].bias.data.normal_()
    for _ in range(3):
        layer(x)
    layer.eval()
    apart = layer(x)
    layer[1].forward = None  # who calls it fails
    with torch.no_grad():
        torch.testing.assert_close(layer(x), apart)
    assert (apart > 0).any()


def test_the_gradient_of_a_part_of_a_map_is_laid_out_as_the_map():
    """Torch enlarges the other way quickly only from a whole map, not from some of one's channels."""
    x = torch.randn(2, 3, 4, 5).contiguous(memory_format=torch.channels_last).requires_grad_()
    beside, weight = torch.randn(2, 6, 8, 10), torch.randn(2, 9, 8, 10)
    weight = weight.contiguous(memory_format=torch.channels_last)
    seen = []
    large = enlarge(x, 2, (8, 10))
    node = large.grad_fn
    while "Upsample" not in node.name():
        node = node.next_functions[0][0]
    node.register_prehook(lambda given: seen.append(given[0]))
    (torch.cat([large, beside], dim=1) * weight).sum().backward()
    assert seen[0].is_contiguous(memory_format=torch.channels_last)
    again = x.detach().clone().requires_grad_()
    (F.interpolate(again, scale_factor=2, mode="bilinear") * weight[:, :3]).sum().backward()
    torch.testing.assert_close(x.grad, again.grad)
