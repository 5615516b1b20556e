"""GeoJSON beside each picture, as QuPath exports it: outlines with holes, by class, drawn when asked for.

``slide.png`` with ``slide.geojson`` (or ``slide.png.geojson``, or ``slide.json``), in the root, in split
folders, or in folders below.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from vitrail.data.names import few, split_named, storable
from vitrail.data.readers.drawn import OBJECT, Row, name_classes, tabulate
from vitrail.data.readers.listing import Listing, is_picture
from vitrail.data.readers.options import ReaderOptions
from vitrail.data.readers.shapes import Ring, Shape, fill, unite
from vitrail.data.samples import Table
from vitrail.data.stamps import digest
from vitrail.errors import UsageError, VitrailError
from vitrail.values import IGNORED, Size

LOOKS = 8
"""Folders with pictures in which annotations are looked for, to tell the format."""
IGNORE = ("ignore", "ignore*")
"""QuPath's class for what is not to be asked about."""
FLAT = ("Point", "MultiPoint", "LineString", "MultiLineString")
"""Geometries that have no inside."""


def has_geojson(where: str) -> bool:
    """Return whether pictures below a folder have GeoJSON beside them; looks into the first few folders."""
    walk = ((folder, names) for folder, _, names in os.walk(where) if any(is_picture(name) for name in names))
    for folder, names in islice(walk, LOOKS):
        stems = {os.path.splitext(name)[0] for name in names if is_picture(name)}  # noqa: PTH122
        stems |= {name for name in names if is_picture(name)}
        for name in names:
            stem, suffix = os.path.splitext(name)  # noqa: PTH122
            if stem in stems and (
                suffix == ".geojson" or (suffix == ".json" and _is_feature(f"{folder}/{name}"))
            ):
                return True
    return False


def _is_feature(path: str) -> bool:
    try:
        with open(path, "rb") as file:  # noqa: PTH123
            return b'"Feature' in file.read(4096)
    except OSError:
        return False


def read_geojson(where: str, options: ReaderOptions) -> Table:
    """Return the pictures below ``where`` that have GeoJSON beside them, with masks of its classes.

    An object without a class is an "object", and pixels of no object are the class "background"; with
    ``overlap`` there is none, and each class has a plane of its own. QuPath's class "Ignore*" is ignored.
    Points and lines are passed over with a note, and so are pictures without GeoJSON. Raises VitrailError for
    files that are no GeoJSON.
    """
    if options.group not in (None, "folder"):
        raise UsageError(
            f"{where} has no column {options.group!r}. Its only grouping is --data.group folder: by folders."
        )
    root = os.path.realpath(where)
    pictures = _find(root)
    read: list[tuple[_Picture, bytes, list[_Area]]] = []
    lonely: list[str] = []
    flat = 0
    for picture in pictures:
        if picture.beside is None:
            lonely.append(picture.name)
            continue
        content = _content(picture.beside)
        areas = _areas(content, picture.beside)
        flat += sum(not area.polygons for area in areas)
        read.append((picture, content, [area for area in areas if area.polygons]))
    if not read:
        raise VitrailError(
            f"{root}: no picture has GeoJSON beside it, such as {Path(lonely[0]).stem}.geojson."
            if lonely
            else f"{root} has no pictures."
        )
    names = sorted({area.name for _, _, areas in read for area in areas if area.name.lower() not in IGNORE})
    classes = name_classes(names, options, root)
    index = {name: number for number, name in enumerate(classes)}
    notes = []
    if lonely:
        notes.append(f"Pictures without GeoJSON beside them: {len(lonely)} left out ({few(lonely)}).")
    if flat:
        notes.append(f"{flat} points, lines and objects without a place were passed over.")
    about = f"{classes}{options.overlap}".encode()
    rows = [
        Row(
            name=picture.name,
            split=picture.split,
            present=sorted({index[area.name] for area in areas if area.name in index}),
            content=digest(content, about),
            drawing=os.fsencode(picture.beside or ""),
            group=_group(picture, root) if options.group else None,
        )
        for picture, content, areas in read
    ]
    draw = _Draw(index, {row.name: digest(content) for row, (_, content, _) in zip(rows, read, strict=True)})
    return tabulate(root, classes, rows, draw, options, notes)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Picture:
    name: str
    split: str | None
    below: tuple[str, ...]
    beside: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Area:
    """The name of an object's class, and its polygons, each an outline and its holes."""

    name: str
    polygons: list[list[Ring]] = field(default_factory=list)


