"""Masks as annotations that other programs read: outlines as GeoJSON (QuPath), runs as COCO.

Vitrail's own readers draw the same masks from them, pixel by pixel. Coordinates are pixels of the upright
original, from its upper left corner.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import msgspec
import numpy as np

from vitrail.data.outlines import column_runs, counts_of, regions
from vitrail.data.readers.shapes import pack_runs
from vitrail.draw.masks import GROUND, palette_of
from vitrail.run.files import replacing
from vitrail.values import Mask

POINTS = 50_000
"""Corners that are made text together."""
PIXELS = 4_000_000
"""Pixels whose scores are added up together."""


def to_geojson(mask: Mask) -> dict[str, Any]:
    """Return a mask as a FeatureCollection in QuPath's manner: a polygon, with holes, for each region.

    A region hangs together over the sides of pixels. A background, which is the first class, is left out.
    """
    whole: dict[str, Any] = msgspec.json.decode(b"".join(_geojson(mask)))
    return whole


def write_geojson(path: str | Path, mask: Mask) -> None:
    """Write what `to_geojson` returns, region by region: it need not fit into memory."""
    with replacing(Path(path)) as draft, draft.open("wb") as file:
        file.writelines(_geojson(mask))


def to_coco(masks: Mapping[str, Mask]) -> dict[str, Any]:
    """Return masks by the names of their pictures as COCO: compressed runs of each class that is there.

    ``score`` is the mean of its pixels' scores, where the mask has them. A background is left out.
    """
    file = io.BytesIO()
    coco = CocoDraft(file=file)
    for name, mask in masks.items():
        coco.add(name, mask)
    coco.end()
    whole: dict[str, Any] = msgspec.json.decode(file.getvalue())
    return whole


@contextlib.contextmanager
def coco_file(path: Path) -> Iterator[CocoDraft]:
    """Give a COCO file to add masks to, all of the same classes; it is there when the block ends well."""
    with replacing(path) as draft, draft.open("wb") as file:
        coco = CocoDraft(file=file)
        yield coco
        coco.end()


@dataclass(kw_only=True)
class CocoDraft:
    """What `to_coco` returns, of which annotations are written as masks come, and the pictures in the end."""

    file: IO[bytes]
    images: list[bytes] = field(default_factory=list)
    categories: list[dict[str, Any]] = field(default_factory=list)
    count: int = 0

    def add(self, name: str, mask: Mask) -> None:
        """Write a picture's mask under the picture's ``name``."""
        number = len(self.images) + 1
        image = {"id": number, "file_name": name, "height": mask.size[0], "width": mask.size[1]}
        self.images.append(msgspec.json.encode(image))
        kept = _kept(mask)
        self.categories = [{"id": place, "name": mask.names[index]} for place, index in enumerate(kept, 1)]
        for index, found in _runs(mask):
            self.file.write(b",\n" if self.count else b'{"annotations":[\n')
            self.count += 1
            ids = {"id": self.count, "image_id": number, "category_id": kept.index(index) + 1}
            self.file.write(msgspec.json.encode(ids | found))

    def end(self) -> None:
        """Write the pictures and the categories."""
        self.file.write(b"" if self.count else b'{"annotations":[')
        self.file.write(b'],\n"images":[\n' + b",\n".join(self.images))
        self.file.write(b'],\n"categories":' + msgspec.json.encode(self.categories) + b"}\n")


def _kept(mask: Mask) -> range:
    """Return the indices of the classes that are annotated: all but a background."""
    ground = not mask.multi and mask.names[0].strip().lower() in GROUND
    return range(int(ground), len(mask.names))


def _planes(mask: Mask) -> Iterator[tuple[np.ndarray, dict[int, int]]]:
    """Yield uint8 ``h w`` with the class that each of its values stands for."""
    if mask.multi:
        for index in _kept(mask):
            yield mask.values[index].view(np.uint8), {1: index}
    else:
        yield mask.values, {index: index for index in _kept(mask)}


def _geojson(mask: Mask) -> Iterator[bytes]:
    yield b'{"type":"FeatureCollection","features":['
    colours = palette_of(mask.names)
    between = b"\n"
    for values, classes in _planes(mask):
        for region in regions(values, list(classes)):
            index = classes[region.index]
            properties = {
                "objectType": "annotation",
                "classification": {"name": mask.names[index], "color": colours[index]},
            }
            yield between + b'{"type":"Feature","geometry":{"type":"Polygon","coordinates":['
            for number, ring in enumerate(region.rings):
                yield b",[" if number else b"["
                closed = np.concatenate([ring, ring[:1]])
                for start in range(0, len(closed), POINTS):
                    yield b"," if start else b""
                    yield msgspec.json.encode(closed[start : start + POINTS].tolist())[1:-1]
                yield b"]"
            yield b']},"properties":' + msgspec.json.encode(properties) + b"}"
            between = b",\n"
    yield b"]}\n"


def _runs(mask: Mask) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the index of each class that there is, and where: its runs, box and area, and the mean score."""
    height, width = mask.size
    scores = _mean_scores(mask)
    for values, classes in _planes(mask):
        begins, kinds = column_runs(values)
        ends = np.append(begins[1:], height * width)
        for value, index in classes.items():
            mine = kinds == value
            if not mine.any():
                continue
            first, last = begins[mine], ends[mine] - 1
            left, right = int(first[0] // height), int(last[-1] // height)
            if (first // height != last // height).any():  # such a run has the last row, and the first one
                top, bottom = 0, height - 1
            else:
                top, bottom = int((first % height).min()), int((last % height).max())
            found: dict[str, Any] = {
                "segmentation": {
                    "size": [height, width],
                    "counts": pack_runs(counts_of(first, last + 1, height * width)),
                },
                "bbox": [left, top, right - left + 1, bottom - top + 1],
                "area": int((last - first + 1).sum()),
                "iscrowd": 0,
            }
            if scores is not None:
                found["score"] = round(float(scores[index]), 6)
            yield index, found


def _mean_scores(mask: Mask) -> np.ndarray | None:
    """Return the mean score of the pixels of each class; what there is none of has 0."""
    if mask.scores is None:
        return None
    sums, areas = np.zeros((2, len(mask.names)))
    height, width = mask.size
    step = max(1, PIXELS // width)
    for top in range(0, height, step):
        values, scores = (part[..., top : top + step, :] for part in (mask.values, mask.scores))
        if mask.multi:
            sums += np.where(values, scores, 0).sum(axis=(1, 2), dtype=np.float64)
            areas += values.sum(axis=(1, 2))
        else:
            flat, count = values.ravel(), len(mask.names)
            sums += np.bincount(flat, scores.ravel(), minlength=count)[:count]
            areas += np.bincount(flat, minlength=count)[:count]
    return sums / np.maximum(areas, 1)
