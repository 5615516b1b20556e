"""Class folders, with and without split folders, and all that lies between."""

import os
import random
from pathlib import Path
from types import SimpleNamespace

import pytest

from vitrail.data.readers import ReaderOptions, open_data
from vitrail.data.readers.listing import find_pictures
from vitrail.data.split import complete
from vitrail.errors import UsageError, VitrailError


def make(root, *paths):
    for path in paths:
        file = root / path
        if path.endswith("/"):
            file.mkdir(parents=True, exist_ok=True)
        else:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(os.fsencode(path))
    return root


def rows(table, split="all"):
    samples = table.splits()[split]
    return {
        key: table.classes[label] for key, label in zip(samples.keys, samples.targets["label"], strict=True)
    }


def test_class_folders(tmp_path):
    table = open_data(make(tmp_path, "dog/b.jpg", "cat/a.png", "cat/z.JPEG", "cat/c.webp"))
    assert table.classes == ("cat", "dog")
    assert rows(table) == {"cat/a.png": "cat", "cat/c.webp": "cat", "cat/z.JPEG": "cat", "dog/b.jpg": "dog"}
    assert table.splits()["all"].source(0) == f"{os.path.realpath(tmp_path)}/cat/a.png"
    assert table.notes == ()
    assert table.home == os.path.realpath(tmp_path)


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (("train", "val", "test"), ("train", "val", "test")),
        (("Training", "VALIDATION", "Testing"), ("train", "val", "test")),
        (("test", "valid", "train"), ("train", "val", "test")),
        (("train", "dev"), ("train", "val")),
        (("train",), ("train",)),
        (("test",), ("test",)),
    ],
)
def test_split_folders(tmp_path, names, found):
    table = open_data(
        make(tmp_path, *(f"{name}/{animal}/{name}.png" for name in names for animal in ("cat", "dog")))
    )
    assert tuple(table.splits()) == found
    assert table.classes == ("cat", "dog")
    for samples in table.splits().values():
        assert [samples.classes[i] for i in samples.targets["label"]] == ["cat", "dog"]


def test_folders_below_a_class_belong_to_it(tmp_path):
    table = open_data(make(tmp_path, "cat/x/y/z/1.png", "cat/0.png", "cat/x/2.png", "dog/x/1.png"))
    assert rows(table) == {
        "cat/0.png": "cat",
        "cat/x/2.png": "cat",
        "cat/x/y/z/1.png": "cat",
        "dog/x/1.png": "dog",
    }


def test_hidden_things_are_ignored_and_other_files_counted(tmp_path):
    table = open_data(
        make(
            tmp_path,
            "cat/1.png", "cat/.hidden.png", "cat/._1.png", "cat/Thumbs.db", "cat/notes.txt", "cat/x/more.txt",
            "cat/plain", "dog/1.png", ".git/objects/1.png", ".DS_Store", "__MACOSX/cat/1.png", "README.txt",
            "cat/.cache/2.png",
        )
    )  # fmt: skip
    assert sorted(rows(table)) == ["cat/1.png", "dog/1.png"]
    assert table.notes == (
        "5 files that are no pictures were passed over (.txt 3, .db 1, without suffix 1).",
    )


def test_names_of_classes_are_taken_as_they_are(tmp_path):
    names = ["1", "10", "2", "Ein Hund", "été", "日本", "a.b", "x.jpg", "-", "with,comma"]
    table = open_data(make(tmp_path, *(f"{name}/1.png" for name in names)))
    assert table.classes == tuple(sorted(names))
    assert rows(table) == {f"{name}/1.png": name for name in names}


def test_a_class_may_be_called_train(tmp_path):
    assert open_data(make(tmp_path, "train/1.png", "bus/1.png", "car/1.png")).classes == (
        "bus",
        "car",
        "train",
    )


def test_classes_are_matched_by_name_in_whatever_order_a_disk_lists_them(tmp_path, monkeypatch):
    make(
        tmp_path,
        *(
            f"{split}/{name}/{split}.png"
            for split in ("train", "test")
            for name in ("b", "a", "c", "10", "9")
        ),
    )
    expected = open_data(tmp_path)
    seed = random.randrange(2**32)
    print("seed", seed)
    scandir, shuffle = os.scandir, random.Random(seed).shuffle

    class Shuffled:
        def __init__(self, path):
            self.path = path

        def __enter__(self):
            with scandir(self.path) as entries:
                self.entries = list(entries)
            shuffle(self.entries)
            return iter(self.entries)

        def __exit__(self, *_):
            return None

    system = SimpleNamespace(**vars(os) | {"scandir": Shuffled})
    monkeypatch.setattr("vitrail.data.readers.listing.os", system)
    table = open_data(tmp_path)
    assert list(table.keys) == list(expected.keys)
    assert table.targets["label"].tolist() == expected.targets["label"].tolist()


