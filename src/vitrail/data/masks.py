"""Masks as a data set gives them: a sequence that decodes a row's mask when asked for it.

A mask is uint8 ``h w`` on the upright picture, an index into the classes a pixel, or
`vitrail.values.IGNORED`; with many labels a pixel it is uint8 ``c h w`` of 0, 1 and ``IGNORED``, a plane a
class.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import overload

import numpy as np

from vitrail.values import IGNORED


class Masks(Sequence[np.ndarray]):
    """A sequence of masks, of which a reader says how one is decoded."""

    @abstractmethod
    def decode(self, row: int) -> np.ndarray:
        """Return one mask; raises VitrailError when it cannot be read."""

    @overload
    def __getitem__(self, index: int) -> np.ndarray: ...
    @overload
    def __getitem__(self, index: slice) -> list[np.ndarray]: ...
    def __getitem__(self, index: int | slice) -> np.ndarray | list[np.ndarray]:
        if isinstance(index, slice):
            return [self.decode(row) for row in range(*index.indices(len(self)))]
        return self.decode(range(len(self))[index])


class Renumbered(Masks):
    """Masks whose classes are counted in another order: class ``i`` is ``place[i]`` of ``width`` classes."""

    def __init__(self, masks: Sequence[np.ndarray], place: np.ndarray, width: int) -> None:
        self.masks, self.place, self.width = masks, place, width
        self.table = np.full(256, IGNORED, np.uint8)
        self.table[: len(place)] = place

    def __len__(self) -> int:
        return len(self.masks)

    def decode(self, row: int) -> np.ndarray:
        """Return one mask, renumbered; planes of classes that the data lacks are empty."""
        mask = self.masks[row]
        if mask.ndim == 2:
            return np.asarray(self.table[mask])
        planes = np.zeros((self.width, *mask.shape[1:]), np.uint8)
        planes[self.place] = mask
        return planes
