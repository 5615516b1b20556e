"""One temperature that makes probabilities mean what they say; the order of the answers stays as it is."""

from __future__ import annotations

import numpy as np

from vitrail.measure.counts import read_targets

LEAST, MOST = 0.1, 10.0
"""Where a temperature may lie; beyond, something else is wrong with the model."""
ROWS = 16_384
"""Pictures looked at together: a thousand classes of them are 130 MB."""


def probabilities(logits: np.ndarray, *, multi: bool = False, temperature: float = 1.0) -> np.ndarray:
    """Return probabilities (``... c``) of ``logits / temperature``: softmax, or sigmoid when ``multi``."""
    cooled = logits / np.asarray(temperature, logits.dtype)
    if multi:
        small = np.exp(-np.abs(cooled))  # of the magnitude, so that nothing overflows
        powers, whole = np.where(cooled >= 0, 1, small), 1 + small
    else:
        powers = np.exp(cooled - cooled.max(-1, keepdims=True))
        whole = powers.sum(-1, keepdims=True)
    quotient: np.ndarray = powers / whole
    return quotient


def fit_temperature(logits: np.ndarray, targets: np.ndarray, *, multi: bool = False) -> float:
    """Return the temperature that minimises the log loss of validation logits ``n c``, between 0.1 and 10.

    ``targets`` are indices ``n`` (-1: no label, left out) or ``n c`` hot ones. The loss is convex in the
    inverse temperature, so its slope is bisected where Newton's step would leave the bracket (Guo et al.
    2017). Each target counts as certain only up to 1 in ``n + 2`` (Platt 1999): a model without one mistake
    on a small validation part does not become infinitely sure.
    """
    there, truth = read_targets(targets, logits.shape[1], multi)
    logits, truth = logits[there], truth[there]
    if not len(logits):
        return 1.0
    doubt = 1 / (len(logits) + 2)
    low, high, inverse = 1 / MOST, 1 / LEAST, 1.0
    for _ in range(100):
        slope, bend = _slope(logits, truth, inverse, doubt, multi)
        if slope == 0:
            break
        low, high = (low, inverse) if slope > 0 else (inverse, high)
        step = inverse - slope / bend if bend > 0 else low
        following = step if low < step < high else (low + high) / 2
        if abs(following - inverse) <= 1e-9 * inverse:
            break
        inverse = following
    return float(1 / inverse)


def _slope(
    logits: np.ndarray, truth: np.ndarray, inverse: float, doubt: float, multi: bool
) -> tuple[float, float]:
    """Return the first and the second derivative of the log loss by the inverse temperature."""
    slope = bend = 0.0
    for start in range(0, len(logits), ROWS):
        rows = slice(start, start + ROWS)
        part = logits[rows].astype(np.float64)
        expected = probabilities(part, multi=multi, temperature=1 / inverse)
        if multi:
            wanted = np.where(truth[rows], 1 - doubt, doubt)
            slope += float(((expected - wanted) * part).sum())
            bend += float((expected * (1 - expected) * part**2).sum())
        else:
            part -= part.max(-1, keepdims=True)
            wanted = np.take_along_axis(part, truth[rows, None], 1)[:, 0]
            middle = (expected * part).sum(-1)
            slope += float((middle - (1 - doubt) * wanted - doubt * part.mean(-1)).sum())
            bend += float((expected * (part - middle[:, None]) ** 2).sum())
    return slope, bend