def test_groups_by_the_folders_below_the_classes(tmp_path):
    make(tmp_path, "ill/p1/1.png", "ill/p1/deep/2.png", "ill/p2/1.png", "well/p1/3.png", "well/p3/1.png")
    table = open_data(tmp_path, ReaderOptions(group="folder"))
    samples = table.splits()["all"]
    groups = [table.group_names[code] for code in samples.groups]
    assert dict(zip(samples.keys, groups, strict=True)) == {
        "ill/p1/1.png": "p1",
        "ill/p1/deep/2.png": "p1",
        "ill/p2/1.png": "p2",
        "well/p1/3.png": "p1",
        "well/p3/1.png": "p3",
    }
    make(tmp_path, "ill/stray.png")
    with pytest.raises(VitrailError, match="ill holds pictures outside of any sub-folder"):
        open_data(tmp_path, ReaderOptions(group="folder"))
    with pytest.raises(UsageError, match="no column 'patient'"):
        open_data(tmp_path, ReaderOptions(group="patient"))


def test_pictures_without_a_class_are_left_out_and_said(tmp_path):
    table = open_data(make(tmp_path, "cat/1.png", "dog/1.png", "stray.png"))
    assert len(table) == 2
    assert table.notes == ("1 pictures beside the class folders have no class: left out (stray.png).",)


def test_a_test_folder_without_labels_is_left_out_and_said(tmp_path):
    table = open_data(make(tmp_path, "train/cat/1.png", "train/dog/1.png", "test/1.png", "test/2.png"))
    assert list(table.splits()) == ["train"]
    assert table.notes == ("test has 2 pictures without labels: left out.",)


def test_linked_folders_are_followed_and_loops_named(tmp_path):
    make(tmp_path, "store/1.png", "data/dog/1.png")
    (tmp_path / "data" / "cat").symlink_to(tmp_path / "store", target_is_directory=True)
    assert sorted(rows(open_data(tmp_path / "data"))) == ["cat/1.png", "dog/1.png"]
    (tmp_path / "store" / "again").symlink_to(tmp_path / "store", target_is_directory=True)
    with pytest.raises(VitrailError, match=r"again is a link to a folder above it\. Remove the link"):
        open_data(tmp_path / "data")


