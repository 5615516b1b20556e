"""Writing without half-written files: whole or not at all, whatever interrupts."""

import contextlib
import errno
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from vitrail.errors import UsageError, VitrailError


def write_atomic(path: Path, content: str | bytes) -> None:
    """Write ``content`` to ``path``, replacing what was there in one step."""
    data = content.encode() if isinstance(content, str) else content
    with replacing(path, len(data)) as draft:
        draft.write_bytes(data)


def write_json(path: Path, value: Any) -> None:
    """Write a JSON object that people can read, atomically."""
    write_atomic(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


@contextlib.contextmanager
def replacing(path: Path, needed: int = 0) -> Iterator[Path]:
    """Give a draft beside ``path`` to write into; it takes the place of ``path`` when the block ends well.

    A full disk or a missing permission is reported with the bytes ``needed`` and those free, leaves what
    was there before, and leaves no draft behind.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield draft
        with draft.open("rb") as written:
            os.fsync(written.fileno())
        draft.replace(path)
        _sync_folder(path.parent)
    except BaseException as error:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)
        if isinstance(error, OSError) or "os error" in str(error).lower():
            raise cannot_write(path, error, needed) from error
        raise


def cannot_write(path: Path, error: BaseException, needed: int = 0) -> VitrailError:
    """Return the one line that says why ``path`` could not be written and what to do."""
    if getattr(error, "errno", None) == errno.ENOSPC or "no space" in str(error).lower():
        try:
            free = f"{shutil.disk_usage(path.parent).free:,}"
        except OSError:
            free = "an unknown number of"
        return VitrailError(
            f"{path}: the disk is full ({needed:,} bytes needed, {free} free). "
            "What was saved before is intact: make room and run again."
        )
    reason = getattr(error, "strerror", None) or str(error)
    return VitrailError(f"{path}: cannot write ({reason}). Choose another place with --out.")


def read_json(path: Path, what: str) -> Any:
    """Read a JSON file; ``what`` says what it should have been when it is missing or broken."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise VitrailError(f"{path}: not found; {what}.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise VitrailError(f"{path}: cannot be read ({error}); {what}.") from None
    except json.JSONDecodeError as error:
        raise VitrailError(f"{path}:{error.lineno}: not JSON ({error.msg}); {what}.") from None


def first_free(name: Callable[[int], Path]) -> Path:
    """Return the first of ``name(1)``, ``name(2)``, ... that does not exist."""
    number = 1
    while name(number).exists():
        number += 1
    return name(number)


def sweep(*folders: Path) -> None:
    """Remove the drafts that killed processes left behind."""
    for folder in folders:
        for draft in folder.glob(".*.part"):
            draft.unlink(missing_ok=True)


LOCK = ".lock"


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a folder for this process alone; if another does, that is an error. A kill lets go of it."""
    try:
        import fcntl
    except ImportError:  # Windows, where nothing is held
        yield
        return
    try:
        file = (folder / LOCK).open("w")
    except OSError as error:
        raise cannot_write(folder, error) from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            held = os.fstat(file.fileno()).st_nlink > 0  # else who held it has just taken the folder away
        except OSError:
            held = False
        if not held:
            raise UsageError(f"{folder} is being trained by another process. Wait for it, or stop it.")
        yield


def _sync_folder(folder: Path) -> None:
    """Make a rename survive a power cut, where the system lets a folder be synced."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def free_name(stem: str, taken: set[str]) -> str:
    """Take a name that was not ``taken``; letter case does not tell names apart everywhere."""
    name, number = stem, 1
    while name.casefold() in taken:
        number += 1
        name = f"{stem}-{number}"
    taken.add(name.casefold())
    return name
