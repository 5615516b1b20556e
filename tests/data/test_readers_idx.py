"""The MNIST family's files: read to the pixel, and named when they are broken."""

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest

from vitrail.data.readers import open_data
from vitrail.data.readers.idx import FASHION
from vitrail.errors import UsageError, VitrailError


def idx(values):
    return (
        struct.pack(">HBB", 0, 8, values.ndim)
        + struct.pack(f">{values.ndim}I", *values.shape)
        + values.tobytes()
    )


def write(folder, part, pixels, labels, *, end="", dot="-"):
    folder.mkdir(parents=True, exist_ok=True)
    pack = gzip.compress if end == ".gz" else bytes
    (folder / f"{part}-images{dot}idx{pixels.ndim}-ubyte{end}").write_bytes(pack(idx(pixels)))
    (folder / f"{part}-labels{dot}idx1-ubyte{end}").write_bytes(pack(idx(np.asarray(labels, np.uint8))))


def pixels(n, *shape):
    return np.random.default_rng(n).integers(0, 256, (n, *(shape or (5, 4))), np.uint8)


@pytest.mark.parametrize(("end", "dot"), [("", "-"), (".gz", "-"), (".gz", "."), ("", ".")])
def test_pictures_and_labels(tmp_path, end, dot):
    write(tmp_path, "train", pixels(30), np.arange(30) % 3, end=end, dot=dot)
    write(tmp_path, "t10k", pixels(12), np.arange(12) % 3, end=end, dot=dot)
    table = open_data(tmp_path)
    splits = table.splits()
    assert list(splits) == ["train", "test"]
    assert table.classes == ("0", "1", "2")
    for samples, n in ((splits["train"], 30), (splits["test"], 12)):
        assert (np.stack([samples.source(i) for i in range(n)]) == pixels(n)).all()
        assert samples.targets["label"].tolist() == (np.arange(n) % 3).tolist()
    assert splits["test"].keys[:2] == ["test/00", "test/01"]
    assert splits["test"].rows.tolist() == list(range(30, 42))
    one_file = open_data(tmp_path / f"t10k-images{dot}idx3-ubyte{end}")
    assert list(one_file.splits()) == ["test"]


def test_names_of_classes(tmp_path):
    write(tmp_path / "Fashion-MNIST" / "raw", "train", pixels(20), np.arange(20) % 10)
    assert open_data(tmp_path / "Fashion-MNIST" / "raw").classes == FASHION
    write(tmp_path / "letters", "emnist-letters-train", pixels(20, 3, 3, 3), np.arange(20) % 4 + 1)
    table = open_data(tmp_path / "letters")
    assert table.classes == ("1", "2", "3", "4")
    assert table.targets["label"].tolist() == (np.arange(20) % 4).tolist()
    assert table.pictures[0].shape == (3, 3, 3)


def test_stamps_and_fingerprint_know_the_pixels(tmp_path):
    write(tmp_path / "a", "train", pixels(9), np.arange(9) % 2)
    write(tmp_path / "b", "train", pixels(9) ^ (np.arange(9) == 4)[:, None, None], np.arange(9) % 2)
    one, other = open_data(tmp_path / "a"), open_data(tmp_path / "b")
    assert np.flatnonzero(one.stamps != other.stamps).tolist() == [4]
    assert one.splits()["train"].fingerprint != other.splits()["train"].fingerprint


def test_what_is_wrong_is_named(tmp_path):
    def broken(name, content, says):
        path = tmp_path / name
        good = path.read_bytes()
        path.write_bytes(content(good))
        with pytest.raises(VitrailError, match=says) as error:
            open_data(tmp_path)
        assert name in str(error.value)
        assert "\n" not in str(error.value)
        path.write_bytes(good)

    write(tmp_path, "train", pixels(200, 9, 9), np.arange(200) % 3, end=".gz")
    write(tmp_path, "t10k", pixels(12, 9, 9), np.arange(12) % 3)
    zipped, plain = "train-images-idx3-ubyte.gz", "t10k-images-idx3-ubyte"
    broken(zipped, lambda good: good[: len(good) // 2], "is corrupt")
    broken(
        zipped, lambda good: good[:200] + bytes([good[200] ^ 255]) + good[201:], "is corrupt|does not hold"
    )
    broken(zipped, lambda good: good[:-8] + b"\0" * 8, "is corrupt")
    broken(zipped, lambda _: b"<html>not found</html>", "is corrupt")
    broken(zipped, lambda _: b"", "no idx file of unsigned bytes: it begins with nothing")
    broken(plain, lambda good: good[:-1], "does not hold the 12 x 9 x 9 values of its header")
    broken(plain, lambda good: good + b"!", "does not hold the 12 x 9 x 9")
    broken(plain, lambda good: good[:10], "does not hold the")
    broken(
        plain, lambda good: b"\0\0\x0d" + good[3:], "no idx file of unsigned bytes: it begins with 00000d03"
    )
    broken(
        plain, lambda good: good[:4] + b"\x7f\xff\xff\xff" * 3 + good[16:], "does not hold the 2147483647 x"
    )
    broken(plain, lambda good: good[:4] + b"\xff" * 12 + good[16:], "does not hold the -1 x -1 x -1")
    broken(plain, lambda _: idx(pixels(11, 9, 9)), "has 11 pictures, t10k-labels-idx1-ubyte 12 labels")
    assert len(open_data(tmp_path)) == 212

    (tmp_path / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(
        VitrailError, match=r"the test labels of the data set are missing \(found t10k-images"
    ):
        open_data(tmp_path)
    write(tmp_path, "t10k", pixels(12, 8, 9), np.arange(12) % 3)
    with pytest.raises(VitrailError, match="different sizes"):
        open_data(tmp_path)
    write(tmp_path, "other-train", pixels(12), np.arange(12) % 3)
    with pytest.raises(UsageError, match="holds several data sets"):
        open_data(tmp_path)


def test_one_class_only(tmp_path):
    write(tmp_path, "train", pixels(9), np.zeros(9))
    with pytest.raises(VitrailError, match=r"one class only \(0\)"):
        open_data(tmp_path)


@pytest.mark.data
def test_the_real_fashion_mnist():
    table = open_data(Path(__file__).parents[2] / ".data" / "fashion-mnist")
    splits = table.splits()
    assert {name: len(samples) for name, samples in splits.items()} == {"train": 60_000, "test": 10_000}
    assert table.classes == FASHION
    assert np.bincount(splits["test"].targets["label"]).tolist() == [1000] * 10
    assert [table.classes[i] for i in splits["train"].targets["label"][:3]] == [
        "Ankle boot",
        *FASHION[:1] * 2,
    ]
    assert splits["train"].source(0).shape == (28, 28)
