"""The table format: csv, jsonl or parquet with a picture and its labels a row.

Paths are relative to the table's folder; backslashes count as slashes. A folder with ``metadata.csv`` (or
.jsonl, .parquet) in it or in its split folders is a table too, and so is a folder of parquet files with
pictures inside.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from vitrail.data.index import Watched, indexed
from vitrail.data.names import check_classes, few, split_named
from vitrail.data.readers.columns import read_columns
from vitrail.data.readers.embedded import read_embedded
from vitrail.data.readers.labels import absent, class_name, column_each, one_each, several_each
from vitrail.data.readers.listing import Listing
from vitrail.data.readers.options import ReaderOptions
from vitrail.data.readers.stack import Stack
from vitrail.data.readers.tables import TableFile, find_metadata, find_parquet
from vitrail.data.samples import Files, Table, Texts
from vitrail.errors import UsageError, VitrailError

FILE = ("file_name", "image", "path", "img", "filename", "file")
"""Columns that may hold the picture, the first one found."""


def read_table(where: str, options: ReaderOptions) -> Table:
    """Return the rows of a table, or of the tables of a folder.

    Raises VitrailError, with lines, for broken rows, missing files (how many, and the first three), rows
    without a label and pictures listed twice; UsageError for columns that are not there.
    """
    path = os.path.realpath(where)
    if Path(path).is_dir():
        root, files = path, find_metadata(path) or find_parquet(path)
        if not files:
            raise UsageError(f"{where} holds no table (metadata.csv, metadata.jsonl or parquet files).")
    else:
        root, files = os.path.dirname(path), [TableFile(os.path.basename(path))]  # noqa: PTH119, PTH120
    return read_tables(path, root, files, options)


def read_tables(
    home: str, root: str, files: Sequence[TableFile], options: ReaderOptions, *, confined: bool = False
) -> Table:
    """Return the rows of tables with the same columns; ``confined`` refuses paths that leave ``root``."""
    asked = (options.file, options.label, options.labels, options.split, options.group)
    read = partial(_read, home, root, files, options, confined)
    return indexed(home, ("table", asked, files, confined), read, rescan=options.rescan)


def _read(
    home: str, root: str, files: Sequence[TableFile], options: ReaderOptions, confined: bool
) -> tuple[Table, Watched]:
    listing = Listing(root)
    wanted = {*FILE, "label", "labels", "split", "group", *options.labels}
    wanted |= {name for name in (options.file, options.label, options.split, options.group) if name}
    tables = []
    for file in files:
        path = os.path.join(root, file.name)  # noqa: PTH118
        listing.watch(path)
        tables.append(read_columns(path, wanted))
    stack = Stack(tables, files)
    file_column = stack.chosen(options.file, FILE, "the pictures", "file")
    targets, classes, notes = _targets(stack, options)
    check_classes(classes, home)
    split, splits_named = _splits(stack, options)
    split, splits_named, left_out = _labelled(stack, targets, split, splits_named)
    group, group_names = _groups(stack, options)
    pictures, keys, contents, stamps = _pictures(stack, file_column, listing, splits_named, split, confined)
    table = Table(
        home=home,
        classes=classes,
        keys=keys,
        pictures=pictures,
        contents=contents,
        stamps=stamps,
        targets=targets,
        split=split,
        splits_named=splits_named,
        group=group,
        group_names=group_names,
        notes=(*notes, *left_out),
    )
    return table, listing.watched


Targets = dict[str, np.ndarray]


def _targets(stack: Stack, options: ReaderOptions) -> tuple[Targets, tuple[str, ...], list[str]]:
    """Return the targets, the classes and notes."""
    if len(options.labels) > 1:
        columns = {name: stack.column(stack.chosen(name, (), "a class", "labels")) for name in options.labels}
        hot, classes = column_each(columns, stack.at)
        return {"labels": hot}, classes, []
    name = options.label or next(iter(options.labels), "") or _usual(stack)
    name = stack.chosen(name, (), "the labels", "label")
    cells, named = stack.column(name), stack.named(name)
    single = all(isinstance(cell, int) for cell in cells)  # such a column is often called labels, too
    if options.labels or (name == "labels" and not options.label and not single):
        hot, classes = several_each(cells, named, stack.at)
        return {"labels": hot}, classes, []
    label, classes = one_each(cells, named, stack.at)
    bars = few([name for name in classes if "|" in name])
    cure = f"Classes with | in their names: {bars}. If that separates classes, say --data.labels {name}."
    return {"label": label}, classes, [cure] if bars else []


def _usual(stack: Stack) -> str:
    label, labels = (stack.has(name) for name in ("label", "labels"))
    if label and labels:
        raise UsageError(
            f"{stack.tables[0].path} has both label and labels. "
            "Choose: --data.label label, or --data.labels labels."
        )
    return "labels" if labels else "label"


def _splits(stack: Stack, options: ReaderOptions) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return an index into the splits (int8) for each row: by the column, else by the files' names."""
    name = options.split or "split"
    if options.split:
        stack.chosen(options.split, (), "the splits", "split")
    in_column = any(name in table.found for table in stack.tables)
    cells = stack.column(name)
    by_file = chain.from_iterable(
        [file.split] * len(t) for file, t in zip(stack.files, stack.tables, strict=True)
    )
    splits = [
        (file or (None if in_column else "all")) if absent(cell) else split_named(str(cell))
        for cell, file in zip(cells, by_file, strict=True)
    ]
    if unknown := [row for row, split in enumerate(splits) if split is None]:
        raise VitrailError(
            f"{stack.at(unknown)}: the column {name!r} holds {cells[unknown[0]]!r} "
            "where train, val or test is expected."
        )
    named = tuple(split for split in ("train", "val", "test", "all") if split in set(splits))
    place: dict[str | None, int] = {split: code for code, split in enumerate(named)}
    return np.array([place[split] for split in splits], np.int8), named


