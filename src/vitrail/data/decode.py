"""Bytes to upright pixels, with Pillow and NumPy only: a served model decodes exactly as it was trained.

What each mode becomes, before it is grey (``channels=1``, ITU-R 601-2 luma) or colour (``channels=3``):

=============================  ============================================================================
L, RGB, P                      as they are
1-bit, arrays of bool          0 and 255
LA, RGBA, PA, La, RGBa; and    laid on white, as a page or a browser shows them
1-bit, L, RGB, P with a
transparent colour
CMYK, YCCK                     Pillow's arithmetic (colour profiles are not applied to any picture)
YCbCr, HSV, LAB                to sRGB
16-bit grey, 12-bit TIFF       the range of the type (0..65535, 0..4095) onto 0..255, rounded, never clipped
16-bit colour                  its upper eight bits, as Pillow reads it; of TIFFs all with a ``span``
32-bit integers, floating      within 0..255 as they are; floating point within 0..1 times 255; anything else
point                          from the picture's own finite minimum to maximum onto 0..255, a constant black;
                               not-a-number is black, the infinities are the ends
=============================  ============================================================================

With a ``span`` what has more than eight bits is mapped from that range onto 0..255, and clipped beyond. Any
other number of ``channels`` is that of arrays, NumPy files (``h w c``), TIFFs (`vitrail.data.bands`), and
pictures with opacity, which is a channel then.

EXIF orientation is applied. The first frame of an animation or a multi-page file is the picture. A JPEG may
be decoded at 1/2, 1/4 or 1/8 of its size (`dct_scale`), which is faster and part of the contract.

A Pillow picture is what its file would be, with two exceptions: of an animation it is the frame at which it
stands, and a JPEG has been decoded by the caller, at its full size and in colour (a file asked for grey gives
its luma as stored). A copy of a Pillow picture has forgotten the format of its file, and with it the range of
12-bit TIFF and of 16-bit PGM.
"""

from dataclasses import dataclass
from typing import IO, Literal

import numpy as np
from PIL import Image

from vitrail.data import bands
from vitrail.data.depth import Range, to_bytes
from vitrail.data.faults import Unreadable, check_png, name_fault
from vitrail.data.header import TURNS, identify, open_source, read_orientation, silence
from vitrail.data.pixel_size import read_pixel_size
from vitrail.errors import VitrailError
from vitrail.values import STRIP, Size, Source

MAX_PIXELS = 500_000_000
PHOTOMETRIC, WHITE_IS_ZERO, BITS = 262, 0, 258

