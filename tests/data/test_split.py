"""Splits: as given, or held out by class, by group, and by nothing but seed and names."""

import random

import numpy as np
import pytest

from vitrail.data.samples import Files, Table, Texts
from vitrail.data.split import complete
from vitrail.errors import UsageError, VitrailError


def table(labels, *, split=None, splits=("all",), groups=None, keys=None, home="/data", classes=None):
    labels = np.asarray(labels)
    keys = Texts.of(keys or [f"{i:05}.png" for i in range(len(labels))])
    width = labels.shape[1] if labels.ndim == 2 else int(labels.max()) + 1
    names, codes = (None, None) if groups is None else np.unique(groups, return_inverse=True)
    return Table(
        home=home,
        classes=tuple(classes or (f"class {i}" for i in range(width))),
        keys=keys,
        pictures=Files(home, keys),
        contents=np.ones(len(labels), np.uint64),
        stamps=np.ones(len(labels), np.uint64),
        targets={"labels": labels.astype(np.uint8)}
        if labels.ndim == 2
        else {"label": labels.astype(np.int32)},
        split=np.zeros(len(labels), np.int8) if split is None else np.array(split, np.int8),
        splits_named=splits,
        group=None if codes is None else codes.astype(np.int32),
        group_names=() if names is None else tuple(map(str, names)),
    )


def parts(splits):
    return {"train": splits.train, "val": splits.val, "test": splits.test}


def counts(samples):
    return np.bincount(samples.targets["label"], minlength=len(samples.classes))


def check_whole(splits, rows):
    """Every row is in one part, once."""
    every = np.concatenate([part.rows for part in parts(splits).values()])
    assert sorted(every.tolist()) == sorted(rows)


def test_seventy_ten_twenty_in_each_class():
    labels = np.repeat([0, 1, 2], [1000, 300, 50])
    splits = complete(table(labels), seed=3)
    check_whole(splits, range(1350))
    assert [len(part) for part in parts(splits).values()] == [945, 135, 270]
    for part, share in zip(parts(splits).values(), (0.7, 0.1, 0.2), strict=True):
        assert np.abs(counts(part) - share * np.array([1000, 300, 50])).max() <= 2
    assert [part.split for part in parts(splits).values()] == ["train", "val", "test"]
    assert any("val: 135 of 1350" in note for note in splits.notes)


def test_rare_classes_are_not_all_rounded_away():
    splits = complete(table(np.repeat(np.arange(100), 4)), seed=0)
    assert [len(part) for part in parts(splits).values()] == [280, 40, 80]
    assert counts(splits.train).min() >= 1
    assert (counts(splits.val) > 0).sum() == 40
    assert any(note.startswith("No picture in val of: class ") for note in splits.notes)


def test_the_same_seed_splits_alike_and_another_does_not():
    data = table(np.arange(500) % 5)
    first, again, other = (complete(data, seed=seed) for seed in (1, 1, 2))
    assert first.fingerprint == again.fingerprint
    assert set(first.test.keys) != set(other.test.keys)


def test_order_and_place_of_the_files_do_not_matter():
    seed = random.randrange(2**32)
    print("seed", seed)
    keys = [f"{i:05}.png" for i in range(400)]
    labels = np.arange(400) % 7
    shuffled = np.random.default_rng(seed).permutation(400)
    here = complete(table(labels, keys=keys), seed=5)
    there = complete(table(labels[shuffled], keys=[keys[i] for i in shuffled], home="/moved"), seed=5)
    for one, other in zip(parts(here).values(), parts(there).values(), strict=True):
        assert set(one.keys) == set(other.keys)


def test_given_splits_stay_as_they_are():
    split = np.arange(90) % 3
    splits = complete(table(np.arange(90) % 2, split=split, splits=("train", "val", "test")), seed=0)
    for code, part in enumerate(parts(splits).values()):
        assert part.rows.tolist() == np.flatnonzero(split == code).tolist()
    assert splits.notes == ()


def test_validation_is_taken_from_training_when_only_that_is_missing():
    split = np.repeat([0, 1], [200, 100])
    splits = complete(table(np.arange(300) % 2, split=split, splits=("train", "test")), seed=0)
    assert splits.test.rows.tolist() == list(range(200, 300))
    assert (len(splits.train), len(splits.val)) == (180, 20)
    check_whole(splits, range(300))


