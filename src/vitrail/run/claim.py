"""The folder of a new run: found, made and held before anything is written into it."""

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

from vitrail.errors import UsageError
from vitrail.run.files import LOCK, cannot_write, locked
from vitrail.run.recipe import Recipe


@contextlib.contextmanager
def claimed(folder: Path) -> Iterator[Path]:
    """Make the run folder and hold it: of processes that want the same one, one gets it.

    A folder with anything in it is refused. When the block fails before it has written anything, the folder
    is taken away again.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        if folder.exists():
            raise UsageError(f"{folder} is a file. Choose another --out.") from None
        raise cannot_write(folder, error) from None
    _refuse_full(folder)  # before a lock is laid into what is somebody's
    with locked(folder):
        _refuse_full(folder)  # another process may have had it meanwhile
        try:
            yield folder
        except BaseException:
            if not _inside(folder):
                (folder / LOCK).unlink(missing_ok=True)
                folder.rmdir()
            raise


def next_free(recipe: Recipe) -> Path:
    """Make the next free folder below ``runs``; two processes never get the same."""
    data = re.sub(r"[^\w.-]+", "-", Path(recipe.where).name or "data").strip("-")
    number = 1
    while True:
        folder = Path("runs") / f"{data}-{Path(recipe.model.name).name}-{number}"
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            number += 1
        except OSError as error:
            raise cannot_write(folder, error) from None
        else:
            return folder


def _refuse_full(folder: Path) -> None:
    if _inside(folder):
        raise UsageError(
            f"{folder} exists. Choose another --out, or go on with it: vitrail train --resume {folder}"
        )


def _inside(folder: Path) -> list[Path]:
    """Return what is in a folder besides the lock, which a killed process leaves behind."""
    return [path for path in folder.iterdir() if path.name != LOCK]
