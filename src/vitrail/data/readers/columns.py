"""Tables as columns of plain values: csv, jsonl and parquet, with the place of each row for messages."""

from __future__ import annotations

import csv
import json
from array import array
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from vitrail.data.names import few
from vitrail.errors import VitrailError

SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet")
"""Files that are understood as tables."""


@dataclass(frozen=True, slots=True)
class Columns:
    """The wanted columns of one table, all of one length.

    ``found`` are the names of all columns; ``lines`` the line (or, in parquet, the row from 1) of each row;
    ``named`` the class names of columns that hold numbers of classes; ``embedded`` the columns of encoded
    pictures, which stay in the file (``values`` has the paths beside them).
    """

    path: str
    found: tuple[str, ...]
    values: dict[str, list[Any]]
    lines: Sequence[int]
    named: dict[str, tuple[str, ...]] = field(default_factory=dict)
    embedded: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.lines)

    def at(self, rows: Sequence[int]) -> str:
        """Return where rows are, for a message."""
        word = "row" if self.path.endswith(".parquet") else "line"
        return (
            f"{self.path}, {word}{'s' if len(rows) > 1 else ''} {few([self.lines[row] for row in rows], 5)}"
        )


def read_columns(path: str, wanted: Collection[str]) -> Columns:
    """Return the ``wanted`` columns of a table; raises VitrailError with the line of whatever is wrong."""
    read = {".parquet": _parquet, ".jsonl": _jsonl, ".ndjson": _jsonl}.get(Path(path).suffix.lower(), _csv)
    try:
        columns = read(path, wanted)
    except OSError as error:
        raise VitrailError(f"{path} cannot be read: {error.strerror or error}.") from None
    except UnicodeDecodeError as error:
        raise VitrailError(f"{path} is not UTF-8 text (byte {error.start}). Save it as UTF-8.") from None
    if not len(columns):
        raise VitrailError(f"{path} has no rows.")
    return columns


def _csv(path: str, wanted: Collection[str]) -> Columns:
    with open(path, encoding="utf-8-sig", newline="") as file:  # noqa: PTH123, utf-8-sig drops a byte order mark
        heading = file.readline()
        comma = "\t" if path.lower().endswith(".tsv") else max(",;\t", key=heading.count)
        rows = csv.reader(chain([heading], file), delimiter=comma, strict=True)
        names = tuple(name.strip() for name in next(rows, []))
        if len(set(names)) < len(names):
            raise VitrailError(f"{path}, line 1: a column is named twice ({few(names, 20)}).")
        places = {name: place for place, name in enumerate(names) if name in wanted}
        values: dict[str, list[Any]] = {name: [] for name in places}
        lines = array("q")
        try:
            for row in rows:
                if not row:
                    continue  # a blank line
                if len(row) != len(names):
                    raise VitrailError(
                        f"{path}, line {rows.line_num}: {len(row)} values under {len(names)} columns. "
                        "Quote values that hold a separator."
                    )
                lines.append(rows.line_num)
                for name, place in places.items():
                    values[name].append(row[place])
        except csv.Error as error:
            raise VitrailError(f"{path}, line {rows.line_num}: {error}.") from None
    return Columns(path, names, values, lines)


def _jsonl(path: str, wanted: Collection[str]) -> Columns:
    found: dict[str, None] = {}
    values: dict[str, list[Any]] = {}
    lines = array("q")
    with open(path, encoding="utf-8-sig") as file:  # noqa: PTH123
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
                if "\\u" in line:  # which can spell half a character, and such text can be stored nowhere
                    json.dumps(row, ensure_ascii=False).encode()
            except UnicodeEncodeError:
                raise VitrailError(f"{path}, line {number}: half a character (\\ud800 to \\udfff).") from None
            except ValueError as error:
                raise VitrailError(f"{path}, line {number} is not JSON: {error}.") from None
            if not isinstance(row, dict):
                raise VitrailError(f"{path}, line {number}: expected one JSON object a line.")
            found |= dict.fromkeys(row)
            for name in row.keys() & wanted:
                values.setdefault(name, [None] * len(lines)).append(row[name])
            lines.append(number)
            for column in values.values():
                if len(column) < len(lines):
                    column.append(None)
    return Columns(path, tuple(found), values, lines)


def _parquet(path: str, wanted: Collection[str]) -> Columns:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            schema = file.schema_arrow
            names = [name for name in schema.names if name in wanted]
            embedded = [name for name in names if holds_bytes(schema.field(name).type)]
            loaded = [_text_of(name, schema) for name in names]
            table = file.read(columns=[name for name in loaded if name is not None])
            rows = file.metadata.num_rows
    except pa.ArrowException as error:
        raise VitrailError(
            f"{path} is no parquet file, or a broken one: {str(error).splitlines()[0]}"
        ) from None
    values = {name: table.column(name).to_pylist() for name in table.column_names}
    for name in embedded:
        paths = values.get(name) or [None] * rows
        values[name] = [path["path"] if isinstance(path, dict) else None for path in paths]
    return Columns(
        path=path,
        found=tuple(schema.names),
        values=values,
        lines=range(1, rows + 1),
        named=_class_names(schema.metadata),
        embedded=tuple(embedded),
    )


def holds_bytes(kind: Any) -> bool:
    """Return whether an Arrow type is that of encoded pictures: bytes, or a struct with a field ``bytes``."""
    import pyarrow as pa

    if pa.types.is_struct(kind):
        return any(kind.field(i).name == "bytes" for i in range(kind.num_fields))
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _text_of(name: str, schema: Any) -> str | None:
    """Return which part of a column to load: of an embedded picture only its path, if there is one."""
    kind = schema.field(name).type
    if not holds_bytes(kind):
        return name
    fields = [kind.field(i).name for i in range(getattr(kind, "num_fields", 0))]
    return f"{name}.path" if "path" in fields else None


def _class_names(metadata: Any) -> dict[str, tuple[str, ...]]:
    """Return the classes' names by column, as Hugging Face datasets store them in a parquet file's schema."""
    try:
        features = json.loads((metadata or {})[b"huggingface"])["info"]["features"]
        return {name: tuple(names) for name, kind in features.items() for names in _names_in(kind)}
    except (KeyError, TypeError, ValueError, AttributeError):
        return {}


def _names_in(kind: Any) -> Iterator[list[str]]:
    if isinstance(kind, list):  # a list of classes was once written as a list of one feature
        kind = kind[0]
    if kind.get("_type") == "ClassLabel":
        yield kind["names"]
    elif "feature" in kind:
        yield from _names_in(kind["feature"])
