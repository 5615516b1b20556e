"""Masks go wherever their pictures go, to the pixel."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from PIL import Image

from vitrail.data.augment import Augment
from vitrail.data.lay import canvas_mask, nearest, with_mask
from vitrail.data.mix import mixed
from vitrail.data.preprocess import Preprocess
from vitrail.data.windows import corners, fullest, views_for, windows_of
from vitrail.errors import VitrailError
from vitrail.values import IGNORED, Batch

LEVELS = 40
"""Grey levels between classes: colours that are resampled still tell the class, but at borders."""


def quarters(height=120, width=90):
    """Return a mask whose corners are of four classes that are not alike in size."""
    mask = np.zeros((height, width), np.uint8)
    mask[: height // 3, width // 4 :] = 1
    mask[height // 3 :, : width // 4] = 2
    mask[height // 3 :, width // 4 :] = 3
    return mask


def painted(mask):
    """Return a picture that shows the mask's classes as grey levels, none of them black."""
    return ((mask + 1) * LEVELS)[:, :, None].repeat(3, 2)


def load(preprocess, mask):
    return with_mask(preprocess.load(painted(mask)), mask, "it")


def agree(pixels, masks, least=0.93):
    """Whether pictures ``b c h w`` show what their masks ``b 1 h w`` say, where masks say anything."""
    told = pixels[:, 1].astype(int)
    known = (masks[:, 0] != IGNORED) & (np.abs(told % LEVELS - LEVELS / 2) > LEVELS / 4)
    right = np.rint(told / LEVELS) - 1 == masks[:, 0]
    assert known.mean() > 0.2
    return right[known].mean() >= least


@pytest.mark.parametrize("fit", ["crop", "squash", "pad", "tile"])
@pytest.mark.parametrize("size", [(64, 64), (60, 45), (33, 80), (160, 150)])
def test_on_the_canvas(fit, size):
    preprocess = Preprocess(size=size, fit=fit)
    loaded = load(preprocess, quarters())
    pixels, _ = preprocess.canvas(loaded)
    laid = canvas_mask(loaded.mask, preprocess.place(loaded), size)
    assert laid.shape == (*size, 1)
    assert agree(pixels.transpose(2, 0, 1)[None], laid.transpose(2, 0, 1)[None], 0.98)


@pytest.mark.parametrize("fit", ["crop", "tile"])
@pytest.mark.parametrize(
    "augment",
    [
        Augment(crop_scale=(0.3, 1.0)),
        Augment(shift=9),
        Augment(flip=True),
        Augment(vertical=True),
        Augment(rotate90=True),
        Augment(policy="trivial"),
        Augment(policy="randaugment"),
        Augment(crop_scale=(0.2, 0.9), shift=3, flip=True, vertical=True, rotate90=True),
    ],
)
def test_after_each_augmentation(augment, fit):
    resample = "bilinear" if augment.policy == "none" else "nearest"
    preprocess = Preprocess(size=(64, 64), fit=fit, resample=resample)
    loaded = [load(preprocess, quarters())] * 24
    place = {"seed": 3, "epoch": 1, "indices": np.arange(24)}
    masks = augment.masks(loaded, preprocess, **place)
    if augment.policy != "none":
        colours = {0, LEVELS, 2 * LEVELS, 3 * LEVELS, 4 * LEVELS}
        pixels = augment.pictures(loaded, preprocess, **place)
        kept = [each for each, shown in enumerate(pixels) if set(np.unique(shown)) <= colours]
        assert len(kept) > 3  # those that only form was changed of, by the nearest pixel
        assert all(agree(pixels[each : each + 1], masks[each : each + 1], 0.97) for each in kept)
        return
    assert len({mask.tobytes() for mask in masks}) > 1
    assert agree(augment.pictures(loaded, preprocess, **place), masks)


def test_what_is_covered_or_beyond_the_picture_is_ignored():
    preprocess = Preprocess(size=(64, 64), fit="tile")
    small = load(preprocess, quarters(40, 30))
    augment, place = Augment(), {"seed": 0, "epoch": 0, "indices": np.arange(1)}
    mask = augment.masks([small], preprocess, **place)[0, 0]
    assert np.array_equal(mask[:40, :30], quarters(40, 30))
    assert (mask[40:] == IGNORED).all()
    assert (mask[:, 30:] == IGNORED).all()
    preprocess = Preprocess(size=(64, 64), fit="squash")
    loaded = [load(preprocess, quarters())]
    covering = Augment(erase=1.0)
    pixels = covering.pictures(loaded, preprocess, **place)[0]
    mask = covering.masks(loaded, preprocess, **place)[0, 0]
    covered = (pixels == np.array(preprocess.fill)[:, None, None]).all(0)
    assert covered.any()
    assert np.array_equal(mask == IGNORED, covered)


def test_windows_are_the_pictures_own_pixels():
    preprocess = Preprocess(size=(32, 32), fit="tile")
    mask = np.random.default_rng(0).integers(0, 5, (100, 70)).astype(np.uint8)
    loaded = [load(preprocess, mask)] * 12
    place = {"seed": 0, "epoch": 0, "indices": np.arange(12)}
    pixels, masks = (
        Augment().pictures(loaded, preprocess, **place),
        Augment().masks(loaded, preprocess, **place),
    )
    assert np.array_equal(pixels[:, 0], (masks[:, 0] + 1) * LEVELS)
    assert len({each.tobytes() for each in masks}) == 12


