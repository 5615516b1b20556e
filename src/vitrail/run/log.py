"""`metrics.jsonl`: a line a step and a line an epoch, none missing and none doubled, whatever interrupted."""

import json
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from vitrail.run.files import cannot_write, write_atomic

FILE = "metrics.jsonl"


class Log:
    """Appends records of a run. Opened at a step and an epoch, it first forgets what came after them."""

    def __init__(self, folder: Path, step: int = 0, epoch: int = 0) -> None:
        self._path = folder / FILE
        kept = [line for line in read_log(folder) if _before(line, step, epoch)]
        write_atomic(self._path, "".join(json.dumps(line) + "\n" for line in kept))
        self._file = self._path.open("a", encoding="utf-8")
        self._flushed = time.monotonic()

    def write(self, record: Mapping[str, Any]) -> None:
        """Append one record; it reaches the disk within a second, or with `flush`."""
        try:
            self._file.write(json.dumps(record) + "\n")
            if time.monotonic() - self._flushed > 1:
                self.flush()
        except OSError as error:
            raise cannot_write(self._path, error) from error

    def flush(self) -> None:
        """Hand all records to the system."""
        try:
            self._file.flush()
        except OSError as error:
            raise cannot_write(self._path, error) from error
        self._flushed = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        try:
            self._file.close()
        except OSError as closing:
            if error is None:
                raise cannot_write(self._path, closing) from closing


def read_log(folder: Path) -> list[dict[str, Any]]:
    """Return the records of a run; a torn last line is left out."""
    path = folder / FILE
    if not path.exists():
        return []
    records = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            records.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return records


def read_history(folder: Path) -> list[dict[str, Any]]:
    """Return the records of the epochs alone."""
    return [record for record in read_log(folder) if "epoch" in record]


def _before(record: Mapping[str, Any], step: int, epoch: int) -> bool:
    """Whether a record belongs to what a checkpoint of ``step`` and ``epoch`` finished epochs has seen."""
    if "epoch" in record:
        return bool(record["epoch"] <= epoch)
    return bool(record["step"] <= step)
