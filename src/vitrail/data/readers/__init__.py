"""One file a format; `READERS` lists them, and `open_data` picks one by looking."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from vitrail.data.names import few
from vitrail.data.readers.brushes import has_brushes, read_brushes
from vitrail.data.readers.coco_files import find_coco
from vitrail.data.readers.coco_masks import read_coco
from vitrail.data.readers.columns import SUFFIXES
from vitrail.data.readers.digits import read_digits
from vitrail.data.readers.folder import read_folder
from vitrail.data.readers.geojson import has_geojson, read_geojson
from vitrail.data.readers.hub import PREFIX, read_hub
from vitrail.data.readers.idx import NAME, find_pairs, read_idx
from vitrail.data.readers.layout import find_places
from vitrail.data.readers.listing import has_pictures
from vitrail.data.readers.masks import read_masks
from vitrail.data.readers.options import AS_FOUND, ReaderOptions
from vitrail.data.readers.table import read_table
from vitrail.data.readers.tables import find_metadata, find_parquet
from vitrail.data.samples import Table
from vitrail.errors import UsageError, nearest

__all__ = ["READERS", "ReaderOptions", "open_data"]

READERS: Mapping[str, Callable[[str, ReaderOptions], Table]] = {
    "folder": read_folder,
    "table": read_table,
    "idx": read_idx,
    "masks": read_masks,
    "brushes": read_brushes,
    "coco": read_coco,
    "geojson": read_geojson,
    "digits": read_digits,
    "hub": read_hub,
}
"""Every format by name: from a place and options to a `vitrail.data.samples.Table`."""

UNDERSTOOD = (
    "a folder with a folder of pictures for each class, a table (csv, jsonl, parquet), a folder of pictures "
    "beside a folder of masks, COCO or GeoJSON annotations, MNIST-like idx files, digits, or hf://owner/name"
)


def open_data(where: str | os.PathLike[str], options: ReaderOptions = AS_FOUND) -> Table:
    """Return the data set at a path, on the Hub, or named ``digits``; a path that exists wins over a name.

    Raises UsageError when there is nothing, or nothing that is understood; VitrailError when it is broken.
    """
    place = os.fspath(where)
    return READERS[_format(place)](place, options)


def _format(where: str) -> str:
    """Return the name of the reader for a place."""
    path = Path(where)
    if where.startswith(PREFIX):
        return "hub"
    if path.is_dir():
        return _format_of_folder(where)
    if path.is_file():
        if path.suffix.lower() in SUFFIXES:
            return "table"
        if path.suffix.lower() == ".json":
            return "coco"
        if NAME.fullmatch(path.name):
            return "idx"
        raise UsageError(f"{where} is a file that is not understood as data. Give {UNDERSTOOD}.")
    if where == "digits":
        return "digits"
    raise UsageError(f"There is no data at {where}.{nearest(where, ['digits'])} Give {UNDERSTOOD}.")


def _format_of_folder(where: str) -> str:
    if find_metadata(where):
        return "table"
    if find_pairs(where):
        return "idx"
    if has_brushes(where):
        return "brushes"
    if find_places(where):
        return "masks"
    if find_coco(where):
        return "coco"
    if has_geojson(where):
        return "geojson"
    if not has_pictures(where):
        if find_parquet(where):
            return "table"
        names = sorted(entry.name for entry in Path(where).iterdir() if not entry.name.startswith("."))
        if any(not Path(where, name).is_dir() for name in names):
            raise UsageError(
                f"{where} holds {few(names)}, and nothing that is understood as data. Give {UNDERSTOOD}."
            )
    return "folder"
