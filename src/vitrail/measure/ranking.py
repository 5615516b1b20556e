"""How well scores rank the positives first: the area under the ROC curve, and average precision.

Each comes with its influence: how much the value changes when a picture is weighed more. A resample's value
is the value plus the weighted sum of influences: a thousand resamples cost one ranking, not a thousand.
"""

from __future__ import annotations

import numpy as np


def auroc(scores: np.ndarray, positive: np.ndarray) -> tuple[float, np.ndarray]:
    """Return the area under the ROC curve of ``scores`` (``n``) and each picture's influence (``n``, sum 0).

    ``positive`` is bool ``n``. Ties count half. Without both kinds the area is not a number and the influence
    is 0. The influence is the placement of DeLong et al. 1988. Only the rarer kind is sorted.
    """
    positives = int(positive.sum())
    negatives = len(scores) - positives
    if not positives or not negatives:
        return np.nan, np.zeros(len(scores))
    if positives > negatives:
        return auroc(-scores, ~positive)  # the opposite question has the same area
    order = np.flatnonzero(positive)
    order = order[np.argsort(scores[order], kind="stable")]
    ranked, others = scores[order], scores[~positive]
    below = np.searchsorted(ranked, others, "left")  # positives below each negative
    up_to = np.searchsorted(ranked, others, "right")  # positives below it or tied
    beaten = 1 - (below + up_to) / (2 * positives)  # the share of positives that beat each negative
    passed = np.bincount(below, minlength=positives + 1) + np.bincount(up_to, minlength=positives + 1)
    beats = np.cumsum(passed[:positives]) / (2 * negatives)  # the share of negatives that each positive beats
    value = float(beats.mean())
    influence = np.empty(len(scores), np.float64)
    influence[order] = (beats - value) / positives
    influence[~positive] = (beaten - value) / negatives
    return value, influence


def average_precision(scores: np.ndarray, positive: np.ndarray) -> tuple[float, np.ndarray]:
    """Return the average precision of ``scores`` (``n``) and each picture's influence (``n``, sum 0).

    The value is the mean, over the positives, of the precision among the pictures that score as high or
    higher (no interpolation). Without positives it is not a number and the influence is 0.
    """
    count, positives = len(scores), int(positive.sum())
    if not positives:
        return np.nan, np.zeros(count)
    kinds, kind = np.unique(-scores, return_inverse=True)  # equal scores are one threshold; best first
    seen = np.bincount(kind, minlength=len(kinds))
    hits = np.bincount(kind, weights=positive, minlength=len(kinds))
    retrieved, found = np.cumsum(seen), np.cumsum(hits)
    precision = found / retrieved
    value = float((hits * precision).sum() / positives)
    # A picture changes the precision at its own threshold and at every lower one.
    gain = np.cumsum((hits / retrieved)[::-1])[::-1]
    loss = np.cumsum((hits * found / retrieved**2)[::-1])[::-1]
    influence = (positive * (precision[kind] + gain[kind] - value) - loss[kind]) / positives
    return value, influence
