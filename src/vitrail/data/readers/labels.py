"""Cells of a table to targets: one class a picture, several, or a column of 0 and 1 a class."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from vitrail.data.names import few
from vitrail.errors import VitrailError

Where = Callable[[Sequence[int]], str]
"""Says where some rows are: the file and its lines."""


def class_name(value: Any) -> str:
    """Return a cell as the name of a class: text as given, numbers and truth values as one writes them."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))  # a column of whole numbers with gaps is read as floating-point
    return str(value)


def absent(value: Any) -> bool:
    """Return whether a cell says nothing: no value, no text, or not a number."""
    return value is None or value == "" or value != value


def one_each(
    values: Sequence[Any], named: Sequence[str] | None, where: Where
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return int32 indices and the classes: ``named`` when the file names them, else the sorted names found.

    A cell that says nothing is -1, and so is a number below 0 where classes are ``named``.
    """
    if many := [row for row, value in enumerate(values) if isinstance(value, list)]:
        raise VitrailError(
            f"{where(many)}: a list of labels. Say --data.labels for pictures with several classes."
        )
    if named is not None:
        numbers = [_number(value, named, row, where) for row, value in enumerate(values)]
        return np.array(numbers, np.int32), tuple(named)
    names = ["" if absent(value) else class_name(value) for value in values]
    classes = sorted(set(names) - {""})
    place = {name: index for index, name in enumerate(classes)} | {"": -1}
    return np.array([place[name] for name in names], np.int32), tuple(classes)


def several_each(
    values: Sequence[Any], named: Sequence[str] | None, where: Where
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return a multi-hot uint8 array ``n c`` and the classes; a cell that says nothing has no class.

    Cells are lists, or text with ``|`` or ``;`` between the names.
    """
    cells = [_names(value, named, row, where) for row, value in enumerate(values)]
    classes = tuple(named) if named is not None else tuple(sorted({name for cell in cells for name in cell}))
    place = {name: index for index, name in enumerate(classes)}
    hot = np.zeros((len(cells), len(classes)), np.uint8)
    for row, cell in enumerate(cells):
        hot[row, [place[name] for name in cell]] = 1
    return hot, classes


def column_each(columns: Mapping[str, Sequence[Any]], where: Where) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return a multi-hot uint8 array ``n c`` from one column of 0 and 1 a class, named like the class."""
    known = {"0": 0, "1": 1, "0.0": 0, "1.0": 1, "false": 0, "true": 1}
    hot = np.zeros((len(next(iter(columns.values()))), len(columns)), np.uint8)
    for index, (name, values) in enumerate(columns.items()):
        bits = [known.get(str(value).strip().lower(), -1) for value in values]
        if wrong := [row for row, bit in enumerate(bits) if bit < 0]:
            raise VitrailError(
                f"{where(wrong)}: the column {name!r} holds {values[wrong[0]]!r} where 0 or 1 is expected."
            )
        hot[:, index] = bits
    return hot, tuple(columns)


def _names(value: Any, named: Sequence[str] | None, row: int, where: Where) -> list[str]:
    if named is not None:
        numbers = [
            _number(item, named, row, where) for item in (value if isinstance(value, list) else [value])
        ]
        return [named[number] for number in numbers if number >= 0]
    if isinstance(value, list):
        return [class_name(item) for item in value if not absent(item)]
    if absent(value):
        return []
    pieces = [piece.strip() for piece in re.split(r"[|;]", class_name(value))]
    return [piece for piece in pieces if piece]


def _number(value: Any, named: Sequence[str], row: int, where: Where) -> int:
    if absent(value):
        return -1
    if not isinstance(value, int) or value >= len(named):
        raise VitrailError(
            f"{where([row])}: {value!r} is not the number of one of the {len(named)} classes ({few(named)})."
        )
    return max(value, -1)