def test_test_is_taken_from_training_when_only_that_is_missing():
    split = np.repeat([0, 1], [200, 50])
    splits = complete(table(np.arange(250) % 2, split=split, splits=("train", "val")), seed=0)
    assert splits.val.rows.tolist() == list(range(200, 250))
    assert (len(splits.train), len(splits.test)) == (160, 40)


def test_fractions_can_be_chosen_and_are_checked():
    splits = complete(table(np.arange(100) % 2), seed=0, val=0.3, test=0.3)
    assert [len(part) for part in parts(splits).values()] == [40, 30, 30]
    for val, test in ((0.5, 0.5), (0, 0.2), (-0.1, 0.2)):
        with pytest.raises(UsageError, match="fractions"):
            complete(table(np.arange(100) % 2), seed=0, val=val, test=test)


def test_a_class_with_one_picture_is_trained_on_and_said_so():
    splits = complete(table([0] * 30 + [1] * 30 + [2], classes=("cat", "dog", "axolotl")), seed=0)
    assert counts(splits.train)[2] == 1
    assert "Classes with a single picture, which is trained on and not tested: axolotl." in splits.notes


def test_a_class_without_a_training_picture_is_an_error():
    with pytest.raises(VitrailError, match=r"no training picture of axolotl\. Add some"):
        complete(table([0, 1] * 30, classes=("cat", "dog", "axolotl")), seed=0)
    split = [0] * 60 + [1] * 2
    labels = [0, 1] * 30 + [2, 2]
    with pytest.raises(VitrailError, match="no training picture of class 2"):
        complete(table(labels, split=split, splits=("train", "test")), seed=0)


def test_parts_are_never_empty():
    splits = complete(table([0, 0, 0, 1]), seed=0)
    assert [len(part) for part in parts(splits).values()] == [2, 1, 1]
    with pytest.raises(VitrailError, match="too few pictures to hold some out: 3 for 2 classes"):
        complete(table([0, 0, 1]), seed=0)
    with pytest.raises(VitrailError, match="val has no pictures"):
        complete(table([0, 1] * 10, split=[0] * 20, splits=("train", "val")), seed=0)
    with pytest.raises(VitrailError, match="no training split, only test"):
        complete(table([0, 1] * 10, splits=("test",)), seed=0)


def test_several_labels_a_picture_are_stratified_too():
    hot = (np.random.default_rng(0).random((600, 5)) < [0.5, 0.3, 0.2, 0.1, 0.02]).astype(np.uint8)
    hot[:, 4] = 0
    hot[[17, 400], 4] = 1
    splits = complete(table(hot), seed=1)
    check_whole(splits, range(600))
    frequent = hot.sum(0)[:4]
    for part, share in zip(parts(splits).values(), (0.7, 0.1, 0.2), strict=True):
        found = part.targets["labels"].sum(0)
        assert np.abs(found[:4] - share * frequent).max() <= 0.05 * frequent[0]
    assert splits.train.targets["labels"][:, 4].sum() >= 1


def grouped(seed, patients=60, classes=3):
    random = np.random.default_rng(seed)
    sizes = random.integers(1, 40, patients)
    groups = np.repeat([f"patient {i}" for i in range(patients)], sizes)
    habit = random.integers(0, classes, patients)
    labels = np.where(
        random.random(sizes.sum()) < 0.7, np.repeat(habit, sizes), random.integers(0, classes, sizes.sum())
    )
    return labels, groups


def test_groups_stay_whole_and_shares_hold():
    seed = random.randrange(2**32)
    print("seed", seed)
    labels, groups = grouped(seed)
    splits = complete(table(labels, groups=groups), seed=0)
    check_whole(splits, range(len(labels)))
    inside = {name: set(part.groups.tolist()) for name, part in parts(splits).items()}
    assert not inside["train"] & inside["val"]
    assert not inside["train"] & inside["test"]
    assert not inside["val"] & inside["test"]
    for part, share in zip(parts(splits).values(), (0.7, 0.1, 0.2), strict=True):
        assert abs(len(part) / len(labels) - share) < 0.02
        assert np.abs(counts(part) / np.bincount(labels) - share).max() < 0.08
    shuffled = np.random.default_rng(1).permutation(len(labels))
    keys = [f"{i:05}.png" for i in range(len(labels))]
    other = complete(
        table(labels[shuffled], groups=groups[shuffled], keys=[keys[i] for i in shuffled]), seed=0
    )
    assert set(other.test.keys) == set(splits.test.keys)
    assert set(complete(table(labels, groups=groups), seed=1).test.keys) != set(splits.test.keys)