Frames = Literal["first", "error"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoded:
    """``pixels`` uint8 ``h w c``; the upright ``size`` of the original; what of the original they cover.

    ``covers`` is ``(left, top, right, bottom)`` in pixels of the original: all of it, and up to seven pixels
    beyond its edges when a JPEG was decoded at a smaller scale (its last block stands for them).
    ``pixel_size`` is the side of a pixel of the original in metres, where its file says so credibly.
    """

    pixels: np.ndarray
    size: Size
    covers: tuple[int, int, int, int]
    pixel_size: float | None = None


def dct_scale(size: Size, target: Size | None) -> int:
    """Return the largest of 8, 4, 2, 1 that leaves a JPEG of ``size`` at ``target`` or more on both sides."""
    if target is None:
        return 1
    room = min(size[0] // target[0], size[1] // target[1])
    return next((scale for scale in (8, 4, 2) if scale <= room), 1)


def decode(
    source: Source | Image.Image,
    channels: int = 3,
    target: Size | None = None,
    max_pixels: int = MAX_PIXELS,
    frames: Frames = "first",
    span: Range | None = None,
) -> tuple[np.ndarray, Size]:
    """Return a picture as uint8 ``h w c`` and its upright original size.

    It is given as a path, an encoded file, pixels, or a picture of Pillow (see the head of this file).

    With a ``target`` a JPEG is decoded at the smallest scale that is still ``target`` or more on both sides.
    Raises ``Unreadable`` when the picture cannot be decoded to its end, has more than ``max_pixels``, or has
    several frames and ``frames`` is ``"error"``.
    """
    decoded = decode_upright(source, channels, target, max_pixels, frames, span)
    return decoded.pixels, decoded.size


def check_array(values: np.ndarray, max_pixels: int = MAX_PIXELS, channels: int = 3) -> np.ndarray:
    """Return pixels as ``h w c`` of 1 to 4 channels, or of ``channels``; raises ``Unreadable`` for others."""
    if values.ndim == 2:
        values = values[:, :, None]
    if values.ndim != 3 or values.shape[2] not in (1, 2, 3, 4, channels):
        raise _no_picture(values, "not a picture", "pictures are h w, h w 1, h w 3 or h w 4")
    if not values.size:
        raise _no_picture(values, "empty")
    if values.shape[0] * values.shape[1] > max_pixels:
        raise _no_picture(values, "too large", f"the limit is {max_pixels:,} pixels")
    return values


def decode_upright(
    source: Source | Image.Image,
    channels: int = 3,
    target: Size | None = None,
    max_pixels: int = MAX_PIXELS,
    frames: Frames = "first",
    span: Range | None = None,
    times: int = 1,
) -> Decoded:
    """Do as ``decode``, and tell also which part of the original the pixels cover.

    A file may be wanted so many ``times`` smaller, to be looked at: its pixels are means then, of bands some.
    """
    if isinstance(source, np.ndarray):
        pixels = _from_array(source, channels, max_pixels, span)
        height, width = pixels.shape[:2]
        return Decoded(pixels=pixels, size=(height, width), covers=(0, 0, width, height))
    if isinstance(source, Image.Image):
        return _from_image(source, channels, max_pixels, frames, span)
    with open_source(source) as file:
        where = "bytes in memory" if isinstance(source, bytes) else str(source)
        try:
            stored = bands.look(file, where)
            if bands.needed(stored, channels, spanned=span is not None):
                return _from_bands(file, where, channels, max_pixels, frames, span, times)
            return _from_file(file, where, channels, target, max_pixels, frames, span, times)
        except VitrailError:
            raise
        except Exception as error:  # Pillow's plugins raise a dozen types for a broken file
            raise name_fault(error, file, where) from error


def _from_file(
    file: IO[bytes],
    where: str,
    channels: int,
    target: Size | None,
    max_pixels: int,
    frames: Frames,
    span: Range | None,
    times: int,
) -> Decoded:
    with identify(file) as image:
        _check(image, file, where, channels, max_pixels, frames)
        width, height = image.size
        if image.format in ("JPEG", "MPO"):
            lying = TURNS[read_orientation(image)][0]
            scale = dct_scale((height, width), target[::-1] if target and lying else target)
            image.draft("L" if channels == 1 else None, (width // scale, height // scale))
            image.load()
            scale = 1 if image.size == (width, height) else scale
        else:
            image.load()
            scale, (width, height) = 1, image.size  # Pillow turns a TIFF while it loads it
        pixels = _to_bytes(image, channels, span, times)
        size = read_pixel_size(image)
        return _upright(pixels, read_orientation(image), (height, width), scale * times, size)


def _from_bands(
    file: IO[bytes], where: str, channels: int, limit: int, frames: Frames, span: Range | None, times: int
) -> Decoded:
    pixel_size = bands.read_pixel_size(file)
    values, orientation = bands.read(file, where, channels, limit, several=frames == "first")
    try:
        pixels = _from_array(values, channels, limit, span)[::times, ::times]
    except Unreadable as error:
        raise Unreadable(where, error.kind, error.detail) from None
    size = values.shape[0], values.shape[1]
    return _upright(pixels, orientation, size, times, pixel_size)


def _from_image(
    image: Image.Image, channels: int, max_pixels: int, frames: Frames, span: Range | None
) -> Decoded:
    """Do for a picture of Pillow, loaded or not, what is done for its file; the picture stays as it is."""
    where = f"a picture of mode {image.mode}, {image.width} x {image.height}"
    file = None
    silence()
    try:
        behind = getattr(image, "fp", None)  # still there when nothing but the header has been read
        file = None if getattr(behind, "closed", False) else behind
        _check(image, file, where, channels, max_pixels, frames)
        image.load()
        pixels, size = _to_bytes(image, channels, span), (image.height, image.width)
        return _upright(pixels, read_orientation(image), size, 1, read_pixel_size(image))
    except Unreadable:
        raise
    except Exception as error:
        if file is None:
            raise Unreadable(where, "not read", " ".join(str(error).split())) from error
        raise name_fault(error, file, where) from error


def _check(
    image: Image.Image, file: IO[bytes] | None, where: str, channels: int, max_pixels: int, frames: Frames
) -> None:
    """Raise ``Unreadable`` for what can be told before the pixels are decoded."""
    width, height = image.size
    if not width * height:
        raise Unreadable(where, "empty")
    if width * height > max_pixels:
        raise Unreadable(where, "too large", f"{width} x {height} pixels, the limit is {max_pixels:,}")
    if frames == "error" and image.format != "MPO":  # a telephone's second picture is no second frame
        count = getattr(image, "n_frames", 1)
        if count > 1:
            raise Unreadable(where, "several frames", f"{count} of them, one is wanted")
    if channels not in (1, 3) and (image.mode not in ("LA", "RGBA") or len(image.mode) != channels):
        raise Unreadable(where, "other channels", f"{len(image.getbands())} of them, {channels} are wanted")
    if image.format == "PNG" and file is not None:
        check_png(file, where)


def _upright(
    pixels: np.ndarray, orientation: int, size: Size, scale: int, pixel_size: float | None = None
) -> Decoded:
    """Turn pixels that show a picture of ``size`` (before turning), each side divided by ``scale``."""
    exchange, down, across = TURNS[orientation]
    if exchange:
        pixels, size = pixels.transpose(1, 0, 2), size[::-1]
    (height, width), (bottom, right) = size, (scale * pixels.shape[0], scale * pixels.shape[1])
    top, bottom = (0, bottom) if down > 0 else (height - bottom, height)
    left, right = (0, right) if across > 0 else (width - right, width)
    upright = np.ascontiguousarray(pixels[::down, ::across])
    return Decoded(pixels=upright, size=size, covers=(left, top, right, bottom), pixel_size=pixel_size)


def _to_bytes(image: Image.Image, channels: int, span: Range | None = None, times: int = 1) -> np.ndarray:
    """Return uint8 ``h w c`` by the table at the head of this file, strip by strip of a large picture."""
    if channels not in (1, 3):
        return np.asarray(image)[::times, ::times]
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        image = Image.fromarray(_scale_deep(image, span))
    (width, height), rows = image.size, max(1, STRIP // image.width // times)
    if rows >= height and times == 1:
        return _convert(image, channels)
    pixels = np.empty((-(-height // times), -(-width // times), channels), np.uint8)
    for first in range(0, len(pixels), rows):
        box = (0, first * times, width, min((first + rows) * times, height))
        strip = _convert(image.crop(box), channels)
        if times > 1:
            flat = strip[:, :, 0] if channels == 1 else strip
            strip = np.asarray(Image.fromarray(flat).reduce(times)).reshape(-1, pixels.shape[1], channels)
        pixels[first : first + rows] = strip
    return pixels


def _convert(image: Image.Image, channels: int) -> np.ndarray:
    if image.has_transparency_data:
        alpha = image.convert("LA") if image.mode == "La" else image
        alpha = alpha.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), alpha).convert("RGB")
    elif image.mode not in ("1", "L", "RGB"):
        image = image.convert("RGB")
    image = image.convert("L" if channels == 1 else "RGB")
    return np.asarray(image).reshape(image.height, image.width, channels)


def _scale_deep(image: Image.Image, span: Range | None) -> np.ndarray:
    """Return a picture of more than eight bits as uint8 ``h w``, or ``h w c`` by a range for each channel."""
    values = np.asarray(image)
    tags = getattr(image, "tag_v2", {})
    top = 4095 if image.mode.startswith("I;16") and tags.get(BITS, ()) == (12,) else None
    if image.mode == "I" and image.format == "PPM":
        values = values.astype(np.uint16)
    scaled = to_bytes(values, span, top)
    return 255 - scaled if tags.get(PHOTOMETRIC) == WHITE_IS_ZERO else scaled


def _from_array(values: np.ndarray, channels: int, max_pixels: int, span: Range | None) -> np.ndarray:
    values = check_array(values, max_pixels, channels)
    if values.dtype.kind not in "buif":
        raise _no_picture(values, "not a picture", "pictures are of whole numbers, floating point or bool")
    count = values.shape[2]
    if channels not in (1, 3) and count != channels:
        raise _no_picture(values, "other channels", f"{count} of them, {channels} are wanted")
    if count in (2, 4) and count != channels and span is not None:  # opacity has the range of its type
        values = np.dstack([to_bytes(values[:, :, :-1], span), to_bytes(values[:, :, -1])])
    else:
        values = to_bytes(values, span)
    if values.shape[2] == channels:
        return values
    mode = (None, "L", "LA", "RGB", "RGBA")[values.shape[2]]
    flat = values[:, :, 0] if mode == "L" else values
    return _to_bytes(Image.fromarray(np.ascontiguousarray(flat)), channels)


def _no_picture(values: np.ndarray, kind: str, detail: str = "") -> Unreadable:
    return Unreadable(f"an array of shape {values.shape} and type {values.dtype}", kind, detail)
