"""Which of several models is better, and how sure that is: over test pictures and over seeds at once.

A model is what a recipe makes, not what one run of it happened to become, and the test pictures stand for
others like them. So a number varies twice: with the seed of the run and with the pictures that it is measured
on. Both variances are estimated and added up (a crossed design with two random factors):

* over pictures by the bootstrap, the same resamples for all runs, so that what is hard for every model
  cancels out of a difference;
* over seeds by the variance of the runs, less what of it the pictures alone explain, each model's by itself:
  the luck of one network's first weights has nothing to do with that of another's.

An interval reaches as far as the root of the sum of the squares of what each reaches alone, the seeds' with
Student's quantile (Graybill and Wang 1980; for differences of means Zou and Donner 2008, "MOVER"). To draw
seeds again, as one draws pictures, would not do: three seeds drawn from three are the same one in every ninth
draw and lack a third of the variance, and the normal quantile is less than half of Student's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vitrail.measure.intervals import LEVEL, Draws, Resampling
from vitrail.values import Estimate

LARGE = 1e6
"""So many degrees of freedom are as good as all."""
LEAST = 1e-300
"""A variance below which there is none."""


@dataclass(frozen=True, kw_only=True)
class Uncertain:
    """A mean over seeds, or a difference of two.

    ``over_pictures`` and ``over_seeds`` are its variances, ``pictures_freedom`` and ``seeds_freedom`` the
    degrees of freedom that they are known with. ``seeds`` is the least number of seeds behind it: with 1 the
    part of the seeds is not known and taken as 0.
    """

    value: float
    over_pictures: float
    over_seeds: float
    pictures_freedom: float
    seeds_freedom: float
    seeds: int

    def reach_at(self, level: float) -> float:
        """Return half of the interval that holds the truth with this probability."""
        from scipy.special import stdtrit

        pictures, seeds = (
            float(stdtrit(min(freedom, LARGE), (1 + level) / 2))
            for freedom in (self.pictures_freedom, self.seeds_freedom)
        )
        return float(np.sqrt(pictures**2 * self.over_pictures + seeds**2 * self.over_seeds))

    @property
    def reach(self) -> float:
        """Half of its 95 % interval: differences of less could not have been seen."""
        return self.reach_at(LEVEL)

    @property
    def estimate(self) -> Estimate:
        """The value with its 95 % interval, as far to both sides."""
        return Estimate(value=self.value, low=self.value - self.reach, high=self.value + self.reach)

    @property
    def p_value(self) -> float:
        """How often a value so far from 0, or farther, is seen when the truth is 0 (two-sided).

        It is what is left of the widest interval that does not hold 0.
        """
        from scipy.optimize import brentq

        if not np.isfinite(self.over_pictures + self.value):
            return float("nan")
        if self.value == 0:
            return 1.0
        nearly = 1 - 1e-12
        if self.reach_at(nearly) <= abs(self.value):
            return 1 - nearly
        return 1 - float(brentq(lambda level: self.reach_at(level) - abs(self.value), 0.0, nearly))


def over_seeds(runs: Sequence[Draws], again: Resampling) -> Estimate:
    """Return the mean of one model's runs, a seed each, with an interval that counts seeds and pictures.

    That of a share is made on the scale of its log odds, where it is as far to both sides; it ends at 0 and
    1. Where every run was right on every picture it is Wilson's. Raises ValueError for no run.
    """
    found = _uncertain([(1.0, runs)], again)
    share = found.value
    if not np.isfinite(found.over_pictures + share):
        return Estimate(value=share, low=np.nan, high=np.nan)
    if len(runs) == 1 or (found.over_pictures + found.over_seeds) < LEAST:
        return runs[0].estimate(again)
    if not runs[0].share:
        return Estimate(value=share, low=max(share - found.reach, 0.0), high=share + found.reach)
    odds, reach = np.log(share / (1 - share)), found.reach / (share * (1 - share))
    low, high = 1 / (1 + np.exp(-np.array([odds - reach, odds + reach])))
    return Estimate(value=share, low=float(low), high=float(high))


def difference(ours: Sequence[Draws], theirs: Sequence[Draws], again: Resampling) -> Uncertain:
    """Return how much one model's number is above another's, on the same resamples of the same pictures.

    Of shares at least one picture's worth is uncertain: two models that answered all pictures alike may still
    differ on the next. Raises ValueError for no run.
    """
    least = 1 / again.size**2 if ours[0].share else 0.0
    return _uncertain([(1.0, ours), (-1.0, theirs)], again, least)


def _uncertain(
    parts: Sequence[tuple[float, Sequence[Draws]]], again: Resampling, least: float = 0.0
) -> Uncertain:
    """Return the sum of the parts' means over their runs, each times its sign."""
    if not all(runs for _, runs in parts):
        raise ValueError("a model without a run has no number")
    value = sum(sign * float(np.mean([run.value for run in runs])) for sign, runs in parts)
    unknown = again.unknown or not np.isfinite(value)
    drawn = sum(sign * np.mean([run.drawn for run in runs], axis=0) for sign, runs in parts)
    extra, squares, betweens = 0.0, 0.0, 0.0
    for _, runs in parts:
        if (number := len(runs)) > 1 and not unknown:
            between = float(np.var([run.value for run in runs], ddof=1)) / number
            # What the bootstrap over pictures has counted already: the part of a run's variance over
            # pictures that its mean over seeds does not share.
            alone = float(np.mean([_variance(run.drawn, again) for run in runs]))
            together = _variance(np.mean([run.drawn for run in runs], axis=0), again)
            extra += max(between - max(alone - together, 0.0) / (number - 1), 0.0)
            betweens, squares = betweens + between, squares + between**2 / (number - 1)
    return Uncertain(
        value=value,
        over_pictures=np.nan if unknown else max(_variance(np.asarray(drawn), again), least),
        over_seeds=extra,
        pictures_freedom=LARGE if again.clusters is None else again.clusters - 1,
        seeds_freedom=betweens**2 / squares if squares > 0 else LARGE,
        seeds=min(len(runs) for _, runs in parts),
    )


def _variance(drawn: np.ndarray, again: Resampling) -> float:
    """Return the variance over pictures that resamples tell of, but for those that are not a number."""
    return float(np.nanvar(drawn)) * again.count / (again.count - 1)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p values for as many questions at once: with them, one false alarm in twenty comparisons of all.

    S. Holm 1979, "A simple sequentially rejective multiple test procedure". What is not a number stays so,
    and is no question.
    """
    asked = [index for index, value in enumerate(p_values) if np.isfinite(value)]
    adjusted, largest = [float("nan")] * len(p_values), 0.0
    for place, index in enumerate(sorted(asked, key=lambda index: p_values[index])):
        largest = max(largest, min(1.0, (len(asked) - place) * p_values[index]))
        adjusted[index] = largest
    return adjusted


def mcnemar(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Return McNemar's exact p value of two runs that were right or wrong (bool ``n``) on the same pictures.

    Only pictures that one got right and the other wrong count; of those each has half when both are equally
    good. Q. McNemar 1947.
    """
    from scipy.stats import binomtest

    won, lost = int(np.sum(ours & ~theirs)), int(np.sum(theirs & ~ours))
    return float(binomtest(won, won + lost).pvalue) if won + lost else 1.0
