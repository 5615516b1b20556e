"""Pictures made worse: by as much as they say, always alike, and never the original."""

import subprocess
import sys

import numpy as np
import pytest
from sklearn.datasets import load_sample_image

from vitrail.data.corrupt import CORRUPTIONS, STRENGTHS, corrupt
from vitrail.errors import UsageError


@pytest.fixture(scope="module")
def picture():
    """A photograph of 213 by 320 pixels."""
    return load_sample_image("china.jpg")[::2, ::2].copy()


def damage(picture, name, strength, **which):
    worse = corrupt(picture, name, strength, **{"seed": 0, "key": "a", **which})
    return np.abs(worse.astype(float) - picture).mean()


def grey(height, width, level=100):
    return np.full((height, width, 1), level, np.uint8)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", CORRUPTIONS)
def test_a_stronger_corruption_does_more_damage(picture, name, channels):
    picture = picture[:, :, :channels]
    one, two, three = (damage(picture, name, strength) for strength in STRENGTHS)
    assert 1 < one < 0.9 * two
    assert two < 0.9 * three


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 1, 3), (2, 90, 3), (90, 2, 1), (28, 28, 1), (33, 47, 3)])
@pytest.mark.parametrize("name", CORRUPTIONS)
def test_shape_and_kind_stay_and_so_does_the_original(name, shape):
    picture = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    before = picture.copy()
    picture.flags.writeable = False
    for strength in STRENGTHS:
        worse = corrupt(picture, name, strength, seed=3, key=7)
        assert worse.shape == shape
        assert worse.dtype == np.uint8
        assert worse.flags.writeable
        assert not np.shares_memory(worse, picture)
        np.testing.assert_array_equal(worse, corrupt(picture, name, strength, seed=3, key=7))
    np.testing.assert_array_equal(picture, before)


@pytest.mark.parametrize("name", ["noise", "occlusion"])
def test_draws_are_the_pictures_own(picture, name):
    first = corrupt(picture, name, 1, seed=0, key="cats/1.jpg")
    assert (corrupt(picture, name, 1, seed=0, key="cats/2.jpg") != first).any()
    assert (corrupt(picture, name, 1, seed=1, key="cats/1.jpg") != first).any()


@pytest.mark.parametrize(("strength", "spread"), [(1, 0.08), (2, 0.18), (3, 0.38)])
def test_noise_has_the_spread_of_the_paper(strength, spread):
    canvas = np.full((200, 201, 3), 128, np.uint8)
    noise = corrupt(canvas, "noise", strength, seed=0, key=0).astype(float) - 128
    assert abs(np.median(noise)) <= 2
    # Quartiles do not feel what is clipped at black and white; a normal one's lie 0.6745 deviations away.
    low, high = np.percentile(noise, [25, 75])
    assert (high - low) / 2 / 0.6745 / 255 == pytest.approx(spread, rel=0.03)
    by_channel = noise.reshape(-1, 3)
    assert abs(np.corrcoef(by_channel.T)[np.triu_indices(3, 1)]).max() < 0.03


@pytest.mark.parametrize(("strength", "factor"), [(1, 0.4), (2, 0.2), (3, 0.05)])
def test_contrast_goes_towards_the_mean(picture, strength, factor):
    worse = corrupt(picture, "contrast", strength, seed=0, key=0)
    np.testing.assert_allclose(worse.mean((0, 1)), picture.mean((0, 1)), atol=0.5)
    np.testing.assert_allclose(worse.std((0, 1)), factor * picture.std((0, 1)), rtol=0.05)


@pytest.mark.parametrize(("strength", "sigma"), [(1, 1), (2, 3), (3, 6)])
def test_blur_is_as_wide_for_the_picture_whatever_its_size(strength, sigma):
    for scale in (1, 2):
        step = np.zeros((224 * scale, 300 * scale, 1), np.uint8)
        step[:, 150 * scale :] = 255
        slope = np.diff(corrupt(step, "blur", strength, seed=0, key=0)[100, :, 0].astype(float)) / 255
        places = np.arange(len(slope)) - (150 * scale - 1)
        assert np.sqrt((slope * places**2).sum()) == pytest.approx(sigma * scale, rel=0.1)


@pytest.mark.parametrize(("strength", "share"), [(1, 0.10), (2, 0.25), (3, 0.50)])
@pytest.mark.parametrize("shape", [(224, 224), (60, 100), (10, 400), (400, 10)])
def test_occlusion_covers_its_share_with_one_grey_square(strength, share, shape):
    corners = set()
    for key in range(40):
        covered = corrupt(grey(*shape), "occlusion", strength, seed=0, key=key)[:, :, 0] == 128
        rows, columns = np.flatnonzero(covered.any(1)), np.flatnonzero(covered.any(0))
        assert covered.sum() == len(rows) * len(columns)
        assert covered.mean() == pytest.approx(share, rel=0.06)
        if max(shape) <= 2 * min(shape) and share < 0.5:
            assert abs(len(rows) - len(columns)) <= 1
        corners.add((rows[0], columns[0]))
    assert len(corners) > 20


def test_jpeg_leaves_its_blocks(picture):
    worse = corrupt(picture, "jpeg", 3, seed=0, key=0).astype(float)
    steps = np.abs(np.diff(worse, axis=1)).mean((0, 2))
    assert steps[7::8].mean() > 1.3 * np.delete(steps, np.s_[7::8]).mean()


def test_what_does_not_exist_is_refused_with_the_nearest():
    with pytest.raises(UsageError, match=r"'blurr'.*Did you mean blur"):
        corrupt(grey(4, 4), "blurr", 1, seed=0, key=0)
    for strength in (0, 4, 1.5):
        with pytest.raises(UsageError, match="1, 2 or 3"):
            corrupt(grey(4, 4), "blur", strength, seed=0, key=0)
    with pytest.raises(ValueError, match="uint8"):
        corrupt(grey(4, 4).astype(float), "blur", 1, seed=0, key=0)


def test_torch_is_not_needed():
    code = "import sys, vitrail.data.corrupt; assert 'torch' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], timeout=120, check=False).returncode == 0
