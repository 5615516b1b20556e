"""COCO annotations as masks: outlines and runs by category, drawn when asked for.

Understood are ``annotations/instances_*.json`` (COCO itself, CVAT), ``_annotations.coco.json`` in the root
or inside split folders (Roboflow), ``result.json`` (Label Studio), and the path of any such file. The split
is what the file's name or folder says. Pictures are looked for beside the file, in the root, in ``images``,
and in folders named like the file (``instances_val2017.json``: ``val2017``, ``images/val2017``).
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

import msgspec
import numpy as np

from vitrail.data.decode import MAX_PIXELS
from vitrail.data.names import check_alike, few
from vitrail.data.readers.coco_files import Places, find_coco, split_of
from vitrail.data.readers.drawn import Row, name_classes, tabulate
from vitrail.data.readers.options import ReaderOptions
from vitrail.data.readers.shapes import Cover, Shape, fill, fill_runs, unite, unpack_runs
from vitrail.data.samples import Table
from vitrail.data.stamps import digest
from vitrail.errors import UsageError, VitrailError
from vitrail.values import Size


class _Picture(msgspec.Struct):
    id: int | str
    file_name: str
    height: float | None = None
    width: float | None = None


class _Category(msgspec.Struct):
    id: int | str
    name: str
    supercategory: str | None = None


class _Object(msgspec.Struct):
    image_id: int | str
    category_id: int | str
    id: int | str | None = None
    segmentation: msgspec.Raw = msgspec.Raw(b"null")
    iscrowd: int | bool = 0


class _File(msgspec.Struct):
    images: list[_Picture]
    categories: list[_Category] = []
    annotations: list[_Object] = []


class _Runs(msgspec.Struct):
    size: tuple[int, int]
    counts: str | list[int]


class _Drawing(msgspec.Struct, array_like=True):
    index: int
    crowd: bool
    outline: list[list[float]] | _Runs


Drawing = msgspec.json.Decoder(list[_Drawing])
Outline = msgspec.json.Decoder(list[list[float]] | _Runs | None)


def read_coco(where: str, options: ReaderOptions) -> Table:
    """Return annotated pictures with masks of their categories; pictures that nothing is drawn on stay.

    Pixels of no object are the class "background"; with ``overlap`` there is none, and each class has a plane
    of its own. Crowds are ignored. Raises VitrailError for files that are no COCO, or whose objects have no
    outlines, splits with different categories, and pictures of another size than annotated.
    """
    if options.group is not None:
        raise UsageError(f"{where} is COCO, and names no groups: leave out --data.group.")
    given = os.path.realpath(where)
    root, files = given, find_coco(given) if Path(given).is_dir() else [(given, None)]
    if Path(given).is_file():
        root = os.path.dirname(given)  # noqa: PTH120
        root = os.path.dirname(root) if os.path.basename(root) == "annotations" else root  # noqa: PTH119, PTH120
        files = [(os.path.relpath(given, root), split_of(Path(given).stem))]
    if not files:
        raise UsageError(
            f"{where} has no COCO file. Expected annotations/instances_*.json, or give its path."
        )
    splits = [split for _, split in files]
    if len(set(splits)) < len(splits) or (None in splits and len(splits) > 1):
        raise VitrailError(
            f"{root} has {few([name for name, _ in files], 10)}, which are not one for each split. "
            "Give the path of one of them, or move the others away."
        )
    read = {name: _read(f"{root}/{name}") for name, _ in files}
    _drop_headings(read.values())
    check_alike(
        {name: dict.fromkeys(each.name for each in file.categories) for name, file in read.items()}, root
    )
    first = next(iter(read.values()))
    ordered = sorted(first.categories, key=lambda each: (isinstance(each.id, str), each.id))
    classes = name_classes([each.name for each in ordered], options, root)
    rows: list[Row] = []
    notes: list[str] = []
    for name, split in files:
        rows += _rows(root, name, split, read[name], classes, options, notes)
    return tabulate(root, classes, rows, _draw, options, notes)


def _drop_headings(files: Collection[_File]) -> None:
    """Take out categories that are only the heading of others, and of which there is nothing (Roboflow's)."""
    for number in {each.id for file in files for each in file.categories}:
        named = [each for file in files for each in file.categories if each.id == number]
        headings = {other.supercategory for file in files for other in file.categories if other.id != number}
        used = any(each.category_id == number for file in files for each in file.annotations)
        if not used and all(each.name in headings for each in named):
            for file in files:
                file.categories = [each for each in file.categories if each.id != number]


def _read(path: str) -> _File:
    try:
        file = msgspec.json.decode(Path(path).read_bytes(), type=_File)
    except OSError as error:
        raise VitrailError(f"{path} cannot be read: {error.strerror}.") from None
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise VitrailError(f"{path} is no COCO annotation file, or a broken one: {error}.") from None
    for what, listed in (("pictures (images)", file.images), ("categories", file.categories)):
        if not listed:
            raise VitrailError(f"{path} lists no {what}.")
    return file


def _rows(
    root: str,
    name: str,
    split: str | None,
    file: _File,
    classes: tuple[str, ...],
    options: ReaderOptions,
    notes: list[str],
) -> Iterator[Row]:
    path = f"{root}/{name}"
    places = Places(root, name, split)
    found = {picture.id: places.find(picture.file_name) for picture in file.images}
    missing = [picture.file_name for picture in file.images if found[picture.id] is None]
    if len(missing) == len(file.images):
        raise VitrailError(
            f"{path}: its pictures are not there ({few(missing)}). Looked in {few(places.shown, 8)}."
        )
    if missing:
        notes.append(f"{name} lists pictures that are not there: {len(missing)} left out ({few(missing)}).")
    names = [each for each in found.values() if each is not None]
    if len(set(names)) < len(file.images) - len(missing):
        twice = [each for each in dict.fromkeys(names) if names.count(each) > 1]
        raise VitrailError(f"{path} lists a picture twice ({few(twice)}). Keep one entry.")
    drawings = _drawings(path, name, file, classes, notes)
    about = f"{classes}{options.overlap}".encode()
    for picture in file.images:
        if (key := found[picture.id]) is None:
            continue
        mine = drawings.get(picture.id, [])
        packed = msgspec.json.encode(mine)
        size = (int(picture.height), int(picture.width)) if picture.height and picture.width else None
        for each in mine:
            try:
                _check(each.outline, size)
            except ValueError as error:
                raise VitrailError(
                    f"{path}: an outline on {picture.file_name} ({classes[each.index]}) is broken: {error}."
                ) from None
        yield Row(
            name=key,
            split=split,
            present=sorted({each.index for each in mine if not each.crowd}),
            content=digest(packed, about),
            drawing=packed,
            size=size,
        )


def _drawings(
    path: str, name: str, file: _File, classes: tuple[str, ...], notes: list[str]
) -> dict[int | str, list[_Drawing]]:
    """Return what is drawn on each picture; raises VitrailError for objects without a picture or category."""
    index = {each.id: classes.index(each.name) for each in file.categories}
    drawings: dict[int | str, list[_Drawing]] = {picture.id: [] for picture in file.images}
    bare = 0
    for number, each in enumerate(file.annotations):
        what = f"{path}: annotation {number if each.id is None else each.id}"
        if each.category_id not in index:
            raise VitrailError(f"{what} has the category {each.category_id}, which the file does not list.")
        if each.image_id not in drawings:
            raise VitrailError(f"{what} is on the picture {each.image_id}, which the file does not list.")
        try:
            outline = Outline.decode(each.segmentation)
        except msgspec.MsgspecError as error:
            raise VitrailError(f"{what} has an outline that is none (segmentation): {error}.") from None
        if isinstance(outline, list):
            outline = [
                part for part in outline if len(part) >= 6 or len(part) % 2
            ]  # two points have no inside
        if not outline:
            bare += 1
            continue
        drawing = _Drawing(index[each.category_id], bool(each.iscrowd), outline)
        drawings[each.image_id].append(drawing)
    if bare and bare == len(file.annotations):
        raise VitrailError(
            f"{path}: its {bare} objects have boxes alone, and masks need outlines (segmentation). "
            "Export them as polygons or masks."
        )
    if bare:
        notes.append(
            f"{name}: {bare} of {len(file.annotations)} objects have no outline, and are passed over."
        )
    return drawings


def _check(outline: list[list[float]] | _Runs, size: Size | None) -> None:
    """Raise ValueError for an outline that cannot be drawn."""
    if isinstance(outline, _Runs):
        if size is not None and outline.size != size:
            raise ValueError(f"its runs are for {_by(outline.size)} pixels, its picture has {_by(size)}")
        total, pixels = int(_runs(outline).sum()), outline.size[0] * outline.size[1]
        if total != pixels:
            raise ValueError(f"its runs sum to {total} pixels, and {_by(outline.size)} are {pixels}")
    elif odd := [len(part) for part in outline if len(part) % 2]:
        raise ValueError(f"{odd[0]} numbers are no pairs of x and y")


def _by(size: Size) -> str:
    return f"{size[0]} x {size[1]}"


def _runs(outline: _Runs) -> np.ndarray:
    if isinstance(outline.counts, str):
        runs = unpack_runs(outline.counts)
    elif max(map(abs, outline.counts), default=0) > MAX_PIXELS:
        raise ValueError("a run is longer than any picture")
    else:
        runs = np.array(outline.counts, np.int64)
    if runs.size and runs.min() < 0:
        raise ValueError("a run is shorter than nothing")
    return runs


def _draw(row: Row, size: Size) -> Sequence[Shape]:
    """Return the shapes on one picture."""
    return [
        Shape(index=each.index, crowd=each.crowd, cover=_cover(each.outline, size))
        for each in Drawing.decode(row.drawing)
    ]


def _cover(outline: list[list[float]] | _Runs, size: Size) -> Cover:
    if isinstance(outline, _Runs):
        if outline.size != size:
            raise VitrailError(f"Runs for {_by(outline.size)} pixels cannot lie on {_by(size)}.")
        return fill_runs(_runs(outline), size)
    return unite([fill([np.array(part, np.float64).reshape(-1, 2)], size) for part in outline])
