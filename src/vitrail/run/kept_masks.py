"""What is kept of masks that were answered: class numbers as a PNG, and the picture in their colours."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from vitrail.data.preprocess import Preprocess
from vitrail.draw.masks import index_png, mask_over
from vitrail.run.files import write_atomic
from vitrail.values import Mask, Source


@dataclass(kw_only=True)
class MaskKeeper:
    """Writes masks into a folder, under names that no two of them share.

    Pictures below them are those that the model's ``preprocess`` reads.
    """

    folder: Path
    preprocess: Preprocess
    taken: set[str] = field(default_factory=set)

    def keep(self, source: Source, name: str, mask: Mask) -> Mapping[str, Any]:
        """Write ``NAME.mask.png`` and ``NAME.overlay.png``; return the answer as a line with their names.

        The first holds the number of each pixel's class, in the order of ``classes``, and shows it in colour.
        Where a pixel may be of many classes there is one ``NAME.CLASS.mask.png`` each, of 0 and 255.
        """
        stem = self._free(Path(name).stem)
        if mask.multi:
            files = {}
            for each, layer in zip(mask.names, mask.values, strict=True):
                files[each] = f"{stem}.{each.replace('/', '_')}.mask.png"
                self._write(files[each], _png(Image.fromarray(layer.astype(np.uint8) * 255)))
            written: dict[str, Any] = {"masks": files}
        else:
            draft = io.BytesIO()
            index_png(mask, draft)
            written = {"mask": f"{stem}.mask.png"}
            self._write(written["mask"], draft.getvalue())
        written["overlay"] = f"{stem}.overlay.png"
        self._write(written["overlay"], _png(mask_over(self.preprocess.original(source), mask)))
        return {**mask.to_dict(), "classes": list(mask.names), **written}

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
