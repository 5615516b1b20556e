"""Pictures that lie inside parquet files, made ready for being read one by one in any order.

Parquet compresses many rows together, so that one picture would cost a whole group of them. The encoded
pictures are therefore laid side by side once: in memory when they are few, else in a memory-mapped file of
the cache folder. The file holds all pictures, padded to eight bytes; then the n + 1 offsets (int64), the n
hashes (uint64) and n.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from array import array
from collections.abc import Iterator, Sequence
from io import BytesIO
from pathlib import Path
from typing import IO, Any

import numpy as np

from vitrail.data.home import cache_home
from vitrail.data.samples import Blobs
from vitrail.data.stamps import digest
from vitrail.errors import VitrailError

IN_MEMORY = 256 << 20
"""Bytes of parquet files up to which pictures are held in memory."""


def read_embedded(paths: Sequence[str], column: str) -> tuple[Blobs, np.ndarray]:
    """Return the encoded pictures of a column, and a hash (uint64) of each.

    A row without a picture gives an empty one, which is named when it is decoded. Raises VitrailError when
    the cache folder has no room for them.
    """
    total = sum(Path(path).stat().st_size for path in paths)
    if total <= IN_MEMORY:
        memory = BytesIO()
        _lay(paths, column, memory)
        return _open(np.frombuffer(memory.getbuffer(), np.uint8))
    path = cache_home() / "pictures" / f"{_name(paths, column)}.bin"
    if not path.exists():
        _write(paths, column, path, total)
    return _open(np.memmap(path, np.uint8, "r"))


def _name(paths: Sequence[str], column: str) -> str:
    """Return a name that changes whenever one of the files does."""
    identity = [column]
    for path in paths:
        status = os.stat(path)  # noqa: PTH116
        identity.append(f"{os.path.realpath(path)}\0{status.st_size}\0{status.st_mtime_ns}")
    return hashlib.sha256("\0".join(identity).encode("utf-8", "surrogateescape")).hexdigest()[:24]


def _write(paths: Sequence[str], column: str, path: Path, total: int) -> None:
    cure = "Set VITRAIL_CACHE to a folder with room that you may write to."
    draft = ""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if (free := shutil.disk_usage(path.parent).free) < total:
            raise VitrailError(
                f"The pictures inside {paths[0]} and its likes need {total / 1e9:.1f} GB in {path.parent}, "
                f"which has {free / 1e9:.1f} GB free. {cure}"
            )
        handle, draft = tempfile.mkstemp(dir=path.parent, suffix=".part")
        with os.fdopen(handle, "wb") as file:
            _lay(paths, column, file)
        Path(draft).replace(path)
    except OSError as error:
        raise VitrailError(f"{path.parent} cannot be written: {error.strerror}. {cure}") from None
    finally:
        if draft:
            Path(draft).unlink(missing_ok=True)


def _lay(paths: Sequence[str], column: str, file: IO[bytes]) -> None:
    """Write the pictures of all rows, and after them where each lies and its hash."""
    ends, contents = array("q", [0]), array("Q")
    for picture in _pictures(paths, column):
        file.write(picture)
        ends.append(ends[-1] + len(picture))
        contents.append(digest(picture))
    file.write(b"\0" * (-ends[-1] % 8))
    file.write(ends.tobytes())
    file.write(contents.tobytes())
    file.write(np.int64(len(contents)).tobytes())


def _open(data: np.ndarray) -> tuple[Blobs, np.ndarray]:
    n = int(data[-8:].view(np.int64)[0])
    tail = data[len(data) - 8 * (2 * n + 2) : len(data) - 8]
    return Blobs(tail[: 8 * (n + 1)].view(np.int64), data), tail[8 * (n + 1) :].view(np.uint64)


def _pictures(paths: Sequence[str], column: str) -> Iterator[bytes]:
    """Yield the encoded picture of each row, holding some dozens in memory at a time."""
    from pyarrow import ArrowException, parquet

    for path in paths:
        try:
            with parquet.ParquetFile(path, memory_map=True) as file:
                for batch in file.iter_batches(batch_size=64, columns=_leaf(file.schema_arrow, column)):
                    for value in batch.column(0).to_pylist():
                        yield (value.get("bytes") if isinstance(value, dict) else value) or b""
        except ArrowException as error:
            raise VitrailError(f"{path} is a broken parquet file: {str(error).splitlines()[0]}") from None


def _leaf(schema: Any, column: str) -> list[str]:
    """Return the part of a column that holds the bytes: all of it, or the field ``bytes`` of a struct."""
    import pyarrow as pa

    return [f"{column}.bytes" if pa.types.is_struct(schema.field(column).type) else column]
