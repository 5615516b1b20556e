"""Every head for pixels on every kind of backbone: shapes, learning, and what each is known for."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from vitrail.backbones import configure
from vitrail.errors import UsageError
from vitrail.explain import EXPLAINERS, Region
from vitrail.heads import HEADS
from vitrail.heads.dpt import DPTConfig
from vitrail.heads.fcn import FCNConfig
from vitrail.heads.masks import MasksConfig
from vitrail.heads.unet import UNetConfig, Unpooled
from vitrail.models.vision import Vision
from vitrail.values import IGNORED, Batch, Features, Frame, Given

NAMES = ("floor", "cat", "dog")
SWIN = "swin_pico_patch4_window6_96"
SIZES = {"vit-pico8": (24, 40), "test_resnet": (37, 45), "test_efficientnet": (37, 45), SWIN: (37, 45)}
"""An odd grid, or a canvas that no stride divides."""
SEGMENT = HEADS["segment"]
RATES = {"masks": 1e-3}
"""Transformers want smaller steps than convolutions."""


def model(backbone, config, size, channels=3, multi=False):
    torch.manual_seed(0)
    network = configure(backbone).build(size, channels)
    return Vision(network, config.build(network, NAMES, multi))


def batch(size, channels=3, multi=False):
    """Return pictures whose colour tells the class, and masks whose last rows nobody knows."""
    mask = torch.zeros(2, *size, dtype=torch.uint8)
    mask[0, 4:20, 6:22], mask[1, 8:22, 2:18], mask[1, 2:8, 22:36] = 1, 2, 1
    colours = torch.tensor([[0.0, -1.0, 1.0], [0.0, 1.0, 1.0], [0.5, 0.0, -1.0]])[:channels]
    pixels = colours[:, mask.long()].movedim(1, 0)
    pixels = pixels + 0.1 * torch.randn(pixels.shape, generator=torch.Generator().manual_seed(0))
    if multi:
        mask = torch.stack([mask > 0, mask == 1, mask == 2], dim=1).to(torch.uint8)
    mask[..., -3:, :] = IGNORED
    return Batch(keys=("x", "y"), pixels={"image": pixels}, targets={"mask": mask})


def train(network, seen, steps=8, lr=3e-3):
    """Return the loss before each step."""
    optimizer = torch.optim.Adam(network.train().parameters(), lr)
    losses = []
    for step in range(steps):
        total = network.loss(seen, step / steps).total
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        losses.append(total.item())
    return losses


@pytest.mark.parametrize("backbone", SIZES)
@pytest.mark.parametrize("name", SEGMENT)
@pytest.mark.parametrize(("channels", "multi"), [(3, False), (1, True)], ids=["colour", "grey-multi"])
def test_every_head_learns_on_every_backbone(name, backbone, channels, multi):
    size = SIZES[backbone]
    network, seen = model(backbone, SEGMENT[name](), size, channels, multi), batch(size, channels, multi)
    losses = train(network, seen, lr=RATES.get(name, 3e-3))
    assert losses[-1] < 0.9 * losses[0], losses
    assert all(each.grad is not None for each in network.head.parameters())
    network.eval()
    assert network.outputs(seen).logits.shape == (2, 3, *size)
    frames = [Frame(size=(50, 60), matrix=(size[1] / 60, 0, 0, 0, size[0] / 50, 0))] * 2
    for answer in network.answer(seen.with_(frames=frames)):
        assert answer.values.shape == ((3, 50, 60) if multi else (50, 60))
    assert network.score(seen, None).shape == (2,)


class Plain(nn.Module):
    """A network as an exported file has it: pixels to logits."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, pixels):
        return self.network.outputs(Batch(keys=("", ""), pixels={"image": pixels})).logits


@pytest.mark.parametrize("backbone", SIZES)
@pytest.mark.parametrize("name", SEGMENT)
def test_every_pair_is_exported_and_explained(name, backbone):
    size = SIZES[backbone]
    network, seen = model(backbone, SEGMENT[name](), size).eval(), batch(size)
    whole, pixels = Plain(network), seen.pixels["image"]
    with torch.no_grad():
        exported = torch.export.export(whole, (pixels,)).module()(pixels)
        assert exported.shape == (2, 3, *size)
        torch.testing.assert_close(exported, whole(pixels), atol=1e-4, rtol=1e-4)
    for heat in EXPLAINERS["saliency"]()(network, seen, ["cat", Region(label="dog", box=(2, 2, 9, 9))]):
        assert heat.values.shape == size
        assert np.isfinite(heat.values).all()
        assert heat.values.max() > 0


