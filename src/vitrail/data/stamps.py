"""Short hashes that tell whether something has changed."""

import hashlib
import os
import stat


def digest(*parts: bytes) -> int:
    """Return a 64-bit hash of byte strings, the same on every machine (BLAKE2b)."""
    return int.from_bytes(hashlib.blake2b(b"\0".join(parts), digest_size=8).digest(), "little")


def stamp(raw: bytes, size: int, changed: int) -> int:
    """Return the hash of a file's name, size and time of change (nanoseconds) that caches go by."""
    return digest(raw, b"%d" % size, b"%d" % changed)


def extent(path: str) -> tuple[int, int]:
    """Return a file's size and time of change in nanoseconds.

    Both are 0 for what is listed but cannot be read as a file: a dangling link, a folder, a pipe, what lies
    behind a closed door.
    """
    try:
        status = os.stat(path)  # noqa: PTH116, a Path costs ten times as much
    except OSError:
        return 0, 0
    return (status.st_size, status.st_mtime_ns) if stat.S_ISREG(status.st_mode) else (0, 0)
