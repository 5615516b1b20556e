"""Test pictures as a model sees them, for what asks models again."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from vitrail.data.faults import Unreadable
from vitrail.data.preprocess import Preprocess
from vitrail.run.compare.field import Field
from vitrail.values import Frame


def canvases(
    found: Field, preprocess: Preprocess, places: Iterable[int]
) -> dict[int, tuple[np.ndarray, Frame]]:
    """Return the test pictures at these places among the keys, with their frames; those that can be had."""
    if found.splits is None:
        return {}
    test = found.splits.test
    row_of = {key: row for row, key in enumerate(test.keys)}
    shown = {}
    for place in places:
        row = row_of.get(found.keys[place])
        if row is None:
            continue
        try:
            shown[place] = preprocess.canvas(preprocess.load(test.source(row)))
        except Unreadable:
            continue
    return shown


def spread(count: int, most: int) -> list[int]:
    """Return up to ``most`` places among ``count``, evenly chosen."""
    places: list[int] = np.unique(np.linspace(0, count - 1, min(most, count)).round().astype(int)).tolist()
    return places
