"""A pyramid of any backbone's features, and a Vision Transformer's layers as levels."""

import pytest
import torch

from vitrail.backbones import configure
from vitrail.backbones.pyramid import Pyramid
from vitrail.errors import UsageError
from vitrail.values import Features


def network(name, size, **changes):
    torch.manual_seed(0)
    backbone = configure(name).build(size, 3).eval()
    for key, value in changes.items():
        setattr(backbone, key, value)
    return backbone


@pytest.mark.parametrize(
    ("name", "size", "strides"),
    [
        ("vit-pico8", (24, 40), (2, 4, 8, 16)),
        ("vit-pico14", (28, 42), (3.5, 7, 14, 28)),
        ("vit-pico2", (6, 6), (1, 2, 4)),
        ("vit-pico8", (8, 8), (2, 4, 8, 16)),
        ("test_resnet", (65, 47), (2, 4, 8, 16, 32)),
    ],
)
def test_levels_are_what_is_promised_before_anything_is_seen(name, size, strides):
    backbone = network(name, size)
    pyramid = Pyramid(backbone.strides, backbone.channels)
    assert pyramid.strides == strides
    levels = pyramid(backbone(torch.randn(2, 3, *size)))
    for level, stride, channels in zip(levels, pyramid.strides, pyramid.channels, strict=True):
        assert level.shape == (2, channels, *(-(-side // stride) for side in size))
    fewer = Pyramid(backbone.strides, backbone.channels, most=2)
    assert (fewer.strides, fewer.channels) == (pyramid.strides[-2:], pyramid.channels[-2:])
    assert [level.shape for level in fewer(backbone(torch.randn(2, 3, *size)))] == [
        level.shape for level in levels[-2:]
    ]


def test_a_networks_own_levels_are_left_alone():
    levels = [
        torch.randn(1, channels, 8 // stride, 8 // stride) for channels, stride in ((2, 1), (3, 2), (4, 4))
    ]
    features = Features(levels=levels, strides=(1, 2, 4), summary=torch.zeros(1, 1))
    pyramid = Pyramid((1, 2, 4), (2, 3, 4))
    assert all(ours is theirs for ours, theirs in zip(pyramid(features), levels, strict=True))
    assert not list(pyramid.parameters())


def test_of_several_levels_of_one_stride_the_last_counts():
    levels = [torch.randn(1, channels, 4, 4) for channels in (2, 3)]
    features = Features(levels=levels, strides=(8, 8), summary=torch.zeros(1, 1))
    pyramid = Pyramid((8, 8), (2, 3))
    assert pyramid.strides == (2, 4, 8, 16)
    assert pyramid(features)[2] is levels[1]


def test_each_place_is_made_of_the_token_that_lies_there():
    pyramid = Pyramid((8,), (16,))
    grid = torch.randn(1, 16, 3, 5)
    other = grid.clone()
    other[:, :, 1, 2] += 1
    for factor, before, after in zip(
        (4, 2, 1), *(pyramid(_seen(each)) for each in (grid, other)), strict=False
    ):
        changed = (before != after).any(dim=1)[0]
        assert changed.nonzero().amin(dim=0).tolist() == [factor, 2 * factor]
        assert changed.nonzero().amax(dim=0).tolist() == [2 * factor - 1, 3 * factor - 1]


def _seen(level):
    return Features(levels=(level,), strides=(8,), summary=torch.zeros(1, 1))


def test_layers_of_a_transformer_are_levels():
    pixels = torch.randn(2, 3, 24, 40)
    plain, deep = network("vit-pico8", (24, 40)), network("vit-pico8", (24, 40), depths=(1, 3, 5))
    before, after = plain(pixels), deep(pixels)
    assert (deep.strides, deep.channels, after.strides) == ((8, 8, 8), (64, 64, 64), (8, 8, 8))
    torch.testing.assert_close(after.levels[-1], before.levels[0], rtol=0, atol=0)
    torch.testing.assert_close(after.summary, before.summary, rtol=0, atol=0)
    seen = []
    hook = plain.encoder.blocks[1].register_forward_hook(lambda block, given, output: seen.append(output))
    plain(pixels)
    hook.remove()
    expected = plain.encoder.norm(seen[0])[:, plain.skip :].mT.reshape(2, 64, 3, 5)
    torch.testing.assert_close(after.levels[0], expected)
    assert deep(pixels, levels=False).levels == ()


def test_layers_that_are_not_the_last_leave_the_summary_as_it_is():
    pixels = torch.randn(2, 3, 24, 40)
    deep = network("vit-pico8", (24, 40), depths=(0, 2))
    torch.testing.assert_close(deep(pixels).summary, network("vit-pico8", (24, 40))(pixels).summary)


def test_layers_go_with_patches_that_are_left_out():
    deep = network("vit-pico8", (24, 40), depths=(0, 5)).train()
    deep.patch_drop = 0.5
    levels = deep(torch.randn(2, 3, 24, 40)).levels
    empty = [(level == 0).all(dim=1) for level in levels]
    assert empty[0].equal(empty[1])
    assert empty[0].sum(dim=(1, 2)).tolist() == [7, 7]


@pytest.mark.parametrize("depths", [(3, 1), (1, 1), (6,), (-1,)])
def test_layers_that_do_not_exist_or_do_not_rise(depths):
    with pytest.raises(UsageError, match="depths rise from 0 to 5"):
        network("vit-pico8", (24, 40), depths=depths)


def test_nothing_merges_where_several_layers_are_looked_at():
    deep = network("vit-pico8", (24, 40), depths=(0, 5), merge=2)
    with pytest.raises(UsageError, match="leave --merge"):
        deep(torch.randn(1, 3, 24, 40))
