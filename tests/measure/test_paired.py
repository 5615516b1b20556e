"""Differences between models: against scipy and statsmodels, and by simulation with a known truth."""

import numpy as np
import pytest
from scipy import stats

from vitrail.measure.classify import Classification
from vitrail.measure.intervals import Draws, resampling
from vitrail.measure.paired import difference, holm, mcnemar, over_seeds


def draws_of(hits, again):
    """A share of each run (``s n``), on the pictures and on resamples."""
    weights = np.concatenate(list(again.weights()))
    return [
        Draws(value=float(run.mean()), drawn=weights @ run / again.count, basis=again.count) for run in hits
    ]


def experiment(rng, skills, *, pictures, seeds, luck, hard=1.0, own=0.5):
    """What each model's runs got right (``s n``): some pictures are hard, for all or for one."""
    shared = rng.normal(0, hard, pictures)
    return [
        (
            skill
            + rng.normal(0, luck, (seeds, 1))
            + shared
            + rng.normal(0, own, pictures)
            + rng.normal(0, 1, (seeds, pictures))
            > 0
        ).astype(float)
        for skill in skills
    ]


def truth_of(skill, luck, hard=1.0, own=0.5):
    return stats.norm.cdf(skill / np.sqrt(1 + luck**2 + hard**2 + own**2))


def simulate(seeds, luck, skills=(1.0, 0.8), trials=1000, pictures=300, resamples=200, *, start=0):
    """How often intervals of a mean and of a difference held the truth, and how often p < 0.05."""
    rng = np.random.default_rng(start)
    truths = [truth_of(skill, luck) for skill in skills]
    mean, gap, alarms = 0, 0, 0
    for trial in range(trials):
        again = resampling(pictures, resamples=resamples, seed=trial)
        ours, theirs = (
            draws_of(hits, again)
            for hits in experiment(rng, skills, pictures=pictures, seeds=seeds, luck=luck)
        )
        one, two = over_seeds(ours, again), difference(ours, theirs, again)
        mean += one.low <= truths[0] <= one.high
        gap += two.estimate.low <= truths[0] - truths[1] <= two.estimate.high
        alarms += two.p_value < 0.05
    return mean / trials, gap / trials, alarms / trials


@pytest.mark.parametrize(("seeds", "luck"), [(5, 0.15), (1, 0.0)])
def test_intervals_hold_the_truth_in_95_of_100_experiments(seeds, luck):
    mean, gap, _ = simulate(seeds, luck)
    assert 0.93 <= mean <= 0.97
    assert 0.93 <= gap <= 0.97


def test_equal_models_are_told_apart_in_at_most_5_of_100_experiments():
    _, gap, alarms = simulate(5, 0.15, skills=(1.0, 1.0), start=1)
    assert 0.93 <= gap <= 0.97
    assert alarms <= 0.05


@pytest.mark.slow
@pytest.mark.parametrize(("seeds", "luck"), [(3, 0.15), (3, 0.5), (5, 0.5), (10, 0.15)])
def test_intervals_hold_the_truth_with_other_seeds_and_luck(seeds, luck):
    mean, gap, _ = simulate(seeds, luck, trials=3000, start=2)
    assert 0.925 <= mean <= 0.975
    assert 0.93 <= gap <= 0.98


def test_drawing_three_seeds_again_would_hold_the_truth_too_rarely():
    """Why seeds are not bootstrapped: where they are what varies, plain resampling promises too much."""
    rng, held, ours = np.random.default_rng(3), 0, 0
    for _ in range(400):
        values = rng.normal(0.5, 0.05, 3)
        drawn = values[rng.integers(0, 3, (400, 3))].mean(1)
        held += np.quantile(drawn, 0.025) <= 0.5 <= np.quantile(drawn, 0.975)
        again = resampling(1000, resamples=2)
        runs = [Draws(value=value, drawn=np.full(2, value), basis=1000) for value in values]
        ends = over_seeds(runs, again)
        ours += ends.low <= 0.5 <= ends.high
    assert held / 400 < 0.85
    assert 0.93 <= ours / 400 <= 0.97


def test_without_variance_over_pictures_it_is_welchs_t_test():
    again = resampling(100_000, resamples=2)
    ours, theirs = [0.91, 0.93, 0.90, 0.94], [0.88, 0.87, 0.89]
    found = difference(*([_still(v) for v in values] for values in (ours, theirs)), again)
    wanted = stats.ttest_ind(ours, theirs, equal_var=False)
    assert found.p_value == pytest.approx(wanted.pvalue, rel=1e-4)
    low, high = wanted.confidence_interval(0.95)
    assert (found.estimate.low, found.estimate.high) == pytest.approx((low, high), abs=1e-5)


