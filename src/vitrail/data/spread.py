"""How far the numbers of a data set reach: what range its pictures' bits are spent on, and their mean."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vitrail.contracts import Samples
from vitrail.data import bands
from vitrail.data.decode import check_array
from vitrail.data.depth import Range, to_bytes
from vitrail.data.header import identify, open_source
from vitrail.data.probe import drawn
from vitrail.errors import UsageError
from vitrail.values import Source

ENDS = (0.1, 99.9)
"""Percentiles that go to 0 and to 255: a few hot pixels would take the range for themselves."""
PIXELS = 1 << 14
"""Pixels of each picture that have a part in it, evenly over it."""
MOST = 200_000_000
"""Numbers that are decoded for it; at least those of one picture."""


@dataclass(frozen=True, kw_only=True)
class Spread:
    """The ``range`` of numbers of more than eight bits, None where there are none; of how many ``pictures``.

    ``mean`` and ``std`` are those of each channel in 0..1 once they are bytes.
    """

    range: Range | None
    mean: tuple[float, ...]
    std: tuple[float, ...]
    pictures: int


def measure(
    samples: Samples, channels: int, *, max_pixels: int, span: Range | None = None, most: int = 64
) -> Spread | None:
    """Return how far the numbers of up to ``most`` pictures reach; None when none can be read.

    Grey and colour have one range, other channels one each; a ``span`` that is given stays. Raises
    UsageError where a package is missing that reads the pictures.
    """
    parts: list[np.ndarray] = []
    left = MOST
    for source in drawn(samples, most):
        try:
            values = _numbers(source, channels, max_pixels)
        except UsageError:
            raise
        except Exception:  # Pillow's plugins raise a dozen types for a broken file; decoding names it
            continue
        if values is None:
            continue
        left -= values.size
        step = max(1, int(np.sqrt(values.shape[0] * values.shape[1] / PIXELS)))
        parts.append(values[::step, ::step].reshape(-1, values.shape[2]).copy())
        if left < 0:
            break
    deep = [part for part in parts if part.dtype != np.uint8]
    if span is None and deep:
        span = _reach(deep, own=channels not in (1, 3))
    if channels in (1, 3):
        return Spread(range=span, mean=(), std=(), pictures=len(deep)) if deep else None
    if not parts:
        return None
    seen = np.concatenate([to_bytes(part[:, None], span)[:, 0] for part in parts]) / np.float32(255)
    std = np.maximum(seen.std(0, dtype=np.float64), 1 / 255)
    return Spread(
        range=span,
        mean=tuple(round(float(value), 4) for value in seen.mean(0, dtype=np.float64)),
        std=tuple(round(float(value), 4) for value in std),
        pictures=len(parts),
    )


def _reach(parts: Sequence[np.ndarray], *, own: bool) -> Range:
    """Return low and high of all numbers, or with ``own`` of each channel."""
    whole = all(part.dtype.kind in "ui" for part in parts)
    columns = [[part[:, i] for part in parts] for i in range(parts[0].shape[1])]
    if not own:
        columns = [[part.reshape(-1) for part in parts]]
    found: list[float] = []
    for column in columns:
        values = np.concatenate(column)
        values = values[np.isfinite(values)] if values.dtype.kind == "f" else values
        low, high = np.percentile(values, ENDS) if values.size else (0.0, 1.0)
        if whole:
            low, high = np.floor(low), np.ceil(high)
        low, high = float(f"{low:.6g}"), float(f"{high:.6g}")
        found += [low, high if high > low else low + 1.0]
    return tuple(found)


def _numbers(source: Source, channels: int, max_pixels: int) -> np.ndarray | None:
    """Return a picture's numbers as stored, ``h w c``, without opacity; None for plain eight bits."""
    if isinstance(source, np.ndarray):
        values = check_array(source, max_pixels, channels)
    else:
        with open_source(source) as file:
            stored = bands.look(file, str(source))
            if bands.needed(stored, channels, spanned=True):
                values, _ = bands.read(file, str(source), channels, max_pixels)
            else:
                with identify(file) as image:
                    if image.width * image.height > max_pixels:
                        return None
                    if channels in (1, 3) and image.mode != "I" and not image.mode.startswith("I;16"):
                        return None
                    values = np.asarray(image)
                    values = values[:, :, None] if values.ndim == 2 else values
    if values.dtype.kind == "b" or (channels in (1, 3) and values.dtype == np.uint8):
        return None
    if values.shape[2] == channels:
        return values
    if channels not in (1, 3):
        return None
    return values[:, :, : 1 if values.shape[2] < 3 else 3]
