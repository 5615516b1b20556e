"""Which files of a folder are its tables, and which split each of them holds."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from vitrail.data.names import few, split_named
from vitrail.errors import UsageError


@dataclass(frozen=True, slots=True)
class TableFile:
    """A table: its path below the root (slashes), and the split that its name or folder tells, if any."""

    name: str
    split: str | None = None


def find_metadata(root: str) -> list[TableFile]:
    """Return the ``metadata.csv`` (or .jsonl, .parquet) of a folder or of each of its split folders."""
    folders = [("", None)] + [(f"{name}/", split) for name in _folders(root) if (split := split_named(name))]
    found = []
    for prefix, split in folders:
        here = [
            name
            for suffix in ("csv", "jsonl", "parquet")
            if _is_file(root, name := f"{prefix}metadata.{suffix}")
        ]
        if len(here) > 1:
            raise UsageError(f"{root} has {few(here)}. Keep one, or give the path of the one that counts.")
        found += [TableFile(name, split) for name in here]
    return found


def find_parquet(root: str, configuration: str | None = None) -> list[TableFile]:
    """Return the parquet files of a folder in the layout of data sets on the Hub, ordered by name.

    ``data/train-00000-of-00002.parquet``, ``train/0000.parquet`` and ``train.parquet`` name their split;
    folders that name none are configurations, of which there may be one only. Splits with other names are
    left out as long as there is one that `vitrail.data.names.SPLITS` knows.
    """
    found: dict[str, list[tuple[str, str]]] = {}
    for path in sorted(Path(root).rglob("*.parquet")):
        name = path.relative_to(root).as_posix()
        if not any(part.startswith(".") for part in name.split("/")):
            where, split = _placed(name)
            found.setdefault(where, []).append((name, split))
    if configuration is not None:
        found = {where: files for where, files in found.items() if where == configuration}
    if len(found) > 1:
        raise UsageError(
            f"{root} holds {len(found)} data sets ({few(found, 10)}). Choose one: add its name to the path."
        )
    files = [file for files in found.values() for file in files]
    known = [TableFile(name, code) for name, word in files if (code := split_named(word))]
    return known or [TableFile(name) for name, _ in files]


def _placed(name: str) -> tuple[str, str]:
    """Return the configuration and the word for the split in ``easy/train-00000-of-00002.parquet``."""
    *folders, file = name.split("/")
    folders = [folder for folder in folders if folder != "data"]
    word = re.sub(r"-\d+-of-\d+.*$", "", file.removesuffix(".parquet"))
    if folders and (split_named(folders[-1]) or word.isdigit()):
        word = folders.pop()
    return "/".join(folders), word


def _folders(root: str) -> list[str]:
    with os.scandir(root) as entries:
        return sorted(entry.name for entry in entries if entry.is_dir())


def _is_file(root: str, name: str) -> bool:
    return Path(root, name).is_file()
