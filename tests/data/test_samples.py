"""Samples are columns: what they hold, what they cost, and what they are recognised by."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from vitrail.data.samples import Blobs, Files, Samples, Table, Texts
from vitrail.errors import VitrailError


def table(
    keys=("a/1.jpg", "b/2.jpg", "b/3.jpg", "c/4.jpg"), labels=(0, 1, 1, 2), sizes=(5, 6, 7, 8), **changes
):
    texts = Texts.of(keys)
    about = {
        "home": "/somewhere",
        "classes": ("a", "b", "c"),
        "keys": texts,
        "pictures": Files("/somewhere", texts),
        "contents": np.array(sizes, np.uint64),
        "stamps": np.arange(len(keys), dtype=np.uint64) + 100,
        "targets": {"label": np.array(labels, np.int32)},
        "split": np.zeros(len(keys), np.int8),
    }
    return Table(**about | changes)


def everything(of):
    return of.splits()["all"]


def test_a_row_is_a_sample():
    samples = everything(table(group=np.array([1, 0, 0, 1], np.int32), group_names=("x", "y")))
    sample = samples[2]
    assert (sample.key, sample.pictures, sample.group, sample.split) == (
        "b/3.jpg",
        {"image": "/somewhere/b/3.jpg"},
        "x",
        "all",
    )
    assert sample.targets["label"] == 1
    assert len(samples) == 4
    assert list(samples.keys) == ["a/1.jpg", "b/2.jpg", "b/3.jpg", "c/4.jpg"]
    assert samples.keys[-1] == "c/4.jpg"
    assert samples.keys[1:3] == ["b/2.jpg", "b/3.jpg"]
    assert samples.groups.tolist() == [1, 0, 0, 1]


def test_taking_rows_keeps_their_slots_in_the_table():
    samples = everything(table()).take([3, 1, 2])
    assert samples.rows.tolist() == [3, 1, 2]
    again = samples.take(np.array([True, False, True]), split="val")
    assert again.rows.tolist() == [3, 2]
    assert list(again.keys) == ["c/4.jpg", "b/3.jpg"]
    assert again.targets["label"].tolist() == [2, 1]
    assert again.stamps.tolist() == [103, 102]
    assert again.source(0) == "/somewhere/c/4.jpg"
    assert again[0].split == "val"


def test_a_role_that_is_not_there_is_an_error():
    with pytest.raises(VitrailError, match="none under 'before'"):
        everything(table()).source(0, "before")


def test_pictures_may_be_pixels_or_encoded_files():
    pixels = np.arange(4 * 6, dtype=np.uint8).reshape(4, 2, 3)
    assert everything(table(pictures=pixels)).take([2]).source(0).tolist() == pixels[2].tolist()
    encoded = Blobs.of([b"one", b"", b"three", b"4"])
    samples = everything(table(pictures=encoded))
    assert [samples.source(i) for i in range(4)] == [b"one", b"", b"three", b"4"]
    assert encoded[-2:] == [b"three", b"4"]
    with pytest.raises(IndexError):
        encoded[4]


def test_columns_of_different_lengths_are_refused():
    with pytest.raises(ValueError, match="3 rows of label with 4 keys"):
        table(labels=(0, 1, 2))


def test_names_that_are_not_utf8_open_and_print(tmp_path):
    path = tmp_path / os.fsdecode(b"caf\xe9.jpg")
    path.write_bytes(b"!")
    names = Texts.of([path.name, "café.jpg"])
    assert list(names) == ["caf\\xe9.jpg", "café.jpg"]
    assert Path(Files(str(tmp_path), names)[0]).read_bytes() == b"!"


def test_the_fingerprint_knows_content_and_not_the_place():
    first = everything(table()).fingerprint
    moved = table(home="/elsewhere", stamps=np.zeros(4, np.uint64))
    assert everything(moved).fingerprint == first
    different = [
        table(keys=("a/1.jpg", "b/2.jpg", "b/3.jpg", "c/5.jpg")),
        table(keys=("a/1.jpgb", "/2.jpg", "b/3.jpg", "c/4.jpg")),
        table(labels=(0, 1, 2, 2)),
        table(sizes=(5, 6, 7, 9)),
        table(classes=("a", "b", "d")),
        table(targets={"labels": np.eye(4, 3, dtype=np.uint8)}),
    ]
    prints = [
        first,
        *(everything(each).fingerprint for each in different),
        everything(table()).take([1, 0]).fingerprint,
    ]
    assert len(set(prints)) == len(prints)
    assert len(first) == 64


def test_a_fingerprint_is_the_same_in_a_year():
    """It is stored in run folders, so that it must not depend on a version of anything."""
    assert (
        everything(table()).fingerprint == "a89afaba158ae86aef15b6678232df22328ee14dd1acf45501b7ba523f3655cc"
    )


def test_the_fingerprint_of_many_rows_does_not_depend_on_how_they_are_gathered(monkeypatch):
    whole = everything(table()).fingerprint
    monkeypatch.setattr("vitrail.data.samples.BLOCK", 4)
    assert everything(table()).fingerprint == whole


def test_classes_are_matched_by_name():
    matched = table(targets={"label": np.array([0, 1, -1, 2], np.int32)}).matched(("c", "x", "b", "a"))
    assert matched.targets["label"].tolist() == [3, 2, -1, 0]
    assert matched.classes == ("c", "x", "b", "a")
    hot = np.array([[1, 0, 1], [0, 1, 0], [0, 0, 0], [1, 1, 1]], np.uint8)
    assert table(targets={"labels": hot}).matched(("c", "x", "b", "a")).targets["labels"].tolist() == [
        [1, 0, 0, 1],
        [0, 0, 1, 0],
        [0, 0, 0, 0],
        [1, 0, 1, 1],
    ]
    with pytest.raises(VitrailError, match=r"does not know: c\.\nThe data: a, b, c\. The model: b, a\."):
        table().matched(("b", "a"))


MANY = """
import sys, numpy as np
from vitrail.data.samples import Files, Samples, Table, Texts
import pyarrow

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096 / 1e6

n = int(sys.argv[1])
before = resident()
keys = Texts.of(f"class-{i % 1000:04}/picture-number-{i:08}.jpeg" for i in range(n))
ones = np.ones(n, np.uint64)
table = Table(home="x", classes=("a", "b"), keys=keys, pictures=Files("/x", keys), contents=ones, stamps=ones,
              targets={"label": np.zeros(n, np.int32)}, split=np.zeros(n, np.int8))
samples = table.splits()["all"]
train, val = samples.take(np.arange(n) % 10 > 0), samples.take(np.arange(n) % 10 == 0)
assert len(train.fingerprint) == 64 and train.targets["label"].sum() == 0 and val.keys[0].endswith("jpeg")
print(resident() - before)
"""


@pytest.mark.parametrize(
    ("rows", "megabytes"), [(100_000, 30), pytest.param(1_000_000, 300, marks=pytest.mark.slow)]
)
def test_a_list_of_files_costs_bytes_not_objects(rows, megabytes):
    done = subprocess.run([sys.executable, "-c", MANY, str(rows)], capture_output=True, text=True, check=True)
    assert float(done.stdout) < megabytes


def test_a_view_is_small():
    assert set(Samples.__dataclass_fields__) == {"table", "rows", "split"}
