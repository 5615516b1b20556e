"""Pictures of any number of channels: NumPy files (h w, or h w c), and the TIFFs that Pillow does not read.

Microscopes and satellites write a channel a sample of each pixel (chunky or planar), or a page (ImageJ and
OME say so in the file). tifffile reads those: the extra ``microscopy``, imported when such a file is met.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import IO, Any

import numpy as np
from PIL import TiffImagePlugin

from vitrail.data.faults import Unreadable
from vitrail.data.header import TURNS
from vitrail.data.pixel_size import pixel_size_of
from vitrail.errors import UsageError
from vitrail.values import Size

NPY = b"\x93NUMPY"
TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
WIDTH, HEIGHT, BITS, PHOTOMETRIC, DESCRIPTION = 256, 257, 258, 262, 270
ORIENTATION, SAMPLES, EXTRA, FORMAT = 274, 277, 338, 339
INTEGERS = ((), (1,))
COLOURS = {0: 1, 1: 1, 2: 3, 3: 1, 5: 4, 6: 3, 8: 3}
"""How many channels a TIFF's photometric interpretation has, of those that Pillow reads."""
OPACITY = (1, 2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """What a header tells: the upright ``size``, how it lies, the ``channels``, the bits of each of them.

    ``ordinary`` says that Pillow reads all of it, as grey or in colour; ``paged`` that channels are pages;
    ``depth`` is the type of a NumPy file's numbers.
    """

    size: Size
    channels: int
    bits: int
    orientation: int = 1
    ordinary: bool = False
    paged: bool = False
    depth: np.dtype[Any] | None = None


def head_of(file: IO[bytes]) -> bytes:
    """Return the first bytes of a file, which stays where it is."""
    position = file.tell()
    head = file.read(8)
    file.seek(position)
    return head


def look(file: IO[bytes], where: str) -> Stored | None:
    """Return what the header of a NumPy file or a TIFF tells; None for other files, and broken headers."""
    head = head_of(file)
    if head.startswith(NPY):
        shape, kind = _header(file, where)
        channels = shape[2] if len(shape) == 3 else 1
        return Stored(size=(shape[0], shape[1]), channels=channels, bits=8 * kind.itemsize, depth=kind)
    return _look_tiff(file, head) if head.startswith(TIFF) else None


def read_pixel_size(file: IO[bytes]) -> float | None:
    """Return the side of a pixel in metres, where a TIFF says so credibly."""
    head = head_of(file)
    return pixel_size_of(_tags(file, head)) if head.startswith(TIFF) else None


def _look_tiff(file: IO[bytes], head: bytes) -> Stored | None:
    try:
        tags = _tags(file, head)
        width, height = int(tags[WIDTH]), int(tags[HEIGHT])
    except Exception:  # a broken header: whoever decodes it says what is wrong
        return None
    samples, bits = int(tags.get(SAMPLES, 1)), tuple(tags.get(BITS, (1,)))
    colours, extra = COLOURS.get(int(tags.get(PHOTOMETRIC, 1)), 0), tuple(tags.get(EXTRA, ()))
    pages = _channel_pages(str(tags.get(DESCRIPTION, ""))) if samples == 1 else 1
    alpha = samples == colours + 1 and extra[-1:] in ((1,), (2,))
    plain = tuple(set(tags.get(FORMAT, ()))) in INTEGERS and max(bits) <= 16
    ordinary = samples == 1 or (plain and colours > 0 and (samples == colours or alpha))
    orientation = tags.get(ORIENTATION, 1)
    orientation = orientation if orientation in TURNS else 1
    return Stored(
        size=(width, height) if TURNS[orientation][0] else (height, width),
        channels=(colours if alpha else samples) if pages == 1 else pages,
        bits=max(bits),
        orientation=orientation,
        ordinary=ordinary and pages == 1,
        paged=pages > 1,
    )


def _tags(file: IO[bytes], head: bytes) -> Any:
    """Return the tags of the first page, as Pillow reads them, of whatever kind the page is."""
    position = file.tell()
    long = head[2:3] == b"+" or head[3:4] == b"+"
    tags = TiffImagePlugin.ImageFileDirectory_v2(file.read(16 if long else 8))
    file.seek(tags.next)
    tags.load(file)
    file.seek(position)
    return tags


def _channel_pages(description: str) -> int:
    """Return how many pages are channels of one picture, as ImageJ and OME tell it."""
    if description.startswith("ImageJ="):
        found = re.search(r"^channels=(\d+)", description, re.MULTILINE)
    else:
        found = re.search(r'<Pixels\b[^>]*\bSizeC="(\d+)"', description) if "<OME" in description else None
    return max(1, int(found[1])) if found else 1


def needed(stored: Stored | None, channels: int, *, spanned: bool) -> bool:
    """Return whether a TIFF is to be read with all its channels and bits, which Pillow would not.

    With a range (``spanned``) colours of 16 bits are; Pillow reads the upper eight of them.
    """
    if stored is None:
        return False
    if channels not in (1, 3):
        return True
    if stored.ordinary:
        return spanned and stored.bits > 8 and stored.channels > 1
    return not (stored.paged and channels == 1)  # the first page of several is grey


def read(
    file: IO[bytes], where: str, channels: int, max_pixels: int, *, several: bool = True
) -> tuple[np.ndarray, int]:
    """Return the numbers of a NumPy file or a TIFF, ``h w c`` as stored, and how they lie (EXIF).

    ``channels`` decides what is ambiguous: which axis they are, and whether pages are channels. Of other
    pages the first counts; without ``several`` they are an error. Raises ``Unreadable``, and UsageError when
    tifffile is missing.
    """
    if head_of(file).startswith(NPY):
        shape, _ = _header(file, where)
        _check_size(shape, where, max_pixels)
        values = np.load(file)  # which reads no objects
        return _last(values, channels, where), 1
    stored = look(file, where)
    with _tifffile(where).TiffFile(file) as whole:
        values = _first(whole.series[0], where, channels, max_pixels, several=several)
    if stored is not None and values.shape[2] == 4 and channels == 3 and stored.channels == 4:
        values = values[:, :, :3]  # a fourth that is no opacity
    return values, stored.orientation if stored else 1


def has_tifffile() -> bool:
    """Return whether TIFFs of many channels can be read here."""
    try:
        import tifffile  # noqa: F401, to be tried
    except ImportError:
        return False
    return True


def _tifffile(where: str) -> Any:
    try:
        import tifffile
    except ImportError:
        raise UsageError(
            f"{where} is a TIFF of many channels or of colours in 16 bits, which needs more packages: "
            'pip install "vitrail[microscopy]"'
        ) from None
    return tifffile


def _header(file: IO[bytes], where: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Return shape and type of a NumPy file, which stays at its start."""
    position = file.tell()
    version = np.lib.format.read_magic(file)
    read_header = {(1, 0): np.lib.format.read_array_header_1_0}.get(
        version, np.lib.format.read_array_header_2_0
    )
    shape, _, kind = read_header(file)
    start = file.tell()
    ends = file.seek(0, 2)
    file.seek(position)
    if kind.hasobject or kind.kind not in "buif" or len(shape) not in (2, 3):
        raise Unreadable(
            where, "not a picture", f"an array of shape {shape} and type {kind}; pictures are h w or h w c"
        )
    if start + math.prod(shape) * kind.itemsize > ends:
        raise Unreadable(where, "cut off")
    return shape, kind


def _check_size(shape: tuple[int, ...], where: str, max_pixels: int) -> None:
    if not math.prod(shape):
        raise Unreadable(where, "empty")
    if shape[0] * shape[1] > max_pixels:
        raise Unreadable(where, "too large", f"{shape[1]} x {shape[0]} pixels, the limit is {max_pixels:,}")


def _last(values: np.ndarray, channels: int, where: str) -> np.ndarray:
    """Return numbers ``h w c``; raises ``Unreadable`` where the channels come first."""
    if values.ndim == 2:
        return values[:, :, None]
    if values.shape[2] != channels and values.shape[0] in (channels, *range(1, 5)) and values.shape[2] > 4:
        raise Unreadable(
            where,
            "not a picture",
            f"its shape {values.shape} is c h w. Save it as h w c: array.transpose(1, 2, 0)",
        )
    return values


def _first(series: Any, where: str, channels: int, max_pixels: int, *, several: bool) -> np.ndarray:
    """Return the first picture of a TIFF, ``h w c``."""
    page = series.keyframe
    axes, shape = series.axes, series.shape
    outer = len(axes) - len(page.axes)
    if axes[outer:] == page.axes and outer == 1 and shape[outer:][-1] == channels != shape[0]:
        _check_size(shape, where, max_pixels)  # an array h w c, written a row a page
        return np.asarray(series.asarray(maxworkers=1))
    _check_size((page.imagelength, page.imagewidth), where, max_pixels)
    kept = axes[:outer].find("C")
    if kept < 0 and "S" not in page.axes and channels not in (1, 3):
        kept = next((place for place in range(outer) if shape[place] == channels), -1)
    places = np.arange(math.prod(shape[:outer])).reshape(shape[:outer])
    if not several and places.size > (shape[kept] if kept >= 0 else 1):
        raise Unreadable(where, "several frames", f"{places.size} pages, one picture is wanted")
    taken = places[tuple(slice(None) if place == kept else 0 for place in range(outer))]
    layers = [_layers(series.pages[int(place)]) for place in np.atleast_1d(taken)]
    return np.concatenate(layers, 2) if len(layers) > 1 else layers[0]


def _layers(page: Any) -> np.ndarray:
    """Return one page as ``h w c``."""
    values = np.asarray(page.asarray(maxworkers=1))
    if values.ndim == 2:
        return values[:, :, None]
    return values.transpose(1, 2, 0) if page.axes.startswith("S") else values
