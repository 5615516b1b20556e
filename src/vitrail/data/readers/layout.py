"""Which folders of a data set hold pictures and which masks: by what they are called, and what lies there."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

from vitrail.data.names import few, split_named
from vitrail.data.readers.listing import has_pictures, is_picture
from vitrail.errors import UsageError, VitrailError

PICTURES = ("images", "image", "img", "imgs", "pictures", "jpegimages", "img_dir", "leftimg8bit")
MASKS = (
    *("masks", "mask", "labels", "label", "annotations", "ann_dir", "segmentationclass", "gt", "gtfine"),
)
"""What folders of pictures and of masks are called, in whatever case."""

PARTNERS = {"segmentationclass": "JPEGImages", "gtfine": "leftImg8bit"}
"""Folders that can hold nothing but masks, and what their pictures' folder is called."""
BESIDE = re.compile(r"[_-]mask$", re.IGNORECASE)
"""The ending by which masks are told where they lie beside their pictures, in one folder."""


@dataclass(frozen=True, slots=True)
class Place:
    """A folder of pictures, its folder of masks (from the root, with slashes; empty: none), their split.

    Where both are one folder, masks are told by their ending.
    """

    split: str | None
    pictures: str
    masks: str


def find_places(root: str) -> list[Place]:
    """Return the folders of pictures and masks of a data set, or an empty list when there are none.

    ``root/images`` beside ``root/masks``, with or without split folders inside; or both of them inside of
    split folders; or pictures and masks named ``NAME_mask`` in one folder, or in each split folder. Raises
    UsageError where one stands beside several of the other.
    """
    if both := _both(root, ""):
        return _inside(root, *both)
    if _one(root, ""):
        return [Place(None, ".", ".")]
    splits = [(folder, split) for folder in _folders(root, "") if (split := split_named(folder))]
    for folder in _folders(root, ""):
        if (partner := PARTNERS.get(folder.lower())) and has_pictures(f"{root}/{folder}"):
            raise UsageError(
                f"{root} has masks ({folder}) and no folder of pictures. Put them into {partner} beside it."
            )
    if ones := [(folder, split) for folder, split in splits if _one(root, folder)]:
        return [Place(split, folder, folder) for folder, split in ones]
    found = [(folder, split, _both(root, f"{folder}/")) for folder, split in splits]
    if not any(both for _, _, both in found):
        return []
    return [Place(split, *(both or (folder, ""))) for folder, split, both in found]


def bare(name: str) -> str:
    """Return a name without its suffix."""
    return os.path.splitext(name)[0]  # noqa: PTH122, a Path costs ten times as much


def _inside(root: str, pictures: str, masks: str) -> list[Place]:
    """Return a place for each split folder of the two, or one for all."""
    splits = [{split_named(name): name for name in _folders(root, f"{side}/")} for side in (pictures, masks)]
    mine, theirs = splits
    if not mine or None in mine or _direct(root, pictures):
        return [Place(None, _only(root, pictures), _only(root, masks))]
    for side, found in ((pictures, mine), (masks, theirs)):
        if len(found) < len(_folders(root, f"{side}/")) and None not in found:
            names = _folders(root, f"{side}/")
            raise VitrailError(f"{root}/{side} has two folders for one split: {few(names, 5)}. Keep one.")
    places = []
    for split, name in mine.items():
        theirs_too = theirs.get(split)
        places.append(Place(split, f"{pictures}/{name}", f"{masks}/{theirs_too}" if theirs_too else ""))
    return places


def _both(root: str, prefix: str) -> tuple[str, str] | None:
    """Return the folder of pictures and that of masks below a prefix, or None when there are not both."""
    sides = []
    for words in (PICTURES, MASKS):
        names = [name for name in _folders(root, prefix) if name.lower() in words]
        sides.append([name for name in names if has_pictures(f"{root}/{prefix}{name}", words is PICTURES)])
    if not all(sides):
        return None
    for names in sides:
        if len(names) > 1:
            raise UsageError(
                f"{root}/{prefix} has {few(names)}, of which one is wanted. Move the others away."
            )
    return f"{prefix}{sides[0][0]}", f"{prefix}{sides[1][0]}"


def _one(root: str, folder: str) -> bool:
    """Return whether most pictures right in a folder have a mask beside them that is named after them."""
    try:
        with os.scandir(f"{root}/{folder}") as entries:
            masks = {stem for entry in entries if BESIDE.search(stem := bare(entry.name))}
        if not masks:  # as in nearly all folders, some of which have millions of pictures
            return False
        with os.scandir(f"{root}/{folder}") as entries:
            names = {bare(entry.name) for entry in entries if is_picture(entry.name, arrays=True)}
    except OSError as error:
        raise VitrailError(f"{root}/{folder} cannot be listed: {error.strerror}.") from None
    masks &= names
    found = sum(BESIDE.sub("", name) in names for name in masks)
    return bool(masks) and 2 * found >= len(names - masks)


def _only(root: str, folder: str) -> str:
    """Return the folder, or the only one inside of it that has pictures (``annotations/trimaps``)."""
    while not _direct(root, folder):
        below = _folders(root, f"{folder}/")
        inner = [name for name in below if has_pictures(f"{root}/{folder}/{name}", arrays=True)]
        if len(inner) != 1:
            break
        folder = f"{folder}/{inner[0]}"
    return folder


def _direct(root: str, folder: str) -> bool:
    with os.scandir(f"{root}/{folder}") as entries:
        names = [entry.name for entry in entries if not entry.name.startswith(".")]
    return any(is_picture(name, arrays=True) for name in names)


def _folders(root: str, prefix: str) -> list[str]:
    try:
        with os.scandir(f"{root}/{prefix}") as entries:
            return sorted(
                entry.name for entry in entries if entry.is_dir() and not entry.name.startswith(".")
            )
    except OSError as error:
        raise VitrailError(f"{root}/{prefix} cannot be listed: {error.strerror}.") from None
