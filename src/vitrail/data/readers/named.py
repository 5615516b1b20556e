"""Lists of the classes of masks: their names, and by which numbers or colours the masks mean them.

==============  ==============================================================================
classes.txt     a name a line; the first is number 0
classes.json    a list of names, or ``{name: number}``, or ``{name: "#rrggbb"}`` or ``{name: [r, g, b]}``
classes.csv     ``name,value``, or ``name,#rrggbb``, or ``name,r,g,b``; a heading may stand above
labelmap.txt    ``name:r,g,b:parts:actions``, as CVAT writes for the format of Pascal VOC
_classes.csv    ``Pixel Value, Class``, as Roboflow writes beside pictures and masks
objectInfo...   ``Idx ... Name`` with tabs, of ADE20K, where 0 is what nobody labelled
==============  ==============================================================================
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vitrail.data.names import few
from vitrail.errors import UsageError, VitrailError
from vitrail.values import IGNORED

FILES = (
    *("classes.txt", "classes.json", "classes.csv", "class_dict.csv", "labelmap.txt", "_classes.csv"),
    "objectInfo150.txt",
)
"""Looked for in the root of a data set, where none is given."""
UNLABELLED = ("objectInfo150.txt",)
"""Lists whose numbers begin at 1, because 0 is what nobody labelled: it is ignored."""
NOT_ASKED = ("ignore", "ignored", "void")
"""Names that are no class: their pixels are ignored."""

Key = int | tuple[int, int, int]
"""What stands for a class in a mask: a number, or a colour."""


@dataclass(frozen=True, kw_only=True)
class Named:
    """The classes of masks as a file lists them.

    ``rows`` pair a name with its number (of ``kind`` "order" by its place in the file, or "value") or its
    colour, packed as ``r << 16 | g << 8 | b`` (of ``kind`` "colour").
    """

    path: str
    rows: tuple[tuple[str, int], ...]
    kind: str

    @property
    def classes(self) -> tuple[str, ...]:
        """The names in the order of the file, each once, without those that are not asked for."""
        return tuple(dict.fromkeys(name for name, _ in self.rows if name.lower() not in NOT_ASKED))

    @property
    def ignored(self) -> tuple[str, ...]:
        """The names that are no class."""
        return tuple(dict.fromkeys(name for name, _ in self.rows if name.lower() in NOT_ASKED))

    def keyed(self, by_order: bool = False) -> dict[int, int]:
        """Return the index of the class of each number or colour (or place in the file)."""
        index = {name: number for number, name in enumerate(self.classes)}
        return {
            place if by_order else key: index.get(name, IGNORED)
            for place, (name, key) in enumerate(self.rows)
        }


def pack(red: int, green: int, blue: int) -> int:
    """Return a colour as one number."""
    return red << 16 | green << 8 | blue


def show(colour: int) -> str:
    """Return a packed colour as one writes it: ``#rrggbb``."""
    return f"#{colour:06x}"


def find_named(root: str, given: str | None, folders: Sequence[str] = ()) -> Named | None:
    """Return the list of classes that is ``given`` or lies in ``root``, or None when there is none.

    Where the root has none, those in some of its ``folders`` count, which must say the same. Raises
    VitrailError for a list that is not understood, UsageError for one that is not there or several.
    """
    if given is not None:
        if not Path(given).is_file():
            raise UsageError(f"--data.classes: there is no file {given}.")
        return read_named(given)
    found = [name for name in FILES if Path(root, name).is_file()]
    if len(found) > 1:
        raise UsageError(f"{root} has {few(found, 5)}. Keep one, or name it: --data.classes FILE.")
    if found:
        return read_named(f"{root}/{found[0]}")
    inside = [f"{root}/{folder}/{name}" for folder in folders for name in FILES]
    lists = [read_named(path) for path in inside if Path(path).is_file()]
    for other in lists[1:]:
        if other.rows != lists[0].rows:
            raise VitrailError(f"{lists[0].path} and {other.path} list different classes. Make them alike.")
    return lists[0] if lists else None


