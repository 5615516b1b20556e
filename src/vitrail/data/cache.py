"""Decoded pictures on disk, memory-mapped, so that later epochs cost no decoding.

A cache is a folder in ``cache_home()``, one for each data set and kind of working picture:

``heap``   the pictures' bytes, one after the other, in the order in which they were first seen
``index``  one `ENTRY` a row of the data set: where its picture is, of what size, stamp and checksum
``about``  what it is of, in JSON; touched when it is used
``lock``   held by the process that writes; others read what is there

An entry is written after its picture and carries a checksum of itself and one of the picture, so that what a
kill, a full disk or a power cut left half done is found, and decoded again. Nothing here is ever fatal:
without room, or without leave to write, pictures are just decoded.
"""

import contextlib
import hashlib
import json
import mmap
import os
import shutil
import struct
import threading
import weakref
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from vitrail.contracts import Samples
from vitrail.data.home import cache_home
from vitrail.data.preprocess import Loaded, Preprocess
from vitrail.errors import UsageError

ENTRY = struct.Struct("<QQ8iII")  # place, stamp, picture h w, original h w, covers, picture's sum, own sum
ROWS = 4096
MOST = 20_000_000_000
VARIABLE = "VITRAIL_CACHE_BYTES"

_open: "weakref.WeakValueDictionary[Path, PixelCache]" = weakref.WeakValueDictionary()
_opening = threading.Lock()


