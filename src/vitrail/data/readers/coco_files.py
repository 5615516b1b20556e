"""Where the files of COCO lie, and the pictures that they list."""

from __future__ import annotations

import os
import re
from pathlib import Path

from vitrail.data.names import split_named

ROBOFLOW, LABEL_STUDIO = "_annotations.coco.json", "result.json"


def find_coco(where: str) -> list[tuple[str, str | None]]:
    """Return the COCO files of a folder (named from there, with slashes), and the split of each, if any."""
    found = [(path.name, path) for path in sorted(Path(where, "annotations").glob("instances_*.json"))]
    if found:
        return [(f"annotations/{name}", split_of(path.stem)) for name, path in found]
    inside = [
        (f"{path.name}/{ROBOFLOW}", split_named(path.name))
        for path in sorted(Path(where).iterdir())
        if (path / ROBOFLOW).is_file()
    ]
    if inside:
        return inside
    if Path(where, ROBOFLOW).is_file():
        return [(ROBOFLOW, None)]
    return [(LABEL_STUDIO, None)] if _lists_pictures(f"{where}/{LABEL_STUDIO}") else []


def _lists_pictures(path: str) -> bool:
    """Whether a file of a common name starts as Label Studio's COCO does."""
    try:
        with open(path, "rb") as file:  # noqa: PTH123
            return b'"images"' in file.read(4096)
    except OSError:
        return False


def split_of(stem: str) -> str | None:
    """Return the split that a file's name tells: ``instances_val2017`` is ``val``."""
    return next((split for word in re.split(r"[^a-zA-Z]+", stem) if (split := split_named(word))), None)


class Places:
    """Folders in which the pictures of a file may lie, the likeliest first; ``shown`` names them."""

    def __init__(self, root: str, name: str, split: str | None) -> None:
        self.root = root
        tail = Path(name).stem.removeprefix("instances_")
        folders = [Path(name).parent.as_posix(), ".", "images", f"images/{tail}", tail]
        if split:
            folders += [f"images/{split}", split]
        self.folders = [each for each in dict.fromkeys(folders) if Path(root, each).is_dir()]
        self.shown = [f"{root}/{each}" if each != "." else root for each in self.folders]

    def find(self, name: str) -> str | None:
        """Return where a picture is, from the root; it may have been listed with folders of elsewhere."""
        plain = name.replace("\\", "/")
        for wanted in dict.fromkeys((plain, plain.rsplit("/", 1)[-1])):
            for folder in self.folders:
                place = os.path.normpath(f"{folder}/{wanted}" if folder != "." else wanted)
                if os.path.isfile(os.path.join(self.root, place)):  # noqa: PTH113, PTH118
                    self.folders.remove(folder)
                    self.folders.insert(0, folder)  # the next picture lies there, too
                    return place
        return None
