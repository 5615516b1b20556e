import numpy as np
import pytest
from sklearn import metrics as reference

from vitrail.errors import VitrailError
from vitrail.measure.classify import METRICS, Classification, judge, orders, primary
from vitrail.values import Label

CLASSES = tuple("abcde")


def single(size=400, classes=5, seed=0, kind=np.float64):
    print("seed", seed)
    random = np.random.default_rng(seed)
    truth = random.integers(0, classes, size)
    logits = random.normal(size=(size, classes)).round(1)  # rounded, so that there are ties
    logits[np.arange(size), truth] += 1.5
    powers = np.exp(logits)
    return (powers / powers.sum(1, keepdims=True)).astype(kind), truth


def several(size=300, classes=5, seed=0):
    print("seed", seed)
    random = np.random.default_rng(seed)
    scores = random.random((size, classes)).round(2)
    return scores, random.random((size, classes)) < scores**2


def values(quality):
    return {name: estimate.value for name, estimate in quality.metrics.items()}


@pytest.mark.parametrize("kind", [np.float64, np.float32])
def test_single_label_equals_scikit_learn(kind):
    scores, truth = single(kind=kind)
    chosen = scores.argmax(1)
    quality = judge(scores, truth, classes=CLASSES, resamples=0)
    exact = {
        "accuracy": reference.accuracy_score(truth, chosen),
        "balanced_accuracy": reference.balanced_accuracy_score(truth, chosen),
        "macro_f1": reference.f1_score(truth, chosen, average="macro"),
        "auroc": np.mean([reference.roc_auc_score(truth == k, scores[:, k]) for k in range(5)]),
        "log_loss": -np.log(scores[np.arange(400), truth].astype(np.float64)).mean(),
    }
    assert values(quality).keys() == exact.keys() | {"ece"}
    for name, value in exact.items():
        assert values(quality)[name] == pytest.approx(value, abs=1e-12), name
    if kind is np.float64:
        assert exact["auroc"] == pytest.approx(
            reference.roc_auc_score(truth, scores, multi_class="ovr"), abs=1e-12
        )
        assert exact["log_loss"] == pytest.approx(reference.log_loss(truth, scores), abs=1e-12)
    parts = reference.precision_recall_fscore_support(truth, chosen)
    for k, label in enumerate(CLASSES):
        ours = quality.per_class[label]
        assert [ours[name].value for name in ("precision", "recall", "f1")] == pytest.approx(
            [part[k] for part in parts[:3]], abs=1e-12
        )
        assert ours["auroc"].value == pytest.approx(
            reference.roc_auc_score(truth == k, scores[:, k]), abs=1e-12
        )
        assert quality.support[label] == parts[3][k]
    np.testing.assert_array_equal(quality.confusion, reference.confusion_matrix(truth, chosen))


def test_several_labels_equal_scikit_learn():
    scores, truth = several()
    chosen = scores >= 0.5
    quality = judge(scores, truth.astype(np.float32), classes=CLASSES, multi=True, resamples=0)
    exact = {
        "map": reference.average_precision_score(truth, scores, average="macro"),
        "micro_f1": reference.f1_score(truth, chosen, average="micro"),
        "macro_f1": reference.f1_score(truth, chosen, average="macro"),
        "auroc": reference.roc_auc_score(truth, scores, average="macro"),
        "log_loss": np.mean([reference.log_loss(truth[:, k], scores[:, k]) for k in range(5)]),
    }
    assert values(quality).keys() == exact.keys() | {"ece"}
    for name, value in exact.items():
        assert values(quality)[name] == pytest.approx(value, abs=1e-12), name
    for k, label in enumerate(CLASSES):
        value = quality.per_class[label]["average_precision"].value
        assert value == pytest.approx(reference.average_precision_score(truth[:, k], scores[:, k]), abs=1e-12)
    assert quality.confusion is None


def test_top_five_is_measured_of_more_than_ten_classes():
    scores, truth = single(classes=11)
    found = judge(scores, truth, classes=[str(i) for i in range(11)], resamples=0).metrics["top5_accuracy"]
    order = np.argsort(-scores, axis=1, kind="stable")[:, :5]
    assert found.value == (order == truth[:, None]).any(1).mean()
    scores, truth = single(classes=10)
    assert (
        "top5_accuracy" not in judge(scores, truth, classes=[str(i) for i in range(10)], resamples=0).metrics
    )


