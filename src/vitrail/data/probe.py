"""A look at a few pictures, headers only: how large they are, whether they have colour, how many bands."""

from collections import Counter
from dataclasses import dataclass
from typing import IO

import numpy as np

from vitrail.contracts import Samples
from vitrail.data import bands
from vitrail.data.chance import order
from vitrail.data.decode import BITS, check_array
from vitrail.data.header import identify, open_source, upright_size
from vitrail.values import Size, Source

GREY_MODES = {"1", "L", "LA", "La", "I", "F", "I;16", "I;16B", "I;16L", "I;16N"}


@dataclass(frozen=True, kw_only=True)
class Probe:
    """What a few pictures of a data set look like: the median upright ``size``, and whether all are grey.

    ``channels`` are those of pictures that are neither plain grey nor plain colour, None of others; ``deep``
    says that some have more than eight bits that can all be read.
    """

    size: Size
    grey: bool
    channels: int | None = None
    deep: bool = False


def probe(samples: Samples, most: int = 64) -> Probe | None:
    """Look at up to ``most`` pictures, drawn evenly; unreadable ones are passed over. None when all are."""
    seen = [look for look in map(_look, drawn(samples, most)) if look is not None]
    if not seen:
        return None
    height, width = np.median(np.array([look.size for look in seen]), axis=0).astype(int)
    counts = Counter(look.channels for look in seen)
    return Probe(
        size=(int(height), int(width)),
        grey=all(look.grey for look in seen),
        channels=counts.most_common(1)[0][0],
        deep=any(look.deep for look in seen),
    )


def sizes(samples: Samples, most: int = 64) -> list[Size]:
    """Return the upright sizes of up to ``most`` pictures, drawn evenly, as far as they can be read."""
    return [look.size for look in map(_look, drawn(samples, most)) if look is not None]


def drawn(samples: Samples, most: int) -> list[Source]:
    """Return up to ``most`` pictures, drawn evenly and the same ones each time."""
    return [samples.source(int(index)) for index in order(0, 0, len(samples))[:most]]


def _look(source: Source) -> Probe | None:
    """Return what one picture is, or None when its header cannot be read."""
    try:
        if isinstance(source, np.ndarray):
            count = source.shape[2] if source.ndim == 3 else 1
            height, width, _ = check_array(source, channels=count).shape
            banded = count if count > 4 else None  # of two and four the last is opacity
            deep = _is_deep(source.dtype, banded)
            return Probe(size=(height, width), grey=count <= 2, channels=banded, deep=deep)
        with open_source(source) as file:
            return _look_at_file(file, str(source))
    except Exception:  # Pillow's plugins raise a dozen types for a broken file; decoding names it
        return None


def _look_at_file(file: IO[bytes], where: str) -> Probe:
    stored = bands.look(file, where)
    if stored is not None and not stored.ordinary and (bands.has_tifffile() or not _opens(file)):
        count = stored.channels
        banded = None if stored.depth is not None and count in (1, 3) else count
        deep = stored.bits > 8 if stored.depth is None else _is_deep(stored.depth, banded)
        return Probe(size=stored.size, grey=count == 1, channels=banded, deep=deep)
    with identify(file) as image:
        grey = image.mode in GREY_MODES
        if grey:
            sixteen = image.format == "PPM" or getattr(image, "tag_v2", {}).get(BITS) == (16,)
            deep = image.mode.startswith("I;16") or (image.mode == "I" and sixteen)
        else:
            deep = stored is not None and stored.bits > 8 and bands.has_tifffile()
        return Probe(size=upright_size(image), grey=grey, deep=deep)


def _opens(file: IO[bytes]) -> bool:
    """Return whether Pillow reads a file, in its own way."""
    try:
        with identify(file):
            return True
    except Exception:  # Pillow's plugins raise a dozen types for a broken file
        return False
    finally:
        file.seek(0)


def _is_deep(kind: np.dtype, banded: int | None) -> bool:
    """Return whether numbers want a range of their data's: 16 bits, and what several bands have in common."""
    if kind.kind in "ui" and kind.itemsize == 2:
        return True
    return banded is not None and kind.itemsize > 1
