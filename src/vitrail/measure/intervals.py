"""95 % intervals, by drawing again what is independent: pictures, or the groups that they come in.

The numbers here are functions of sums over pictures (hits, counts, losses, influences), so a resample needs
no pictures: it weighs the sums of each unit by how often the unit was drawn.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from vitrail.values import Estimate

RESAMPLES = 1000
UNITS = 4096
"""The most units that are drawn: beyond it, units are joined at random. The error of an interval's width is
then 1.1 % (one over the root of twice the units), half of what 1,000 resamples leave."""
LEVEL = 0.95
NORMAL = NormalDist().inv_cdf((1 + LEVEL) / 2)
"""1.96 standard errors hold 95 % of a normal distribution."""
CHUNK = 128
"""Resamples held at a time: 128 of 4,096 weights are 4 MB."""

Sums = Mapping[str, np.ndarray]
"""Sums over pictures by name, each ``... k``."""


@dataclass(frozen=True, kw_only=True)
class Resampling:
    """What is drawn again, and how often.

    ``units`` (int64 ``n``, counted from 0) says with which unit each picture is drawn; there are ``count``.
    ``clusters`` is the number of groups, or None when every picture stands for itself.
    With 0 ``resamples`` the intervals are unknown (not a number).
    """

    units: np.ndarray
    count: int
    clusters: int | None = None
    resamples: int = RESAMPLES
    seed: int = 0

    def sums(self, values: np.ndarray) -> np.ndarray:
        """Return the sums of ``values`` (``n``) by unit (``count``)."""
        return np.bincount(self.units, weights=values, minlength=self.count)

    def tally(self, kinds: np.ndarray, most: int, weights: np.ndarray | None = None) -> np.ndarray:
        """Return how many pictures (or how much weight) of each of ``most`` kinds a unit has."""
        places = self.units * most + kinds
        return np.bincount(places, weights=weights, minlength=self.count * most).reshape(self.count, most)

    def weights(self) -> Iterator[np.ndarray]:
        """Give how often each unit was drawn, ``r count`` at a time; rows are multinomial."""
        random = np.random.default_rng(self.seed)
        for start in range(0, self.resamples, CHUNK):
            rows = min(CHUNK, self.resamples - start)
            drawn = random.integers(0, self.count, (rows, self.count)) + np.arange(rows)[:, None] * self.count
            drawn = np.bincount(drawn.ravel(), minlength=rows * self.count)
            yield drawn.reshape(rows, self.count).astype(np.float64)

    def draw(self, tables: Sums) -> dict[str, np.ndarray]:
        """Return the resampled sums of each table (``count k``), one row a resample (``resamples k``)."""
        drawn = {name: np.empty((self.resamples, table.shape[1])) for name, table in tables.items()}
        done = 0
        for weights in self.weights():
            for name, table in tables.items():
                drawn[name][done : done + len(weights)] = weights @ table
            done += len(weights)
        return drawn

    @property
    def quantile(self) -> float:
        """How many standard errors an interval reaches: Student's for a few clusters, else the normal."""
        if self.clusters is None:
            return NORMAL
        from scipy.special import stdtrit

        return float(stdtrit(self.clusters - 1, (1 + LEVEL) / 2))

    @property
    def size(self) -> int:
        """How many independent things there are: groups, or pictures."""
        return len(self.units) if self.clusters is None else self.clusters

    @property
    def unknown(self) -> bool:
        """Whether there is nothing to learn an interval from: no resamples, or a single unit."""
        return self.resamples < 1 or self.count < 2