def _labelled(
    stack: Stack, targets: Targets, split: np.ndarray, named: tuple[str, ...]
) -> tuple[np.ndarray, tuple[str, ...], list[str]]:
    """Leave out (-1) whole splits without labels, as competitions have them; single rows are an error."""
    label = targets.get("label")
    if label is None or (label >= 0).all():
        return split, named, []
    kept = [code for code in range(len(named)) if (label[split == code] >= 0).any()] or list(
        range(len(named))
    )
    place = np.full(len(named), -1, np.int8)
    place[kept] = range(len(kept))
    counts = np.bincount(split, minlength=len(named)).tolist()
    left_out = [
        (name, n) for code, (name, n) in enumerate(zip(named, counts, strict=True)) if code not in kept
    ]
    split = place[split]
    if missing := np.flatnonzero((label < 0) & (split >= 0)).tolist():
        cure = "Label them or take them out."
        raise VitrailError(f"{stack.at(missing)}: no label ({len(missing)} rows). {cure}")
    notes = [f"{name} has {n} pictures without labels: left out." for name, n in left_out]
    return split, tuple(named[code] for code in kept), notes


def _groups(stack: Stack, options: ReaderOptions) -> tuple[np.ndarray | None, tuple[str, ...]]:
    """Return an index into the groups' names (int32) for each row, if there is a column for that."""
    name = options.group or "group"
    if options.group:
        stack.chosen(options.group, (), "the groups", "group")
    elif not stack.has(name):
        return None, ()
    cells = stack.column(name)
    if missing := [row for row, cell in enumerate(cells) if absent(cell)]:
        raise VitrailError(f"{stack.at(missing)}: no group ({len(missing)} rows) in the column {name!r}.")
    names = [class_name(cell) for cell in cells]
    place = {group: code for code, group in enumerate(sorted(set(names)))}
    return np.array([place[name] for name in names], np.int32), tuple(place)


Found = tuple[Sequence[Any], Texts, np.ndarray, np.ndarray]
"""Pictures, keys, contents and stamps."""


def _pictures(
    stack: Stack, file: str, listing: Listing, named: Sequence[str], split: np.ndarray, confined: bool
) -> Found:
    names = stack.column(file)
    embedded = [file in table.embedded for table in stack.tables]
    if any(embedded):
        if not all(embedded):
            path = stack.tables[embedded.index(False)].path
            raise VitrailError(f"{path}: the column {file!r} holds no pictures, unlike that of other files.")
        blobs, contents = read_embedded([table.path for table in stack.tables], file)
        if any(absent(name) for name in names) or len(set(names)) < len(names):
            width = len(str(len(names)))
            names = [
                f"{named[code] if code >= 0 else 'none'}/{row:0{width}}"
                for row, code in enumerate(split.tolist())
            ]
        return blobs, Texts.of(map(str, names)), contents, contents
    if missing := [row for row, name in enumerate(names) if absent(name)]:
        raise VitrailError(f"{stack.at(missing)}: no file in the column {file!r} ({len(missing)} rows).")
    prefixes = chain.from_iterable(
        [posixpath.dirname(f.name)] * len(t) for f, t in zip(stack.files, stack.tables, strict=True)
    )
    names = [_name(str(name), prefix, listing.root) for name, prefix in zip(names, prefixes, strict=True)]
    _check_names(stack, names, confined)
    for name in names:
        listing.add(name)
    keys, sizes, stamps = listing.columns()
    files = Files(listing.root, keys)
    if missing := [row for row in np.flatnonzero(sizes == 0).tolist() if not os.path.lexists(files[row])]:
        shown = few([names[row] for row in missing])
        raise VitrailError(
            f"{stack.at(missing)}: {len(missing)} of {len(names)} files are missing: {shown}.\n"
            f"Paths are relative to the folder of the table ({listing.root})."
        )
    for folder in {posixpath.dirname(name) for name in names}:
        listing.watch(os.path.join(listing.root, folder))  # noqa: PTH118
    return files, keys, sizes, stamps


def _name(cell: str, prefix: str, root: str) -> str:
    """Return a path below the root (slashes), or an absolute one outside of it."""
    path = posixpath.normpath(posixpath.join(prefix, cell.replace("\\", "/"))).removeprefix(f"{root}/")
    return cell if path == cell else path  # a million names need not be held twice


def _check_names(stack: Stack, names: Sequence[str], confined: bool) -> None:
    if len(set(names)) < len(names):
        first: dict[str, int] = {}
        twice = [(first[name], row) for row, name in enumerate(names) if first.setdefault(name, row) != row]
        raise VitrailError(
            f"{stack.at(twice[0])}: {names[twice[0][0]]} is listed twice ({len(twice)} such rows). "
            "Keep one row a picture; several labels go into one cell of the column labels, separated by |."
        )
    outside = [row for row, name in enumerate(names) if name.startswith(("/", "../"))] if confined else []
    if outside:
        raise VitrailError(f"{stack.at(outside)}: {names[outside[0]]} leads out of the data set's folder.")
