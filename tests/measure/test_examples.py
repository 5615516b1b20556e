import numpy as np

from vitrail.measure.examples import choose_examples


def test_the_most_telling_pictures_come_first():
    scores = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.05, 0.95], [0.99, 0.01], [0.7, 0.3]])
    found = choose_examples(scores, np.array([0, 0, 0, 0, 0, 1]), most=3)
    assert found.mistakes.tolist() == [3, 1, 5]
    assert found.worst.tolist() == [3, 1, 5]
    assert found.best.tolist() == [4, 5, 0]  # every class in turn


def test_pictures_without_a_label_are_passed_over():
    scores = np.array([[0.9, 0.1], [0.2, 0.8], [0.3, 0.7]])
    found = choose_examples(scores, np.array([-1, -1, 0]))
    assert found.mistakes.tolist() == found.worst.tolist() == found.best.tolist() == [2]


def test_several_labels_a_picture():
    scores = np.array([[0.9, 0.1], [0.8, 0.6], [0.1, 0.2]])
    truth = np.array([[1, 0], [0, 1], [1, 0]])
    found = choose_examples(scores, truth, multi=True)
    assert found.mistakes.tolist() == [2, 1]
    assert found.best.tolist() == [0, 1, 2]
    assert found.worst.tolist() == [2, 1, 0]


def test_a_model_without_mistakes_has_none():
    assert choose_examples(np.eye(3) * 0.9 + 0.03, np.arange(3)).mistakes.tolist() == []
