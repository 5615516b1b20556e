"""Tables one below the other, and their columns by name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from vitrail.data.names import few
from vitrail.data.readers.columns import Columns
from vitrail.data.readers.tables import TableFile
from vitrail.errors import UsageError, VitrailError, nearest


@dataclass(frozen=True, slots=True)
class Stack:
    """The wanted columns of several tables, one below the other, and the files they come from."""

    tables: Sequence[Columns]
    files: Sequence[TableFile]

    def chosen(self, asked: str | None, usual: Sequence[str], what: str, option: str) -> str:
        """Return the name of a column that every table has: the one asked for, or else a usual one.

        Raises UsageError, with the columns that there are and the option that chooses.
        """
        names = [asked] if asked else usual
        for name in names:
            if self.has(name):
                return name
        table = next((table for table in self.tables if not set(names) & set(table.found)), self.tables[0])
        word = " or ".join(names[:3])
        raise UsageError(
            f"{table.path} has no column {word} for {what}, but {few(table.found, 20)}."
            f"{nearest(word, table.found)} Choose with --data.{option}."
        )

    def has(self, name: str) -> bool:
        """Return whether every table has a column of that name."""
        return all(name in table.found for table in self.tables)

    def column(self, name: str) -> list[Any]:
        """Return one column of all tables; a table without it gives empty cells."""
        return list(chain.from_iterable(t.values.get(name) or [None] * len(t) for t in self.tables))

    def at(self, rows: Sequence[int]) -> str:
        """Return where rows are: those of the first table that has any of them."""
        start = 0
        for table in self.tables:
            if inside := [row - start for row in rows if start <= row < start + len(table)]:
                return table.at(inside)
            start += len(table)
        raise IndexError(f"row {rows} of {start}")

    def named(self, column: str) -> tuple[str, ...] | None:
        """Return the class names that the tables store for a column, which must be the same in all."""
        first, *others = [table.named.get(column) for table in self.tables]
        for table, names in zip(self.tables[1:], others, strict=True):
            if names != first:
                raise VitrailError(
                    f"{self.tables[0].path} and {table.path} have different classes in {column!r}.\n"
                    f"The first: {few(first or ['none'], 20)}. The second: {few(names or ['none'], 20)}."
                )
        return first
