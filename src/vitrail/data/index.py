"""The index of a large data set: its table, kept in the cache folder and memory-mapped when opened again.

One Arrow IPC file a data set, with the columns of `vitrail.data.samples.Table` as one record batch. An index
is believed as long as every folder and table that it was made from has the same time of change, which is how
files that came or went are noticed; of files that changed in place, a sample is looked at. Whatever is wrong
with an index, the data set is then simply read again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
import time
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from vitrail.data.home import cache_home
from vitrail.data.samples import Blobs, Files, Table, Texts
from vitrail.data.stamps import extent, stamp

FORMAT = 2
LEAST = 20_000
"""Smaller data sets are read afresh each time, which costs less than 0.1 s and can never be out of date."""
LOOKS = 1_000
"""Files that are looked at before an index is believed."""
SETTLED = 2.0
"""Seconds that a folder must have been left alone: its next change could else show the same time."""
CHECK = 8
"""Bytes at the end of the file that hold the CRC-32 of all before."""
ROOM = 2 << 30
"""Bytes that all indexes may take together; the ones unused for longest go first."""

Watched = Mapping[str, int]
"""Folders and tables with their times of change, in nanoseconds."""


def indexed(
    home: str, options: object, read: Callable[[], tuple[Table, Watched]], *, rescan: bool = False
) -> Table:
    """Return the table of the files below ``home``: from its index, if it is still true, else by ``read``.

    ``options`` are whatever else the answer depends on, as something with a stable ``repr``. An index that
    cannot be written is no failure. Tables of pictures in memory are read afresh each time.
    """
    question = f"{FORMAT}\0{home}\0{options!r}".encode("utf-8", "surrogateescape")
    name = hashlib.sha256(question).hexdigest()[:24]
    path = cache_home() / "index" / f"{name}.arrow"
    kept = None if rescan else _recall(path)
    if kept is not None:
        return kept
    table, watched = read()
    settled = max(watched.values()) < (time.time() - SETTLED) * 1e9
    if isinstance(table.pictures, Files) and len(table) >= LEAST and settled:
        with contextlib.suppress(OSError):
            _remember(path, table, table.pictures.root, watched)
    return table


def _recall(path: Path) -> Table | None:
    """Return the table that an index holds, or None when there is none, or it is broken or no longer true."""
    if not path.exists():
        return None
    import pyarrow as pa

    try:
        with pa.memory_map(str(path)) as file:
            whole = file.read_buffer()
        body = whole.slice(0, whole.size - CHECK)
        if zlib.crc32(body) != int.from_bytes(whole.slice(body.size), "little"):
            return None  # before anything is parsed: a byte that rotted must not become a wrong label
        (batch,) = pa.ipc.open_file(pa.BufferReader(body)).read_all().to_batches()
        about: dict[str, Any] = json.loads(batch.schema.metadata[b"vitrail"])
        table = _from_batch(batch, about)
        if not _true(table, about["watched"]):
            return None
    except (OSError, ValueError, LookupError, pa.ArrowException):
        return None
    with contextlib.suppress(OSError):
        os.utime(path)  # so that the index unused for longest can be told
    return table


def _true(table: Table, watched: Watched) -> bool:
    if any(os.stat(path).st_mtime_ns != changed for path, changed in watched.items()):  # noqa: PTH116
        return False
    for row in np.linspace(0, len(table) - 1, min(LOOKS, len(table))).astype(int).tolist():
        if stamp(table.keys.raw(row), *extent(table.pictures[row])) != int(table.stamps[row]):
            return False
    return True


def _remember(path: Path, table: Table, root: str, watched: Watched) -> None:
    """Write the index beside its place and move it there, so that nobody ever sees half of one."""
    import pyarrow as pa

    batch, about = _to_batch(table)
    about |= {"root": root, "watched": dict(watched)}
    batch = batch.replace_schema_metadata({"vitrail": json.dumps(about)})
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, draft = tempfile.mkstemp(dir=path.parent, suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file, pa.ipc.new_file(file, batch.schema) as writer:
            writer.write_batch(batch)
        check = zlib.crc32(np.memmap(draft, np.uint8, "r").data)
        with open(draft, "ab") as file:  # noqa: PTH123
            file.write(check.to_bytes(CHECK, "little"))
        Path(draft).replace(path)
    except BaseException:
        Path(draft).unlink(missing_ok=True)
        raise
    _make_room(path)


def _make_room(latest: Path) -> None:
    others = sorted(
        (f for f in latest.parent.glob("*.arrow") if f != latest), key=lambda f: -f.stat().st_mtime
    )
    taken = latest.stat().st_size
    for file in others:
        taken += file.stat().st_size
        if taken > ROOM:
            file.unlink(missing_ok=True)


def _to_batch(table: Table) -> tuple[Any, dict[str, Any]]:
    import pyarrow as pa

    blobs = table.keys.blobs
    keys = pa.LargeBinaryArray.from_buffers(
        pa.large_binary(), len(blobs), [None, pa.py_buffer(blobs.offsets), pa.py_buffer(blobs.data)]
    )
    numbers = {"contents": table.contents, "stamps": table.stamps, "split": table.split}
    if table.group is not None:
        numbers["group"] = table.group
    columns = {"keys": keys} | {name: pa.array(column) for name, column in numbers.items()}
    for name, target in table.targets.items():
        if target.ndim == 1:
            columns[f"target:{name}"] = pa.array(target)
        else:
            rows = pa.py_buffer(np.ascontiguousarray(target))
            columns[f"target:{name}"] = pa.FixedSizeBinaryArray.from_buffers(
                pa.binary(target.shape[1]), len(target), [None, rows]
            )
    about = {
        "home": table.home,
        "classes": table.classes,
        "splits": table.splits_named,
        "groups": list(table.group_names),
        "notes": table.notes,
    }
    return pa.record_batch(columns), about


def _from_batch(batch: Any, about: Mapping[str, Any]) -> Table:
    """Lay NumPy columns over the memory-mapped buffers: nothing is copied."""
    keys = batch.column("keys")
    _, offsets, data = keys.buffers()
    texts = Texts(Blobs(np.frombuffer(offsets, np.int64)[: len(keys) + 1], np.frombuffer(data, np.uint8)))

    def numbers(name: str, dtype: type[np.generic]) -> np.ndarray:
        return np.frombuffer(batch.column(name).buffers()[1], dtype)[: len(keys)]

    targets: dict[str, np.ndarray] = {}
    for name in (name for name in batch.schema.names if name.startswith("target:")):
        if name == "target:label":
            targets["label"] = numbers(name, np.int32)
        else:
            width = batch.schema.field(name).type.byte_width
            flat = np.frombuffer(batch.column(name).buffers()[1], np.uint8)[: len(keys) * width]
            targets[name.removeprefix("target:")] = flat.reshape(len(keys), width)
    return Table(
        home=about["home"],
        classes=tuple(about["classes"]),
        keys=texts,
        pictures=Files(about["root"], texts),
        contents=numbers("contents", np.uint64),
        stamps=numbers("stamps", np.uint64),
        targets=targets,
        split=numbers("split", np.int8),
        splits_named=tuple(about["splits"]),
        group=numbers("group", np.int32) if "group" in batch.schema.names else None,
        group_names=about["groups"],
        notes=tuple(about["notes"]),
    )