def resampling(
    pictures: int,
    groups: Sequence[str] | np.ndarray | None = None,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
    most: int = UNITS,
) -> Resampling:
    """Decide what is drawn again: pictures, or whole groups when given (``n`` names or numbers).

    More than ``most`` units are joined at random into that many, of equal size: the sum over a random block
    varies as the pictures in it do, so a million pictures cost no more to resample than thousands.
    """
    if groups is None:
        units, count = np.arange(pictures), pictures
    else:
        if len(groups) != pictures:
            raise ValueError(f"{len(groups)} groups for {pictures} pictures")
        units = np.unique(np.asarray(groups), return_inverse=True)[1].astype(np.int64)
        count = int(units.max(initial=-1)) + 1
    clusters = None if groups is None else count
    if count > most:
        block = np.random.default_rng((seed, count)).permutation(count) % most
        units, count = block[units], most
    return Resampling(units=units, count=count, clusters=clusters, resamples=resamples, seed=seed)


@dataclass(frozen=True, kw_only=True)
class Draws:
    """A number, and what it would be on each of the resamples (``drawn``, ``r``).

    A ``share`` of something lies between 0 and 1 and is shown with Wilson's interval; ``basis`` is how many
    units are behind it, for where the resamples cannot vary.
    """

    value: float
    drawn: np.ndarray
    basis: float
    share: bool = True

    def estimate(self, again: Resampling) -> Estimate:
        """Return the number with its interval."""
        if self.share:
            return proportion(self.value, self.drawn, self.basis, again)
        return quantity(self.value, self.drawn, again)


@dataclass(frozen=True, kw_only=True)
class Resampled:
    """All numbers of some answers on the same resamples: those of two models can be taken in pairs.

    ``per_class`` maps a class to its numbers by name.
    """

    again: Resampling
    metrics: Mapping[str, Draws]
    per_class: Mapping[str, Mapping[str, Draws]]


def proportion(value: float, drawn: np.ndarray, basis: float, again: Resampling) -> Estimate:
    """Return the interval of a value between 0 and 1: Wilson's, with the effective size of the resamples.

    The effective size is that of independent trials with the variance of ``drawn`` (``r``), so that groups
    and averages over classes count for what they are worth. Where nothing went wrong the resamples cannot
    vary; there, the size is ``basis``, the number of units behind the value. (E. B. Wilson 1927; with
    effective sizes, Korn and Graubard 1998.) A percentile interval would promise 100 % after three pictures.
    """
    drawn = drawn[np.isfinite(drawn)]
    if again.unknown or not np.isfinite(value) or drawn.size < 2:
        return Estimate(value=value, low=np.nan, high=np.nan)
    variance = float(drawn.var()) * again.count / (again.count - 1)
    size = value * (1 - value) / variance if variance > 1e-15 else basis
    low, high = wilson(np.array(value), np.array(size), again.quantile)
    return Estimate(value=value, low=float(low), high=float(high))


def wilson(share: np.ndarray, size: np.ndarray, quantile: float = NORMAL) -> tuple[np.ndarray, np.ndarray]:
    """Return Wilson's interval of shares seen in ``size`` independent trials each (any shape)."""
    square = quantile**2 / size
    middle = (share + square / 2) / (1 + square)
    reach = np.sqrt(square * share * (1 - share) + square**2 / 4) / (1 + square)
    return np.clip(middle - reach, 0, share), np.clip(middle + reach, share, 1)


def quantity(value: float, drawn: np.ndarray, again: Resampling, least: float = 0.0) -> Estimate:
    """Return the interval of a value of ``least`` or more: percentiles of the resamples, less their bias.

    Noise lifts a sum of absolute errors, such as a calibration error: the mean of the resamples (``drawn``,
    ``r``) stands above the value about as far as the value above the truth, so they are moved down by twice
    that. A few dozen pictures are too few for the calibration error: its intervals are too high there.
    """
    drawn = drawn[np.isfinite(drawn)]
    if again.unknown or not np.isfinite(value) or drawn.size < 2:
        return Estimate(value=value, low=np.nan, high=np.nan)
    middle = drawn.mean()
    stretch = np.sqrt(again.count / (again.count - 1)) * again.quantile / NORMAL
    tails = stretch * (np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]) - middle)
    low, high = (max(float(end), least) for end in 2 * value - middle + tails)
    return Estimate(value=value, low=min(low, value), high=max(high, value))
