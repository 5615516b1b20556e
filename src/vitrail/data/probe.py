"""A look at a few pictures, headers only: how large they are, and whether they have colour."""

from dataclasses import dataclass

import numpy as np
from PIL import Image, UnidentifiedImageError

from vitrail.contracts import Samples
from vitrail.data.chance import order
from vitrail.values import Size, Source

GREY_MODES = {"1", "L", "LA", "I", "F", "I;16", "I;16B", "I;16L", "I;16N"}


@dataclass(frozen=True, kw_only=True)
class Probe:
    """What a few pictures of a data set look like: the median ``size``, whether all share it, and colour."""

    size: Size
    uniform: bool
    grey: bool


def probe(samples: Samples, most: int = 64) -> Probe | None:
    """Look at up to ``most`` pictures, drawn evenly; unreadable ones are passed over. None when all are."""
    drawn = order(0, 0, len(samples))[:most]
    seen = [look for look in (_look(samples.source(int(index))) for index in drawn) if look is not None]
    if not seen:
        return None
    sizes = np.array([size for size, _ in seen])
    height, width = np.median(sizes, axis=0).astype(int)
    return Probe(
        size=(int(height), int(width)),
        uniform=bool((sizes == sizes[0]).all()),
        grey=all(grey for _, grey in seen),
    )


def _look(source: Source) -> tuple[Size, bool] | None:
    """Return ``(size, grey)`` of one picture, or None when its header cannot be read."""
    if isinstance(source, np.ndarray):
        return (source.shape[0], source.shape[1]), source.ndim == 2 or source.shape[2] == 1
    try:
        import io

        with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as picture:
            turned = picture.getexif().get(0x0112, 1) >= 5  # the EXIF orientations that swap the sides
            size = picture.size if turned else picture.size[::-1]
            return size, picture.mode in GREY_MODES
    except (OSError, ValueError, UnidentifiedImageError, Image.DecompressionBombError, SyntaxError):
        return None
