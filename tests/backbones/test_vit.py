import pytest
import timm
import torch

from vitrail.backbones.vit import ViTConfig
from vitrail.errors import UsageError
from vitrail.nn.positions import resample


def pico(size=(32, 32), channels=3, **changes):
    torch.manual_seed(0)
    return ViTConfig(**{"size": "pico", "patch": 8, **changes}).build(size, channels).eval()


def weights_of_timm(theirs):
    """Return timm's weights under our names; its class token's position belongs to our class token."""
    state = theirs.state_dict()
    grid = theirs.patch_embed.grid_size
    ours = {
        "embed.weight": state["patch_embed.proj.weight"],
        "embed.bias": state["patch_embed.proj.bias"],
        "positions.values": state["pos_embed"][0, 1:].reshape(*grid, -1),
        "prefix": state["cls_token"][0] + state["pos_embed"][0, :1],
    }
    names = {
        "norm1": "around_mix.norm", "attn.qkv": "mix.qkv", "attn.proj": "mix.out",
        "norm2": "around_feed.norm", "mlp.fc1": "feed.up", "mlp.fc2": "feed.down",
    }  # fmt: skip
    for key, value in state.items():
        if key.startswith("blocks."):
            _, number, rest = key.split(".", 2)
            name, kind = rest.rsplit(".", 1)
            ours[f"encoder.blocks.{number}.{names[name]}.{kind}"] = value
    return ours | {f"encoder.norm.{kind}": state[f"norm.{kind}"] for kind in ("weight", "bias")}


@pytest.fixture(scope="module")
def pair():
    torch.manual_seed(0)
    theirs = timm.create_model(
        "vit_tiny_patch16_224", img_size=48, depth=3, num_classes=0, dynamic_img_size=True
    )
    for parameter in theirs.parameters():  # also those that start at zero or one
        torch.nn.init.normal_(parameter, std=0.05)
    ours = ViTConfig(size="ti", depth=3, pool="class", stem="patch").build((48, 48), 3)
    ours.load_state_dict(weights_of_timm(theirs))
    return ours.eval(), theirs.eval()


@pytest.mark.parametrize("size", [(48, 48), (32, 80)])
def test_equal_to_timms_at_the_native_and_at_another_size(pair, size):
    ours, theirs = pair
    pixels = torch.randn(2, 3, *size)
    features = ours(pixels)
    torch.testing.assert_close(features.summary, theirs(pixels), atol=1e-5, rtol=1e-5)
    tokens = theirs.forward_features(pixels)
    torch.testing.assert_close(features.prefix, tokens[:, :1], atol=1e-5, rtol=1e-5)
    grid = tokens[:, 1:].transpose(1, 2).reshape(2, 192, size[0] // 16, size[1] // 16)
    torch.testing.assert_close(features.levels[0], grid, atol=1e-5, rtol=1e-5)


def test_another_grid_takes_resampled_positions():
    vit = pico((32, 32))
    other = pico((16, 40))
    state = vit.state_dict()
    state["positions.values"] = resample(state["positions.values"], (2, 5))
    other.load_state_dict(state)
    pixels = torch.randn(2, 3, 16, 40)
    torch.testing.assert_close(vit(pixels).summary, other(pixels).summary)


@pytest.mark.parametrize("pool", ["class", "mean"])
def test_the_summary_is_the_class_token_or_the_mean(pool):
    features = pico(pool=pool)(torch.randn(2, 3, 32, 32))
    if pool == "class":
        torch.testing.assert_close(features.summary, features.prefix[:, 0])
    else:
        assert features.prefix is None
        torch.testing.assert_close(features.summary, features.levels[0].mean((2, 3)))


@pytest.mark.parametrize("pool", ["class", "mean"])
def test_what_is_not_valid_changes_nothing(pool):
    vit = pico(pool=pool)
    pixels = torch.randn(2, 3, 32, 32)
    valid = torch.ones(2, 32, 32, dtype=torch.bool)
    valid[0, 8:] = False
    valid[1, :, 20:] = False  # the patch that is cut in two is still looked at
    other = torch.where(valid[:, None], pixels, 100.0)
    other[1, :, :, 20:24] = pixels[1, :, :, 20:24]
    torch.testing.assert_close(vit(pixels, valid).summary, vit(other, valid).summary)
    assert not torch.allclose(vit(pixels, valid).summary, vit(pixels).summary)
    everything = torch.ones_like(valid)
    torch.testing.assert_close(vit(pixels, everything).summary, vit(pixels).summary, atol=1e-6, rtol=1e-5)


def test_kept_tokens_are_computed_as_if_the_others_were_hidden():
    vit = pico()
    pixels = torch.randn(2, 3, 32, 32)
    keep = torch.tensor([[0, 1, 2, 3, 4, 5, 6, 7], [8, 9, 10, 11, 12, 13, 14, 15]])
    valid = torch.zeros(2, 32, 32, dtype=torch.bool)
    valid[0, :16] = True
    valid[1, 16:] = True
    kept, hidden = vit.tokens(pixels, keep), vit.tokens(pixels, valid=valid)
    assert kept.values.shape == (2, 8, vit.width)
    torch.testing.assert_close(kept.places, keep)
    torch.testing.assert_close(kept.prefix, hidden.prefix, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(kept.values[0], hidden.values[0, :8], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(kept.values[1], hidden.values[1, 8:], atol=1e-5, rtol=1e-5)
    whole = vit.tokens(pixels)
    torch.testing.assert_close(whole.places, torch.arange(16).expand(2, 16))
    torch.testing.assert_close(whole.values, vit(pixels).levels[0].flatten(2).mT)


def test_shuffled_places_follow_their_tokens():
    vit = pico()
    pixels = torch.randn(1, 3, 32, 32)
    keep = torch.tensor([[7, 2, 11]])
    shuffled = torch.tensor([[11, 7, 2]])
    torch.testing.assert_close(
        vit.tokens(pixels, keep).values[:, [2, 0, 1]],
        vit.tokens(pixels, shuffled).values,
        atol=1e-6,
        rtol=1e-5,
    )


def test_without_levels_only_the_summary_is_returned():
    vit, pixels = pico(), torch.randn(2, 3, 32, 32)
    features = vit(pixels, levels=False)
    assert features.levels == ()
    torch.testing.assert_close(features.summary, vit(pixels).summary, rtol=0, atol=0)


def test_departures_from_the_size():
    vit = pico(width=48, depth=2, heads=3, mlp=100, drop_path=0.2, dropout=0.1)
    assert vit.width == 48
    assert len(vit.encoder.blocks) == 2
    assert vit.encoder.blocks[0].mix.heads == 3
    assert vit.encoder.blocks[0].feed.up.out_features == 100
    rates = [module.rate for module in vit.modules() if type(module).__name__ == "DropPath"]
    assert rates == [0.0, 0.2]
    pixels = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(vit(pixels).summary, vit(pixels).summary)
    vit.train()
    assert not torch.allclose(vit(pixels).summary, vit(pixels).summary)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"size": "m"}, "no size 'm'.*Sizes are pico, ti, s, b, l, h, g"),
        ({"patch": -4}, "patch must be at least 0, not -4"),
        ({"width": 0}, "width must be at least 1, not 0"),
        ({"depth": -1}, "depth must be at least 1, not -1"),
        ({"drop_path": 1.0}, "drop_path is a chance from 0 to below 1, not 1"),
        ({"dropout": -0.5}, "dropout is a chance"),
        ({"final_norm": "summary", "pool": "class+mean"}, "a norm after the summary is of one token"),
        ({"experts": 2, "experts_top": 3}, "cannot go to 3 of 2 experts: take 1 to 2"),
        ({"experts": 2, "experts_capacity": 0.0}, "experts_capacity must be above 0, not 0"),
        ({"experts": 2, "depth": 1}, "this network has but one"),
        ({"heads": 5}, "5 heads do not divide a width of 64: take 4 or 8"),
    ],
)
def test_bad_words_are_refused(words, message):
    with pytest.raises(UsageError, match=message):
        ViTConfig(**{"size": "pico", "patch": 4, **words}).build((28, 28), 3)


