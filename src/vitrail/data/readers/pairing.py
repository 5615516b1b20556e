"""Which mask belongs to which picture: by the place below their folders, and the name without its ending."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from vitrail.data.names import few, storable
from vitrail.data.readers.layout import BESIDE, Place, bare
from vitrail.data.readers.listing import Listing, only_arrays
from vitrail.data.readers.lists import read_lists
from vitrail.data.readers.named import FILES
from vitrail.data.samples import Files
from vitrail.data.stamps import digest
from vitrail.errors import VitrailError

OF_PICTURES = re.compile(r"(_leftImg8bit|_image|_img)$", re.IGNORECASE)
OF_MASKS = re.compile(
    r"((_gtFine|_gtCoarse)?_label(Train)?Ids|_labels?|_masks|[_-]mask|_seg|_gt)$", re.IGNORECASE
)
"""What the names of pictures and of masks may end in, beyond what they share."""
FIRST = re.compile(r"_labelTrainIds$", re.IGNORECASE)
"""The ending of the mask that counts where a picture has others, too."""
NO_MASKS = re.compile(r"(_gtFine|_gtCoarse)_(color|instanceIds|instanceTrainIds)$", re.IGNORECASE)
"""Pictures that lie among the masks and are none: they are passed over."""


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """Rows of two listings that belong together, ``n 2``; the split and the sub-folders of each pair.

    ``lonely_pictures`` and ``lonely_masks`` are the names of those without a partner; ``unlisted`` those of
    pairs that no list of a split has.
    """

    pictures: Listing
    masks: Listing
    rows: np.ndarray
    splits: Sequence[str | None]
    below: Sequence[tuple[str, ...]]
    lonely_pictures: Sequence[str]
    lonely_masks: Sequence[str]
    unlisted: Sequence[str] = ()

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
        if self.unlisted:
            count = len(self.unlisted)
            what = "1 picture with a mask is" if count == 1 else f"{count} pictures with masks are"
            yield storable(f"{what} in no list of ImageSets: left out ({few(self.unlisted)}).")
        remarks = self.pictures.remark(), self.masks.remark()
        yield from map(storable, dict.fromkeys(remark for each in remarks for remark in each))


def match(root: str, places: Sequence[Place]) -> Pairs:
    """Return the pictures and masks that belong together, ordered by split and name of the picture.

    Raises VitrailError for several masks of one picture or pictures of one mask, for two folders of one
    split, and when nothing belongs together.
    """
    named = [place.split for place in places]
    if twice := [place.pictures for place in places if named.count(place.split) > 1]:
        raise VitrailError(f"{root} has several folders for one split: {few(twice)}. Keep one.")
    arrays = all(only_arrays(f"{root}/{place.pictures}") for place in places)
    pictures, masks = Listing(root, arrays, FILES), Listing(root, known=FILES)
    rows: list[tuple[int, int]] = []
    splits: list[str | None] = []
    below: list[tuple[str, ...]] = []
    lonely: tuple[list[str], list[str]] = ([], [])
    unlisted: list[str] = []
    listed = read_lists(root) if len(places) == 1 and places[0].split is None else None
    for place in places:
        mine, between = _gather(pictures, place.pictures)
        theirs, _ = _gather(masks, place.masks) if place.masks else ({}, {})
        if place.pictures == place.masks:
            mine = {name: row for name, row in mine.items() if not BESIDE.search(bare(name))}
            theirs = {name: row for name, row in theirs.items() if BESIDE.search(bare(name))}
        theirs = {name: row for name, row in theirs.items() if not NO_MASKS.search(bare(name))}
        chosen = _match(root, place, mine, theirs)
        belonging = chosen
        if listed is not None:
            split_of = {name: listed.of(bare(name)) for name in chosen}
            unlisted += [name for name in chosen if split_of[name] is None]
            chosen = {name: mask for name, mask in chosen.items() if split_of[name]}
        rows += [(mine[name], theirs[mask]) for name, mask in chosen.items()]
        splits += [place.split if listed is None else listed.of(bare(name)) for name in chosen]
        below += [between[name] for name in chosen]
        lonely[0].extend(name for name in mine if name not in belonging)
        used = set(belonging.values())
        lonely[1].extend(name for name in theirs if name not in used)
    if unlisted and not rows:
        shown = few([storable(name) for name in unlisted])
        raise VitrailError(
            f"{root}: no list of ImageSets has a picture with a mask ({shown}). "
            "Correct the lists, or move them away."
        )
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
        unlisted=unlisted,
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
        stem = _stem(name, place)
        by_stem.setdefault(stem, []).append(name)
        by_bare.setdefault(OF_PICTURES.sub("", stem), []).append(name)
    chosen: dict[str, list[str]] = {}
    for name in masks:
        stem = _stem(name, place, masks=True)
        plain = OF_MASKS.sub("", stem)
        found = by_stem.get(stem) or by_bare.get(stem) or by_stem.get(plain) or by_bare.get(plain) or []
        if len(found) > 1:
            raise VitrailError(
                storable(f"{root}: the mask {name} could belong to {few(found)}. Rename all but one.")
            )
        if found:
            chosen.setdefault(found[0], []).append(name)
    for name, several in chosen.items():
        if len(several) > 1 and len(first := [each for each in several if FIRST.search(bare(each))]) == 1:
            several[:] = first
        if len(several) > 1:
            raise VitrailError(
                storable(f"{root}: {name} has {len(several)} masks ({few(several, 5)}). Keep one of them.")
            )
    return {name: chosen[name][0] for name in pictures if name in chosen}


def _gather(listing: Listing, folder: str) -> tuple[dict[str, int], dict[str, tuple[str, ...]]]:
    """Add the pictures of a folder to a listing; return the row of each and the folders between."""
    start = len(listing)
    between = list(listing.gather("" if folder == "." else folder))
    names, _, _ = listing.columns()
    rows = {os.fsdecode(names.raw(row)): row for row in range(start, len(listing))}
    return rows, dict(zip(rows, between, strict=True))


def _stem(name: str, place: Place, *, masks: bool = False) -> str:
    """Return a name below the folder of its side, without its suffix."""
    folder = place.masks if masks else place.pictures
    return bare(name if folder == "." else name[len(folder) + 1 :])
