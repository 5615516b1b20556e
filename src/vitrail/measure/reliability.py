"""Whether probabilities mean what they say: confidence against frequency, in 15 bins of equal width."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vitrail.measure.intervals import wilson

BINS = 15
"""As in Guo et al. 2017, "On calibration of modern neural networks", so that numbers can be compared."""


@dataclass(frozen=True, kw_only=True)
class Reliability:
    """Sums by bin of confidence (each ``15``): how many answers, their confidence, how many came true."""

    counts: np.ndarray
    confidences: np.ndarray
    hits: np.ndarray

    @property
    def edges(self) -> np.ndarray:
        """The bins' borders (``16``)."""
        return np.linspace(0, 1, BINS + 1)

    @property
    def confidence(self) -> np.ndarray:
        """The mean confidence in each bin; not a number where it is empty."""
        return ratio(self.confidences, self.counts)

    @property
    def frequency(self) -> np.ndarray:
        """How often it came true in each bin; not a number where it is empty."""
        return ratio(self.hits, self.counts)

    @property
    def intervals(self) -> tuple[np.ndarray, np.ndarray]:
        """The ends of the frequencies' 95 % intervals, as if all answers were independent."""
        return wilson(self.frequency, np.where(self.counts > 0, self.counts, np.nan))

    @property
    def error(self) -> float:
        """The expected calibration error."""
        return float(calibration_error(self.counts, self.confidences, self.hits))


def calibration_error(counts: np.ndarray, confidences: np.ndarray, hits: np.ndarray) -> np.ndarray:
    """Return the mean distance of confidence from frequency over all answers, by bin ``... 15``."""
    return ratio(np.abs(confidences - hits).sum(-1), counts.sum(-1))


def bins_of(confidence: np.ndarray) -> np.ndarray:
    """Return the bin (0 to 14) of each confidence; a bin holds its upper border, as in the paper."""
    return np.clip(np.ceil(confidence.astype(np.float64) * BINS).astype(np.int64) - 1, 0, BINS - 1)


def ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Divide; not a number where the whole is 0."""
    empty = np.full(np.broadcast_shapes(np.shape(part), np.shape(whole)), np.nan)
    quotient: np.ndarray = np.divide(part, whole, out=empty, where=whole != 0)
    return quotient
