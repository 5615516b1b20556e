"""What is kept of masks that were answered: class numbers as a PNG, and the picture in their colours."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image

from vitrail.data.decode import MAX_PIXELS, decode_upright
from vitrail.data.names import storable
from vitrail.data.preprocess import Preprocess
from vitrail.data.regions import Regions, open_regions
from vitrail.draw.masks import index_png, mask_over
from vitrail.errors import UsageError
from vitrail.run.annotations import CocoDraft, coco_file, write_geojson
from vitrail.run.files import free_name, replacing
from vitrail.values import STRIP, Mask, Size, Source

SHOWN = 2**24
"""The most pixels of a picture in colours, which is looked at and not measured."""

Kept = Literal["mask", "overlay", "geojson", "coco"]
"""What may be written of masks; COCO is one file for all pictures."""
USUAL: tuple[Kept, ...] = ("mask", "overlay")
COCO = "answers.coco.json"


@contextlib.contextmanager
def keeping(
    folder: Path, preprocess: Preprocess, write: Collection[Kept], pictures: Sequence[str]
) -> Iterator[MaskKeeper]:
    """Give what writes the masks of ``pictures``; a COCO file is there when the block ends well.

    COCO names pictures from the folder on that is common to all. Raises UsageError where GeoJSON would
    take the place of what lies beside a picture, which somebody may have drawn.
    """
    homes = [os.path.dirname(os.path.abspath(each)) for each in pictures]  # noqa: PTH100, PTH120
    for home, picture in zip(homes, pictures, strict=True) if "geojson" in write else ():
        beside = folder / f"{storable(Path(picture).stem)}.geojson"
        if home == os.path.abspath(folder) and beside.exists():  # noqa: PTH100
            raise UsageError(
                f"{beside} is there already, beside its picture, and may be drawn by hand. "
                "Choose another folder by --out."
            )
    with contextlib.ExitStack() as stack:
        coco = stack.enter_context(coco_file(folder / COCO)) if "coco" in write else None
        home = os.path.commonpath(homes)
        yield MaskKeeper(folder=folder, preprocess=preprocess, write=write, coco=coco, home=home)


@dataclass(kw_only=True)
class MaskKeeper:
    """Writes masks into a folder, under names that no two of them share.

    Pictures below them are those that the model's ``preprocess`` reads.
    """

    folder: Path
    preprocess: Preprocess
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
        stem = free_name(storable(Path(name).stem), self.taken)
        written: dict[str, Any] = self._masks(stem, mask) if "mask" in self.write else {}
        if "overlay" in self.write:
            written["overlay"] = f"{stem}.overlay.png"
            self._write(written["overlay"], mask_over(*reduced(source, mask, self.preprocess)))
        if "geojson" in self.write:
            written["geojson"] = f"{stem}.geojson"
            write_geojson(self.folder / written["geojson"], mask)
        if self.coco is not None:
            self.coco.add(storable(Path(os.path.relpath(name, self.home)).as_posix()), mask)
        return {**mask.to_dict(), "classes": list(mask.names), **written}

    def _masks(self, stem: str, mask: Mask) -> dict[str, Any]:
        if not mask.multi:
            with replacing(self.folder / f"{stem}.mask.png") as draft, draft.open("wb") as file:
                index_png(mask, file)
            return {"mask": f"{stem}.mask.png"}
        files = {}
        for each, layer in zip(mask.names, mask.values, strict=True):
            files[each] = f"{stem}.{each.replace('/', '_')}.mask.png"
            self._write(files[each], Image.fromarray(layer.view(np.uint8) * np.uint8(255)))
        return {"masks": files}

    def _write(self, name: str, image: Image.Image) -> None:
        with replacing(self.folder / name) as draft:
            image.save(draft, "PNG")


def times_of(size: Size, most: int) -> int:
    """Return by which whole number a picture is made smaller to have no more pixels than that."""
    return math.ceil(math.sqrt(size[0] * size[1] / most))


def thinned(values: np.ndarray, times: int) -> np.ndarray:
    """Return one of so many pixels, across and down, of masks ``... h w``."""
    down, across = (
        np.minimum(np.arange(-(-side // times)) * times + times // 2, side - 1) for side in values.shape[-2:]
    )
    few: np.ndarray = values[..., down[:, None], across]
    return few


def reduced(
    source: Source, mask: Mask, preprocess: Preprocess, most: int | None = None
) -> tuple[np.ndarray, Mask]:
    """Return a picture, uint8 ``h w c``, and its mask, both so many `times_of` smaller (most: `SHOWN`).

    The picture's pixels are means then, and each has one class. It has colours, or all bands of those that
    ``preprocess`` reads, by its range.
    """
    height, width = mask.size
    times = times_of(mask.size, most or SHOWN)
    limit = max(MAX_PIXELS, height * width)  # what was answered was not too large
    channels, span = 3 if preprocess.channels == 1 else preprocess.channels, preprocess.range
    regions = None
    if channels == 3:
        plain = Preprocess(size=mask.size, fit="tile", max_pixels=limit, range=span)
        regions = open_regions(source, plain)
    if regions is None:
        small = decode_upright(source, channels, max_pixels=limit, span=span, times=times).pixels
    else:
        small = _reduced(regions, times)
    if times == 1:
        return small, mask
    return small, replace(mask, values=thinned(mask.values, times), scores=None)


def _reduced(regions: Regions, times: int) -> np.ndarray:
    """Return a picture that is read by its rows, so many times smaller."""
    height, width = regions.size
    small = np.empty((-(-height // times), -(-width // times), 3), np.uint8)
    rows = max(1, STRIP // width // times)
    for first in range(0, len(small), rows):
        top, bottom = first * times, min((first + rows) * times, height)
        part = regions.rows(top, bottom)
        strip = part.picture[top - part.covers[1] : bottom - part.covers[1]]
        small[first : first + rows] = np.asarray(Image.fromarray(strip).reduce(times))
    return small
