"""From a path or bytes to a picture of which only the header is read: what it is, and how it lies."""

import io
import os
import re
import threading
import warnings
from pathlib import Path
from typing import IO

from PIL import Image

from vitrail.data.faults import Unreadable, name_fault, name_missing
from vitrail.values import Size

FORMATS = (
    *("JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP", "AVIF", "HEIF"),
    *("JPEG2000", "PPM", "ICO", "PCX", "SGI", "QOI"),
)
"""Read when Pillow can; none that starts other programs (EPS) or takes any bytes for its own (TGA)."""

ORIENTATION = 0x0112
TURNS = {
    1: (False, 1, 1),
    2: (False, 1, -1),
    3: (False, -1, -1),
    4: (False, -1, 1),
    5: (True, 1, 1),
    6: (True, 1, -1),
    7: (True, -1, -1),
    8: (True, -1, 1),
}
"""Upright by EXIF orientation: whether rows and columns change places, then the steps down and across."""

QUIET = ("ignore", None, Warning, re.compile(r"PIL\."), 0)
LIMIT_LIFTED = threading.Lock()


def open_source(source: str | bytes) -> IO[bytes]:
    """Open a path, or bytes in memory; the caller closes it. Raises ``Unreadable``, and waits for no pipe."""
    if isinstance(source, bytes):
        if not source:
            raise Unreadable("bytes in memory", "empty")
        return io.BytesIO(source)
    try:
        if not Path(source).is_file():  # a pipe would block for ever
            raise name_missing(source)
        file = Path(source).open("rb")  # noqa: SIM115, the caller closes it
    except (OSError, ValueError) as error:
        raise name_fault(error, None, str(source)) from error
    if not os.fstat(file.fileno()).st_size:
        file.close()
        raise Unreadable(source, "empty")
    return file


def identify(file: IO[bytes]) -> Image.Image:
    """Read the header, without Pillow's remarks and without its own limit: ``max_pixels`` is ours.

    Raises whatever Pillow raises: its plugins know a dozen types for a broken file.
    """
    silence()
    Image.init()
    formats = [name for name in FORMATS if name in Image.OPEN]
    try:
        return Image.open(file, formats=formats)
    except Image.DecompressionBombError:
        with LIMIT_LIFTED:
            limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
            try:
                return Image.open(file, formats=formats)
            finally:
                Image.MAX_IMAGE_PIXELS = limit


def silence() -> None:
    """Keep Pillow's warnings off the screen: what is wrong with a picture is named, or does not matter."""
    if not warnings.filters or warnings.filters[0] != QUIET:
        # Not catch_warnings: it is not safe with threads, and would put back the filters of another one.
        warnings.filterwarnings("ignore", module=QUIET[3].pattern)


def read_orientation(image: Image.Image) -> int:
    """Return the EXIF orientation, a key of ``TURNS``: 1 when there is none, or none that makes sense."""
    try:
        value = image.getexif().get(ORIENTATION)
        return value if value in TURNS else 1
    except Exception:  # broken EXIF does not make a good picture a bad one
        return 1


def upright_size(image: Image.Image) -> Size:
    """Return the height and width that a picture will have upright, before it is loaded."""
    width, height = image.size
    turned = image.format != "TIFF" and TURNS[read_orientation(image)][0]  # Pillow turns a TIFF by itself
    return (width, height) if turned else (height, width)
