"""Large TIFFs whose rows are read when they are wanted: tiles and strips are decoded by themselves.

The parts that hold some rows are put into a small TIFF of their own, with the tags that say what they mean,
and that is decoded as any picture is: so what a model sees is the same to the bit, whatever the compression.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import accumulate
from typing import IO, Any

import numpy as np
from PIL import Image

from vitrail.data import bands
from vitrail.data.faults import Unreadable, name_fault
from vitrail.data.header import identify, open_source
from vitrail.data.preprocess import Loaded, Preprocess
from vitrail.values import Size, Source

LARGE = 2**24
"""Pictures of fewer pixels are decoded whole, which is as good for them."""
MOST = 2**26
"""Pixels of parts that lie beside each other: with more, reading rows would save nothing."""
BEYOND = 8
"""How many times the pixels that may be decoded whole a picture may have whose rows are read."""
MARKS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

WIDTH, LENGTH, COMPRESSION, ORIENTATION, SAMPLES, PLANES = 256, 257, 259, 274, 277, 284
STRIPS, TILES = (278, 273, 279), (323, 324, 325)
"""The tags of the rows of a part, of where parts are in the file, and of their bytes."""
MEANING = (258, 259, 262, 266, 277, 284, 292, 293, 317, 320, 322, 332, 338, 339, 347, 529, 530, 531, 532)
"""The tags by which the bytes of a part become pixels."""
PLACE = (270, 282, 283, 296, 33550, 33922, 34735, 34736, 34737)
"""The tags that say how large a pixel is, and where on earth."""
MODES = ("1", "L", "LA", "RGB", "RGBA", "P", "PA", "La", "RGBa", "CMYK", "YCbCr", "LAB")
"""What becomes of a pixel of these, and of 16-bit grey, depends on no other pixel."""
NUMBERS = {1: "B", 3: "H", 4: "L", 6: "b", 8: "h", 9: "l", 11: "f", 12: "d"}
RATIONAL = {5: "L", 10: "l"}
OLD_JPEG = 6

Rows = tuple[int, np.ndarray]


@dataclass(slots=True, kw_only=True)
class Regions:
    """A TIFF of ``size``, upright, of which some rows at a time are decoded.

    Its parts have ``rows_each`` rows, ``across`` of them lie beside each other, and ``places`` are the
    offset and the length of each.
    """

    source: str | bytes
    preprocess: Preprocess
    size: Size
    order: str
    tags: Mapping[int, tuple[int, Any]]
    layout: tuple[int, int, int]
    rows_each: int
    across: int
    places: list[tuple[int, int]]
    _held: Rows | None = field(default=None, repr=False)
    _pixel_size: float | None = field(default=None, repr=False)

    def rows(self, top: int, bottom: int) -> Loaded:
        """Return the rows from ``top`` up to ``bottom``, and those of the parts that these end in.

        What was read last is not read again. Raises ``Unreadable``.
        """
        first, end = (
            top - top % self.rows_each,
            min(self.size[0], -(-bottom // self.rows_each) * self.rows_each),
        )
        pieces, start = [], first
        if self._held is not None:
            held, pixels = self._held
            if held <= first < held + len(pixels):
                pieces.append(pixels[first - held : end - held])
                start = first + len(pieces[0])
        self._held = None
        loaded = None
        if start < end:
            loaded = self._read(start, end)
            self._pixel_size = loaded.pixel_size
            pieces.append(loaded.picture)
        pixels = pieces[0] if len(pieces) == 1 else np.concatenate(pieces)
        del pieces
        self._held = first, pixels
        covers = (0, first, self.size[1], end)
        if loaded is None:
            return Loaded(pixels, self.size, covers, pixel_size=self._pixel_size)
        return replace(loaded, picture=pixels, size=self.size, covers=covers)

    def _read(self, top: int, bottom: int) -> Loaded:
        """Decode whole parts."""
        where = "bytes in memory" if isinstance(self.source, bytes) else str(self.source)
        parts = range(top // self.rows_each * self.across, -(-bottom // self.rows_each) * self.across)
        plane = -(-self.size[0] // self.rows_each) * self.across
        with open_source(self.source) as file:
            try:
                data = [
                    _take(file, where, *self.places[number + shift])
                    for shift in range(0, len(self.places), plane)
                    for number in parts
                ]
                return self.preprocess.load(self._small(data, bottom - top))
            except Unreadable as fault:
                raise Unreadable(where, fault.kind, fault.detail) from fault
            except Exception as error:
                raise name_fault(error, file, where) from error

    def _small(self, parts: list[bytes], height: int) -> bytes:
        """Return a TIFF of some parts."""
        lengths = [len(part) for part in parts]
        rows, offsets, counts = self.layout
        start = 8 + sum(lengths) + sum(lengths) % 2
        tags = dict(self.tags)
        tags |= {WIDTH: (4, (self.size[1],)), LENGTH: (4, (height,)), rows: (4, (self.rows_each,))}
        tags |= {offsets: (4, tuple(accumulate(lengths[:-1], initial=8))), counts: (4, tuple(lengths))}
        entries, values = [], b""
        after = start + 2 + 12 * len(tags) + 4
        for tag in sorted(tags):
            kind, value = tags[tag]
            data, count = _encoded(self.order, kind, value)
            if len(data) > 4:
                place = struct.pack(self.order + "L", after + len(values))
                values += data + bytes(len(data) % 2)
            else:
                place = data.ljust(4, b"\0")
            entries.append(struct.pack(self.order + "HHL", tag, kind, count) + place)
        head = (b"II" if self.order == "<" else b"MM") + struct.pack(self.order + "HL", 42, start)
        pad = bytes(sum(lengths) % 2)
        directory = struct.pack(self.order + "H", len(entries)) + b"".join(entries) + bytes(4)
        return b"".join([head, *parts, pad, directory, values])


def open_regions(source: Source | Image.Image, preprocess: Preprocess) -> Regions | None:
    """Return a large TIFF whose rows can be read; None for a picture that is to be decoded whole.

    Raises ``Unreadable`` for one of far more pixels than ``preprocess.max_pixels``.
    """
    if not isinstance(source, str | bytes) or not _marked(source):
        return None
    with open_source(source) as file:
        try:
            stored = bands.look(file, str(source))
            image = identify(file)
            if stored is not None and stored.paged and preprocess.channels != 1:
                return None  # the channels of a pixel do not lie together
            if image.width * image.height < LARGE or (preprocess.frames == "error" and _several(image)):
                return None
            found = _regions(source, preprocess, image)
        except Exception:  # whoever decodes it whole says what is wrong
            return None
    height, width = (0, 0) if found is None else found.size
    if height * width > (limit := BEYOND * preprocess.max_pixels):
        where = "bytes in memory" if isinstance(source, bytes) else str(source)
        raise Unreadable(where, "too large", f"{width} x {height} pixels, the limit is {limit:,}")
    return found


def _regions(source: str | bytes, preprocess: Preprocess, image: Image.Image) -> Regions | None:
    tags: Any = getattr(image, "tag_v2", {})
    layout = TILES if TILES[1] in tags else STRIPS
    if tags.get(ORIENTATION, 1) != 1 or tags.get(COMPRESSION, 1) == OLD_JPEG:
        return None
    if image.mode not in MODES and not image.mode.startswith("I;16"):
        return None
    if not all(tag in tags for tag in layout):
        return None
    width, height = image.size
    rows = min(int(tags[layout[0]]), height) if layout is STRIPS else int(tags[layout[0]])
    across = -(-width // int(tags[322])) if layout is TILES else 1
    planes = int(tags.get(SAMPLES, 1)) if tags.get(PLANES, 1) == 2 else 1
    places = list(zip(tags[layout[1]], tags[layout[2]], strict=True))
    if rows * width > MOST or len(places) != planes * across * -(-height // rows):
        return None
    return Regions(
        source=source,
        preprocess=preprocess,
        size=(height, width),
        order=tags._endian,
        tags={tag: (tags.tagtype[tag], tags[tag]) for tag in (*MEANING, *PLACE) if _copied(tags, tag)},
        layout=layout,
        rows_each=rows,
        across=across,
        places=places,
    )


def _copied(tags: Any, tag: int) -> bool:
    return tag in tags and tags.tagtype[tag] in {2, 7, *NUMBERS, *RATIONAL}


def _encoded(order: str, kind: int, value: Any) -> tuple[bytes, int]:
    """Return a tag's value as a TIFF has it, and how many numbers or letters that are."""
    if isinstance(value, str):
        data = value.encode("utf-8", "surrogateescape") + b"\0"
        return data, len(data)
    if isinstance(value, bytes):
        return value, len(value)
    values = value if isinstance(value, tuple | list) else (value,)
    if kind in RATIONAL:
        parts = [part for each in values for part in (each.numerator, each.denominator)]
        return struct.pack(f"{order}{len(parts)}{RATIONAL[kind]}", *parts), len(values)
    return struct.pack(f"{order}{len(values)}{NUMBERS[kind]}", *values), len(values)


def _take(file: IO[bytes], where: str, offset: int, length: int) -> bytes:
    file.seek(offset)
    data = file.read(length)
    if len(data) < length:
        raise Unreadable(where, "cut off")
    return data


def _marked(source: str | bytes) -> bool:
    """Whether a source begins as a TIFF does."""
    if isinstance(source, bytes):
        return source[:4] in MARKS
    with open_source(source) as file:
        return file.read(4) in MARKS


def _several(image: Image.Image) -> bool:
    return getattr(image, "n_frames", 1) > 1
