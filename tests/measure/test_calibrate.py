import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.special import expit, log_expit, log_softmax, softmax

from vitrail.measure.calibrate import fit_temperature, probabilities
from vitrail.measure.classify import judge


def problem(multi, heat, size=2000, seed=0):
    print("seed", seed)
    random = np.random.default_rng(seed)
    logits = random.normal(size=(size, 6))
    if multi:
        return heat * 3 * logits, random.random((size, 6)) < expit(3 * logits)
    truth = random.integers(0, 6, size)
    logits[np.arange(size), truth] += 2
    return heat * 3 * logits, truth


def loss(temperature, logits, truth, multi):
    doubt = 1 / (len(logits) + 2)
    cooled = logits / temperature
    if multi:
        wanted = np.where(truth, 1 - doubt, doubt)
        return -(wanted * log_expit(cooled) + (1 - wanted) * log_expit(-cooled)).mean()
    logs = log_softmax(cooled, -1)
    return -((1 - doubt) * logs[np.arange(len(logs)), truth] + doubt * logs.mean(1)).mean()


@pytest.mark.parametrize("multi", [False, True])
@pytest.mark.parametrize("heat", [0.4, 1.0, 3.0])
def test_the_temperature_is_scipys_minimum(multi, heat):
    logits, truth = problem(multi, heat)
    found = fit_temperature(logits, truth, multi=multi)
    best = minimize_scalar(
        loss, bounds=(0.1, 10), args=(logits, truth, multi), method="bounded", options={"xatol": 1e-10}
    )
    assert found == pytest.approx(best.x, rel=1e-5)
    assert fit_temperature(
        np.float32(logits), np.float32(truth) if multi else truth, multi=multi
    ) == pytest.approx(found, rel=1e-4)


@pytest.mark.parametrize("multi", [False, True])
def test_calibrated_probabilities_mean_what_they_say(multi):
    logits, truth = problem(multi, 3.0, size=6000)
    found = fit_temperature(logits[:3000], truth[:3000], multi=multi)
    classes = "abcdef"
    before, after = (
        judge(
            probabilities(logits[3000:], multi=multi, temperature=each),
            truth[3000:],
            classes=classes,
            multi=multi,
            resamples=0,
        )
        for each in (1.0, found)
    )
    assert after.metrics["ece"].value < 0.4 * before.metrics["ece"].value
    assert after.metrics["log_loss"].value < before.metrics["log_loss"].value
    for name in ("map", "auroc") if multi else ("accuracy", "macro_f1"):  # the order of answers stays
        assert after.metrics[name].value == pytest.approx(before.metrics[name].value, abs=1e-3)


def test_a_model_without_mistakes_does_not_become_infinitely_sure():
    sure = probabilities(np.eye(4), temperature=fit_temperature(np.eye(4) * 9, np.arange(4)) / 9)
    assert 0.5 < sure.max() < 0.9  # four pictures are not much evidence
    assert fit_temperature(-np.eye(4) * 9, np.arange(4)) == pytest.approx(10)
    assert fit_temperature(np.eye(4) * 1e-3, np.arange(4)) == pytest.approx(0.1)
    assert fit_temperature(np.zeros((4, 4)), np.arange(4)) == 1.0


def test_pictures_without_labels_do_not_count():
    logits, truth = problem(False, 2.0)
    mixed = np.r_[truth[:1000], np.full(1000, -1)]
    assert fit_temperature(logits, mixed) == fit_temperature(logits[:1000], truth[:1000])
    assert fit_temperature(logits, np.full(2000, -1)) == 1.0
    hot = np.eye(6)[truth]
    assert fit_temperature(logits, hot) == fit_temperature(logits, truth)


def test_probabilities_are_scipys_and_do_not_overflow():
    logits = np.array([[1.0, -2.0, 0.5], [1000.0, -1000.0, 0.0]])
    np.testing.assert_allclose(probabilities(logits, temperature=2.0), softmax(logits / 2, -1), atol=1e-15)
    np.testing.assert_allclose(probabilities(logits, multi=True), expit(logits), atol=1e-15)
    assert probabilities(np.float32(logits)).dtype == np.float32