def test_every_class_is_trained_on_although_groups_are_few():
    labels = [0, 0, 0, 1, 1, 1, 2, 2, 2, 0, 1, 2] * 2
    groups = ["a"] * 3 + ["b"] * 3 + ["c"] * 3 + ["d"] * 15
    splits = complete(table(labels, groups=groups), seed=0)
    assert counts(splits.train).min() >= 1
    with pytest.raises(VitrailError, match="too few groups to hold any out: a, b"):
        complete(table([0, 1] * 10, groups=["a", "b"] * 10), seed=0)


def test_three_equal_groups_make_three_parts():
    splits = complete(table([0, 1] * 15, groups=["a"] * 10 + ["b"] * 10 + ["c"] * 10), seed=0)
    assert [len(part) for part in parts(splits).values()] == [10, 10, 10]


def test_groups_of_pictures_with_several_labels():
    hot = np.eye(4, dtype=np.uint8)[np.arange(200) % 4] | np.eye(4, dtype=np.uint8)[np.arange(200) % 3]
    splits = complete(table(hot, groups=np.arange(200) // 5), seed=0)
    assert not set(splits.train.groups.tolist()) & set(splits.test.groups.tolist())
    assert [len(part) for part in parts(splits).values()] == [140, 20, 40]


def test_a_group_in_two_given_splits_is_an_error_unless_allowed():
    split = np.repeat([0, 1], [60, 40])
    groups = np.where(np.arange(100) < 62, "p1", np.where(np.arange(100) < 90, "p2", "p3"))
    groups[:30] = "p0"
    data = table(np.arange(100) % 2, split=split, splits=("train", "test"), groups=groups)
    with pytest.raises(VitrailError, match=r"1 groups are in train and in test \(p1; 2 pictures of test\)"):
        complete(data, seed=0)
    splits = complete(data, seed=0, allow_shared_groups=True)
    assert any("likely to be too good" in note for note in splits.notes)


@pytest.mark.slow
def test_a_million_rows_split():
    labels = np.random.default_rng(0).integers(0, 1000, 1_000_000)
    splits = complete(table(labels), seed=0)
    assert [len(part) for part in parts(splits).values()] == [700_000, 100_000, 200_000]


def test_a_fraction_holds_its_share_of_each_class_and_lies_in_every_larger_one():
    labels = np.repeat([0, 1, 2], [200, 100, 10])
    whole = complete(table(labels, classes=("a", "b", "c")), seed=0)
    kept = {share: whole.thinned(share, 0) for share in (0.1, 0.3, 1.0)}
    assert set(kept[0.1].train.keys) < set(kept[0.3].train.keys) < set(kept[1.0].train.keys)
    for share in (0.1, 0.3):
        counts = np.bincount(kept[share].train.targets["label"])
        assert counts == pytest.approx(share * np.bincount(whole.train.targets["label"]), abs=1)
        assert counts.min() >= 1
        assert kept[share].test.fingerprint == whole.test.fingerprint
    assert list(kept[0.1].train.keys) == list(whole.thinned(0.1, 0).train.keys)
    assert set(whole.thinned(0.1, 1).train.keys) != set(kept[0.1].train.keys)


def test_a_fraction_of_rare_sets_of_classes_is_a_fraction_of_all():
    hot = (np.arange(512)[:, None] >> np.arange(9) & 1).astype(np.uint8)  # every set once
    whole = complete(table(hot), seed=0)
    part = whole.thinned(0.25, 0).train
    assert len(part) == pytest.approx(0.25 * len(whole.train), rel=0.2)
    assert part.targets["labels"].any(0).all()
