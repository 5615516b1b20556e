import copy
import math

import pytest
import timm.layers
import torch
import torch.nn.functional as F

from vitrail.nn.positions import LearnedPositions, SinePositions, resample, sine


def test_the_own_grid_is_untouched():
    positions = LearnedPositions((3, 5), 4)
    torch.testing.assert_close(positions((3, 5)), positions.values.reshape(15, 4), rtol=0, atol=0)


@pytest.mark.parametrize("grid", [(14, 14), (7, 10), (24, 9), (1, 1)])
def test_resampling_is_timms(grid):
    torch.manual_seed(0)
    values = torch.randn(14, 14, 6)
    theirs = timm.layers.resample_abs_pos_embed(
        values.reshape(1, 196, 6), list(grid), [14, 14], num_prefix_tokens=0
    )
    torch.testing.assert_close(resample(values, grid).reshape(1, -1, 6), theirs, rtol=0, atol=0)


def test_waves_tell_places_apart_whatever_the_width():
    for width in (8, 64, 10):
        waves = sine((5, 7), width)
        assert waves.shape == (5, 7, width)
        places = waves.reshape(35, width)
        distances = torch.cdist(places, places) + torch.eye(35)
        assert distances.min() > 0.05
    torch.testing.assert_close(sine((5, 7), 64).square().mean(), torch.tensor(0.5))
    rows, columns = sine((5, 7), 64).chunk(2, dim=-1)
    assert (rows == rows[:, :1]).all()
    assert (columns == columns[:1]).all()


@pytest.mark.parametrize("grid", [(20, 20), (7, 10), (24, 9)])
def test_without_antialias_the_filter_is_the_plain_one(grid):
    """As transformers' ViT resamples its positions."""
    torch.manual_seed(0)
    positions = LearnedPositions((14, 14), 6, antialias=False)
    planes = positions.values.permute(2, 0, 1)[None]
    plain = F.interpolate(planes, size=grid, mode="bicubic", align_corners=False)
    torch.testing.assert_close(positions(grid), plain[0].flatten(1).T, rtol=0, atol=0)
    assert not torch.allclose(positions(grid), LearnedPositions.forward(with_antialias(positions), grid))


def with_antialias(positions):
    twin = copy.deepcopy(positions)
    twin.antialias = True
    return twin


def test_lines_and_volumes_are_stretched_linearly():
    line = torch.arange(4.0)[:, None]
    torch.testing.assert_close(resample(line, (8,))[1:-1, 0], torch.arange(6) / 2 + 0.25)
    corner = torch.zeros(2, 2, 2, 1)
    corner[1, 0, 1] = 1.0
    volume = resample(corner, (4, 4, 4))[..., 0]
    for place in torch.cartesian_prod(*[torch.arange(4)] * 3).tolist():
        along = [torch.tensor([0.0, 0.25, 0.75, 1.0])[each] for each in place]
        expected = along[0] * (1 - along[1]) * along[2]
        torch.testing.assert_close(volume[tuple(place)], expected)
    assert resample(torch.randn(2, 4, 4, 6), (3, 2, 5)).shape == (3, 2, 5, 6)


def test_half_precision_is_resampled_as_well_as_any():
    values = torch.randn(6, 6, 4)
    stretched = resample(values.bfloat16(), (9, 9))
    assert stretched.dtype == torch.bfloat16
    torch.testing.assert_close(stretched.float(), resample(values, (9, 9)), atol=0.05, rtol=0.02)


def test_waves_on_a_line_are_those_of_2017():
    """The authors' own code: sines, then cosines, at speeds from 1 to 1 / 10,000, the last one included.

    Their paper writes them interleaved, 10,000 ** (2 i / width): the same waves but for that end.
    """
    waves = sine((50,), 12)
    for place in (0, 1, 7, 49):
        for wave in range(6):
            angle = torch.tensor(place * math.exp(-wave * math.log(10_000) / (6 - 1)))
            torch.testing.assert_close(waves[place, wave], angle.sin(), atol=1e-5, rtol=0)
            torch.testing.assert_close(waves[place, 6 + wave], angle.cos(), atol=1e-5, rtol=0)


@pytest.mark.parametrize("grid", [(7, 7), (5, 9)])
def test_waves_in_a_picture_are_big_visions(grid):
    """posemb_sincos_2d of the simple ViT (Beyer et al. 2022) counts columns first, we rows."""
    height, width, features = *grid, 32
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    omega = 1.0 / 10_000 ** (torch.arange(features // 4) / (features // 4 - 1))
    y, x = (torch.einsum("m,d->md", axis.flatten().float(), omega) for axis in (y, x))
    theirs = torch.cat([x.sin(), x.cos(), y.sin(), y.cos()], dim=1)
    ours = SinePositions(features)(grid)
    torch.testing.assert_close(ours.roll(features // 2, 1), theirs, atol=1e-5, rtol=1e-5)


def test_waves_in_a_volume_tell_every_place_and_every_axis_apart():
    waves = sine((3, 4, 5), 24)
    assert waves.shape == (3, 4, 5, 24)
    for axis in range(3):
        share = waves[..., 8 * axis : 8 * axis + 8]
        torch.testing.assert_close(share.select(axis, 1)[0, 0], sine((2,), 8)[1])
        assert (share == share.narrow((axis + 1) % 3, 0, 1)).all()
    places = waves.flatten(0, 2)
    assert (torch.cdist(places, places) + torch.eye(60)).min() > 0.05
    assert sine((3, 4, 5), 64).shape == (3, 4, 5, 64), "a width that six does not divide"
