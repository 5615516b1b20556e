import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from vitrail.measure.ranking import auroc, average_precision

RANKINGS = [(auroc, roc_auc_score), (average_precision, average_precision_score)]


def problems(count=60, seed=0):
    print("seed", seed)
    random = np.random.default_rng(seed)
    for _ in range(count):
        size = random.integers(4, 80)
        scores = random.integers(0, random.integers(2, 30), size) / 30  # with many ties
        positive = random.random(size) < random.choice([0.2, 0.5, 0.8])
        positive[:2] = True, False
        yield random, scores, positive


@pytest.mark.parametrize(("ours", "reference"), RANKINGS)
def test_values_are_scikit_learns(ours, reference):
    for _, scores, positive in problems():
        value, influence = ours(scores, positive)
        assert abs(value - reference(positive, scores)) < 1e-12
        assert abs(influence.sum()) < 1e-12


@pytest.mark.parametrize(("ours", "reference"), RANKINGS)
def test_influence_is_the_derivative_by_a_pictures_weight(ours, reference):
    for random, scores, positive in problems():
        value, influence = ours(scores, positive)
        picture, step = random.integers(len(scores)), 1e-6
        weights = np.ones(len(scores))
        weights[picture] += step
        slope = (reference(positive, scores, sample_weight=weights) - value) / step
        assert slope == pytest.approx(influence[picture], abs=1e-4)


@pytest.mark.parametrize("ours", [auroc, average_precision])
def test_a_perfect_order_is_exactly_one(ours):
    assert ours(np.arange(7.0), np.arange(7) > 3)[0] == 1.0


def test_without_both_kinds_there_is_no_area():
    for positive in (np.zeros(3, bool), np.ones(3, bool)):
        value, influence = auroc(np.arange(3.0), positive)
        assert np.isnan(value)
        assert not influence.any()
    assert np.isnan(average_precision(np.arange(3.0), np.zeros(3, bool))[0])
