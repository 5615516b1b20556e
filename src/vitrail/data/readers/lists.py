"""Splits in lists of names, as Pascal VOC has them: ``ImageSets/Segmentation/train.txt``, a name a line."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from vitrail.data.names import few, split_named
from vitrail.errors import VitrailError

FOLDERS = ("ImageSets/Segmentation", "ImageSets/Main", "ImageSets")
"""Where the lists lie, the likeliest place first."""


@dataclass(frozen=True, kw_only=True)
class Lists:
    """The split of each name: a path below some folder, without its suffix."""

    splits: Mapping[str, str]

    def of(self, stem: str) -> str | None:
        """Return the split of a picture (its path from the root, without suffix); None if no list has it."""
        while stem not in self.splits and "/" in stem:
            stem = stem.partition("/")[2]
        return self.splits.get(stem)


def read_lists(root: str) -> Lists | None:
    """Return the splits that a data set's lists name, or None where there are none.

    Lists that name no split (``default.txt``, ``trainval.txt``) are passed over. Raises VitrailError for a
    list that cannot be read, and a name that two splits have.
    """
    splits: dict[str, str] = {}
    for path in _files(root):
        split = split_named(path.stem)
        if split is None:
            continue
        try:
            lines = path.read_text("utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise VitrailError(f"{path} cannot be read as a list of names: {error}.") from None
        names = [line.split()[0] for line in lines if line.strip()]
        if twice := [name for name in names if splits.get(name, split) != split]:
            raise VitrailError(f"{path}: {few(twice)} is in the list of {splits[twice[0]]}, too. Keep one.")
        splits |= dict.fromkeys(names, split)
    return Lists(splits=splits) if splits else None


def _files(root: str) -> list[Path]:
    for folder in FOLDERS:
        place = Path(root, folder)
        if place.is_dir() and (found := sorted(place.glob("*.txt"), key=os.fspath)):
            return found
    return []
