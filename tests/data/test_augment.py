"""Augmentation is a pure function of (seed, epoch, index), and does what its words say."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_sample_image
from torchvision.transforms.v2 import functional as reference

from vitrail.data.augment import PRESETS, Augment
from vitrail.data.mix import _beta
from vitrail.data.policy import OPERATIONS, randaugment, trivial
from vitrail.data.preprocess import Preprocess
from vitrail.errors import UsageError
from vitrail.values import Batch

EVERYTHING = Augment(
    crop_scale=(0.2, 1.0),
    shift=3,
    flip=True,
    vertical=True,
    rotate90=True,
    policy="trivial",
    jitter=0.4,
    erase=0.5,
)


@pytest.fixture(scope="module")
def photograph():
    return load_sample_image("flower.jpg")


def vary(augment, loaded, preprocess, indices, seed=1, epoch=2):
    return augment.pictures(loaded, preprocess, seed=seed, epoch=epoch, indices=np.asarray(indices))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    "augment", [*PRESETS.values(), EVERYTHING, replace(EVERYTHING, policy="randaugment")]
)
@pytest.mark.parametrize("size", [(64, 64), (48, 40)])
def test_alone_or_in_a_batch_the_bits_are_the_same(photograph, channels, augment, size):
    preprocess = Preprocess(size=size, channels=channels)
    parts = [photograph, photograph[:200, :100], photograph[50:90, 30:300], photograph[: size[0], : size[1]]]
    loaded = [preprocess.load(part) for part in parts]
    whole = vary(augment, loaded, preprocess, [7, 3, 900, 12])
    assert whole.shape == (4, channels, *size)
    assert whole.dtype == np.uint8
    assert whole.flags.c_contiguous
    for number, index in enumerate([7, 3, 900, 12]):
        assert np.array_equal(
            vary(augment, loaded[number : number + 1], preprocess, [index])[0], whole[number]
        )
    backwards = vary(augment, loaded[::-1], preprocess, [12, 900, 3, 7])
    assert np.array_equal(backwards[::-1], whole)
    if augment is not PRESETS["none"]:
        for other in ({"seed": 2}, {"epoch": 3}):
            assert not np.array_equal(vary(augment, loaded, preprocess, [7, 3, 900, 12], **other), whole)


def test_without_settings_it_is_what_the_model_sees(photograph):
    preprocess = Preprocess(size=(64, 64), crop_pct=0.9)
    loaded = preprocess.load(photograph)
    wanted = preprocess.canvas(loaded)[0].transpose(2, 0, 1)
    assert np.array_equal(vary(Augment(), [loaded], preprocess, [0])[0], wanted)


@pytest.mark.parametrize("size", [(96, 96), (128, 80), (28, 28)])
def test_none_means_none(photograph, size):
    """Above 64 pixels too, where crops and flips would be chosen: training sees what the model answers."""
    preprocess = Preprocess(size=size, crop_pct=0.9)
    loaded = [preprocess.load(part) for part in (photograph, photograph[:200, :100])]
    wanted = np.stack([preprocess.canvas(each)[0].transpose(2, 0, 1) for each in loaded])
    assert np.array_equal(vary(PRESETS["none"].suited(size), loaded, preprocess, [0, 1]), wanted)
    whole = Augment(crop_scale=(1.0, 1.0), shift=0, flip=False)
    assert np.array_equal(vary(whole.suited(size), loaded, preprocess, [0, 1]), wanted)


def test_flips_and_turns_reach_every_position():
    corner = np.zeros((8, 8), np.uint8)
    corner[1, 2] = 255
    preprocess = Preprocess(size=(8, 8), channels=1)
    loaded = [preprocess.load(corner)] * 400
    for augment, wanted in (
        (Augment(flip=True), {(1, 2), (1, 5)}),
        (Augment(vertical=True), {(1, 2), (6, 2)}),
        (Augment(rotate90=True), {(1, 2), (5, 1), (6, 5), (2, 6)}),
        (Augment(shift=1), {(y, x) for y in (0, 1, 2) for x in (1, 2, 3)}),
    ):
        pixels = vary(augment, loaded, preprocess, range(400))
        places = [tuple(np.argwhere(picture[0])[0].tolist()) for picture in pixels]
        assert set(places) == wanted
        counts = np.array([places.count(place) for place in wanted])
        expected = 400 / len(wanted)
        assert (np.abs(counts - expected) < 5 * np.sqrt(expected)).all()


def test_a_canvas_that_is_not_square_turns_by_halves():
    preprocess = Preprocess(size=(4, 6), channels=1)
    loaded = [preprocess.load(np.arange(24, dtype=np.uint8).reshape(4, 6))] * 50
    firsts = {
        int(picture[0, 0, 0]) for picture in vary(Augment(rotate90=True), loaded, preprocess, range(50))
    }
    assert firsts == {0, 23}


def test_a_shift_repeats_the_border():
    columns = np.tile(np.arange(10, 18, dtype=np.uint8), (8, 1))
    preprocess = Preprocess(size=(8, 8), channels=1)
    pixels = vary(Augment(shift=3), [preprocess.load(columns)] * 200, preprocess, range(200))
    for picture in pixels:
        moved = int(picture[0, 0, 3]) - 13
        assert abs(moved) <= 3
        assert picture[0, 4].tolist() == np.clip(np.arange(10, 18) + moved, 10, 17).tolist()


def test_crops_keep_to_their_range():
    """On a picture whose colours are its coordinates, a crop says where it was cut."""
    y, x = np.mgrid[0:200, 0:250]
    picture = np.stack([y, x, np.zeros_like(x)], 2).astype(np.uint8)
    preprocess = Preprocess(size=(32, 32))
    loaded = replace_picture(preprocess.load(picture), picture)
    augment = Augment(crop_scale=(0.1, 0.6))
    pixels = vary(augment, [loaded] * 500, preprocess, range(500)).astype(float)
    tall = (pixels[:, 0, -1, 16] - pixels[:, 0, 0, 16]) * 32 / 31
    wide = (pixels[:, 1, 16, -1] - pixels[:, 1, 16, 0]) * 32 / 31
    area, ratio = tall * wide / (200 * 250), wide / tall
    assert 0.08 < area.min() < 0.12
    assert 0.5 < area.max() < 0.63
    assert abs(area.mean() - 0.35) < 0.04
    assert 0.7 < ratio.min() < 0.8
    assert 1.25 < ratio.max() < 1.42
    centres = pixels[:, :2, 16, 16].mean(0)
    assert np.abs(centres - (100, 125)).max() < 8


def replace_picture(loaded, picture):
    return type(loaded)(picture, loaded.size, loaded.covers)


@pytest.mark.parametrize("resample", ["bilinear", "bicubic"])
def test_a_crop_is_resampled_as_pillow_does_it(photograph, resample):
    preprocess = Preprocess(size=(96, 96), resample=resample)
    loaded = preprocess.load(photograph)
    augment = Augment(crop_scale=(0.99, 1.0))  # which never fits: the centre as wide as is allowed
    got = vary(augment, [loaded], preprocess, [0])[0].transpose(1, 2, 0)
    rows, columns = loaded.picture.shape[:2]
    wide = round(rows * 4 / 3)
    left = (columns - wide) // 2
    part = Image.fromarray(loaded.picture[:, left : left + wide])
    wanted = np.asarray(part.resize((96, 96), Image.Resampling[resample.upper()]))
    assert np.abs(got.astype(int) - wanted).max() <= 1


@pytest.mark.parametrize("size", [(224, 1), (3, 700), (2, 2)])
def test_crops_of_pictures_that_fit_nothing(size):
    preprocess = Preprocess(size=(16, 16))
    loaded = preprocess.load(np.full((*size, 3), 77, np.uint8))
    assert (vary(Augment(crop_scale=(0.9, 1.0)), [loaded] * 20, preprocess, range(20)) == 77).all()


def test_erasing_covers_with_the_mean_colour():
    preprocess = Preprocess(size=(40, 30), mean=(0.2, 0.4, 0.6))
    loaded = [preprocess.load(np.zeros((40, 30, 3), np.uint8))] * 400
    pixels = vary(Augment(erase=0.25), loaded, preprocess, range(400))
    covered = (pixels == np.array([51, 102, 153]).reshape(1, 3, 1, 1)).all(1)
    assert (covered | (pixels == 0).all(1)).all()
    part = covered.mean((1, 2))
    assert 60 < (part > 0).sum() < 140
    assert part[part > 0].min() > 0.015
    assert part.max() < 0.36


def test_jitter_changes_colour_and_not_form(photograph):
    preprocess = Preprocess(size=(64, 64))
    loaded = preprocess.load(photograph)
    plain = preprocess.canvas(loaded)[0].astype(float)
    pixels = vary(Augment(jitter=0.4), [loaded] * 30, preprocess, range(30)).astype(float)
    means = pixels.mean((1, 2, 3)) / plain.mean()
    assert 0.55 < means.min() < 0.9 < 1.1 < means.max() < 1.45
    assert min(np.corrcoef(each.transpose(1, 2, 0).ravel(), plain.ravel())[0, 1] for each in pixels) > 0.9


# ---------------------------------------------------------------------------------- policies


ORACLES = {
    "identity": lambda image, m: image,
    "shear x": lambda image, m: _affine(image, shear=[float(np.degrees(np.arctan(m))), 0.0]),
    "shear y": lambda image, m: _affine(image, shear=[0.0, float(np.degrees(np.arctan(m)))]),
    "translate x": lambda image, m: _affine(image, translate=[round(m * image.width), 0]),
    "translate y": lambda image, m: _affine(image, translate=[0, round(m * image.height)]),
    "rotate": lambda image, m: reference.rotate(image, m),
    "brightness": lambda image, m: reference.adjust_brightness(image, 1 + m),
    "colour": lambda image, m: reference.adjust_saturation(image, 1 + m),
    "contrast": lambda image, m: reference.adjust_contrast(image, 1 + m),
    "sharpness": lambda image, m: reference.adjust_sharpness(image, 1 + m),
    "posterize": lambda image, m: reference.posterize(image, 8 - round(m)),
    "solarize": lambda image, m: reference.solarize(image, 255 * (1 - m)),
    "autocontrast": lambda image, m: reference.autocontrast(image),
    "equalize": lambda image, m: reference.equalize(image),
}


def _affine(image, translate=(0, 0), shear=(0.0, 0.0)):
    options = {
        "angle": 0.0,
        "scale": 1.0,
        "center": [0, 0],
        "interpolation": reference.InterpolationMode.NEAREST,
    }
    return reference.affine(image, translate=list(translate), shear=list(shear), **options)


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("name", OPERATIONS)
def test_operations_are_those_of_torchvision(photograph, name, mode):
    image = Image.fromarray(photograph).resize((70, 56)).convert(mode)
    operation = OPERATIONS[name]
    for most in (operation.trivial, operation.rand):
        for level in (0, 0.2, 0.5, 1):
            for sign in (1, -1) if operation.signed else (1,):
                got = np.asarray(operation.apply(image, sign * most * level))
                wanted = np.asarray(ORACLES[name](image, sign * most * level))
                assert (got != wanted).mean() < (0.01 if "shear" in name else 1e-9)


def test_policies_use_every_operation():
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8))
    draws = np.random.default_rng(1).random((600, 4))
    for policy in (trivial, randaugment):
        seen = {np.asarray(policy(image, row)).tobytes() for row in draws.tolist()}
        assert len(seen) > 60
    assert len(OPERATIONS) == 14


# ---------------------------------------------------------------------------------- mixtures


def batch_of(number=0, count=6):
    pixels = (
        torch.arange(count, dtype=torch.float32).reshape(-1, 1, 1, 1).expand(count, 3, 20, 30).contiguous()
    )
    return Batch(
        keys=[str(i) for i in range(count)],
        pixels={"image": pixels},
        targets={"label": torch.eye(count)},
        number=number,
    )


@pytest.mark.parametrize("augment", [Augment(mixup=0.4), Augment(cutmix=1.0), Augment(mixup=0.2, cutmix=1.0)])
def test_targets_are_mixed_as_the_pictures_are(augment):
    shares = []
    for number in range(60):
        batch = batch_of(number)
        mixed = augment.mix(batch, 5, 1)
        pixels, targets = mixed.pixels["image"], mixed.targets["label"]
        own = targets.diagonal()
        assert torch.allclose(targets.sum(1), torch.ones(6))
        assert torch.allclose(own, own[0].expand(6))
        mean = pixels.mean((1, 2, 3))
        wanted = own * torch.arange(6.0) + (1 - own) * torch.arange(6.0).roll(1)
        assert torch.allclose(mean, wanted, atol=1e-5)
        if augment.mixup == 0:
            assert set(pixels[3].unique().tolist()) <= {2.0, 3.0}
        again = augment.mix(batch_of(number), 5, 1)
        assert torch.equal(again.pixels["image"], pixels)
        assert torch.equal(batch.pixels["image"], batch_of().pixels["image"])
        shares.append(float(own[0]))
    assert len(set(shares)) > 20
    assert not torch.equal(
        augment.mix(batch_of(0), 5, 2).targets["label"], augment.mix(batch_of(0), 5, 1).targets["label"]
    )


def test_nothing_is_mixed_without_being_asked():
    batch = batch_of()
    assert Augment().mix(batch, 0, 0) is batch
    one = batch_of(count=1)
    assert Augment(mixup=1.0).mix(one, 0, 0) is one


@pytest.mark.parametrize("alpha", [0.1, 0.2, 1.0, 2.0])
def test_the_beta_distribution(alpha):
    values = np.array([_beta(alpha, 0, 0, number) for number in range(3000)])
    assert abs(values.mean() - 0.5) < 5 * values.std() / np.sqrt(3000)
    assert values.var() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.08)


@pytest.mark.parametrize(
    "wrong",
    [
        {"crop_scale": (0.5, 0.2)},
        {"crop_scale": (0.0, 1.0)},
        {"shift": -1},
        {"erase": 1.5},
        {"mixup": 5.0},
        {"policy": "x"},
    ],
)
def test_wrong_words_are_explained(wrong):
    with pytest.raises(UsageError, match=next(iter(wrong))):
        Augment(**wrong)
