"""The index of a large folder: cheap, true or thrown away, and never in anybody's way."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from vitrail.data import index
from vitrail.data.home import cache_home
from vitrail.data.readers import ReaderOptions, open_data
from vitrail.data.readers.listing import Listing

LONG_AGO = 1_700_000_000


def make_folder(root, pictures, classes=2, deeper=False):
    """Make a folder of empty files that has not been touched for long."""
    for number in range(classes):
        folder = root / f"class {number:03}"
        (folder / "deeper").mkdir(parents=True) if deeper else folder.mkdir(parents=True)
    for number in range(pictures):
        path = f"{root}/class {number % classes:03}/{'deeper/' * deeper}{number:07}.jpg"
        os.close(os.open(path, os.O_CREAT))
    settle(root)
    return root


def settle(root):
    for folder, _, _ in os.walk(root):
        os.utime(folder, (LONG_AGO, LONG_AGO))


def indexes():
    return sorted((cache_home() / "index").glob("*")) if cache_home().exists() else []


@pytest.fixture
def scans(monkeypatch):
    """Count the folders that were listed, with every folder large enough for an index."""
    seen = []
    look = Listing.look
    monkeypatch.setattr(Listing, "look", lambda self, path: (seen.append(path), look(self, path))[1])
    monkeypatch.setattr(index, "LEAST", 1)
    return seen


def same(one, other):
    assert list(one.keys) == list(other.keys)
    assert list(one.pictures) == list(other.pictures)
    for name in ("contents", "stamps", "split"):
        assert getattr(one, name).tolist() == getattr(other, name).tolist()
        assert getattr(one, name).dtype == getattr(other, name).dtype
    assert (one.group is None) == (other.group is None)
    if one.group is not None:
        assert one.group.tolist() == other.group.tolist()
    assert (one.home, one.classes, one.splits_named, one.notes) == (
        other.home,
        other.classes,
        other.splits_named,
        other.notes,
    )
    assert list(one.group_names) == list(other.group_names)
    assert one.targets.keys() == other.targets.keys()
    for name, target in one.targets.items():
        assert target.dtype == other.targets[name].dtype
        assert (target == other.targets[name]).all()


def test_the_second_opening_lists_nothing_and_finds_the_same(tmp_path, scans):
    root = make_folder(tmp_path / "data", 30, deeper=True)
    (root / "class 000" / "notes.txt").touch()
    settle(root)
    first = open_data(root, ReaderOptions(group="folder"))
    assert scans
    scans.clear()
    second = open_data(root, ReaderOptions(group="folder"))
    assert not scans
    same(first, second)
    assert first.splits()["all"].fingerprint == second.splits()["all"].fingerprint
    assert second.notes == ("1 file that is no picture was passed over (.txt 1).",)


def test_small_folders_are_read_afresh_and_leave_nothing_behind(tmp_path):
    open_data(make_folder(tmp_path / "data", 30))
    assert not cache_home().exists() or not indexes()


@pytest.mark.parametrize("change", ["added", "removed", "added deep down", "class added", "rewritten"])
def test_a_changed_folder_is_read_again(tmp_path, scans, change):
    root = make_folder(tmp_path / "data", 30, deeper=True)
    before = open_data(root)
    scans.clear()
    if change == "added":
        (root / "class 001" / "new.png").touch()
    elif change == "removed":
        (root / "class 001" / "deeper" / "0000003.jpg").unlink()
    elif change == "added deep down":
        (root / "class 001" / "deeper" / "new.png").touch()
    elif change == "class added":
        (root / "third").mkdir()
    else:
        for picture in root.rglob("*.jpg"):
            picture.write_bytes(b"something else")  # in place, so that no folder shows it
    after = open_data(root)
    assert scans
    assert len(after) == len(before) + {"added": 1, "removed": -1, "added deep down": 1}.get(change, 0)
    assert after.splits()["all"].fingerprint != before.splits()["all"].fingerprint


def test_a_picture_changed_in_place_is_seen_when_asked_for(tmp_path, scans, monkeypatch):
    monkeypatch.setattr(index, "LOOKS", 2)  # the first and the last
    root = make_folder(tmp_path / "data", 30)
    before = open_data(root)
    (root / "class 000" / "0000014.jpg").write_bytes(b"changed")
    assert open_data(root).stamps.tolist() == before.stamps.tolist()
    assert open_data(root, ReaderOptions(rescan=True)).stamps.tolist() != before.stamps.tolist()


def test_a_folder_that_changed_a_moment_ago_is_not_indexed(tmp_path, scans):
    root = make_folder(tmp_path / "data", 30)
    os.utime(root / "class 000", (time.time(), time.time()))
    open_data(root)
    assert not indexes()


def test_options_have_indexes_of_their_own(tmp_path, scans):
    root = make_folder(tmp_path / "data", 30, deeper=True)
    assert open_data(root).group is None
    assert open_data(root, ReaderOptions(group="folder")).group is not None
    assert open_data(root).group is None
    assert len(indexes()) == 2


def test_a_table_is_indexed_and_watched(tmp_path, scans):
    root = make_folder(tmp_path / "data", 30)
    csv = root / "labels.csv"
    files = sorted(path.relative_to(root).as_posix() for path in root.rglob("*.jpg"))
    csv.write_text(
        "file_name,labels,group\n"
        + "".join(f"{name},{'a|b' if i % 3 else 'b'},p{i % 4}\n" for i, name in enumerate(files))
    )
    os.utime(csv, (LONG_AGO, LONG_AGO))
    settle(root)
    first = open_data(csv)
    assert len(indexes()) == 1
    same(first, open_data(csv))
    assert first.targets["labels"].sum(0).tolist() == [20, 30]
    csv.write_text(csv.read_text().replace("a|b", "a"))
    assert open_data(csv).targets["labels"].sum(0).tolist() == [20, 10]
    (root / "class 000" / "0000000.jpg").unlink()
    with pytest.raises(Exception, match="1 of 30 files are missing"):
        open_data(csv)


def test_a_broken_index_is_thrown_away(tmp_path, scans):
    root = make_folder(tmp_path / "data", 60)
    right = open_data(root)
    (path,) = indexes()
    good = path.read_bytes()
    random = np.random.default_rng(5)
    damages = [b"", b"abc", good[: len(good) // 2], good[:-5], b"something else"]
    for place, bit in zip(random.integers(0, len(good), 40), random.integers(0, 8, 40), strict=True):
        flipped = bytearray(good)
        flipped[place] ^= 1 << bit
        damages.append(bytes(flipped))
    for damage in damages:
        path.write_bytes(damage)
        same(right, open_data(root))


def test_an_index_that_is_replaced_while_it_is_open_does_no_harm(tmp_path, scans):
    root = make_folder(tmp_path / "data", 60)
    open_data(root)
    mapped = open_data(root)
    keys = list(mapped.keys)
    (root / "class 000" / "new.jpg").touch()
    settle(root)
    assert len(open_data(root, ReaderOptions(rescan=True))) == 61
    assert list(mapped.keys) == keys


@pytest.mark.parametrize("obstacle", ["file in the way", "not writable", "disk full"])
def test_a_cache_that_cannot_be_written_is_no_failure(tmp_path, scans, monkeypatch, obstacle):
    root = make_folder(tmp_path / "data", 30)
    if obstacle == "file in the way":
        (tmp_path / "file").touch()
        monkeypatch.setenv("VITRAIL_CACHE", str(tmp_path / "file"))
    elif obstacle == "not writable":
        monkeypatch.setattr("tempfile.mkstemp", lambda **_: (_ for _ in ()).throw(PermissionError(13, "no")))
    else:
        monkeypatch.setattr(
            Path, "replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device"))
        )
    assert len(open_data(root)) == 30
    assert len(open_data(root)) == 30
    monkeypatch.undo()
    assert not [path for path in indexes() if path.suffix != ".arrow"], "a draft was left behind"


def test_all_indexes_together_are_bounded(tmp_path, scans, monkeypatch):
    roots = [make_folder(tmp_path / f"data {i}", 30) for i in range(4)]
    for age, root in enumerate(roots[:3]):
        open_data(root)
        newest = max(indexes(), key=lambda path: path.stat().st_mtime)
        os.utime(newest, (LONG_AGO + age, LONG_AGO + age))
    size = indexes()[0].stat().st_size
    open_data(roots[0])  # used again, so that the second is now the oldest
    monkeypatch.setattr(index, "ROOM", int(2.5 * size))
    open_data(roots[3])
    assert len(indexes()) == 2
    scans.clear()
    open_data(roots[0])
    open_data(roots[3])
    assert not scans


def test_the_cache_folder(monkeypatch, tmp_path):
    assert cache_home() == Path(os.environ["VITRAIL_CACHE"])
    monkeypatch.delenv("VITRAIL_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_home() == tmp_path / ".cache" / "vitrail"
    monkeypatch.setenv("VITRAIL_CACHE", "~/elsewhere")
    assert cache_home() == tmp_path / "elsewhere"


OPEN = """
import sys
import numpy, pyarrow
from vitrail.data.readers import open_data
from vitrail.data.readers.listing import Listing

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096 / 1e6

if sys.argv[2] == "cached":
    Listing.look = None
before = resident()
table = open_data(sys.argv[1])
samples = table.splits()["all"]
assert samples.source(len(samples) - 1).endswith(".jpg")
print(len(samples), resident() - before)
"""


@pytest.mark.parametrize(
    ("pictures", "megabytes"), [(100_000, 30), pytest.param(1_000_000, 300, marks=pytest.mark.slow)]
)
def test_many_files_open_from_their_index(tmp_path, pictures, megabytes):
    root = make_folder(tmp_path / "data", pictures, classes=100)
    try:
        for how in ("read", "cached"):
            done = subprocess.run(
                [sys.executable, "-c", OPEN, root, how], capture_output=True, text=True, check=True
            )
            found, growth = done.stdout.split()
            assert int(found) == pictures
            assert float(growth) < megabytes
    finally:
        shutil.rmtree(root)