@pytest.mark.parametrize("multi", [False, True])
@pytest.mark.parametrize("classes", [2, 10, 11])
def test_only_what_is_measured_can_choose(multi, classes):
    scores, truth = several(classes=classes) if multi else single(classes=classes)
    found = judge(scores, truth, classes=[str(i) for i in range(classes)], multi=multi, resamples=0)
    assert orders(classes, multi).keys() == found.metrics.keys()
    assert orders(classes, multi).items() <= METRICS.items()


def test_calibration_error_is_the_papers():
    scores, truth = single(2000)
    quality = judge(scores, truth, classes=CLASSES, resamples=0)
    confidence, right = scores.max(1), scores.argmax(1) == truth
    error = 0.0
    for low in np.arange(15) / 15:
        inside = (confidence > low) & (confidence <= low + 1 / 15)
        if inside.any():
            error += inside.mean() * abs(confidence[inside].mean() - right[inside].mean())
    assert values(quality)["ece"] == pytest.approx(error, abs=1e-12)
    assert quality.reliability.error == pytest.approx(error, abs=1e-12)
    assert quality.reliability.counts.sum() == 2000
    assert len(quality.reliability.edges) == 16
    filled = quality.reliability.counts > 0
    assert np.isnan(quality.reliability.confidence[~filled]).all()
    assert np.isfinite(quality.reliability.frequency[filled]).all()


@pytest.mark.parametrize("multi", [False, True])
def test_every_number_has_an_interval_around_it(multi):
    scores, truth = several() if multi else single()
    quality = judge(scores, truth, classes=CLASSES, multi=multi)
    numbers = [
        *quality.metrics.values(),
        *(each for row in quality.per_class.values() for each in row.values()),
    ]
    assert all(0 <= each.low <= each.value <= each.high for each in numbers)
    assert all(0 < each.high - each.low < 0.4 for each in numbers)
    assert quality == quality
    repeated = judge(scores, truth, classes=CLASSES, multi=multi)
    assert repeated.metrics == quality.metrics
    assert repeated.per_class == quality.per_class
    assert judge(scores, truth, classes=CLASSES, multi=multi, seed=1).metrics != quality.metrics
    assert quality.metrics.keys() <= METRICS.keys()
    assert primary(multi) in quality.metrics


def test_groups_widen_the_interval():
    scores, truth = single(40)
    scores, truth, groups = np.repeat(scores, 10, 0), np.repeat(truth, 10), np.repeat(np.arange(40), 10)
    apart = judge(scores, truth, classes=CLASSES)
    grouped = judge(scores, truth, classes=CLASSES, groups=[f"patient {group}" for group in groups])
    assert grouped.clusters == 40
    assert apart.clusters is None
    for name in ("accuracy", "macro_f1", "auroc", "log_loss"):
        widths = [each.metrics[name].high - each.metrics[name].low for each in (apart, grouped)]
        assert widths[1] == pytest.approx(np.sqrt(10) * widths[0], rel=0.25), name


def test_a_class_absent_from_the_test_part_is_named_and_left_out():
    scores, truth = single()
    truth[truth == 3] = 2
    quality = judge(scores, truth, classes=CLASSES)
    chosen, present = scores.argmax(1), [0, 1, 2, 4]
    assert quality.absent == ("d",)
    assert quality.support["d"] == 0
    assert np.isnan([quality.per_class["d"][name].value for name in ("recall", "f1", "auroc")]).all()
    recalls = reference.recall_score(truth, chosen, labels=present, average="macro")
    assert values(quality)["balanced_accuracy"] == pytest.approx(recalls, abs=1e-12)
    f1 = reference.f1_score(truth, chosen, labels=present, average="macro")
    assert values(quality)["macro_f1"] == pytest.approx(f1, abs=1e-12)
    areas = [reference.roc_auc_score(truth == k, scores[:, k]) for k in present]
    assert values(quality)["auroc"] == pytest.approx(np.mean(areas), abs=1e-12)
    assert all(np.isfinite([each.low, each.high]).all() for each in quality.metrics.values())