@dataclass(frozen=True)
class _Draw:
    """Reads the file of a row again, when its mask is asked for."""

    index: dict[str, int]
    contents: dict[str, int]

    def __call__(self, row: Row, size: Size) -> Sequence[Shape]:
        path = os.fsdecode(row.drawing)
        content = _content(path)
        if digest(content) != self.contents[row.name]:
            raise VitrailError(f"{storable(path)} has changed since the data were opened. Start again.")
        return [
            Shape(
                index=self.index.get(area.name, IGNORED),
                cover=unite([fill(rings, size) for rings in area.polygons]),
            )
            for area in _areas(content, path)
            if area.polygons
        ]


def _find(root: str) -> list[_Picture]:
    """Return every picture below the root, its split, and what lies beside it."""
    listing = Listing(root)
    top = listing.look(root)
    splits = {folder: split for folder in top.folders if (split := split_named(folder))}
    if splits and (top.pictures or len(splits) < len(top.folders)):
        splits = {}
    if len(set(splits.values())) < len(splits):
        raise VitrailError(f"{root} has several folders for one split: {few(splits, 5)}. Keep one.")
    found = []
    for folder, split in splits.items() or [("", None)]:
        start = len(listing)
        between = list(listing.gather(folder))
        names = listing.columns()[0]
        for row, below in enumerate(between, start):
            name = os.fsdecode(names.raw(row))
            found.append(_Picture(name=name, split=split, below=below, beside=_beside(f"{root}/{name}")))
    besides = [picture.beside for picture in found if picture.beside]
    if len(set(besides)) < len(besides):
        twice = next(each for each in besides if besides.count(each) > 1)
        raise VitrailError(f"{storable(twice)} could belong to several pictures. Rename all but one.")
    return found


def _beside(path: str) -> str | None:
    stem = os.path.splitext(path)[0]  # noqa: PTH122
    places = [f"{stem}.geojson", f"{path}.geojson", f"{stem}.json"]
    found = [place for place in places if os.path.isfile(place)]  # noqa: PTH113
    if len(found) > 1:
        names = [storable(os.path.basename(each)) for each in found]  # noqa: PTH119
        raise VitrailError(f"{storable(path)} has {few(names)} beside it. Keep one.")
    return found[0] if found else None


def _group(picture: _Picture, root: str) -> str:
    if not picture.below:
        raise VitrailError(
            f"{root}/{storable(picture.name)} lies outside of any sub-folder, so that "
            "--data.group folder cannot tell its group."
        )
    return storable(picture.below[0])


def _content(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise VitrailError(f"{storable(path)} cannot be read: {error.strerror}.") from None


def _areas(content: bytes, path: str) -> list[_Area]:
    """Return the objects of a file; raises VitrailError with the number of the one that is wrong."""
    where = storable(path)
    try:
        whole = msgspec.json.decode(content)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise VitrailError(f"{where} is not JSON: {error}.") from None
    features = whole.get("features", [whole]) if isinstance(whole, dict) else whole
    if not isinstance(features, list):
        raise VitrailError(f"{where} is no GeoJSON: expected a FeatureCollection.")
    areas = []
    for number, feature in enumerate(features, 1):
        if not isinstance(feature, dict) or feature.get("type") != "Feature":
            raise VitrailError(f"{where} is no GeoJSON: object {number} is no Feature.")
        try:
            polygons = list(_polygons(feature.get("geometry")))
            areas.append(_Area(name=_class(feature.get("properties")), polygons=polygons))
        except (TypeError, ValueError, LookupError, AttributeError) as error:
            raise VitrailError(f"{where}: feature {number} cannot be understood: {error}.") from None
    return areas


def _polygons(geometry: Any) -> Iterator[list[Ring]]:
    """Yield the outlines and holes of a geometry; raises whatever comes of one that is none."""
    if geometry is None:
        return
    match geometry["type"]:
        case "Polygon":
            yield _rings(geometry["coordinates"])
        case "MultiPolygon":
            yield from map(_rings, geometry["coordinates"])
        case "GeometryCollection":
            for part in geometry["geometries"]:
                yield from _polygons(part)
        case kind if kind not in FLAT:
            raise ValueError(f"a geometry of type {kind!r}")


def _rings(coordinates: Any) -> list[Ring]:
    rings = [np.array([point[:2] for point in ring], np.float64) for ring in coordinates]
    if any(ring.ndim != 2 or ring.shape[1] != 2 or not np.isfinite(ring).all() for ring in rings):
        raise ValueError("its coordinates are not pairs of numbers")
    return rings


def _class(properties: Any) -> str:
    """Return the name of an object's class, as QuPath and others write it."""
    properties = properties or {}
    told = properties.get("classification") or properties.get("class") or properties.get("name")
    if isinstance(told, dict):
        told = told.get("name") or ": ".join(told.get("names") or [])
    if told is not None and not isinstance(told, str | int):
        raise ValueError(f"its class is {told!r}")
    return str(told or "").strip() or OBJECT