def test_a_folder_that_may_not_be_listed_is_named(tmp_path, monkeypatch):
    make(tmp_path, "cat/1.png", "dog/1.png")
    scandir = os.scandir

    def closed(path):
        if str(path).endswith("dog"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", closed)
    with pytest.raises(VitrailError, match="dog cannot be listed: Permission denied"):
        open_data(tmp_path)


CAT_DOG = ("train/cat/1.png", "train/dog/1.png", "val/cat/1.png")


@pytest.mark.parametrize(
    ("paths", "says"),
    [
        # F17: a mismatch between splits names both lists
        (CAT_DOG, r"different classes \(only in train: dog\)\.\ntrain: cat, dog\. val: cat\.$"),
        ((*CAT_DOG, "val/dog/1.png", "val/emu/1.png"), r"\(only in val: emu\)\.\n.* val: cat, dog, emu\."),
        ((*CAT_DOG, "val/hog/1.png"), r"\(only in train: dog; only in val: hog\)"),
        (("Cat/1.png", "cat/1.png"), "the classes 'Cat' and 'cat' differ only by case"),
        (("train/Cat/1.png", "train/dog/1.png", "val/cat/1.png"), "the classes 'Cat' and 'cat' differ"),
        (("cat/1.png", "cat /1.png"), "the classes 'cat' and 'cat ' differ only by case, spaces"),
        (("\u00e9/1.png", "e\u0301/1.png"), r"the classes 'e\\u0301' and '\\xe9' differ"),
        (("cat/1.png",), r"there is one class only \(cat\)"),
        (("1.png", "2.png"), "has 2 pictures but no class folders. Put each class in a folder of its own"),
        (("1.png", "labels.csv"), "or give the path of labels.csv instead"),
        (("cat/", "dog/"), r"the class folders \(cat, dog\) hold no pictures"),
        (("train/1.png", "test/1.png"), "hold pictures but no class folders"),
        (("train/cat/1.png", "train/dog/1.png", "val/"), "the folder of val is empty"),
        (("train/cat/1.png", "test/cat/1.png", "so/cat/1.png"), r"split folders \(test, train\) beside"),
        (("train/cat/1.png", "valid/cat/1.png", "val/cat/1.png"), "has two folders for val: val and valid"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(tmp_path, paths, says):
    with pytest.raises(VitrailError, match=says) as error:
        open_data(make(tmp_path, *paths))
    assert str(error.value).count("\n") <= 1
    assert str(tmp_path) in str(error.value)


def test_an_empty_class_folder_is_a_class_without_pictures(tmp_path):
    """Fine where it is not trained on; an error where it is."""
    make(
        tmp_path,
        *(f"train/{name}/{i}.png" for name in ("cat", "dog") for i in range(10)),
        "val/cat/1.png",
        "val/dog/",
    )
    table = open_data(tmp_path)
    assert table.notes == ("Class folders without a picture: val/dog.",)
    splits = complete(table, seed=0)
    assert "No picture in val of: dog." in splits.notes
    make(tmp_path, "train/emu/", "val/emu/1.png")
    with pytest.raises(VitrailError, match=r"no training picture of emu\. Add some, or take the class"):
        complete(open_data(tmp_path), seed=0)


# ---------------------------------------------------------------------------------- names that are no text


def stray(*parts):
    return os.fsdecode(b"".join(parts))


def test_names_that_are_not_utf8_become_text_that_can_be_stored(tmp_path):
    cafe, empty = stray(b"caf\xe9"), stray(b"vide\xe9")
    make(tmp_path, "bar/1.png", f"{cafe}/p\u00e8re/1.png", f"{cafe}/2.png", f"{empty}/", f"bar/x.{cafe}")
    table = open_data(tmp_path)
    assert table.classes == ("bar", r"caf\xe9", r"vide\xe9")
    assert rows(table) == {
        "bar/1.png": "bar",
        r"caf\xe9/2.png": r"caf\xe9",
        "caf\\xe9/p\u00e8re/1.png": r"caf\xe9",
    }
    samples = table.splits()["all"]
    assert all(Path(samples.source(index)).is_file() for index in range(3))
    for text in (*table.classes, *samples.keys, *table.notes):
        text.encode()
    assert r"Class folders without a picture: vide\xe9." in table.notes


def test_classes_are_matched_across_splits_by_the_text_of_their_names(tmp_path):
    cafe = stray(b"caf\xe9")
    make(tmp_path, f"train/{cafe}/1.png", "train/dog/1.png", "val/caf\\xe9/2.png", "val/dog/2.png")
    table = open_data(tmp_path)
    assert rows(table, "train") == {r"train/caf\xe9/1.png": r"caf\xe9", "train/dog/1.png": "dog"}
    assert rows(table, "val") == {r"val/caf\xe9/2.png": r"caf\xe9", "val/dog/2.png": "dog"}


def test_two_classes_that_become_one_thereby_are_an_error(tmp_path):
    make(tmp_path, stray(b"caf\xe9/1.png"), "caf\\xe9/1.png", "dog/1.png")
    with pytest.raises(
        VitrailError, match=r"would both be called caf\\xe9, because one is not UTF-8\. Rename"
    ):
        open_data(tmp_path)


def test_groups_whose_names_are_not_utf8(tmp_path):
    odd = stray(b"p\xff")
    make(tmp_path, f"cat/{odd}/1.png", f"dog/{odd}/1.png", "dog/p2/1.png")
    table = open_data(tmp_path, ReaderOptions(group="folder"))
    assert table.group_names == (r"p\xff", "p2")
    assert dict(zip(table.keys, table.group.tolist(), strict=True)) == {
        r"cat/p\xff/1.png": 0,
        r"dog/p\xff/1.png": 0,
        "dog/p2/1.png": 1,
    }


# ---------------------------------------------------------------------------------- pictures to be answered


def test_pictures_are_found_as_in_training(tmp_path, monkeypatch):
    make(tmp_path, "data/b/2.jpg", "data/b/10.JPEG", "data/a/deep/er/x.png", "data/a/notes.txt")
    make(tmp_path, "data/a/.hidden/1.png", "data/b/.2.jpg", "data/__MACOSX/1.png", "data/a/folder.png/")
    make(tmp_path, stray(b"data/a/caf\xe9.png"))
    (tmp_path / "data/b/link.png").symlink_to("nowhere.png")
    os.mkfifo(tmp_path / "data/b/pipe.png")
    samples = open_data(tmp_path / "data").splits()["all"]
    trained = sorted(samples.source(index) for index in range(len(samples)))
    root = os.path.realpath(tmp_path / "data")
    assert find_pictures(root) == trained
    assert find_pictures(f"{root}/a/deep") == [f"{root}/a/deep/er/x.png"]
    names = [path.removeprefix(f"{root}/") for path in trained]
    assert names == sorted(names)
    assert {"b/link.png", "b/pipe.png", "a/folder.png", "b/10.JPEG"} < set(names)
    monkeypatch.chdir(tmp_path)
    assert find_pictures("data") == find_pictures("data/") == [f"data/{name}" for name in names]
    assert find_pictures("data/a/folder.png") == []
    make(tmp_path, "data/top.png")
    assert find_pictures("data")[-1] == "data/top.png"
    (tmp_path / "data/a/up").symlink_to(tmp_path / "data")
    with pytest.raises(VitrailError, match="is a link to a folder above it"):
        find_pictures("data")
    with pytest.raises(VitrailError, match="no-such-folder cannot be listed"):
        find_pictures("no-such-folder")
