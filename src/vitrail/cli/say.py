"""How a verb's result leaves: JSON on standard output for programs, lines and tables for people."""

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any


def emit(value: Mapping[str, Any]) -> None:
    """Print one JSON object on standard output."""
    print(json.dumps(value, ensure_ascii=False))  # noqa: T201


def tell(line: str = "") -> None:
    """Print a line for people, on standard error."""
    print(line, file=sys.stderr)  # noqa: T201


def show_table(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], right: Sequence[int] = ()
) -> None:
    """Print a table on standard output, columns in ``right`` aligned to the right."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title or None, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for index, column in enumerate(columns):
        table.add_column(column, justify="right" if index in right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(str(cell) for cell in row))
    console = Console(width=None if sys.stdout.isatty() else 120, highlight=False, markup=False)
    console.print(table)


def metric_rows(metrics: Mapping[str, Mapping[str, float | None]]) -> list[tuple[str, str, str]]:
    """Return rows of metric, value and interval."""
    return [(name, _number(m["value"]), _interval(m["low"], m["high"])) for name, m in metrics.items()]


def _interval(low: float | None, high: float | None) -> str:
    return "–" if low is None else f"{_number(low)} to {_number(high)}"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"
