import pytest
import torch

from vitrail.nn.embed import ConvStem, PatchEmbed


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