def read_named(path: str) -> Named:
    """Return the classes that a file lists; raises VitrailError with the line or name that is wrong."""
    try:
        text = Path(path).read_text("utf-8-sig")
    except OSError as error:
        raise VitrailError(f"{path} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError as error:
        raise VitrailError(f"{path} is not UTF-8 text (byte {error.start}). Save it as UTF-8.") from None
    suffix = Path(path).suffix.lower()
    labelmap = Path(path).name.lower() == "labelmap.txt" or text.startswith("# label:")
    read: Callable[[str, str], list[tuple[str, Key | None]]] = (
        _labelmap if labelmap else {".json": _json, ".csv": _csv}.get(suffix, _lines)
    )
    if Path(path).name in UNLABELLED:
        read = _csv
    rows = read(text, path)
    if Path(path).name in UNLABELLED and all(key != 0 for _, key in rows):
        rows = [(NOT_ASKED[0], 0), *rows]
    if not rows:
        raise VitrailError(f"{path} lists no classes.")
    return _checked(path, rows)


def _checked(path: str, rows: Sequence[tuple[str, Key | None]]) -> Named:
    keys = [key for _, key in rows]
    kinds = {"order" if key is None else "value" if isinstance(key, int) else "colour" for key in keys}
    if len(kinds) > 1:
        raise VitrailError(
            f"{path} gives some classes numbers and others colours. Give all of them one kind."
        )
    kind = kinds.pop()
    packed = [(name, _packed(key, place, name, path)) for place, (name, key) in enumerate(rows)]
    seen: dict[int, str] = {}
    for name, key in packed:
        if (other := seen.setdefault(key, name)) != name:
            what = show(key) if kind == "colour" else key
            raise VitrailError(f"{path}: {other} and {name} both have {what}. Give each its own.")
    names = [name for name, _ in rows]
    if kind == "order" and len(set(names)) < len(names):
        twice = [name for name in dict.fromkeys(names) if names.count(name) > 1]
        raise VitrailError(f"{path} lists {few(twice)} twice. Name each class once.")
    named = Named(path=path, rows=tuple(packed), kind=kind)
    if len(named.classes) > IGNORED:
        raise VitrailError(f"{path} lists {len(named.classes)} classes; masks can have up to {IGNORED}.")
    return named


def _packed(key: Key | None, place: int, name: str, path: str) -> int:
    if key is None:
        return place
    if isinstance(key, int):
        if key < 0:
            raise VitrailError(f"{path}: {name} has the number {key}, which no mask can hold.")
        return key
    if not all(0 <= part <= 255 for part in key):
        raise VitrailError(f"{path}: the colour {key} of {name} is not of three numbers from 0 to 255.")
    return pack(*key)


def _lines(text: str, path: str) -> list[tuple[str, Key | None]]:
    names = [line.strip() for line in text.rstrip().splitlines()]
    if "" in names:
        raise VitrailError(f"{path}, line {names.index('') + 1} is empty, but lines are numbers of classes.")
    return [(name, None) for name in names]


def _labelmap(text: str, path: str) -> list[tuple[str, Key | None]]:
    rows: list[tuple[str, Key | None]] = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        parts = line.split(":")
        colour = _colour(parts[1].split(",")) if len(parts) > 1 else None
        if colour is None or not parts[0].strip():
            raise VitrailError(f"{path}, line {number}: {line.strip()!r} is not name:r,g,b:parts:actions.")
        rows.append((parts[0].strip(), colour))
    return rows


def _json(text: str, path: str) -> list[tuple[str, Key | None]]:
    try:
        listed: Any = json.loads(text)
    except ValueError as error:
        raise VitrailError(f"{path} is not JSON: {error}.") from None
    if isinstance(listed, list) and all(isinstance(name, str) and name.strip() for name in listed):
        return [(name.strip(), None) for name in listed]
    if isinstance(listed, dict):
        return [(name.strip(), _key(value, f"{path}: {name}")) for name, value in listed.items()]
    raise VitrailError(f"{path} is neither a list of names nor an object of names with numbers or colours.")


def _csv(text: str, path: str) -> list[tuple[str, Key | None]]:
    rows: list[tuple[str, Key | None]] = []
    comma = max(",;\t", key=text.count)
    heading: list[str] = []
    for number, cells in enumerate(csv.reader(text.splitlines(), delimiter=comma), 1):
        row = [cell.strip() for cell in cells]
        if not any(row):
            continue
        first = not heading and not rows
        if first and _heads(row):
            heading = [cell.lower() for cell in row]
            continue
        where = f"{path}, line {number}"
        order = _columns(heading, len(row), where)
        if max(order) >= len(row) or not row[order[0]]:
            raise VitrailError(f"{where}: expected name,value or name,#rrggbb or name,r,g,b.")
        name, *key = (row[place] for place in order)
        rows.append((name, _key(key if len(key) > 1 else key[0] if key else None, where)))
    return rows


WORDS = (
    ("name", "label", "class", "class_name"),
    ("r", "red"),
    ("g", "green"),
    ("b", "blue"),
    ("colour", "color", "hex", "value", "pixel value", "index", "idx", "id", "number"),
)


def _heads(row: Sequence[str]) -> bool:
    """Whether a first row is a heading, and no class."""
    if len(row) == 1:
        return row[0].lower() in WORDS[0]
    return not re.fullmatch(r"\d+|#[0-9a-fA-F]{6}", row[1])


def _columns(heading: Sequence[str], width: int, where: str) -> list[int]:
    """Return the places of the name and of what stands for it, by the heading or by custom."""
    if len(heading) < 2:
        return list(range(min(width, 4)))
    found = [next((heading.index(word) for word in words if word in heading), -1) for words in WORDS]
    order = [found[0], *(found[1:4] if min(found[1:4]) >= 0 else found[4:])]
    if min(order) < 0:
        raise VitrailError(
            f"{where}: the columns above are {few(heading, 10)}; expected name and value, colour, or r, g, b."
        )
    return order


def _key(value: Any, where: str) -> Key | None:
    """Return a number or a colour, however it is written."""
    if value is None or (isinstance(value, int) and not isinstance(value, bool)):
        return value
    if isinstance(value, str):
        if re.fullmatch(r"\d+", value):
            return int(value)
        if re.fullmatch(r"#[0-9a-fA-F]{6}", value):
            return int(value[1:3], 16), int(value[3:5], 16), int(value[5:7], 16)
    if isinstance(value, list) and (colour := _colour(value)) is not None:
        return colour
    raise VitrailError(f"{where}: {value!r} is neither a number nor a colour (#rrggbb, or r, g, b).")


def _colour(parts: Sequence[Any]) -> tuple[int, int, int] | None:
    try:
        red, green, blue = (int(part) for part in parts)
    except (TypeError, ValueError):
        return None
    return red, green, blue
