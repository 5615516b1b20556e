import pytest
import timm.layers
import torch

from vitrail.nn.positions import LearnedPositions, resample, sine


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