def test_one_run_each_is_the_paired_test_over_pictures():
    rng = np.random.default_rng(4)
    ours, theirs = experiment(rng, (1.0, 0.4), pictures=2000, seeds=1, luck=0)
    again = resampling(2000, resamples=4000)
    found = difference(draws_of(ours, again), draws_of(theirs, again), again)
    wanted = stats.ttest_rel(ours[0], theirs[0])
    low, high = wanted.confidence_interval(0.95)
    assert (found.estimate.low, found.estimate.high) == pytest.approx((low, high), abs=2e-3)
    assert found.seeds == 1


def test_what_is_hard_for_both_cancels_out():
    rng = np.random.default_rng(5)
    ours, theirs = experiment(rng, (1.0, 0.7), pictures=500, seeds=3, luck=0, hard=3, own=0)
    again = resampling(500)
    ours, theirs = draws_of(ours, again), draws_of(theirs, again)
    alone = over_seeds(ours, again)
    assert difference(ours, theirs, again).reach < (alone.high - alone.low) / 2


def test_runs_without_a_mistake():
    again = resampling(50)
    perfect = draws_of(np.ones((3, 50)), again)
    ends = over_seeds(perfect, again)
    assert ends.value == ends.high == 1
    assert 0.9 < ends.low < 0.95  # Wilson's, of 50 right answers of 50
    equal = difference(perfect, perfect, again)
    assert equal.p_value == 1
    assert equal.reach == pytest.approx(1.96 / 50, rel=1e-3)  # a picture's worth, not nothing


def test_groups_count_and_not_their_pictures():
    rng = np.random.default_rng(6)
    hits = np.repeat(rng.random((1, 20)) < 0.7, 50, axis=1).astype(float)
    groups = np.repeat(np.arange(20), 50)
    known = resampling(1000, groups)
    weights = np.concatenate(list(known.weights()))
    sums = known.sums(hits[0])
    runs = [Draws(value=hits.mean(), drawn=weights @ sums / 1000, basis=20)]
    nothing = [Draws(value=0.5, drawn=np.full(1000, 0.5), basis=20)]
    found = difference(runs, nothing, known)
    wanted = stats.ttest_1samp(hits[0].reshape(20, 50).mean(1), 0.5)
    assert found.p_value == pytest.approx(wanted.pvalue, rel=0.2)
    assert found.pictures_freedom == 19


def test_numbers_that_are_none():
    again = resampling(10)
    none = [Draws(value=float("nan"), drawn=np.full(1000, np.nan), basis=0)]
    assert np.isnan(over_seeds(none, again).low)
    assert np.isnan(difference(none, none, again).p_value)
    with pytest.raises(ValueError, match="without a run"):
        over_seeds([], again)


def test_holm_is_statsmodels():
    """What multipletests(..., method="holm") of statsmodels 0.15.0 returned."""
    values = [0.01, 0.04, 0.03, 0.005, 0.5, 0.049]
    assert holm(values) == pytest.approx([0.05, 0.12, 0.12, 0.03, 0.5, 0.12])
    assert holm([0.04]) == [0.04]
    adjusted = holm([0.02, float("nan"), 0.9])
    assert adjusted[0] == 0.04
    assert np.isnan(adjusted[1])


@pytest.mark.parametrize(
    ("table", "wanted"),
    [
        ([[120, 25], [11, 44]], 0.028816719655878845),
        ([[59, 6], [16, 80]], 0.052478790283203125),
        ([[10, 7], [7, 5]], 1.0),
        ([[10, 0], [0, 5]], 1.0),
    ],
)
def test_mcnemar_is_statsmodels(table, wanted):
    """What mcnemar(table, exact=True) of statsmodels 0.15.0 returned: right or wrong of both, and of one."""
    cells = [(ours, theirs) for ours in (True, False) for theirs in (True, False)]
    pairs = [cell for cell, count in zip(cells, np.ravel(table), strict=True) for _ in range(count)]
    ours, theirs = np.array(pairs).T
    assert mcnemar(ours, theirs) == pytest.approx(wanted)


def test_two_metrics_of_the_same_pictures_are_drawn_alike():
    rng = np.random.default_rng(8)
    truth = rng.integers(0, 3, 100)
    metrics = []
    for noise in (1.0, 1.0):
        metric = Classification(["a", "b", "c"])
        scores = np.eye(3)[truth] + noise * rng.random((100, 3))
        metric.update_arrays(scores / scores.sum(1, keepdims=True), truth)
        metrics.append(metric.resampled(resamples=50))
    one, two = metrics
    assert one.metrics["accuracy"].drawn.shape == (50,)
    assert set(one.per_class["a"]) >= {"recall", "f1"}
    same = difference([one.metrics["accuracy"]], [one.metrics["accuracy"]], one.again)
    assert same.value == 0
    assert difference([one.metrics["auroc"]], [two.metrics["auroc"]], two.again).over_pictures > 0


def _still(value):
    return Draws(value=value, drawn=np.full(2, value), basis=100_000)