@pytest.mark.parametrize("name", SEGMENT)
def test_every_head_learns_on_inception(name):
    size = (75, 83)
    network = model("inception_v3", SEGMENT[name](), size)
    losses = train(network, batch(size), steps=4, lr=RATES.get(name, 3e-3))
    assert losses[-1] < 0.95 * losses[0], losses


@pytest.mark.parametrize("up", ["nearest", "transposed", "unpool"])
@pytest.mark.parametrize("backbone", ["vit-pico8", "test_resnet"])
def test_every_way_up_learns(up, backbone):
    size = SIZES[backbone]
    losses = train(model(backbone, UNetConfig(up=up), size), batch(size))
    assert losses[-1] < 0.85 * losses[0], losses


def test_unet_has_the_picture_beside_whole_pixels_and_a_stem_where_levels_are_made():
    seen = {name: configure(name).build((64, 64), 3) for name in ("test_resnet", "vit-pico8")}
    plain = UNetConfig().build(seen["test_resnet"], NAMES).net
    assert plain.stem is None
    assert plain.merges[-1].picture.weight.shape == (16, 3, 3, 3)
    assert UNetConfig(up="unpool").build(seen["test_resnet"], NAMES).net.stem is not None  # says where
    assert len(UNetConfig().build(seen["vit-pico8"], NAMES).net.stem.layers) == 1


@pytest.mark.parametrize("name", SEGMENT)
def test_a_head_learns_a_mask_by_heart(name):
    """Not only does the loss fall: most pixels become right, which a shifted map would not."""
    size = (32, 32)
    seen = batch(size)
    config = DPTConfig(width=32) if name == "dpt" else SEGMENT[name]()  # all of its width takes long
    network = model("vit-pico4", config, size)
    train(network, seen, steps=50, lr=RATES.get(name, 3e-3))
    mask = seen.targets["mask"]
    known = mask != IGNORED
    for answer, right, where in zip(network.eval().answer(seen), mask.numpy(), known.numpy(), strict=True):
        assert (answer.values == right)[where].mean() > 0.93


@pytest.mark.parametrize(
    ("backbone", "size"), [("vit-pico2", (6, 10)), ("vit-pico14", (28, 42)), ("inception_v3", (75, 83))]
)
def test_unusual_strides(backbone, size):
    network, seen = configure(backbone).build(size, 3).eval(), batch(size)
    for config in SEGMENT.values():
        head = config().build(network, NAMES).eval()  # before the features: it may want other levels
        with torch.no_grad():
            assert Vision(network, head).outputs(seen).logits.shape == (2, 3, *size)


@pytest.mark.parametrize("name", SEGMENT)
def test_one_picture_that_shrinks_to_one_place_can_be_learned_from(name):
    network = model("test_resnet", SEGMENT[name](), (20, 24)).train()
    network.backbone.eval()  # what timm's own batch norms make of it is theirs
    pixels, mask = torch.randn(1, 3, 20, 24), torch.ones(1, 20, 24, dtype=torch.uint8)
    losses = network.loss(Batch(keys=("x",), pixels={"image": pixels}, targets={"mask": mask}), 0.0)
    assert losses.total.isfinite()


def test_a_head_starts_by_chance_alone():
    first, again = (model("test_resnet", UNetConfig(), (32, 32)).state_dict() for _ in range(2))
    assert all(torch.equal(first[name], again[name]) for name in first)


def test_the_skips_of_fcn_are_silent_at_first():
    network = model("test_resnet", FCNConfig(), (64, 64)).eval()
    seen = batch((64, 64))
    before = network.outputs(seen).logits
    for scorer in network.head.net.scorers[:-1]:
        scorer.weight.data.normal_()
    assert not torch.allclose(before, network.outputs(seen).logits)
    for scorer in network.head.net.scorers[:-1]:
        scorer.weight.data.zero_()
    torch.testing.assert_close(before, network.outputs(seen).logits)


def test_fcn_has_an_auxiliary_loss_if_it_is_wanted():
    seen = batch((64, 64))
    with_it = model("test_resnet", FCNConfig(aux=0.5), (64, 64)).train().loss(seen, 0.0).terms
    without = model("test_resnet", FCNConfig(aux=0.0), (64, 64)).train().loss(seen, 0.0).terms
    assert set(with_it) == {"cross_entropy", "dice", "aux_cross_entropy", "aux_dice"}
    assert set(without) == {"cross_entropy", "dice"}


