"""One mask file: its values as they are stored, and what a look at it tells.

The values are not those of `vitrail.data.decode`, which makes pictures of them: of a palette they are the
indices, of 16 bits all, of grey in two or four bits the numbers and not the shades.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from io import BytesIO
from typing import IO, Literal

import msgspec
import numpy as np
from PIL import Image

from vitrail.data import bands
from vitrail.data.decode import MAX_PIXELS
from vitrail.data.faults import PNG, Unreadable, check_png, name_fault
from vitrail.data.header import TURNS, identify, open_source, read_orientation, upright_size
from vitrail.data.readers.named import pack
from vitrail.data.stamps import digest
from vitrail.values import Size

MOST = 4096
"""Values of one mask that are remembered: more are never class numbers or colours of classes."""

Mode = Literal["grey", "palette", "colour", "jpeg"]


@dataclass(frozen=True, kw_only=True)
class Raw:
    """``values`` ``h w``: whole numbers, or with ``mode`` "colour" packed colours.

    ``deep`` says that the file has room for more than 256 numbers; ``palette`` are its packed colours.
    """

    values: np.ndarray
    mode: Mode
    deep: bool = False
    palette: tuple[int, ...] = ()

    def coloured(self) -> np.ndarray:
        """Return packed colours ``h w``, of whatever mode the file is."""
        if self.mode == "palette":
            colours = np.zeros(256, np.int32)
            colours[: len(self.palette)] = self.palette
            return np.asarray(colours[self.values])
        return self.values if self.mode == "colour" else self.values.astype(np.int32) * 0x010101


class Look(msgspec.Struct, frozen=True, array_like=True, kw_only=True):
    """What is known of a mask and its picture once both have been looked at.

    ``values`` are the numbers (or packed colours) found, as runs ``(first, last)``; ``palette`` the packed
    colours of those found. ``size`` is the mask's and ``upright`` its picture's, None where the picture
    cannot be read. ``content`` is a hash of the mask's file. ``fault`` is why the mask cannot be read.
    """

    fault: str = ""
    mode: Mode = "grey"
    deep: bool = False
    size: Size = (0, 0)
    upright: Size | None = None
    orientation: int = 1
    values: list[tuple[int, int]] = []
    palette: list[int] = []
    content: int = 0

    @property
    def found(self) -> list[int]:
        """Every value that occurs, in ascending order."""
        return [value for first, last in self.values for value in range(first, last + 1)]

    @property
    def turn(self) -> int:
        """The orientation by which the mask is to be turned: its picture's, if it lies on that as stored."""
        exchanged = self.upright is not None and self.size == self.upright[::-1] != self.upright
        return self.orientation if exchanged and TURNS[self.orientation][0] else 1

    @property
    def fits(self) -> bool:
        """Whether the mask has the size of its picture (or nobody knows that)."""
        return self.upright in (None, self.size) or self.turn != 1


def look_at(picture: str, mask: str) -> Look:
    """Read a mask, and the header of its picture."""
    upright, orientation = look_at_picture(picture)
    try:
        with open_source(mask) as file:
            content = file.read()
        raw = _read(BytesIO(content), mask)
    except Unreadable as error:
        return Look(fault=error.reason, upright=upright, orientation=orientation)
    found = unique(raw.values)[:MOST].tolist()
    height, width = raw.values.shape
    return Look(
        mode=raw.mode,
        deep=raw.deep,
        size=(height, width),
        upright=upright,
        orientation=orientation,
        values=_runs(found),
        palette=[raw.palette[value] for value in found if value < len(raw.palette)],
        content=digest(content),
    )


def look_at_picture(path: str) -> tuple[Size | None, int]:
    """Return a picture's upright size and its orientation; no size when its header cannot be read."""
    try:
        with open_source(path) as file:
            stored = bands.look(file, path)
            if stored is not None:
                return stored.size, 1  # what reads these turns them itself
            with identify(file) as image:
                return upright_size(image), read_orientation(image)
    except Exception:  # Pillow's plugins raise a dozen types for a broken file; decoding names it
        return None, 1