@pytest.mark.parametrize(
    ("size", "message"),
    [
        ((30, 30), "patches of 8 pixels do not divide 30x30: take 24x24 or 32x32"),
        ((32, 33), "32x33: take 32x32 or 32x40"),
        ((4, 4), "4x4: take 8x8"),
    ],
)
def test_a_size_that_the_patch_does_not_divide_names_the_nearest(size, message):
    with pytest.raises(UsageError, match=message):
        pico(size)
    with pytest.raises(UsageError, match=message):
        pico()(torch.randn(1, 3, *size))


@pytest.mark.parametrize(
    ("patch", "pictures", "canvas"),
    [
        (16, (480, 640), (224, 224)),
        (14, (480, 640), (224, 224)),
        (32, (1000, 1000), (224, 224)),
        (4, (28, 28), (28, 28)),
        (4, (28, 37), (28, 36)),
        (2, (8, 8), (8, 8)),
        (4, (8, 8), (28, 28)),
        (4, (8, 16), (28, 56)),
        (16, (28, 28), (112, 112)),
        (16, (100, 200), (96, 192)),
    ],
)
def test_a_suitable_canvas(patch, pictures, canvas):
    config = ViTConfig(patch=patch)
    assert config.suitable_size(pictures) == canvas
    config.build(canvas, 1)


@pytest.mark.parametrize(
    ("pictures", "patch"),
    [((8, 8), 2), ((28, 28), 4), ((32, 48), 4), ((64, 64), 8), ((480, 640), 16), ((5, 5), 2)],
)
def test_a_patch_left_open_follows_the_pictures(pictures, patch):
    config = ViTConfig(size="pico", patch=0)
    assert config.name == "vit-pico"
    assert config.suited(pictures).patch == patch
    assert ViTConfig(patch=14).suited(pictures).patch == 14
    assert config.build((32, 32), 1).patch == 4


def test_attention_of_a_layer_that_does_not_exist():
    vit = pico()
    with pytest.raises(UsageError, match="no layer 6: this network has layers 0 to 5"):
        vit.attention(torch.randn(1, 3, 32, 32), 6)
