"""What is kept of one picture's answer by a segmenter: counts, whatever its size."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from vitrail.errors import VitrailError
from vitrail.measure.outlines import outline_hits
from vitrail.measure.reliability import BINS, bins_of
from vitrail.values import IGNORED, STRIP, Mask

MOST = 64
"""With more classes the table of what is taken for what is not kept: it would outgrow everything else."""


@dataclass(frozen=True, kw_only=True)
class Tally:
    """What is kept of one picture's answer: counts of pixels, int64, whatever its size.

    By class (``c``): ``both`` in truth and answer, ``said`` in the answer, ``true``; and of outlines how many
    pixels there are and how many have a counterpart (``edge_said``, ``edge_said_hit``, ``edge_true``,
    ``edge_true_hit``). By bin of confidence (``15``): ``counts``, ``confidences`` (float64), ``hits``.
    ``taken`` (``c c``, rows are true; empty where a pixel may have many labels or there are many classes) is
    what was taken for what. Ignored pixels are in none of them.
    """

    both: np.ndarray
    said: np.ndarray
    true: np.ndarray
    edge_said: np.ndarray
    edge_said_hit: np.ndarray
    edge_true: np.ndarray
    edge_true_hit: np.ndarray
    counts: np.ndarray
    confidences: np.ndarray
    hits: np.ndarray
    taken: np.ndarray


def tally(answer: Mask, truth: np.ndarray) -> Tally:
    """Count an answer against its truth: uint8 ``h w`` (with ``multi`` ``c h w``), where 255 is ignored.

    Raises VitrailError when the sizes differ.
    """
    if answer.values.shape != truth.shape:
        raise VitrailError(f"an answer of {answer.values.shape} for a mask of {truth.shape}.")
    known, count = truth != IGNORED, len(answer.names)
    taken = np.zeros((0, 0), np.int64)
    if answer.multi:
        true, said, both = (np.zeros(count, np.int64) for _ in range(3))
        for k in range(count):
            wanted, here = truth[k] == 1, answer.values[k] & known[k]
            true[k], said[k], both[k] = wanted.sum(), here.sum(), (here & wanted).sum()
        there: Sequence[int] = range(count)
    else:
        table = _table(answer.values, truth, count)
        both, said, true = np.diag(table).copy(), table.sum(0), table.sum(1)
        there = np.flatnonzero(said + true).tolist()
        taken = table if count <= MOST else taken
    edges = np.zeros((count, 4), np.int64)
    for k in there:  # one class after the other: of a large picture no two planes are held
        if answer.multi:
            edges[k] = outline_hits(answer.values[k] & known[k], (truth[k] == 1) & known[k], known[k])
        else:
            edges[k] = outline_hits(answer.values == k, truth == k, known)
    counts, confidences, hits = _by_confidence(answer, truth)
    return Tally(
        both=both,
        said=said,
        true=true,
        edge_said=edges[:, 0],
        edge_said_hit=edges[:, 1],
        edge_true=edges[:, 2],
        edge_true_hit=edges[:, 3],
        counts=counts,
        confidences=confidences,
        hits=hits,
        taken=taken,
    )


def _table(values: np.ndarray, truth: np.ndarray, count: int) -> np.ndarray:
    """Return how many known pixels of each class were answered as each, some rows at a time."""
    table = np.zeros(count * count, np.int64)
    for rows in _strips(truth.shape):
        known = truth[rows] != IGNORED
        pairs = truth[rows][known].astype(np.int64) * count + values[rows][known]
        table += np.bincount(pairs, minlength=count * count)
    return table.reshape(count, count)


def _by_confidence(answer: Mask, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return how many pixels there are in each bin of confidence, the sum of that, and how many are right."""
    counts, confidences, hits = np.zeros(BINS, np.int64), np.zeros(BINS), np.zeros(BINS, np.int64)
    if answer.scores is None:
        return counts, confidences, hits
    for rows in _strips(truth.shape):
        part = (..., rows, slice(None))
        known, values = truth[part] != IGNORED, answer.values[part]
        scores = answer.scores[part][known].astype(np.float64)
        right = (values == (truth[part] == 1 if answer.multi else truth[part]))[known]
        confidence = np.where(values[known], scores, 1 - scores) if answer.multi else scores
        bins = bins_of(confidence)
        counts += np.bincount(bins, minlength=BINS)
        confidences += np.bincount(bins, weights=confidence, minlength=BINS)
        hits += np.bincount(bins, weights=right, minlength=BINS).astype(np.int64)
    return counts, confidences, hits


def _strips(shape: Sequence[int]) -> Iterator[slice]:
    """Yield rows ``h w`` that are few enough to be worked on at once."""
    *_, height, width = shape
    rows = max(1, STRIP // max(1, width))
    for first in range(0, height, rows):
        yield slice(first, first + rows)
