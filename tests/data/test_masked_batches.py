"""Batches with masks: what is learned from, and what answers are measured against."""

import numpy as np
import pytest
import torch

from vitrail.data.augment import Augment
from vitrail.data.loader import Loader
from vitrail.data.preprocess import Preprocess
from vitrail.data.samples import Table, Texts
from vitrail.data.stamps import digest
from vitrail.data.windows import corners, overlap_of, windows_for

LEVELS = 40


def samples(count=7, size=(50, 70)):
    """Return pictures that show their masks' classes as grey levels."""
    random = np.random.default_rng(0)
    masks = [random.integers(0, 5, size).astype(np.uint8) for _ in range(count)]
    names = [f"{number}.png" for number in range(count)]
    return Table(
        home="test",
        classes=tuple("abcde"),
        keys=Texts.of(names),
        pictures=[((mask + 1) * LEVELS)[:, :, None].repeat(3, 2) for mask in masks],
        contents=np.zeros(count, np.uint64),
        stamps=np.array([digest(name.encode()) for name in names], np.uint64),
        targets={"labels": np.ones((count, 5), np.uint8)},
        split=np.zeros(count, np.int8),
        masks=masks,
    ).splits()["all"]


def loader(preprocess, *, augment=None, windows=1, batch=3, workers=0, **more):
    return Loader(
        samples(**more),
        preprocess,
        batch=batch,
        seed=1,
        collate=lambda targets: (
            {"mask": torch.from_numpy(targets["mask"][:, 0])} if "mask" in targets else {}
        ),
        augment=augment,
        workers=workers,
        shuffle=augment is not None,
        masked=True,
        windows=windows,
    )


@pytest.mark.parametrize("workers", [0, 2])
def test_masks_come_with_what_is_learned_from(workers):
    preprocess = Preprocess(size=(32, 32), fit="tile")
    made = loader(preprocess, augment=Augment(flip=True, rotate90=True), windows=4, workers=workers)
    assert len(made) == 9  # the last of 28 windows goes with those before it
    batches = list(made.epoch(0))
    assert sum(len(batch) for batch in batches) == 7 * 4
    for batch in batches:
        shown = batch.pixels["image"][:, 0]
        assert torch.equal(shown, (batch.targets["mask"] + 1) * LEVELS)
    keys = [key for batch in batches for key in batch.keys]
    assert all(keys.count(f"{number}.png") == 4 for number in range(7))
    seen = torch.cat([batch.pixels["image"] for batch in batches])
    assert len({each.numpy().tobytes() for each in seen}) == 28  # no window twice


def test_resuming_in_an_epoch_gives_the_same_masks():
    preprocess = Preprocess(size=(32, 32), fit="tile")
    made = loader(preprocess, augment=Augment(flip=True, policy="trivial"), windows=4)
    whole, rest = list(made.epoch(2)), list(made.epoch(2, start=5))
    for one, other in zip(whole[5:], rest, strict=True):
        assert torch.equal(one.targets["mask"], other.targets["mask"])
        assert torch.equal(one.pixels["image"], other.pixels["image"])


@pytest.mark.parametrize("fit", ["tile", "pad", "squash"])
def test_answers_are_measured_against_the_originals_masks(fit):
    made = loader(Preprocess(size=(32, 32), fit=fit))
    for batch in made.epoch(0):
        assert "mask" not in batch.targets
        assert [truth.shape for truth in batch.truths] == [(50, 70)] * len(batch)
        if fit != "tile":
            assert not batch.windows
            assert all(frame.size == (50, 70) for frame in batch.frames)
            continue
        assert not batch.pixels
        for truth, windows in zip(batch.truths, batch.windows, strict=True):
            seen = list(windows)
            assert len(seen) == len(windows) > 1
            for pixels, frame in seen:
                assert frame.size == (50, 70)
                y, x = frame.origin
                part = truth[y : y + 32, x : x + 32]
                assert np.array_equal(pixels[: part.shape[0], : part.shape[1], 0], (part + 1) * LEVELS)


def test_windows_by_the_pictures():
    assert windows_for((512, 256), (128, 128)) == 8
    assert windows_for((100, 100), (128, 128)) == 1
    assert windows_for((128, 512), (128, 128)) == 4
    assert overlap_of(Preprocess(size=(128, 256), fit="tile")) == 16
    assert corners((128, 128), (128, 128), 32) == [(0, 0)]
