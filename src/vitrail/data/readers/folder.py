"""The folder format: one folder a class, with or without split folders above.

``root/cat/1.jpg``, or ``root/train/cat/1.jpg`` with the split folders that `vitrail.data.names.SPLITS` knows.
Folders below a class belong to that class.
"""

from __future__ import annotations

import os
from array import array

import numpy as np

from vitrail.data.index import Watched, indexed
from vitrail.data.names import check_alike, check_classes, few, split_named, storable
from vitrail.data.readers.listing import Contents, Listing, has_pictures, only_arrays
from vitrail.data.readers.options import ReaderOptions
from vitrail.data.samples import Files, Table
from vitrail.errors import UsageError, VitrailError


def read_folder(where: str, options: ReaderOptions) -> Table:
    """Return the pictures below ``where``, each labelled with the name of its class folder.

    Hidden files and files that are no pictures are passed over (a note counts the latter). Raises
    VitrailError for a folder without pictures, a single class, names that clash, or splits with different
    classes.
    """
    if options.group not in (None, "folder"):
        raise UsageError(
            f"{where} is a folder of class folders and has no column {options.group!r}. "
            "Its only grouping is --data.group folder: by the folders below the classes."
        )
    root = os.path.realpath(where)
    return indexed(root, ("folder", options.group), lambda: _list(root, options.group), rescan=options.rescan)


def _list(root: str, grouping: str | None) -> tuple[Table, Watched]:
    listing = Listing(root, only_arrays(root))
    notes: list[str] = []
    splits = _splits(listing, root, notes)
    classes = _classes(root, splits)
    split, label, group = array("b"), array("i"), array("i")
    groups: dict[str, int] = {}
    empty: list[str] = []
    for code, (folder, contents) in enumerate(splits.values()):
        folders = {storable(name): name for name in contents.folders}
        for index, name in enumerate(classes):
            before = len(listing)
            class_folder = "/".join(part for part in (folder, folders[name]) if part)
            for below in listing.gather(class_folder):
                split.append(code)
                label.append(index)
                if grouping:
                    group.append(_group(groups, below, listing, class_folder))
            if len(listing) == before:
                empty.append(class_folder)
    if not len(listing):
        raise VitrailError(f"{root}: the class folders ({few(classes)}) hold no pictures.")
    if empty:
        notes.append(f"Class folders without a picture: {few(empty, 10)}.")
    keys, sizes, stamps = listing.columns()
    table = Table(
        home=root,
        classes=classes,
        keys=keys,
        pictures=Files(root, keys),
        contents=sizes,
        stamps=stamps,
        targets={"label": np.array(label, np.int32)},
        split=np.array(split, np.int8),
        splits_named=tuple(splits),
        group=np.array(group, np.int32) if grouping else None,
        group_names=tuple(groups),
        notes=tuple(map(storable, (*notes, *listing.remark()))),
    )
    return table, listing.watched


Places = dict[str, tuple[str, Contents]]
"""The folder of each split (an empty name for the root itself) and what lies in it."""


def _splits(listing: Listing, root: str, notes: list[str]) -> Places:
    """Return the split folders, or the root under ``all`` when its folders are the classes."""
    top = listing.look(root)
    if not top.folders and not top.pictures:
        found = f"only {few(top.others)}" if top.others else "nothing"
        raise VitrailError(f"{root} holds {found}. Expected a folder of pictures for each class.")
    named = {folder: split for folder in top.folders if (split := split_named(folder))}
    others = [folder for folder in top.folders if folder not in named]
    rest = [folder for folder in others if has_pictures(f"{root}/{folder}", listing.arrays)]
    if not named or (rest and len(named) == 1):  # a class may well be called "train"
        _passed_over(listing, root, "", top, notes)
        return {"all": ("", top)}
    if rest:
        raise VitrailError(
            f"{root} has split folders ({few(named)}) beside folders that are none ({few(rest)}). "
            "Move the pictures of the latter into the splits, or away."
        )
    places: Places = {}
    for folder, split in named.items():
        if split in places:
            raise VitrailError(
                f"{root} has two folders for {split}: {places[split][0]} and {folder}. Keep one."
            )
        contents = listing.look(f"{root}/{folder}")
        if not contents.folders and contents.pictures:
            notes.append(f"{folder} has {len(contents.pictures)} pictures without labels: left out.")
            continue
        _passed_over(listing, f"{root}/{folder}", f"{folder}/", contents, notes)
        places[split] = (folder, contents)
    if not places:
        raise VitrailError(
            f"{root}: {few(named)} hold pictures but no class folders. Put each class in a folder of its "
            "own, or list the labels in a table (metadata.csv with the columns file_name and label)."
        )
    return {split: places[split] for split in ("train", "val", "test") if split in places}


def _passed_over(listing: Listing, path: str, prefix: str, contents: Contents, notes: list[str]) -> None:
    """Note what lies beside the class folders; pictures there have no class."""
    if contents.pictures and not contents.folders:
        tables = [name for name in contents.others if name.endswith((".csv", ".tsv", ".jsonl", ".parquet"))]
        cure = (
            f"give the path of {tables[0]} instead"
            if tables
            else "or list the labels in a table (metadata.csv)"
        )
        raise VitrailError(
            f"{path} has {len(contents.pictures)} pictures but no class folders. "
            f"Put each class in a folder of its own, {'or ' if tables else ''}{cure}."
        )
    if contents.pictures:
        shown = few([prefix + name for name in contents.pictures])
        notes.append(
            f"{len(contents.pictures)} pictures beside the class folders have no class: left out ({shown})."
        )
    listing.pass_over(contents.others)


def _classes(root: str, splits: Places) -> tuple[str, ...]:
    """Return the sorted names of the classes, the same in every split."""
    names: dict[str, list[str]] = {}
    for split, (_, contents) in splits.items():
        if not contents.folders:
            raise VitrailError(f"{root}: the folder of {split} is empty.")
        folders: dict[str, str] = {}
        for folder in contents.folders:
            if (twin := folders.setdefault(storable(folder), folder)) != folder:
                raise VitrailError(
                    f"{root}: the class folders {os.fsencode(twin)!r} and {os.fsencode(folder)!r} would both "
                    f"be called {storable(folder)}, because one is not UTF-8. Rename that one."
                )
        names[split] = sorted(folders)
    check_classes(sorted({name for folders in names.values() for name in folders}), root)
    check_alike(names, root)
    return tuple(next(iter(names.values())))


def _group(groups: dict[str, int], below: tuple[str, ...], listing: Listing, class_folder: str) -> int:
    if not below:
        raise VitrailError(
            f"{listing.root}/{class_folder} holds pictures outside of any sub-folder, so that "
            "--data.group folder cannot tell their group."
        )
    return groups.setdefault(storable(below[0]), len(groups))