class PixelCache:
    """Working pictures by row of a data set, for all its splits. Safe with threads and with other processes.

    ``limit`` bounds the bytes of all caches together (default: `VITRAIL_CACHE_BYTES`, else 20 GB or a quarter
    of the free disk); the longest unused caches of other data make room first. ``state`` is ``"writing"``,
    ``"reading"`` (another process writes) or ``"off"``; ``full`` says that a picture did not fit.
    """

    def __init__(self, folder: Path, about: dict[str, Any], channels: int, limit: int | None = None) -> None:
        self.folder, self.channels = folder, channels
        self.state, self.full = "off", False
        self._guard = threading.Lock()  # held while a file is used, so that none is closed meanwhile
        self._files: dict[str, int] = {}
        self._maps: dict[str, mmap.mmap] = {}
        self._checked = bytearray()  # 1 for rows whose picture this process has written or checked
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._files["lock"] = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
            self.state = "writing" if _locks(self._files["lock"]) else "reading"
            access = os.O_RDWR | os.O_CREAT if self.state == "writing" else os.O_RDONLY
            for name in ("heap", "index"):
                self._files[name] = os.open(folder / name, access, 0o600)
            if self.state == "writing":
                self._end = _size(self._files["heap"]) + 7 & ~7
                (folder / "about").write_text(json.dumps(about, indent=1))
                self.limit = _limit(limit, folder)
                self._others = sum(_weight(other) for other in _siblings(folder))
        except OSError:
            self.close()

    @classmethod
    def open(cls, samples: Samples, preprocess: Preprocess, limit: int | None = None) -> "PixelCache":
        """Return the cache for some data and its working pictures; a process has one of each."""
        about = {"data": samples.home, "pictures": preprocess.working}
        name = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:24]
        folder = cache_home() / "pixels" / name
        with _opening:
            cache = _open.get(folder)
            if cache is None or cache.state == "off":
                cache = _open[folder] = cls(folder, about, preprocess.channels, limit)
            return cache

    # ---------------------------------------------------------------- reading

    def get(self, row: int, stamp: int) -> Loaded | None:
        """Return the picture of a row, or None when there is none of this stamp. Its memory is the file's."""
        index = self._map("index", (row + 1) * ENTRY.size)
        if index is None:
            return None
        raw = index[row * ENTRY.size : (row + 1) * ENTRY.size]
        place, stamped, height, width, tall, wide, *covers, picture_sum, own_sum = ENTRY.unpack(raw)
        if stamped != stamp or own_sum != zlib.crc32(raw[:-4]):
            return None
        count = height * width * self.channels
        heap = self._map("heap", place + count)
        if heap is None:
            return None
        if row >= len(self._checked) or not self._checked[row]:
            if zlib.crc32(memoryview(heap)[place : place + count]) != picture_sum:
                return None
            self._check(row)
        left, top, right, bottom = covers
        pixels = np.frombuffer(heap, np.uint8, count, place).reshape(height, width, self.channels)
        return Loaded(pixels, (tall, wide), (left, top, right, bottom))

    def _map(self, name: str, size: int) -> mmap.mmap | None:
        """Return a map of at least ``size`` bytes, or None while the file has less."""
        held = self._maps.get(name)
        if held is not None and len(held) >= size:
            return held
        with self._guard:
            try:
                if _size(self._files[name]) >= size:
                    self._maps[name] = mmap.mmap(self._files[name], 0, access=mmap.ACCESS_READ)
                    return self._maps[name]
            except (OSError, KeyError):  # no memory to map it, or closed
                pass
            return None

    def _check(self, row: int) -> None:
        if row >= len(self._checked):
            self._checked.extend(bytes(max(0, row + ROWS - len(self._checked))))
        self._checked[row] = 1

    # ---------------------------------------------------------------- writing

    def put(self, row: int, stamp: int, loaded: Loaded) -> None:
        """Keep the picture of a row, if there is room."""
        if self.state != "writing" or self.full:
            return
        pixels = memoryview(np.ascontiguousarray(loaded.picture)).cast("B")  # type: ignore[arg-type]
        described = *loaded.picture.shape[:2], *loaded.size, *loaded.covers, zlib.crc32(pixels)
        with self._guard:
            try:
                if self.state != "writing" or not self._has_room(len(pixels)):
                    return
                _write(self._files["heap"], pixels, self._end)
                raw = ENTRY.pack(self._end, stamp, *described, 0)[:-4]
                self._end = self._end + len(pixels) + 7 & ~7
                if _size(self._files["index"]) < (row + 1) * ENTRY.size:
                    os.truncate(self._files["index"], (row // ROWS + 1) * ROWS * ENTRY.size)
                own_sum = struct.pack("<I", zlib.crc32(raw))
                _write(self._files["index"], memoryview(raw + own_sum), row * ENTRY.size)
            except OSError:  # the disk is full, or gone
                self.full = True
                return
            self._check(row)

    def _has_room(self, size: int) -> bool:
        if self._end + size > self.limit:
            self.full = True
        while not self.full and self._end + size + self._others > self.limit:
            self.full = not self._make_room()
        return not self.full

    def _make_room(self) -> bool:
        """Remove the longest unused cache of other data; False when none can be."""
        for other in sorted(_siblings(self.folder), key=_last_use):
            with _claimed(other) as claimed:
                if claimed:
                    shutil.rmtree(other, ignore_errors=True)
                    self._others = sum(_weight(each) for each in _siblings(self.folder))
                    return True
        return False

    def close(self) -> None:
        """Let other processes write. Pictures that were handed out stay valid."""
        self.state = "off"
        with self._guard:
            for file in self._files.values():
                os.close(file)
            self._files.clear()
            self._maps.clear()

    def __enter__(self) -> "PixelCache":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        if hasattr(self, "_guard"):
            self.close()


def _write(file: int, data: memoryview, place: int) -> None:
    """Write all of ``data``: a nearly full disk takes a part first."""
    while data:
        written = os.pwrite(file, data, place)
        data, place = data[written:], place + written


def _size(file: int) -> int:
    return os.fstat(file).st_size


def _locks(file: int) -> bool:
    """Whether this process may write: it holds the lock from now on."""
    try:
        import fcntl  # not everywhere

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (ImportError, OSError):
        return False
    return True


@contextlib.contextmanager
def _claimed(folder: Path) -> Iterator[bool]:
    """Whether nobody writes to a cache, and nobody will while it is removed."""
    try:
        file = os.open(folder / "lock", os.O_RDWR)
    except OSError:
        yield False
        return
    try:
        yield _locks(file)
    finally:
        os.close(file)


def _siblings(folder: Path) -> list[Path]:
    return [other for other in folder.parent.iterdir() if other != folder and (other / "about").exists()]


def _weight(folder: Path) -> int:
    """The bytes that a cache takes on disk."""
    try:
        return sum(file.stat().st_blocks * 512 for file in folder.iterdir())
    except OSError:
        return 0


def _last_use(folder: Path) -> float:
    try:
        return (folder / "about").stat().st_mtime
    except OSError:
        return 0.0


def _limit(chosen: int | None, folder: Path) -> int:
    """The bytes that all caches may take together."""
    if chosen is not None:
        return chosen
    if word := os.environ.get(VARIABLE):
        try:
            return int(float(word))
        except ValueError:
            raise UsageError(f"{VARIABLE} is a number of bytes, not {word!r}.") from None
    taken = sum(_weight(each) for each in (folder, *_siblings(folder)))
    return min(MOST, (shutil.disk_usage(folder).free + taken) // 4)
