"""Which mask belongs to which picture: by the place below their folders, and the name without its ending."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from vitrail.data.names import few, split_named, storable
from vitrail.data.readers.listing import Listing, has_pictures, is_picture, only_arrays
from vitrail.data.samples import Files
from vitrail.data.stamps import digest
from vitrail.errors import UsageError, VitrailError

PICTURES = ("images", "image", "img", "imgs", "pictures", "jpegimages", "img_dir", "leftimg8bit")
MASKS = (
    *("masks", "mask", "labels", "label", "annotations", "ann_dir", "segmentationclass", "gt", "gtfine"),
)
"""What folders of pictures and of masks are called, in whatever case."""

OF_PICTURES = re.compile(r"(_leftImg8bit|_image|_img)$", re.IGNORECASE)
OF_MASKS = re.compile(r"(_gtFine_labelIds|_labelIds|_labels?|_masks|[_-]mask|_seg|_gt)$", re.IGNORECASE)
"""What the names of pictures and of masks may end in, beyond what they share."""


@dataclass(frozen=True, slots=True)
class Place:
    """A folder of pictures, its folder of masks (from the root, with slashes; empty: none), their split."""

    split: str | None
    pictures: str
    masks: str


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """Rows of two listings that belong together, ``n 2``; the split and the sub-folders of each pair.

    ``lonely_pictures`` and ``lonely_masks`` are the names of those without a partner.
    """

    pictures: Listing
    masks: Listing
    rows: np.ndarray
    splits: Sequence[str | None]
    below: Sequence[tuple[str, ...]]
    lonely_pictures: Sequence[str]
    lonely_masks: Sequence[str]

    def files(self) -> tuple[Files, Files]:
        """Return the paths of the pictures, and those of the masks."""
        sides = zip((self.pictures, self.masks), self.rows.T, strict=True)
        mine, theirs = (Files(side.root, side.columns()[0].take(rows)) for side, rows in sides)
        return mine, theirs

    def stamps(self) -> list[int]:
        """Return for each pair a hash that changes when one of its files does."""
        sides = zip((self.pictures, self.masks), self.rows.T, strict=True)
        columns = [side.columns()[2][rows].tolist() for side, rows in sides]
        return [digest(b"%d,%d" % both) for both in zip(*columns, strict=True)]

    def take(self, kept: np.ndarray) -> Pairs:
        """Return some of the pairs."""
        splits, below = ([column[row] for row in kept] for column in (self.splits, self.below))
        return replace(self, rows=self.rows[kept], splits=splits, below=below)

    def notes(self) -> Iterator[str]:
        """Say what was left out."""
        for names, kind, other in (
            (self.lonely_pictures, "picture", "mask"),
            (self.lonely_masks, "mask", "picture"),
        ):
            if names:
                what = f"1 {kind} has" if len(names) == 1 else f"{len(names)} {kind}s have"
                yield storable(f"{what} no {other}: left out ({few(names)}).")
        for listing in (self.pictures, self.masks):
            yield from map(storable, listing.remark())


def find_places(root: str) -> list[Place]:
    """Return the folders of pictures and masks of a data set, or an empty list when there are none.

    ``root/images`` beside ``root/masks``, with or without split folders inside; or both of them inside of
    split folders. Raises UsageError where one stands beside several of the other.
    """
    if both := _both(root, ""):
        return _inside(root, *both)
    splits = [(folder, split) for folder in _folders(root, "") if (split := split_named(folder))]
    found = [(folder, split, _both(root, f"{folder}/")) for folder, split in splits]
    if not any(both for _, _, both in found):
        return []
    return [Place(split, *(both or (folder, ""))) for folder, split, both in found]


def match(root: str, places: Sequence[Place]) -> Pairs:
    """Return the pictures and masks that belong together, ordered by split and name of the picture.

    Raises VitrailError for several masks of one picture or pictures of one mask, for two folders of one
    split, and when nothing belongs together.
    """
    named = [place.split for place in places]
    if twice := [place.pictures for place in places if named.count(place.split) > 1]:
        raise VitrailError(f"{root} has several folders for one split: {few(twice)}. Keep one.")
    arrays = all(only_arrays(f"{root}/{place.pictures}") for place in places)
    pictures, masks = Listing(root, arrays), Listing(root)
    rows: list[tuple[int, int]] = []
    splits: list[str | None] = []
    below: list[tuple[str, ...]] = []
    lonely: tuple[list[str], list[str]] = ([], [])
    for place in places:
        mine, between = _gather(pictures, place.pictures)
        theirs, _ = _gather(masks, place.masks) if place.masks else ({}, {})
        chosen = _match(root, place, mine, theirs)
        rows += [(mine[name], theirs[mask]) for name, mask in chosen.items()]
        splits += [place.split] * len(chosen)
        below += [between[name] for name in chosen]
        lonely[0].extend(name for name in mine if name not in chosen)
        used = set(chosen.values())
        lonely[1].extend(name for name in theirs if name not in used)
    if not rows:
        raise _nothing(root, *lonely)
    return Pairs(
        pictures=pictures,
        masks=masks,
        rows=np.array(rows, np.int64),
        splits=splits,
        below=below,
        lonely_pictures=lonely[0],
        lonely_masks=lonely[1],
    )


def number_splits(splits: Sequence[str | None]) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return the number of each row's split (int8), and the names that the numbers stand for."""
    named = [split or "all" for split in splits]
    names = tuple(name for name in ("all", "train", "val", "test") if name in named)
    return np.array([names.index(name) for name in named], np.int8), names