def test_many_classes_a_pixel():
    preprocess = Preprocess(size=(64, 64))
    mask = quarters()
    layers = np.stack([mask == 1, mask == 3]).astype(np.uint8)
    loaded = [with_mask(preprocess.load(painted(mask)), layers, "it")] * 8
    augment = Augment(crop_scale=(0.3, 1), flip=True, rotate90=True, policy="trivial")
    place = {"seed": 0, "epoch": 0, "indices": np.arange(8)}
    found = augment.masks(loaded, preprocess, **place)
    single = augment.masks([load(preprocess, mask)] * 8, preprocess, **place)
    assert found.shape == (8, 2, 64, 64)
    known = single[:, 0] != IGNORED
    assert np.array_equal(found[:, 0][known], (single[:, 0] == 1)[known])
    assert (found[:, 0][~known] == IGNORED).all()


def test_masks_are_pasted_where_pictures_are():
    pixels = torch.arange(4.0).view(4, 1, 1, 1).expand(4, 3, 16, 16).clone()
    mask = torch.arange(4, dtype=torch.uint8).view(4, 1, 1).expand(4, 16, 16).clone()
    batch = Batch(keys=list("abcd"), pixels={"image": pixels}, targets={"mask": mask}, number=2)
    cut = mixed(batch, 0.0, 1.0, seed=0, epoch=0)
    assert torch.equal(cut.pixels["image"][:, 0], cut.targets["mask"].float())
    assert not torch.equal(cut.targets["mask"], mask)
    with pytest.raises(ValueError, match="blended"):
        mixed(batch, 1.0, 0.0, seed=0, epoch=0)


def test_the_nearest_pixel_is_the_one_that_a_centre_lies_in():
    mask = np.arange(24, dtype=np.uint8).reshape(4, 6, 1)
    assert np.array_equal(nearest(mask, (0.0, 0.0, 6.0, 4.0), (4, 6)), mask)
    assert nearest(mask, (0.0, 0.0, 6.0, 4.0), (2, 3))[:, :, 0].tolist() == [[7, 9, 11], [19, 21, 23]]
    doubled = nearest(mask, (1.0, 1.0, 3.0, 2.0), (2, 4))[:, :, 0].tolist()
    assert doubled == [[7, 7, 8, 8], [7, 7, 8, 8]]


def test_a_mask_of_another_size_is_named():
    preprocess = Preprocess(size=(64, 64))
    with pytest.raises(VitrailError, match=r"leaf\.png: a mask of 90 x 120 pixels for a picture of 120 x 90"):
        with_mask(preprocess.load(painted(quarters())), quarters().T, "leaf.png")


def test_of_a_smaller_jpeg_too(tmp_path):
    mask = quarters(1200, 900)
    path = tmp_path / "large.jpg"
    Image.fromarray(painted(mask)).save(path, quality=95)
    preprocess = Preprocess(size=(64, 64), fit="squash")
    loaded = with_mask(preprocess.load(str(path)), mask, "it")
    assert loaded.mask.shape[:2] == loaded.picture.shape[:2]
    pixels, _ = preprocess.canvas(loaded)
    laid = canvas_mask(loaded.mask, preprocess.place(loaded), (64, 64))
    assert agree(pixels.transpose(2, 0, 1)[None], laid.transpose(2, 0, 1)[None], 0.98)


@pytest.mark.parametrize(("overlap", "multiple"), [(0, 1), (16, 1), (24, 8), (32, 32), (40, 32)])
@pytest.mark.parametrize("size", [(64, 64), (65, 200), (300, 64), (30, 500), (257, 129)])
def test_windows_cover_a_picture_with_overlap(size, overlap, multiple):
    canvas = (64, 64)
    seen = np.zeros(size, int)
    found = corners(size, canvas, overlap, multiple)
    for y, x in found:
        assert y % min(multiple, 16) == x % min(multiple, 16) == 0
        assert y < size[0]
        assert x < size[1]
        seen[y : y + 64, x : x + 64] += 1
    assert seen.min() >= 1
    for axis in range(2):
        starts = sorted({corner[axis] for corner in found})
        assert all(after - before <= 64 - overlap for before, after in pairwise(starts))
    assert len(set(found)) == len(found)


def test_the_fullest_window_is_found():
    here = np.zeros((100, 130), bool)
    here[60:70, 90:110] = True
    here[0, 0] = True
    rows, columns = fullest(here, (32, 32))
    assert here[rows, columns].sum() == 200
    assert here[rows, columns].shape == (32, 32)
    here[:] = False
    here[96:, 126:] = True
    assert here[fullest(here, (32, 32))].sum() == 16
    assert fullest(here, (32, 32)) == (slice(68, 100), slice(98, 130))
    assert here[fullest(here, (512, 512))].shape == here.shape
    assert here[fullest(here, (512, 20))].shape == (100, 20)
    assert fullest(np.zeros((5, 5), bool), (3, 3)) == (slice(0, 3), slice(0, 3))


def test_views_are_counted_without_looking():
    tiled = Preprocess(size=(32, 32), fit="tile")
    sizes = [(32, 32), (70, 40), (20, 10)]
    counted = [len(windows_of(tiled, tiled.load(np.zeros((*size, 3), np.uint8)))) for size in sizes]
    assert views_for(sizes, tiled) == pytest.approx(np.mean(counted))
    assert views_for(sizes, Preprocess(size=(32, 32))) == 1
