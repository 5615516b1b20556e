"""What is kept of masks that were answered: class numbers as a PNG, and the picture in their colours."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image

from vitrail.data.decode import decode_upright
from vitrail.data.names import storable
from vitrail.draw.masks import index_png, mask_over
from vitrail.errors import UsageError
from vitrail.run.annotations import CocoDraft, coco_file, write_geojson
from vitrail.run.files import write_atomic
from vitrail.values import Mask, Source

Kept = Literal["mask", "overlay", "geojson", "coco"]
"""What may be written of masks; COCO is one file for all pictures."""
USUAL: tuple[Kept, ...] = ("mask", "overlay")
COCO = "answers.coco.json"


@contextlib.contextmanager
def keeping(folder: Path, write: Collection[Kept], pictures: Sequence[str]) -> Iterator[MaskKeeper]:
    """Give what writes the masks of ``pictures``; a COCO file is there when the block ends well.

    COCO names pictures from the folder on that is common to all. Raises UsageError where GeoJSON would
    take the place of what lies beside a picture, which somebody may have drawn.
    """
    homes = [os.path.dirname(os.path.abspath(each)) for each in pictures]  # noqa: PTH100, PTH120
    for home, picture in zip(homes, pictures, strict=True) if "geojson" in write else ():
        beside = folder / f"{Path(picture).stem}.geojson"
        if home == os.path.abspath(folder) and beside.exists():  # noqa: PTH100
            raise UsageError(
                f"{beside} is there already, beside its picture, and may be drawn by hand. "
                "Choose another folder by --out."
            )
    with contextlib.ExitStack() as stack:
        coco = stack.enter_context(coco_file(folder / COCO)) if "coco" in write else None
        yield MaskKeeper(folder=folder, write=write, coco=coco, home=os.path.commonpath(homes))


@dataclass(kw_only=True)
class MaskKeeper:
    """Writes masks into a folder, under names that no two of them share."""

    folder: Path
    taken: set[str] = field(default_factory=set)
    write: Collection[Kept] = USUAL
    coco: CocoDraft | None = None
    home: str = "."

    def keep(self, source: Source, name: str, mask: Mask) -> Mapping[str, Any]:
        """Write what is to be kept of a mask; return the answer as a line with the names of its files.

        ``NAME.mask.png`` holds the number of each pixel's class, in the order of ``classes``, and shows it in
        colour. Where a pixel may be of many classes there is one ``NAME.CLASS.mask.png`` each, of 0 and 255.
        The others are ``NAME.overlay.png`` and ``NAME.geojson``.
        """
        stem = self._free(Path(name).stem)
        written: dict[str, Any] = self._masks(stem, mask) if "mask" in self.write else {}
        if "overlay" in self.write:
            picture = Image.fromarray(decode_upright(source, 3).pixels)
            written["overlay"] = f"{stem}.overlay.png"
            self._write(written["overlay"], _png(mask_over(picture, mask)))
        if "geojson" in self.write:
            written["geojson"] = f"{stem}.geojson"
            write_geojson(self.folder / written["geojson"], mask)
        if self.coco is not None:
            self.coco.add(storable(Path(os.path.relpath(name, self.home)).as_posix()), mask)
        return {**mask.to_dict(), "classes": list(mask.names), **written}

    def _masks(self, stem: str, mask: Mask) -> dict[str, Any]:
        if not mask.multi:
            draft = io.BytesIO()
            index_png(mask, draft)
            self._write(f"{stem}.mask.png", draft.getvalue())
            return {"mask": f"{stem}.mask.png"}
        files = {}
        for each, layer in zip(mask.names, mask.values, strict=True):
            files[each] = f"{stem}.{each.replace('/', '_')}.mask.png"
            self._write(files[each], _png(Image.fromarray(layer.astype(np.uint8) * 255)))
        return {"masks": files}

    def _free(self, stem: str) -> str:
        name, number = stem, 2
        while name in self.taken:
            name, number = f"{stem}-{number}", number + 1
        self.taken.add(name)
        return name

    def _write(self, name: str, data: bytes) -> None:
        write_atomic(self.folder / name, data)


def _png(image: Image.Image) -> bytes:
    draft = io.BytesIO()
    image.save(draft, "PNG")
    return draft.getvalue()
