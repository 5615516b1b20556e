"""The idx format: the files of the MNIST family, gzipped or not.

``train-images-idx3-ubyte[.gz]`` with ``train-labels-idx1-ubyte[.gz]``, and ``t10k-`` or ``test-`` likewise.
A file is a big-endian header (two zero bytes, the type, the number of dimensions, the dimensions as 32-bit
integers) and the values (LeCun, Cortes, Burges: The MNIST database of handwritten digits, 1998).
"""

from __future__ import annotations

import gzip
import os
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np

from vitrail.data.names import check_classes, few
from vitrail.data.readers.options import ReaderOptions
from vitrail.data.samples import Table, Texts
from vitrail.data.stamps import digest
from vitrail.errors import UsageError, VitrailError

NAME = re.compile(r"(?P<set>.*?)(?P<part>train|t10k|test)-(?P<what>images|labels)[-.]idx\d-ubyte(\.gz)?")
SPLITS = {"train": "train", "t10k": "test", "test": "test"}
FASHION = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
"""The classes of Fashion-MNIST by number (Xiao, Rasul, Vollgraf 2017, arXiv:1708.07747)."""
DENSEST = 1032
"""How much deflate can shrink a file at most: a header that promises more is wrong."""


@dataclass(frozen=True, slots=True)
class Pair:
    """The files of one split."""

    split: str
    images: Path
    labels: Path


def find_pairs(where: str) -> list[Pair]:
    """Return the pairs of images and labels in a folder, or the one pair that a file belongs to."""
    path = Path(where)
    folder = path if path.is_dir() else path.parent
    found: dict[tuple[str, str], dict[str, Path]] = {}
    for file in sorted(folder.iterdir()):
        if match := NAME.fullmatch(file.name):
            found.setdefault((match["set"], SPLITS[match["part"]]), {})[match["what"]] = file
    if path != folder:
        found = {key: files for key, files in found.items() if path in files.values()}
    if len(sets := {name for name, _ in found}) > 1:
        raise UsageError(
            f"{where} holds several data sets ({few(sorted(sets))}). Put each in a folder of its own."
        )
    for (name, split), files in found.items():
        if lacking := {"images", "labels"} - set(files):
            raise VitrailError(
                f"{where}: the {split} {lacking.pop()} of {name or 'the data set'} are missing "
                f"(found {few([file.name for file in files.values()])})."
            )
    order = sorted(found, key=lambda key: ("train", "test").index(key[1]))
    return [Pair(key[1], found[key]["images"], found[key]["labels"]) for key in order]


def read_idx(where: str, options: ReaderOptions) -> Table:  # noqa: ARG001, the format has no columns to choose
    """Return the pictures of an MNIST-like folder, held in memory.

    Classes are the labels' numbers, or Fashion-MNIST's names when the folder is called so. Raises
    VitrailError with the file that is cut short, corrupt, or does not fit its partner.
    """
    pairs = find_pairs(where)
    if not pairs:
        raise UsageError(
            f"{where} holds no idx files (train-images-idx3-ubyte and its like, gzipped or not)."
        )
    images, labels = [], []
    for pair in pairs:
        images.append(_read(pair.images, {3, 4}))
        labels.append(_read(pair.labels, {1}))
        if len(images[-1]) != len(labels[-1]):
            raise VitrailError(
                f"{pair.images} has {len(images[-1])} pictures, {pair.labels.name} {len(labels[-1])} labels."
            )
    if len({part.shape[1:] for part in images}) > 1:
        raise VitrailError(f"{where}: the pictures of the splits have different sizes.")
    pictures, numbers = np.concatenate(images), np.concatenate(labels)
    present = np.unique(numbers)
    fashion = "fashion-mnist" in os.path.realpath(where).lower() and present[-1] < len(FASHION)
    classes = FASHION if fashion else tuple(str(number) for number in present.tolist())
    check_classes(classes, where)
    contents = np.array([digest(picture.tobytes()) for picture in pictures], np.uint64)
    return Table(
        home=os.path.realpath(where),
        classes=classes,
        keys=Texts.of(_keys(pairs, labels)),
        pictures=pictures,
        contents=contents,
        stamps=contents,
        targets={"label": (numbers if fashion else np.searchsorted(present, numbers)).astype(np.int32)},
        split=np.repeat(np.arange(len(pairs), dtype=np.int8), [len(part) for part in labels]),
        splits_named=tuple(pair.split for pair in pairs),
    )


def _keys(pairs: list[Pair], labels: list[np.ndarray]) -> Iterator[str]:
    for pair, part in zip(pairs, labels, strict=True):
        width = len(str(len(part) - 1))
        for number in range(len(part)):
            yield f"{pair.split}/{number:0{width}}"


def _read(path: Path, dimensions: set[int]) -> np.ndarray:
    """Return the uint8 array of one file, reading no more than its header promises."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            magic = file.read(4)
            if len(magic) < 4 or magic[:3] != b"\0\0\x08" or magic[3] not in dimensions:
                raise VitrailError(
                    f"{path} is no idx file of unsigned bytes: it begins with {magic.hex() or 'nothing'}."
                )
            sizes = file.read(4 * magic[3])
            shape = np.frombuffer(sizes[: len(sizes) // 4 * 4], ">i4").tolist()
            possible = (
                len(shape) == magic[3] and min(shape) > 0 and prod(shape) <= DENSEST * path.stat().st_size
            )
            values = file.read(prod(shape) + 1) if possible else b""
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise VitrailError(f"{path} is corrupt ({error}). Fetch it again.") from None
    except OSError as error:
        raise VitrailError(f"{path} cannot be read: {error.strerror or error}.") from None
    if not possible or len(values) != prod(shape):
        raise VitrailError(
            f"{path} does not hold the {' x '.join(map(str, shape))} values of its header. Fetch it again."
        )
    return np.frombuffer(values, np.uint8).reshape(shape)
