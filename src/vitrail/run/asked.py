"""What can be asked about: pictures as a caller has them, and the files that words name."""

import glob
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image

from vitrail.data.names import storable
from vitrail.data.readers import listing
from vitrail.errors import UsageError
from vitrail.values import Source

Picture = Source | os.PathLike[str] | Image.Image
"""What can be asked about: a path, an encoded file, an array ``h w [c]``, or a Pillow picture."""


def named(picture: Picture) -> str:
    """Return what a picture is called in a message."""
    return storable(os.fspath(picture)) if isinstance(picture, str | os.PathLike) else "a picture"


def batched(pictures: Iterable[Picture], size: int) -> Iterator[list[Picture]]:
    """Yield pictures so many at a time (itertools has it from Python 3.12 on)."""
    waiting = iter(pictures)
    while some := list(islice(waiting, size)):
        yield some


def find_pictures(words: Sequence[str]) -> list[str]:
    """Return the files that files, folders (searched through) and patterns name, in the order of the words.

    Folders are searched as those of a data set are. What is named twice is there twice.
    """
    found: list[str] = []
    for word in words:
        path = Path(word)
        if path.is_dir():
            inside = listing.find_pictures(word)
            if not inside:
                raise UsageError(f"{storable(word)}: no pictures in this folder.")
            found += inside
        elif path.exists() or path.is_symlink():
            found.append(word)
        else:
            matches = sorted(glob.glob(word, recursive=True))  # noqa: PTH207, Path.glob takes no absolute pattern
            matches = [match for match in matches if listing.is_picture(match) or not Path(match).is_dir()]
            if not matches:
                raise UsageError(f"{storable(word)}: no such file, folder or pattern.")
            found += matches
    return found


def each_of(pictures: Picture | Iterable[Picture]) -> Iterable[Picture]:
    """Return one picture or many as many; raises UsageError for a mapping."""
    if isinstance(pictures, str | bytes | os.PathLike | np.ndarray | Image.Image):
        return [pictures]
    if isinstance(pictures, Mapping):
        raise UsageError("pictures are paths, bytes, arrays or Pillow pictures, not a mapping.")
    return pictures


def source_of(picture: Picture) -> Source | Image.Image:
    """Return a picture as it is decoded; raises UsageError for what is none."""
    if isinstance(picture, os.PathLike):
        return os.fspath(picture)
    if isinstance(picture, str | bytes | np.ndarray | Image.Image):
        return picture
    raise UsageError(
        f"a picture is a path, bytes, an array or a Pillow picture, not a {type(picture).__name__}."
    )
