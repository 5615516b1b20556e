"""Videos and volumes, satellite bands: what enters the same Transformer in other shapes."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from vitrail.backbones.vit import ViTConfig
from vitrail.errors import UsageError
from vitrail.nn.positions import resample

SIZE = (8, 32, 32)
POSITIONS = ("none", "learned", "sine", "rotary")


def volume_vit(size=SIZE, channels=1, **changes):
    torch.manual_seed(0)
    sizes = {"size": "pico", "depth": 2, "patch": 8, "tubelet": 2}
    return ViTConfig(**sizes | changes).build(size, channels).eval()


@pytest.mark.parametrize("positions", POSITIONS)
def test_a_volumes_level_has_three_axes(positions):
    vit = volume_vit(positions=positions)
    features = vit(torch.randn(2, 1, *SIZE))
    (level,) = features.levels
    assert level.shape == (2, 64, 4, 4, 4)
    assert (features.strides, features.summary.shape, features.prefix.shape) == ((8,), (2, 64), (2, 1, 64))
    whole = vit.tokens(torch.ones(2, 1, *SIZE))
    assert whole.places[0].tolist() == list(range(64))
    other = vit(torch.randn(2, 1, 4, 16, 48))
    assert other.levels[0].shape == (2, 64, 2, 2, 6)
    assert vit.attention(torch.randn(1, 1, *SIZE)).shape == (1, 4, 65, 65)


@pytest.mark.parametrize("positions", POSITIONS)
@pytest.mark.parametrize("axis", [2, 3, 4])
def test_positions_tell_every_axis(positions, axis):
    """What is turned round along an axis looks different, unless there are no positions."""
    vit, volume = volume_vit(positions=positions, pool="mean"), torch.randn(1, 1, *SIZE)
    patches = volume.unflatten(4, (4, 8)).unflatten(3, (4, 8)).unflatten(2, (4, 2))
    turned = patches.flip(2 * (axis - 1)).flatten(2, 3).flatten(3, 4).flatten(4, 5)
    difference = (vit(volume).summary - vit(turned).summary).abs().max()
    assert (difference < 1e-5) == (positions == "none"), difference


@pytest.mark.parametrize("positions", ["none", "learned"])
def test_a_video_of_one_frame_is_a_picture(positions):
    """The picture's network answers the same with the same weights (other positions share three axes)."""
    video = volume_vit((1, 32, 48), 3, tubelet=1, positions=positions)
    picture = ViTConfig(size="pico", depth=2, patch=8, positions=positions).build((32, 48), 3).eval()
    state = video.state_dict()
    state["embed.weight"] = state["embed.weight"].squeeze(2)
    if positions == "learned":
        state["positions.values"] = state["positions.values"].squeeze(0)
    picture.load_state_dict(state)
    pixels = torch.randn(2, 3, 32, 48)
    expected, features = picture(pixels), video(pixels[:, :, None])
    torch.testing.assert_close(features.summary, expected.summary, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(features.levels[0].squeeze(2), expected.levels[0], atol=1e-5, rtol=1e-5)


def test_learned_positions_follow_the_volumes_grid():
    vit, other = volume_vit(), volume_vit((4, 16, 40))
    state = vit.state_dict()
    state["positions.values"] = resample(state["positions.values"], (2, 2, 5))
    other.load_state_dict(state)
    pixels = torch.randn(2, 1, 4, 16, 40)
    torch.testing.assert_close(vit(pixels).summary, other(pixels).summary)


@pytest.mark.parametrize("pool", ["class", "mean", "attention", "class+mean"])
@pytest.mark.parametrize("positions", ["learned", "rotary"])
def test_what_is_not_valid_changes_nothing(pool, positions):
    vit, volume = volume_vit(pool=pool, positions=positions), torch.randn(2, 1, *SIZE)
    valid = torch.ones(2, *SIZE, dtype=torch.bool)
    valid[0, 4:] = False
    valid[1, :, :, 20:] = False
    valid[1, 3, 0, 30] = True  # one voxel, and its cube is looked at
    noise = torch.where(valid[:, None], volume, 100.0)
    noise[1, :, 2:4, :8, 24:] = volume[1, :, 2:4, :8, 24:]
    noise[1, :, :, :, 20:24] = volume[1, :, :, :, 20:24]
    torch.testing.assert_close(vit(volume, valid).summary, vit(noise, valid).summary)
    assert not torch.allclose(vit(volume, valid).summary, vit(volume).summary)
    if positions == "rotary":  # learned ones would be resampled
        short = vit(volume[:1, :, :4])
        torch.testing.assert_close(vit(volume, valid).summary[:1], short.summary, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("positions", ["sine", "rotary"])
def test_kept_cubes_are_computed_as_if_the_others_were_hidden(positions):
    vit, volume = volume_vit(positions=positions), torch.randn(2, 1, *SIZE)
    keep = torch.arange(32, 64).expand(2, 32)
    valid = torch.ones(2, *SIZE, dtype=torch.bool)
    valid[:, :4] = False
    kept, hidden = vit.tokens(volume, keep), vit.tokens(volume, valid=valid)
    torch.testing.assert_close(kept.values, hidden.values[:, 32:], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(kept.prefix, hidden.prefix, atol=1e-5, rtol=1e-5)


def test_dropped_cubes_leave_holes_in_the_level():
    vit = volume_vit(patch_drop=0.75).train()
    level = vit(torch.randn(2, 1, *SIZE)).levels[0]
    assert level.shape == (2, 64, 4, 4, 4)
    assert level.any(1).sum().item() == 2 * 16


def test_merging_works_on_cubes():
    vit, volume = volume_vit(positions="rotary"), torch.randn(1, 1, *SIZE)
    expected = vit(volume)
    vit.merge = 8
    merged = vit(volume)
    assert merged.levels[0].shape == expected.levels[0].shape
    assert len(merged.levels[0].flatten(2)[0].T.unique(dim=0)) == 64 - 2 * 8
    assert F.cosine_similarity(merged.summary, expected.summary).item() > 0.8


@pytest.mark.parametrize(
    ("size", "message"),
    [
        ((7, 32, 32), "patches of 2x8x8 pixels do not divide 7x32x32: take 6x32x32 or 8x32x32"),
        ((8, 30, 32), "do not divide 8x30x32: take 8x24x32 or 8x32x32"),
        ((32, 32), "patches with 3 sides do not cut what has 2"),
    ],
)
def test_volumes_that_cubes_do_not_divide_are_refused(size, message):
    with pytest.raises(UsageError, match=message):
        volume_vit(size)
    with pytest.raises(UsageError, match=message):
        volume_vit()(torch.randn(1, 1, *size))


def test_a_stem_for_pictures_takes_no_tubelets():
    with pytest.raises(
        UsageError, match=r"convolutional stem is for pictures: leave tubelet, or take .* patch"
    ):
        volume_vit(stem="conv")


@pytest.mark.parametrize("stem", ["patch", "conv"])
def test_a_satellites_thirteen_bands(stem):
    """Channels are the embedding's affair alone, and each of them counts."""
    torch.manual_seed(0)
    vit = ViTConfig(size="pico", depth=2, patch=8, stem=stem).build((32, 32), 13).eval()
    pixels = torch.randn(2, 13, 32, 32, requires_grad=True)
    features = vit(pixels)
    assert features.levels[0].shape == (2, 64, 4, 4)
    (gradient,) = torch.autograd.grad(features.summary.square().sum(), pixels)
    assert gradient.flatten(2).any(-1).all()


def videos(count):
    """Return clips of a dot that moves to the left or to the right, and which of the two it does."""
    rightwards = torch.rand(count) < 0.5
    row, start = torch.randint(12, (2, count))
    clips = torch.zeros(count, 1, 4, 12, 12)
    for frame in range(4):
        column = (start + torch.where(rightwards, 2, -2) * frame) % 12
        clips[torch.arange(count), 0, frame, row, column] = 3.0
    return clips, rightwards.long()


def test_motion_is_learned_which_no_single_frame_shows():
    """Every place is as likely in every frame, whatever the direction: only time tells."""
    torch.manual_seed(0)
    asked, expected = videos(200)
    config = ViTConfig(size="pico", width=32, depth=2, heads=2, mlp=64, patch=6, tubelet=2, pool="mean")
    model = nn.ModuleList([config.build((4, 12, 12), 1), nn.Linear(32, 2)])

    def logits(clips):
        return model[1](model[0](clips, levels=False).summary)

    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for _ in range(60):
        clips, direction = videos(64)
        optimizer.zero_grad()
        F.cross_entropy(logits(clips), direction).backward()
        optimizer.step()
    model.eval()
    assert (logits(asked).argmax(1) == expected).float().mean() > 0.98
    backwards = logits(asked.flip(2)).argmax(1)
    assert (backwards == 1 - expected).float().mean() > 0.98
