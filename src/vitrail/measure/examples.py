"""Which pictures to look at first: the most confident mistakes, the hardest and the surest."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vitrail.measure.counts import read_targets, surprise


@dataclass(frozen=True, kw_only=True)
class Examples:
    """Indices of pictures, the most telling first.

    ``mistakes``: wrong, and most confident of it. ``worst``: the highest loss. ``best``: the lowest loss,
    with every class in turn where each picture has one.
    """

    mistakes: np.ndarray
    worst: np.ndarray
    best: np.ndarray


def choose_examples(
    scores: np.ndarray, targets: np.ndarray, *, multi: bool = False, threshold: float = 0.5, most: int = 16
) -> Examples:
    """Choose up to ``most`` pictures of each kind by probabilities ``n c`` and targets as in ``judge``."""
    labelled, truth = read_targets(targets, scores.shape[1], multi)
    where = np.flatnonzero(labelled)
    scores, truth = scores[where], truth[where]
    if multi:
        doubt = np.where(truth, 1 - scores, scores)  # of each class: the probability of the wrong answer
        loss = surprise(1 - doubt).mean(1)
        wrong = (scores >= threshold) != truth
        sure = np.where(wrong, doubt, 0).max(1)
        best = np.argsort(loss, kind="stable")
    else:
        loss = surprise(scores[np.arange(len(scores)), truth])
        wrong = scores.argmax(1) != truth
        sure = np.where(wrong, scores.max(1), 0)
        best = _in_turn(np.argsort(loss, kind="stable"), truth)
    order = np.argsort(-sure, kind="stable")
    return Examples(
        mistakes=where[order[sure[order] > 0][:most]],
        worst=where[np.argsort(-loss, kind="stable")[:most]],
        best=where[best[:most]],
    )


def _in_turn(order: np.ndarray, kinds: np.ndarray) -> np.ndarray:
    """Return ``order`` with the first of every kind before the second of any."""
    grouped = np.argsort(kinds[order], kind="stable")
    starts = np.searchsorted(kinds[order][grouped], kinds[order][grouped], "left")
    turn = np.empty(len(order), np.int64)
    turn[grouped] = np.arange(len(order)) - starts
    return order[np.argsort(turn, kind="stable")]