def number_groups(pairs: Pairs) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return the number of each row's group (int32), and the names: the first folders below."""
    groups: dict[str, int] = {}
    numbers = []
    for row, below in enumerate(pairs.below):
        if not below:
            raise VitrailError(
                f"{storable(pairs.files()[0][row])} lies outside of any sub-folder, so that "
                "--data.group folder cannot tell its group."
            )
        numbers.append(groups.setdefault(storable(below[0]), len(groups)))
    return np.array(numbers, np.int32), tuple(groups)


def _nothing(root: str, pictures: Sequence[str], masks: Sequence[str]) -> VitrailError:
    if not pictures or not masks:
        return VitrailError(f"{root} has {len(pictures)} pictures and {len(masks)} masks. Expected both.")
    return VitrailError(
        f"{root}: no mask is named like a picture. A picture is {storable(pictures[0])}, a mask "
        f"{storable(masks[0])}.\nGive both the same name, but for the suffix and an ending such as _mask."
    )


def _match(root: str, place: Place, pictures: Iterable[str], masks: Iterable[str]) -> dict[str, str]:
    """Return the mask of each picture that has one; raises VitrailError when that is ambiguous."""
    by_stem: dict[str, list[str]] = {}
    by_bare: dict[str, list[str]] = {}
    for name in pictures:
        stem = _stem(name, place.pictures)
        by_stem.setdefault(stem, []).append(name)
        by_bare.setdefault(OF_PICTURES.sub("", stem), []).append(name)
    chosen: dict[str, list[str]] = {}
    for name in masks:
        stem = _stem(name, place.masks)
        bare = OF_MASKS.sub("", stem)
        found = by_stem.get(stem) or by_bare.get(stem) or by_stem.get(bare) or by_bare.get(bare) or []
        if len(found) > 1:
            raise VitrailError(
                storable(f"{root}: the mask {name} could belong to {few(found)}. Rename all but one.")
            )
        if found:
            chosen.setdefault(found[0], []).append(name)
    for name, several in chosen.items():
        if len(several) > 1:
            raise VitrailError(
                storable(f"{root}: {name} has {len(several)} masks ({few(several, 5)}). Keep one of them.")
            )
    return {name: chosen[name][0] for name in pictures if name in chosen}


def _gather(listing: Listing, folder: str) -> tuple[dict[str, int], dict[str, tuple[str, ...]]]:
    """Add the pictures of a folder to a listing; return the row of each and the folders between."""
    start = len(listing)
    between = list(listing.gather(folder))
    names, _, _ = listing.columns()
    rows = {os.fsdecode(names.raw(row)): row for row in range(start, len(listing))}
    return rows, dict(zip(rows, between, strict=True))


def _stem(name: str, folder: str) -> str:
    return os.path.splitext(name[len(folder) + 1 :])[0]  # noqa: PTH122, a Path costs ten times as much


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
