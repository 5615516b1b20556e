"""A look at a few pictures, headers only: how large they are, and whether they have colour."""

from dataclasses import dataclass

import numpy as np

from vitrail.contracts import Samples
from vitrail.data.chance import order
from vitrail.data.decode import check_array
from vitrail.data.header import identify, open_source, upright_size
from vitrail.values import Size, Source

GREY_MODES = {"1", "L", "LA", "La", "I", "F", "I;16", "I;16B", "I;16L", "I;16N"}


@dataclass(frozen=True, kw_only=True)
class Probe:
    """What a few pictures of a data set look like: the median upright ``size``, and whether all are grey."""

    size: Size
    grey: bool


def probe(samples: Samples, most: int = 64) -> Probe | None:
    """Look at up to ``most`` pictures, drawn evenly; unreadable ones are passed over. None when all are."""
    seen = _looks(samples, most)
    if not seen:
        return None
    height, width = np.median(np.array([size for size, _ in seen]), axis=0).astype(int)
    return Probe(size=(int(height), int(width)), grey=all(grey for _, grey in seen))


def sizes(samples: Samples, most: int = 64) -> list[Size]:
    """Return the upright sizes of up to ``most`` pictures, drawn evenly, as far as they can be read."""
    return [size for size, _ in _looks(samples, most)]


def _looks(samples: Samples, most: int) -> list[tuple[Size, bool]]:
    drawn = order(0, 0, len(samples))[:most]
    return [look for look in (_look(samples.source(int(index))) for index in drawn) if look is not None]


def _look(source: Source) -> tuple[Size, bool] | None:
    """Return ``(size, grey)`` of one picture, or None when its header cannot be read."""
    try:
        if isinstance(source, np.ndarray):
            height, width, channels = check_array(source).shape
            return (height, width), channels <= 2  # the second one is opacity
        with open_source(source) as file, identify(file) as image:
            return upright_size(image), image.mode in GREY_MODES
    except Exception:  # Pillow's plugins raise a dozen types for a broken file; decoding names it
        return None
