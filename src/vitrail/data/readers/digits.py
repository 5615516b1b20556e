"""The embedded digits: 1,797 handwritten digits of 8x8 pixels that scikit-learn carries."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np

from vitrail.data.readers.options import AS_FOUND, ReaderOptions
from vitrail.data.samples import Table, Texts
from vitrail.data.stamps import digest

DEEPEST = 16
"""The digits' values go from 0 to 16: counts of dark pixels in blocks of 4x4 (Alpaydin, Kaynak 1998)."""


def read_digits(where: str = "digits", options: ReaderOptions = AS_FOUND) -> Table:  # noqa: ARG001
    """Return scikit-learn's ``load_digits``, scaled to 0..255; the files name no splits."""
    values, labels = _load()
    pictures = np.rint(values * (255 / DEEPEST)).astype(np.uint8).reshape(-1, 8, 8)
    contents = np.array([digest(picture.tobytes()) for picture in pictures], np.uint64)
    return Table(
        home="digits",
        classes=tuple(map(str, range(10))),
        keys=Texts.of(f"{number:04}" for number in range(len(pictures))),
        pictures=pictures,
        contents=contents,
        stamps=contents,
        targets={"label": labels.astype(np.int32)},
        split=np.zeros(len(pictures), np.int8),
    )


def _load() -> tuple[np.ndarray, np.ndarray]:
    """Read scikit-learn's file where it lies: importing the library would take longer than all the rest."""
    package = find_spec("sklearn")
    places = package.submodule_search_locations if package else None
    path = Path(next(iter(places or ["."])), "datasets", "data", "digits.csv.gz")
    if path.exists():
        table = np.loadtxt(path, delimiter=",", dtype=np.uint8)
        return table[:, :-1], table[:, -1]
    from sklearn.datasets import load_digits

    digits = load_digits()
    return digits.data, digits.target
