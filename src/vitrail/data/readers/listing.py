"""Files, found below folders and gathered into columns."""

from __future__ import annotations

import os
from array import array
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vitrail.data.names import few
from vitrail.data.samples import Blobs, Files, Texts
from vitrail.data.stamps import extent, stamp
from vitrail.errors import VitrailError

RASTER = "apng avif bmp dib gif heic heif j2k jfif jp2 jpe jpeg jpg pbm pgm png pnm ppm tga tif tiff webp"
PICTURES = frozenset(f".{suffix}" for suffix in RASTER.split(" "))
"""Suffixes of pictures. Some need a decoder that may be missing: such files are named when decoded."""
ARRAY = ".npy"
"""The suffix of NumPy's files, which are pictures only where there are no others."""


def is_picture(name: str, arrays: bool = False) -> bool:
    """Return whether a file's name ends like a picture's, in whatever case; with ``arrays`` also NumPy's."""
    suffix = os.path.splitext(name)[1].lower()  # noqa: PTH122, a Path costs ten times as much
    return suffix in PICTURES or (arrays and suffix == ARRAY)


def has_pictures(path: str, arrays: bool = False) -> bool:
    """Return whether there is a picture at or below a folder; stops at the first."""
    return any(is_picture(name, arrays) for _, _, names in os.walk(path) for name in names)


def only_arrays(path: str) -> bool:
    """Return whether all the pictures at and below a folder are files of NumPy."""
    return not has_pictures(path) and has_pictures(path, arrays=True)


@dataclass(frozen=True, slots=True)
class Contents:
    """The names in one folder: visible sub-folders, pictures (whatever ends like one), other files."""

    folders: list[str]
    pictures: list[str]
    others: list[str]


class Listing:
    """The files of a data set, gathered row by row into columns without keeping an object a file.

    ``watched`` holds each folder and table that was read with its time of change, in nanoseconds;
    ``passed`` counts by suffix the files that are no pictures. With ``arrays`` files of NumPy are some;
    ``known`` are names of files that somebody else reads.
    """

    def __init__(self, root: str, arrays: bool = False, known: Collection[str] = ()) -> None:
        self.root, self.arrays, self.known = root, arrays, known
        self.watched: dict[str, int] = {}
        self.passed: Counter[str] = Counter()
        self._names, self._ends = bytearray(), array("q", [0])
        self._sizes, self._stamps = array("Q"), array("Q")

    def __len__(self) -> int:
        return len(self._sizes)

    def watch(self, path: str) -> None:
        """Remember when a folder or a table was last changed; to be called before it is read."""
        try:
            self.watched[path] = os.stat(path).st_mtime_ns  # noqa: PTH116
        except OSError as error:
            raise VitrailError(f"{path} cannot be read: {error.strerror}.") from None

    def look(self, path: str) -> Contents:
        """Return what lies in a folder, hidden things aside, in the order of the names."""
        self.watch(path)
        folders: list[str] = []
        pictures: list[str] = []
        others: list[str] = []
        try:
            with os.scandir(path) as entries:
                for entry in entries:
                    if not _hidden(entry.name):
                        fits = is_picture(entry.name, self.arrays)
                        kind = folders if entry.is_dir() else pictures if fits else others
                        kind.append(entry.name)
        except OSError as error:
            raise VitrailError(f"{path} cannot be listed: {error.strerror}.") from None
        return Contents(folders=sorted(folders), pictures=sorted(pictures), others=sorted(others))

    def gather(self, folder: str) -> Iterator[tuple[str, ...]]:
        """Add every picture below a folder (named from the root, with slashes; empty: the root itself).

        Yields for each the names of the folders between ``folder`` and it. What is named like a picture and
        is none (a sub-folder, a dangling link, a pipe) is a row too, so that whoever decodes it will name
        it.
        """
        waiting: list[tuple[tuple[str, ...], tuple[tuple[int, int], ...]]] = [((), ())]
        while waiting:
            below, above = waiting.pop()
            parts = (folder, *below) if folder else below
            path = "/".join((self.root, *parts))
            place = _place(path)
            if place in above:
                raise VitrailError(f"{path} is a link to a folder above it. Remove the link.")
            contents = self.look(path)
            broken = [sub for sub in contents.folders if is_picture(sub)]
            for entry in sorted(broken + contents.pictures):
                self.add("/".join((*parts, entry)))
                yield below
            self.pass_over(contents.others)
            deeper = [(*below, sub) for sub in contents.folders if not is_picture(sub)]
            waiting.extend((sub, (*above, place)) for sub in reversed(deeper))

    def add(self, name: str) -> None:
        """Add one file (named from the root, or absolute), whatever it may turn out to be."""
        raw = os.fsencode(name)
        size, changed = extent(os.path.join(self.root, name))  # noqa: PTH118
        self._names += raw
        self._ends.append(len(self._names))
        self._sizes.append(size)
        self._stamps.append(stamp(raw, size, changed))

    def pass_over(self, names: list[str]) -> None:
        """Count files that are no pictures."""
        strange = (Path(name) for name in names if name not in self.known)
        self.passed.update(each.suffix.lower() or "without suffix" for each in strange)

    def columns(self) -> tuple[Texts, np.ndarray, np.ndarray]:
        """Return names, sizes (uint64) and stamps (uint64) of all files added."""
        blobs = Blobs(np.array(self._ends, np.int64), np.frombuffer(self._names, np.uint8))
        return Texts(blobs), np.array(self._sizes, np.uint64), np.array(self._stamps, np.uint64)

    def remark(self) -> tuple[str, ...]:
        """Return a note about the files passed over, if there were any."""
        if not self.passed:
            return ()
        kinds = [f"{suffix} {count}" for suffix, count in self.passed.most_common()]
        total = self.passed.total()
        files = "1 file that is no picture was" if total == 1 else f"{total} files that are no pictures were"
        return (f"{files} passed over ({few(kinds, 5)}).",)


def find_pictures(folder: str) -> list[str]:
    """Return the paths of all pictures at and below a folder, sorted: those that training would find there.

    What is hidden is passed over. What is named like a picture and is none (a dangling link, a pipe) is
    there too, so that whoever decodes it will name it. Raises VitrailError for a folder that cannot be
    listed, or a link to one above it.
    """
    listing = Listing(folder, only_arrays(folder))
    for _ in listing.gather(""):
        pass
    return sorted(Files(folder, listing.columns()[0]))


def _hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"


def _place(path: str) -> tuple[int, int]:
    try:
        status = os.stat(path)  # noqa: PTH116
    except OSError as error:
        raise VitrailError(f"{path} cannot be listed: {error.strerror}.") from None
    return status.st_dev, status.st_ino
