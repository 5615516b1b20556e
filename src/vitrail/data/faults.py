"""What can be wrong with a picture file, by name."""

import os
import struct
import zlib
from pathlib import Path
from typing import IO

from PIL import Image, UnidentifiedImageError

from vitrail.errors import VitrailError

KINDS = {
    "missing": "there is no such file",
    "dangling link": "a link to a file that is not there",
    "a folder": "a folder, not a file",
    "not a file": "a pipe, socket or device",
    "no permission": "may not be read by this user",
    "not read": "the disk or the network failed",
    "empty": "no bytes, or no pixels",
    "not a picture": "of no format that is known",
    "cut off": "ends before the picture does",
    "bad checksum": "some bytes are not those that were written",
    "damaged": "cannot be decoded",
    "other channels": "of another number of channels than the model sees",
    "too large": "more pixels than allowed, or than memory holds",
    "several frames": "an animation or many pages where one picture is wanted",
}
"""Every kind of fault, with its meaning."""

PNG = b"\x89PNG\r\n\x1a\n"
PIECE = 1 << 20


class Unreadable(VitrailError):  # noqa: N818, what is wrong is the picture
    """A picture that cannot be used: ``where`` it is, the ``kind`` of fault (of ``KINDS``), ``detail``."""

    def __init__(self, where: str, kind: str, detail: str = "") -> None:
        self.where = os.fsencode(where).decode("utf-8", "backslashreplace")  # a name need not be text
        self.kind = kind
        self.detail = detail or KINDS[kind]
        super().__init__(f"{self.where}: {self.reason}")

    @property
    def reason(self) -> str:
        """The fault without the place: ``kind: detail``."""
        return f"{self.kind}: {self.detail}"


def name_missing(path: str) -> Unreadable:
    """Say what is at ``path``, where no regular file is."""
    place = Path(path)
    if place.is_dir():
        return Unreadable(path, "a folder")
    if place.exists():
        return Unreadable(path, "not a file")
    return Unreadable(path, "dangling link" if place.is_symlink() else "missing")


def name_fault(error: Exception, file: IO[bytes] | None, where: str) -> Unreadable:
    """Say what an exception means that was raised while ``file`` was opened (None) or decoded."""
    if isinstance(error, PermissionError):
        return Unreadable(where, "no permission")
    if file is None:
        return Unreadable(where, "missing" if isinstance(error, ValueError) else "not read", _plain(error))
    if isinstance(error, MemoryError | Image.DecompressionBombError):
        return Unreadable(where, "too large", _plain(error))
    if isinstance(error, OSError) and error.errno is not None:
        return Unreadable(where, "not read", _plain(error))
    try:
        file.seek(0)
        head = file.read(16)
        if head.startswith(PNG):
            check_png(file, where)
        if _ends_early(file, head) or isinstance(error, EOFError) or "truncated" in str(error):
            return Unreadable(where, "cut off")
    except Unreadable as found:
        return found
    except OSError as failed:
        return Unreadable(where, "not read", _plain(failed))
    if isinstance(error, UnidentifiedImageError) and not _starts_well(head):
        return Unreadable(where, "not a picture")
    return Unreadable(where, "damaged", _plain(error))


def check_png(file: IO[bytes], where: str) -> None:
    """Raise ``Unreadable`` when a PNG ends early or a critical chunk differs from its checksum.

    Pillow skips the checksums of the pixels' own chunks, and does not miss the end.
    """
    position = file.tell()
    file.seek(len(PNG))
    name = b""
    while name != b"IEND":
        header = file.read(8)
        if len(header) < 8:
            raise Unreadable(where, "cut off")
        left, name = struct.unpack(">I4s", header)
        checksum = zlib.crc32(name)
        while left > 0:
            piece = file.read(min(left, PIECE))
            if not piece:
                raise Unreadable(where, "cut off")
            checksum = zlib.crc32(piece, checksum)
            left -= len(piece)
        written = file.read(4)
        if len(written) < 4:
            raise Unreadable(where, "cut off")
        if name[:1].isupper() and checksum != int.from_bytes(written):
            raise Unreadable(where, "bad checksum", f"chunk {name.decode('latin-1')}")
    file.seek(position)


def _plain(error: Exception) -> str:
    """Return an exception's words on one line, without the path that stands before them already."""
    words = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(words.split()) or type(error).__name__


def _starts_well(head: bytes) -> bool:
    """Whether the first bytes are those of a format that is read here."""
    starts = (b"\xff\xd8\xff", PNG, b"GIF8", b"II*\0", b"MM\0*", b"BM")
    return head.startswith(starts) or head[8:12] == b"WEBP" or head[4:8] == b"ftyp"


def _ends_early(file: IO[bytes], head: bytes) -> bool:
    """Whether a file that could not be decoded lacks its end, by its own account."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - 64))
    tail = file.read().rstrip(b"\0")
    if head.startswith(b"\xff\xd8\xff"):
        return not tail.endswith(b"\xff\xd9")
    if head.startswith(b"GIF8"):
        return not tail.endswith(b";")
    if head[:4] == b"RIFF":
        return int.from_bytes(head[4:8], "little") + 8 > size
    if head.startswith(b"BM"):
        return int.from_bytes(head[2:6], "little") > size
    if head[4:8] == b"ftyp":
        return _box_ends_early(file, size)
    return False


def _box_ends_early(file: IO[bytes], size: int) -> bool:
    """Whether a box of an ISO media file (AVIF, HEIF) reaches beyond the file."""
    place = 0
    while place + 8 <= size:
        file.seek(place)
        length = int.from_bytes(file.read(4))
        if length == 0:  # to the end of the file
            return False
        if length == 1:  # the length follows, in eight bytes
            file.seek(place + 8)
            length = int.from_bytes(file.read(8))
        if length < 8:
            return False
        place += length
    return place != size
