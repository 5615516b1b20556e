"""Numbers of more than eight bits to bytes: by a range that is part of the contract, or by their type's."""

import numpy as np

from vitrail.errors import UsageError

Range = tuple[float, ...]
"""What goes to 0 and to 255: low and high, or such a pair for each channel, one after the other."""

DEEP = 65535
BLOCK = 1 << 20
"""Numbers that are worked on at a time: in between each takes eight bytes."""


def check_range(span: Range, channels: int) -> None:
    """Raise UsageError for what is neither a low and a high, nor such a pair for each channel."""
    pairs = list(zip(span[::2], span[1::2], strict=False))
    if len(span) not in (2, 2 * channels) or not all(-np.inf < low < high < np.inf for low, high in pairs):
        each = f", or such a pair for each of {channels} channels" if channels > 1 else ""
        raise UsageError(f"A range is a low and a higher number{each}, not {' '.join(map(str, span))}.")


def to_bytes(values: np.ndarray, span: Range | None = None, top: int | None = None) -> np.ndarray:
    """Return whole numbers, floating point or bool ``h w [c]`` as uint8.

    Eight bits stay as they are. With a ``span`` what lies beyond it is clipped; pairs for several channels
    make as many of a single one. Without it 16 bits are mapped from 0 to ``top``, and others by the rules at
    the head of `vitrail.data.decode`.
    """
    if values.dtype.kind == "b":
        return values.astype(np.uint8) * np.uint8(255)
    if values.dtype == np.uint8:
        return values
    if span is not None:
        return _within(values, span)
    if values.dtype.kind == "u" and values.dtype.itemsize == 2:
        return _within(values, (0.0, top or DEEP))
    return _by_content(values)


def _within(values: np.ndarray, span: Range) -> np.ndarray:
    low, high = np.array(span, np.float64).reshape(-1, 2).T
    if len(low) == 1:
        low, high = low[0], high[0]
    elif values.ndim == 2:
        values = values[:, :, None]
    if values.dtype.kind not in "ui" or values.dtype.itemsize != 2:
        return _mapped(values, low, high)
    least = np.iinfo(values.dtype).min
    table = _mapped(np.arange(least, least + 65536).reshape(-1, 1, 1), low, high)[:, 0]
    place = values.astype(np.int32) - least if least else values
    if table.shape[1] == 1:
        found, rows = np.empty(values.shape, np.uint8), max(1, BLOCK * len(values) // max(1, values.size))
        for top in range(0, len(values), rows):
            found[top : top + rows] = table[:, 0][place[top : top + rows]]
        return found
    mapped = np.empty((*values.shape[:2], table.shape[1]), np.uint8)
    for channel in range(table.shape[1]):
        mapped[:, :, channel] = table[:, channel][place[:, :, channel % values.shape[2]]]
    return mapped


def _mapped(values: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Return bytes, some rows at a time; not-a-number is the low end, and the infinities are the ends."""
    mapped = np.empty(np.broadcast_shapes(values.shape, low.shape), np.uint8)
    rows = max(1, BLOCK * len(values) // max(1, mapped.size))
    for top in range(0, len(values), rows):
        part = values[top : top + rows]
        within = np.clip(part, low, high)
        if part.dtype.kind == "f":
            within = np.where(np.isnan(part), low, within)
        mapped[top : top + rows] = np.rint((within - low) * (255 / (high - low)))
    return mapped


def _by_content(values: np.ndarray) -> np.ndarray:
    """Return numbers without a range as bytes: from 0 to 255 or to 1, else from their least to their most."""
    floating = values.dtype.kind == "f"
    finite = values[np.isfinite(values)] if floating else values
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    if low >= 0 and high <= 255:
        low, high = 0.0, 1.0 if floating and high <= 1 else 255.0
    if low == high:
        return np.zeros(values.shape, np.uint8)
    return _mapped(values, np.array(low), np.array(high))
