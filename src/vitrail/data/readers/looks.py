"""Looks at files: on several threads, and remembered in the cache folder while the files stay the same."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec

from vitrail.data.home import cache_home
from vitrail.data.readers.maskfile import Look

FORMAT = 1


def look_at_all(
    home: str, stamps: Sequence[int], look: Callable[[int], Look], *, rescan: bool = False
) -> list[Look]:
    """Return a look at each row; what was seen before under the same stamp is not looked at again.

    ``stamps`` change whenever one of a row's files does. Faults are not remembered: they may be cured by
    other means than a change of the file. A memory that is broken or cannot be written is no failure.
    """
    name = hashlib.sha256(f"{FORMAT}\0{home}".encode("utf-8", "surrogateescape")).hexdigest()[:24]
    path = cache_home() / "masks" / f"{name}.msgpack"
    known = {} if rescan else _recall(path)
    fresh = [row for row, stamp in enumerate(stamps) if stamp not in known]
    workers = min(32, 2 * (os.cpu_count() or 1))
    with ThreadPoolExecutor(workers, "vitrail-masks") as pool:
        seen = dict(zip(fresh, pool.map(look, fresh), strict=True))
    looks = [seen[row] if row in seen else known[stamp] for row, stamp in enumerate(stamps)]
    if fresh:
        kept = {
            stamp: each for stamp, each in zip(stamps, looks, strict=True) if each.upright and not each.fault
        }
        with contextlib.suppress(OSError):
            _remember(path, kept)
    return looks


def _recall(path: Path) -> dict[int, Look]:
    try:
        return msgspec.msgpack.decode(path.read_bytes(), type=dict[int, Look])
    except (OSError, msgspec.MsgspecError):
        return {}


def _remember(path: Path, looks: dict[int, Look]) -> None:
    """Write beside the place and move there, so that nobody ever sees half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, draft = tempfile.mkstemp(dir=path.parent, suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(msgspec.msgpack.encode(looks))
        Path(draft).replace(path)
    except BaseException:
        Path(draft).unlink(missing_ok=True)
        raise
