import pytest
import torch

from vitrail.nn.embed import ConvStem, PatchEmbed, TubeletEmbed
from vitrail.nn.init import INITS


def test_a_patch_becomes_a_token_by_one_matrix():
    torch.manual_seed(0)
    embed, pixels = PatchEmbed(2, 6, 4), torch.randn(1, 2, 8, 12)
    patch = pixels[0, :, 4:8, 8:12].flatten()
    torch.testing.assert_close(embed(pixels)[0, :, 1, 2], embed.weight.flatten(1) @ patch + embed.bias)


@pytest.mark.parametrize("patch", [1, 2, 4, 7, 14, 16])
def test_the_convolutional_stem_gives_the_same_grid_and_overlaps(patch):
    torch.manual_seed(0)
    stem = ConvStem(3, 16, patch).eval()
    pixels = torch.randn(1, 3, 3 * patch, 4 * patch, requires_grad=True)
    grid = stem(pixels)
    assert grid.shape == (1, 16, 3, 4)
    grid[0, :, 1, 1].sum().backward()
    seen = pixels.grad[0].abs().sum(0) > 0
    assert seen[patch - 1].any(), "a token sees beyond the border of its patch"
    assert seen.sum() > patch * patch


def test_nine_patches_of_the_textbooks():
    """A picture is cut into 3 x 3 patches, whatever its size: each is flattened and multiplied once."""
    for side in (3, 6, 30):
        torch.manual_seed(0)
        embed, picture = PatchEmbed(3, 6, side // 3), torch.randn(1, 3, side, side)
        tokens = embed(picture)
        assert tokens.shape == (1, 6, 3, 3)
        patches = [band.chunk(3, dim=-1) for band in picture[0].chunk(3, dim=-2)]
        for row in range(3):
            for column in range(3):
                expected = embed.weight.flatten(1) @ patches[row][column].flatten() + embed.bias
                torch.testing.assert_close(tokens[0, :, row, column], expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("patch", [(2, 4, 4), (1, 3, 5), (4, 4, 4)])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_tubelet_becomes_a_token_by_one_matrix(patch, channels):
    torch.manual_seed(0)
    embed = TubeletEmbed(channels, 6, patch)
    counts = (2, 3, 2)
    video = torch.randn(2, channels, *(count * side for count, side in zip(counts, patch, strict=True)))
    tokens = embed(video)
    assert tokens.shape == (2, 6, *counts)
    for t, h, w in torch.cartesian_prod(*map(torch.arange, counts)).tolist():
        frames, rows, columns = (
            slice(n * side, (n + 1) * side) for n, side in zip((t, h, w), patch, strict=True)
        )
        cube = video[1, :, frames, rows, columns].flatten()
        torch.testing.assert_close(
            tokens[1, :, t, h, w], embed.weight.flatten(1) @ cube + embed.bias, atol=1e-5, rtol=1e-5
        )


@pytest.mark.parametrize("channels", [1, 4, 13])
def test_any_number_of_channels(channels):
    """A satellite's 13 bands are no more special than a grey picture."""
    pixels = torch.randn(2, channels, 12, 12)
    for embed in (PatchEmbed(channels, 8, 4), ConvStem(channels, 8, 4)):
        tokens = embed(pixels)
        assert tokens.shape == (2, 8, 3, 3)
        pixels.requires_grad_()
        (gradient,) = torch.autograd.grad(embed(pixels).square().sum(), pixels)
        assert gradient.flatten(2).any(-1).all(), "every channel counts"


def test_without_a_bias_nothing_comes_of_nothing():
    assert PatchEmbed(3, 8, 4, bias=False).bias is None
    assert not TubeletEmbed(3, 8, (2, 4, 4), bias=False)(torch.zeros(1, 3, 2, 4, 4)).any()


def test_both_begin_alike_under_xavier():
    """A tubelet's matrix is drawn as a patch's of as many inputs."""
    torch.manual_seed(0)
    patch = PatchEmbed(4, 128, 8).apply(INITS["xavier"])
    cube = TubeletEmbed(1, 128, (4, 8, 8)).apply(INITS["xavier"])
    torch.testing.assert_close(cube.weight.std(), patch.weight.std(), rtol=0.02, atol=0)
    assert not cube.bias.any()