def read_raw(path: str, content: int | None = None) -> Raw:
    """Return a mask as stored; raises ``Unreadable``, also when its file hashes no longer to ``content``."""
    with open_source(path) as file:
        whole = file.read()
    if content is not None and digest(whole) != content:
        raise Unreadable(path, "damaged", "the mask has changed since the data were opened. Start again")
    return _read(BytesIO(whole), path)


def turn(mask: np.ndarray, orientation: int) -> np.ndarray:
    """Return a mask ``h w`` or ``c h w`` as EXIF orientation turns its picture."""
    exchange, down, across = TURNS[orientation]
    return np.ascontiguousarray((mask.swapaxes(-1, -2) if exchange else mask)[..., ::down, ::across])


def unique(values: np.ndarray) -> np.ndarray:
    """Return the values that occur, sorted; masks are even, so that most pixels are like their neighbour."""
    flat = values.ravel()
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    return np.unique(np.concatenate([flat[:1], flat[changes]]))


def _runs(values: Iterable[int]) -> list[tuple[int, int]]:
    runs: list[tuple[int, int]] = []
    for value in values:
        if runs and runs[-1][1] == value - 1:
            runs[-1] = (runs[-1][0], value)
        else:
            runs.append((value, value))
    return runs


def _read(file: IO[bytes], where: str) -> Raw:
    try:
        with identify(file) as image:
            if image.format in ("JPEG", "MPO"):
                return Raw(values=np.zeros(image.size[::-1], np.uint8), mode="jpeg")
            if image.width * image.height > MAX_PIXELS:
                raise Unreadable(where, "too large", f"{image.width} x {image.height} pixels")
            if (count := getattr(image, "n_frames", 1)) > 1:
                raise Unreadable(where, "several frames", f"{count} of them, one is wanted")
            bits = 8
            if image.format == "PNG":
                check_png(file, where)
                bits = _bits(file)
            orientation = read_orientation(image) if image.format != "TIFF" else 1
            image.load()
            raw = _values(image, bits, where)
            return raw if orientation == 1 else _turned(raw, orientation)
    except Unreadable:
        raise
    except Exception as error:  # Pillow's plugins raise a dozen types for a broken file
        raise name_fault(error, file, where) from error


def _turned(raw: Raw, orientation: int) -> Raw:
    values = turn(raw.values, orientation)
    return Raw(values=values, mode=raw.mode, deep=raw.deep, palette=raw.palette)


def _bits(file: IO[bytes]) -> int:
    """Return the bits of a grey pixel of a PNG; Pillow makes shades of eight bits of two and four."""
    position = file.tell()
    file.seek(len(PNG) + 16)
    depth, colour = file.read(2)
    file.seek(position)
    return depth if colour == 0 else 8


def _values(image: Image.Image, bits: int, where: str) -> Raw:
    values = np.asarray(image)
    match image.mode:
        case "1":
            return Raw(values=values.astype(np.uint8), mode="grey")
        case "L":
            return Raw(values=values // (255 // (2**bits - 1)) if bits in (2, 4) else values, mode="grey")
        case "LA" | "La":
            return Raw(values=values[:, :, 0], mode="grey")
        case "P" | "PA":
            flat = image.getpalette() or []
            colours = tuple(pack(*flat[i : i + 3]) for i in range(0, len(flat) - 2, 3))
            return Raw(
                values=values if values.ndim == 2 else values[:, :, 0], mode="palette", palette=colours
            )
        case "F":
            if not ((values == np.rint(values)) & (values >= 0) & (values < 2**31)).all():
                raise Unreadable(
                    where, "damaged", "its numbers are not whole and from 0, so that they number no class"
                )
            return Raw(values=values.astype(np.int32), mode="grey", deep=True)
        case mode if mode == "I" or mode.startswith("I;16"):
            if values.min() < 0:
                raise Unreadable(where, "damaged", "it has numbers below 0, which number no class")
            return Raw(values=values.astype(np.int32), mode="grey", deep=True)
    parts = np.asarray(image if image.mode in ("RGB", "RGBA") else image.convert("RGB")).astype(np.int32)
    return Raw(values=parts[:, :, 0] << 16 | parts[:, :, 1] << 8 | parts[:, :, 2], mode="colour")
