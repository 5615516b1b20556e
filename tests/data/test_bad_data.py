"""Folders with broken files: every one is a row, so that it is named, and the good ones are read (F13)."""

import io
import os
import random
import stat
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vitrail.data.decode import decode
from vitrail.data.faults import Unreadable
from vitrail.data.readers import open_data
from vitrail.data.split import complete

KINDS = (
    "empty", "text", "cut 5", "cut 50", "cut 95", "cut 99.9", "bad checksum", "folder", "dangling link",
    "unreadable", "bomb", "half a header",
)  # fmt: skip
GOOD = ("png named jpg", "CMYK", "1x1", "20000x1")


def picture(random, kind="JPEG", size=(40, 30), mode="RGB"):
    file = io.BytesIO()
    channels = {"RGB": 3, "CMYK": 4}[mode]
    pixels = random.integers(0, 256, (size[1], size[0], channels), np.uint8)
    Image.fromarray(pixels, mode).save(file, kind, **({"quality": 95} if kind == "JPEG" else {}))
    return file.getvalue()


def bomb():
    """A PNG whose header claims 200,000 x 200,000 pixels."""
    import struct
    import zlib

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", 200_000, 200_000, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" * 99))
        + chunk(b"IEND", b"")
    )


def plant(path, kind, random):
    """Put a broken (or odd, but good) file at a path."""
    jpeg = picture(random)
    if kind == "folder":
        path.mkdir()
    elif kind == "dangling link":
        path.symlink_to(path.with_name("nowhere.jpg"))
    elif kind == "bad checksum":
        png = bytearray(picture(random, "PNG"))
        png[png.index(b"IDAT") + 30] ^= 1
        path.write_bytes(png)
    elif kind.startswith("cut"):
        path.write_bytes(jpeg[: int(len(jpeg) * float(kind.split()[1]) / 100)])
    else:
        path.write_bytes(
            {
                "empty": b"",
                "text": b"this is no picture\n" * 9,
                "unreadable": jpeg,
                "bomb": bomb(),
                "half a header": jpeg[:3],
                "png named jpg": picture(random, "PNG"),
                "CMYK": picture(random, mode="CMYK"),
                "1x1": picture(random, size=(1, 1)),
                "20000x1": picture(random, size=(20_000, 1)),
            }[kind]
        )


def make(root, pictures, broken, seed):
    """Make a folder with four classes; return the keys of the broken files."""
    dice = random.Random(seed)
    pixels = np.random.default_rng(seed)
    planted = dice.sample(range(pictures), broken + len(GOOD))
    kinds = dict(zip(planted, [*(KINDS[i % len(KINDS)] for i in range(broken)), *GOOD], strict=True))
    names = {}
    for number in range(pictures):
        path = root / f"class {number % 4}" / f"{number:04}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        kind = kinds.get(number)
        if kind is None:
            path.write_bytes(picture(pixels, ("JPEG", "PNG")[number % 2]))
        else:
            plant(path, kind, pixels)
        if kind in KINDS:
            names[path.relative_to(root).as_posix()] = kind
    return names


def state(root):
    """Everything below a folder: kinds, times, sizes and bytes."""
    found = {}
    for folder, folders, files in os.walk(root):
        for name in (".", *folders, *files):
            path = Path(folder, name)
            about = path.lstat()
            content = path.read_bytes() if stat.S_ISREG(about.st_mode) else b""
            found[path] = (about.st_mode, about.st_mtime_ns, about.st_size, content)
    return found


@pytest.mark.parametrize(("pictures", "broken"), [(100, 24), pytest.param(1000, 60, marks=pytest.mark.slow)])
def test_every_broken_file_is_a_row_and_is_named(tmp_path, monkeypatch, pictures, broken):
    seed = random.randrange(2**32)
    print("seed", seed)
    monkeypatch.setattr("vitrail.data.index.LEAST", 1)
    root = tmp_path / "data"
    names = make(root, pictures, broken, seed)
    unreadable = {str(root / key) for key, kind in names.items() if kind == "unreadable"}
    before = state(root)

    read = open

    def guarded(path, *rest, **more):  # the tests may run as root, whom no permission stops
        if str(path) in unreadable:
            raise PermissionError(13, "Permission denied", str(path))
        return read(path, *rest, **more)

    monkeypatch.setattr("builtins.open", guarded)
    monkeypatch.setattr("io.open", guarded)
    table = open_data(root)
    assert len(table) == pictures
    assert len(table.classes) == 4
    samples = table.splits()["all"]
    named = {}
    for index in range(len(samples)):
        try:
            pixels, _ = decode(samples.source(index), 3)
            assert pixels.dtype == np.uint8
        except Unreadable as fault:
            named[samples.keys[index]] = fault.reason
    assert named.keys() == names.keys()
    splits = complete(table, seed=0)
    assert sum(map(len, (splits.train, splits.val, splits.test))) == pictures
    monkeypatch.undo()
    assert state(root) == before


def test_a_broken_file_that_is_repaired_changes_its_stamp(tmp_path):
    make(tmp_path, 40, 12, 3)
    before = open_data(tmp_path).splits()["all"]
    for path in sorted(tmp_path.rglob("*.jpg")):
        if path.is_symlink() or path.is_dir():
            (path.rmdir if path.is_dir() else path.unlink)()
            path.write_bytes(picture(np.random.default_rng(0)))
    after = open_data(tmp_path).splits()["all"]
    assert list(before.keys) == list(after.keys)
    assert (before.stamps != after.stamps).sum() == 2
    assert before.fingerprint != after.fingerprint


def test_pipes_are_rows_and_block_nobody(tmp_path):
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.png").write_bytes(picture(np.random.default_rng(0)))
    os.mkfifo(tmp_path / "cat" / "pipe.png")
    samples = open_data(tmp_path).splits()["all"]
    assert list(samples.keys) == ["cat/1.png", "cat/pipe.png", "dog/1.png"]
    with pytest.raises(Unreadable, match="not a file"):
        decode(samples.source(1), 3)
