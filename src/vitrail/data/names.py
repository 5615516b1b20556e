"""Names of splits and classes: labels are names, so that names are what gets checked."""

import os
import unicodedata
from collections.abc import Collection, Mapping, Sequence

from vitrail.errors import VitrailError

SPLITS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
}
"""What a folder, a file or a cell may call a split."""


def split_named(word: str) -> str | None:
    """Return the split that a word names (``Validation`` is ``val``), or None."""
    return SPLITS.get(word.strip().lower())


def storable(name: str) -> str:
    """Return a name from the file system as text that can be printed and stored: stray bytes as ``\\xe9``."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def few(names: Collection[object], most: int = 3) -> str:
    """Return the first names of a list, and how many more there are, for a message."""
    shown = [str(name) for name, _ in zip(names, range(most), strict=False)]
    more = len(names) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")


def check_classes(classes: Sequence[str], where: str) -> None:
    """Raise VitrailError for a single class, or for two whose names differ by case, accent or space only."""
    seen: dict[str, str] = {}
    for name in classes:
        composed = unicodedata.normalize("NFC", name)
        alike = " ".join(composed.casefold().split())
        if (twin := seen.get(alike)) is not None:
            same = unicodedata.normalize("NFC", twin) == composed
            show = ascii if same else repr  # what is written the same must not look the same here
            raise VitrailError(
                f"{where}: the classes {show(twin)} and {show(name)} differ only by case, spaces or the form "
                "of an accent. Rename one, or give both the same name."
            )
        seen[alike] = name
    if len(classes) < 2:
        raise VitrailError(
            f"{where}: there is one class only ({few(classes)}), and a classifier needs at least two."
            if classes
            else f"{where}: there are no classes."
        )


def check_alike(classes: Mapping[str, Collection[str]], where: str) -> None:
    """Raise VitrailError, with both lists, when two splits have different classes."""
    (first, expected), *others = classes.items()
    for split, names in others:
        if set(names) == set(expected):
            continue
        differences = [
            f"only in {here}: {few(sorted(set(mine) - set(theirs)), 10)}"
            for here, mine, theirs in ((first, expected, names), (split, names, expected))
            if set(mine) - set(theirs)
        ]
        raise VitrailError(
            f"{where}: {first} and {split} have different classes ({'; '.join(differences)}).\n"
            f"{first}: {few(sorted(expected), 20)}. {split}: {few(sorted(names), 20)}."
        )