@pytest.mark.parametrize("size", [(6, 8), (5, 7), (1, 3)])
def test_values_are_put_where_the_finer_level_was_largest(size):
    torch.manual_seed(0)
    half = [-(-side // 2) for side in size]
    x, skip = torch.randn(2, 4, *half), torch.randn(2, 5, *size)
    up = Unpooled(2.0, 4, 5)
    raised, values = up(x, skip), up.match(x)
    for index in torch.cartesian_prod(*map(torch.arange, (2, 5, *half))).tolist():
        b, c, y, x_ = index
        window = (b, c, slice(2 * y, 2 * y + 2), slice(2 * x_, 2 * x_ + 2))
        expected = (skip[window] == skip[window].max()) * values[b, c, y, x_]
        torch.testing.assert_close(raised[window], expected)


def test_masks_cost_at_most_a_third_of_a_small_transformer():
    with torch.device("meta"):
        backbone = configure("vit-s16").build((224, 224), 3)
        head = MasksConfig().build(backbone, [str(number) for number in range(21)])
        pixels = torch.empty(1, 3, 224, 224)
        with FlopCounterMode(display=False) as whole:
            features = backbone(pixels)
        with FlopCounterMode(display=False) as more:
            head(features, Given(pixels={"image": pixels}))
    assert 0.1 < more.get_total_flops() / whole.get_total_flops() < 0.35


def test_masks_look_at_nothing_that_is_not_valid():
    network = model("test_resnet", MasksConfig(), (64, 64)).eval()
    features = network.features(batch((64, 64)))
    valid = torch.ones(2, 64, 64, dtype=torch.bool)
    valid[:, 16:] = False
    changed = [level.clone() for level in features.levels]
    for level, stride in zip(changed, features.strides, strict=True):
        level[:, :, -(-16 // stride) :] += 9
    other = Features(levels=changed, strides=features.strides, summary=features.summary)
    for shown, alike in ((valid, True), (None, False)):
        given = Given(pixels={"image": torch.zeros(2, 3, 64, 64)}, valid=shown)
        here, there = (network.head(each, given).logits[:, :, :8] for each in (features, other))
        assert torch.allclose(here, there, atol=1e-5) == alike


def test_one_class_alone_can_be_told_from_nothing():
    torch.manual_seed(0)
    backbone = configure("vit-pico4").build((32, 32), 3)
    network, seen = Vision(backbone, MasksConfig().build(backbone, ("cat",), multi=True)), batch((32, 32))
    mask = (seen.targets["mask"][:, None] == 1).to(torch.uint8)
    losses = train(network, seen.with_(targets={"mask": mask}), steps=20, lr=1e-3)
    assert losses[-1] < 0.7 * losses[0]


def test_dpt_shows_itself_the_layers_it_wants():
    network = model("vit-pico8", DPTConfig(), (24, 40))
    assert network.backbone.depths == (1, 2, 3, 5)
    chosen = model("vit-pico8", DPTConfig(depths=(0, 5)), (24, 40))
    assert chosen.backbone.depths == (0, 5)
    assert chosen.head.net.levels.strides == (2, 4)
    with pytest.raises(UsageError, match="depths rise from 0 to 5 in this network"):
        model("vit-pico8", DPTConfig(depths=(2, 6)), (24, 40))
    with pytest.raises(UsageError, match="only a Transformer of ours has depths"):
        model("test_resnet", DPTConfig(depths=(1,)), (32, 32))


@pytest.mark.parametrize(
    ("config", "words", "message"),
    [
        (UNetConfig, {"widths": ()}, "at least one of the widths"),
        (UNetConfig, {"widths": (16, 0)}, "each at least 1"),
        (FCNConfig, {"width": 0}, "width is at least 1"),
        (MasksConfig, {"depth": 0}, "at least 1"),
        (DPTConfig, {"dropout": 1.0}, "share"),
        (DPTConfig, {"depths": (0, 1, 2, 3, 4)}, "at most four"),
        (SEGMENT["linear"], {"dropout": -0.5}, "share"),
    ],
)
def test_bad_words(config, words, message):
    with pytest.raises(UsageError, match=message):
        config(**words)


def test_weights_of_classes_are_as_many_as_classes():
    with pytest.raises(UsageError, match="balance has 2 weights for 3 classes"):
        model("test_resnet", FCNConfig(balance=(1.0, 2.0)), (32, 32))
    with pytest.raises(UsageError, match="5 heads do not divide a width of 64"):
        model("vit-pico8", MasksConfig(heads=5), (24, 40))
