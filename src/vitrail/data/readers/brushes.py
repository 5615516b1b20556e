"""Label Studio's brush labels as PNG: a mask for each label of a task, and JSON that says what tasks show.

``task-7-annotation-9-by-1-tag-road-0.png`` is what user 1 painted as "road" on the picture of task 7. The
pictures lie anywhere below the root, under the names that the JSON export has for them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import msgspec
import numpy as np

from vitrail.data.names import few, storable
from vitrail.data.readers.drawn import Row, name_classes, tabulate
from vitrail.data.readers.listing import is_picture
from vitrail.data.readers.maskfile import Raw, read_raw
from vitrail.data.readers.options import ReaderOptions
from vitrail.data.readers.shapes import Cover, Shape
from vitrail.data.samples import Table
from vitrail.data.stamps import digest
from vitrail.errors import UsageError, VitrailError
from vitrail.values import Size

BRUSH = re.compile(r"task-(\d+)-annotation-(\d+)-by-[^-]*-[^-]+-(.+)-\d+\.png")
"""Task, annotation and label. The label is the last but one; the control before it has no hyphen."""
UPLOADED = re.compile(r"^[0-9a-f]{8}-")
"""What Label Studio puts before the name of a file that was uploaded."""
HALF = 128
LOOKS = 32


def has_brushes(where: str) -> bool:
    """Return whether a folder, or one of its folders, holds masks that are called like Label Studio's.

    Looks at the first few names of each.
    """
    with os.scandir(where) as entries:
        folders = [where, *sorted(entry.path for entry in islice(entries, LOOKS) if entry.is_dir())]
    return any(BRUSH.fullmatch(name) for folder in folders for name in _first_names(folder))


def _first_names(folder: str) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return [entry.name for entry in islice(entries, LOOKS)]
    except OSError:  # whoever reads the folder says so
        return []


def read_brushes(where: str, options: ReaderOptions) -> Table:
    """Return the pictures of Label Studio's tasks with what was painted on each; others are left out, said.

    Pixels of no label are the class "background"; with ``overlap`` there is none, and each class has a plane
    of its own. Raises VitrailError where the JSON is missing, a task has several annotations, or a mask has
    another size than its picture.
    """
    if options.group is not None:
        raise UsageError(f"{where} is Label Studio's, and names no groups: leave out --data.group.")
    root = os.path.realpath(where)
    painted, pictures = _files(root)
    shows = _tasks(root)
    labels = sorted({label for masks in painted.values() for _, label, _ in masks})
    classes = name_classes(labels, options, root)
    rows: list[Row] = []
    lost: list[str] = []
    for task, masks in sorted(painted.items()):
        if len(several := sorted({annotation for annotation, _, _ in masks})) > 1:
            raise VitrailError(
                f"{root}: task {task} has several annotations ({few(several, 5)}). Keep the masks of one."
            )
        names = [name for word in shows.get(task, ()) for name in _ways(word) if name in pictures]
        if not names:
            lost.append(f"task {task}")
            continue
        if len(found := pictures[names[0]]) > 1:
            raise VitrailError(f"{root}: task {task} could show any of {few(found)}. Rename all but one.")
        drawing = [(classes.index(label), name) for _, label, name in sorted(masks)]
        content = [Path(root, name).read_bytes() for _, name in drawing]
        rows.append(
            Row(
                name=found[0],
                split=None,
                present=sorted({index for index, _ in drawing}),
                content=digest(repr((classes, drawing, options.overlap)).encode(), *content),
                drawing=msgspec.json.encode([(index, f"{root}/{name}") for index, name in drawing]),
                size=_size(f"{root}/{drawing[0][1]}"),
            )
        )
    if not rows:
        raise VitrailError(
            f"{root}: the pictures of its tasks are not there ({few(lost)}). Put them below it, under the "
            "names that Label Studio's JSON has."
        )
    what = "1 task shows a picture that is" if len(lost) == 1 else f"{len(lost)} tasks show pictures that are"
    notes = [f"{what} not there: left out ({few(lost)})."] if lost else []
    return tabulate(root, classes, rows, _draw, options, notes)


def _files(root: str) -> tuple[dict[int, list[tuple[int, str, str]]], dict[str, list[str]]]:
    """Return annotation, label and file of what was painted, by task, and the pictures by their name."""
    painted: dict[int, list[tuple[int, str, str]]] = {}
    pictures: dict[str, list[str]] = {}
    for folder, _, names in os.walk(root):
        for name in sorted(names):
            place = os.path.relpath(f"{folder}/{name}", root)
            if found := BRUSH.fullmatch(name):
                painted.setdefault(int(found[1]), []).append((int(found[2]), found[3], place))
            elif is_picture(name):
                pictures.setdefault(name, []).append(place)
    return painted, pictures


def _tasks(root: str) -> dict[int, list[str]]:
    """Return the names of files that each task mentions, as JSON and JSON-MIN have them."""
    shows: dict[int, list[str]] = {}
    for path in sorted(Path(root).rglob("*.json")):
        try:
            tasks: Any = msgspec.json.decode(path.read_bytes())
        except (OSError, msgspec.MsgspecError):
            continue
        for task in tasks if isinstance(tasks, list) else ():
            if isinstance(task, dict) and isinstance(task.get("id"), int):
                shows.setdefault(task["id"], []).extend(_names(task))
    if not shows:
        raise VitrailError(
            f"{root} has Label Studio's masks, which are named by tasks, but not its JSON.\n"
            "Export as JSON, too, and put the file beside the masks: it says which picture each task is."
        )
    return shows


def _names(task: dict[str, Any]) -> Iterator[str]:
    data = task.get("data")
    for value in (task.get("file_upload"), *(data if isinstance(data, dict) else task).values()):
        if isinstance(value, str) and is_picture(name := unquote(value).rsplit("/", 1)[-1].split("?d=")[-1]):
            yield name


def _ways(name: str) -> tuple[str, str]:
    """Return how a picture may be called: as uploaded, and as it was before."""
    return name, UPLOADED.sub("", name)


def _size(path: str) -> Size:
    height, width = read_raw(path).values.shape
    return height, width


def _draw(row: Row, size: Size) -> Sequence[Shape]:
    """Return what was painted on one picture."""
    shapes = []
    for index, path in msgspec.json.decode(row.drawing, type=list[tuple[int, str]]):
        inside = _painted(read_raw(path))
        if inside.shape != size:
            raise VitrailError(f"{storable(path)} is {inside.shape}, other masks of its picture {size}.")
        shapes.append(Shape(index=index, cover=Cover(0, 0, inside)))
    return shapes


def _painted(raw: Raw) -> np.ndarray:
    """Return where a mask is white, bool ``h w``; of one bit where it is 1."""
    values = raw.values & 255 if raw.mode == "colour" else raw.values
    return np.asarray(values >= (HALF if values.max(initial=0) > 1 else 1))
