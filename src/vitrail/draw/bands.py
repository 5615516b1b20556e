"""How a picture of any number of channels is shown to people."""

import numpy as np

ENDS = (1, 99)
"""Percentiles of a band that are shown black and white: bands are seldom as bright as a photograph."""
PIXELS = 1 << 16


def shown(picture: np.ndarray) -> np.ndarray:
    """Return uint8 ``h w c`` as grey or colour: the first three of more channels, the first of two.

    One and three channels stay as they are; others are stretched, each band by itself.
    """
    count = picture.shape[2]
    if count in (1, 3):
        return picture
    taken = picture[:, :, : 3 if count > 3 else 1]
    step = max(1, int(np.sqrt(taken.shape[0] * taken.shape[1] / PIXELS)))
    stretched = np.empty(taken.shape, np.uint8)
    for band in range(taken.shape[2]):
        low, high = np.percentile(taken[::step, ::step, band], ENDS)
        table = (np.arange(256) - low) * (255 / max(high - low, 1))
        stretched[:, :, band] = np.rint(table.clip(0, 255)).astype(np.uint8)[taken[:, :, band]]
    return stretched