def test_a_class_that_is_never_chosen_has_no_precision():
    scores = np.array([[0.9, 0.1], [0.8, 0.2], [0.7, 0.3]])
    found = judge(scores, np.array([0, 0, 1]), classes="ab").per_class["b"]
    assert np.isnan(found["precision"].value)
    assert found["recall"].value == found["f1"].value == 0


def test_a_perfect_model_is_not_promised_to_be_perfect():
    scores = np.tile(np.eye(5) * 0.96 + 0.008, (8, 1))
    quality = judge(scores, np.arange(40) % 5, classes=CLASSES)
    for name in ("accuracy", "balanced_accuracy", "macro_f1", "auroc"):
        assert quality.metrics[name].value == quality.metrics[name].high == 1
        assert 0.8 < quality.metrics[name].low < 0.95, name
    assert quality.per_class["a"]["recall"].low < 0.7


def answers(scores, names=CLASSES):
    return [Label(names=names, scores=row, source=i) for i, row in enumerate(scores)]


def test_parts_and_merged_metrics_equal_the_whole():
    scores, truth = single()
    groups = [f"g{i // 4}" for i in range(400)]
    whole, first, second = (Classification(CLASSES) for _ in range(3))
    whole.update(answers(scores), truth, groups)
    first.update(answers(scores[:100]), truth[:100], groups[:100])
    second.update(answers(scores[100:250]), truth[100:250], groups[100:250])
    second.update(answers(scores[250:]), np.eye(5, dtype=np.float32)[truth[250:]].argmax(1), groups[250:])
    first.merge(second)
    assert first.compute() == whole.compute()
    assert whole.compute() == judge(scores, truth, classes=CLASSES, groups=groups).metrics
    assert whole.points() == {name: each.value for name, each in whole.compute().items()}
    assert whole.quality(resamples=0).reliability.error == whole.compute()["ece"].value


def test_hot_targets_are_the_same_as_indices():
    scores, truth = single()
    hot = np.eye(5, dtype=np.float32)[truth]
    assert judge(scores, hot, classes=CLASSES).metrics == judge(scores, truth, classes=CLASSES).metrics


def test_pictures_without_a_label_are_left_out():
    scores, truth = single()
    kept = judge(scores[50:], truth[50:], classes=CLASSES)
    assert judge(scores, np.r_[np.full(50, -1), truth[50:]], classes=CLASSES).metrics == kept.metrics
    hot = np.eye(5)[truth]
    hot[:50] = 0
    assert judge(scores, hot, classes=CLASSES).pictures == 350


def test_classes_are_matched_by_name():
    scores, truth = single()
    straight, turned = Classification(CLASSES), Classification(CLASSES)
    straight.update(answers(scores), truth)
    turned.update(answers(scores[:, ::-1], CLASSES[::-1]), truth)
    assert turned.points() == straight.points()
    with pytest.raises(VitrailError, match="'z'"):
        straight.update(answers(scores, tuple("abcdz")), truth)


def test_what_cannot_be_measured_is_refused_in_one_line():
    scores, truth = single()
    with pytest.raises(VitrailError, match="no picture was answered"):
        Classification(CLASSES).compute()
    with pytest.raises(VitrailError, match="no picture has a label"):
        judge(scores, np.full(400, -1), classes=CLASSES)
    scores[17, 2] = np.nan
    with pytest.raises(VitrailError, match="Answer 17 is not finite"):
        judge(scores, truth, classes=CLASSES)
    with pytest.raises(VitrailError, match="differ in their classes"):
        Classification(CLASSES).merge(Classification("ab"))
    with pytest.raises(ValueError, match="class 4 of 3"):
        judge(np.full((2, 3), 1 / 3), np.array([0, 4]), classes="abc")
    metric = Classification(CLASSES)
    metric.update_arrays(scores, truth, np.arange(400))
    with pytest.raises(ValueError, match="all parts have groups"):
        metric.update_arrays(scores, truth)
