import numpy as np
import pytest
import torch
from PIL import Image

from vitrail.errors import VitrailError
from vitrail.tasks import TASKS
from vitrail.tasks.classify import RIGHT, WRONG, ClassifyConfig
from vitrail.values import Label

NAMES = ("cat", "dog", "owl")


def answer(scores, multi=False):
    return Label(names=NAMES, scores=np.array(scores, np.float32), source=0, multi=multi)


def test_indices_become_hot_rows_and_no_label_a_row_of_zeros():
    task = ClassifyConfig().build(NAMES)
    label = task.collate({"label": np.array([2, -1, 0], np.int32)})["label"]
    assert label.dtype == torch.float32
    assert label.tolist() == [[0, 0, 1], [0, 0, 0], [1, 0, 0]]


def test_hot_rows_stay():
    task = ClassifyConfig(multi=True).build(NAMES)
    rows = np.array([[1, 0, 1], [0, 0, 0]], np.uint8)
    label = task.collate({"labels": rows})["label"]
    assert label.dtype == torch.float32
    assert label.tolist() == rows.tolist()


@pytest.mark.parametrize(
    ("multi", "targets", "message"),
    [
        (False, {"label": np.array([3])}, "a label is class 3, and there are 3 classes"),
        (False, {"labels": np.eye(3)}, "one label a picture are asked for, and the data has labels"),
        (True, {"label": np.array([0])}, "many labels a picture are asked for, and the data has label"),
        (True, {"labels": np.ones((2, 4))}, "labels have 4 columns for 3 classes"),
        (False, {}, "the data has none"),
    ],
)
def test_targets_that_do_not_suit_are_refused(multi, targets, message):
    with pytest.raises(VitrailError, match=message):
        ClassifyConfig(multi=multi).build(NAMES).collate(targets)


@pytest.mark.parametrize("multi", [False, True])
def test_the_metric_takes_what_collate_returns(multi):
    task = ClassifyConfig(multi=multi).build(NAMES)
    answers = [answer([0.8, 0.1, 0.1], multi), answer([0.1, 0.8, 0.1], multi)]
    targets = {"labels": np.array([[1, 0, 0], [0, 1, 1]])} if multi else {"label": np.array([0, 2])}
    metric = task.metric()
    metric.update(answers, task.collate(targets)["label"].numpy())
    points = metric.points()
    assert (points["accuracy"] == 0.5) if not multi else (points["map"] > 0.5)


@pytest.mark.parametrize("multi", [False, True])
@pytest.mark.parametrize("names", [NAMES, tuple("abcdefghijkl")])
def test_every_metric_that_can_choose_is_computed(multi, names):
    task = ClassifyConfig(multi=multi).build(names)
    metric = task.metric()
    metric.update_arrays(np.eye(len(names), dtype=np.float32), np.eye(len(names)))
    assert task.orders.keys() == metric.points().keys()
    assert task.primary in task.orders


def test_an_answer_is_explained_by_its_class():
    assert ClassifyConfig().build(NAMES).about(answer([0.1, 0.7, 0.2])) == "dog"


def colours(image):
    return {colour for _, colour in image.convert("RGB").getcolors(1 << 20)}


@pytest.mark.parametrize(
    ("target", "ink", "other"), [(["dog"], RIGHT, WRONG), (["owl"], WRONG, RIGHT), (None, "#000000", RIGHT)]
)
def test_the_drawing_shows_the_picture_and_the_verdict(target, ink, other):
    task = ClassifyConfig().build(NAMES)
    picture = Image.new("RGB", (40, 20), "#123456")
    drawn = colours(task.draw(picture, answer([0.1, 0.7, 0.2]), target))
    rgb = [tuple(bytes.fromhex(colour[1:])) for colour in (ink, other, "#123456")]
    assert rgb[0] in drawn
    assert rgb[1] not in drawn
    assert rgb[2] in drawn


def test_a_picture_of_nothing_is_drawn_too():
    task = ClassifyConfig(multi=True).build(NAMES)
    assert task.draw(Image.new("L", (9, 9)), answer([0.1, 0.2, 0.3], multi=True), []).width >= 160


def test_the_registry_goes_by_the_configs_name():
    for name, config in TASKS.items():
        task = config().build(NAMES)
        assert config().name == task.name == name
