import copy
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from vitrail.errors import UsageError
from vitrail.heads import HEADS
from vitrail.heads.linear import LinearConfig
from vitrail.values import Features, Given

NAMES = ("cat", "dog", "owl")


def head(multi=False, **changes):
    torch.manual_seed(0)
    return LinearConfig(**changes).build(SimpleNamespace(width=8), NAMES, multi).eval()


def features(batch=4):
    torch.manual_seed(1)
    return Features(levels=(), strides=(), summary=torch.randn(batch, 8))


def given(targets):
    return Given(targets={"label": torch.as_tensor(targets, dtype=torch.float32)})


def loss_of(module, logits, targets):
    (term,) = module.loss(logits, given(targets), 0.0).terms.values()
    return term


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_one_label_is_torchs_cross_entropy(smoothing):
    logits, labels = torch.randn(5, 3), torch.tensor([0, 2, 1, 1, 0])
    hot = F.one_hot(labels, 3)
    expected = F.cross_entropy(logits, labels, label_smoothing=smoothing)
    torch.testing.assert_close(loss_of(head(smoothing=smoothing), logits, hot), expected)


def test_mixed_labels_are_torchs_soft_cross_entropy():
    logits, soft = torch.randn(5, 3), torch.rand(5, 3).softmax(1)
    torch.testing.assert_close(
        loss_of(head(smoothing=0.2), logits, soft), F.cross_entropy(logits, soft, label_smoothing=0.2)
    )


def test_rows_weigh_and_a_sample_without_a_label_adds_nothing():
    logits = torch.randn(2, 3)
    module = head(smoothing=0.1)
    alone = loss_of(module, logits[:1], [[0, 1, 0]])
    torch.testing.assert_close(loss_of(module, logits, [[0, 1, 0], [0, 0, 0]]), alone / 2)
    torch.testing.assert_close(loss_of(module, logits[:1], [[0, 3, 0]]), alone * 3)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_many_labels_are_as_many_questions(smoothing):
    logits, hot = torch.randn(4, 3), torch.tensor([[0, 1, 1], [0, 0, 0], [1, 1, 1], [1, 0, 0]]).float()
    softened = hot * (1 - smoothing) + smoothing / 2
    torch.testing.assert_close(
        loss_of(head(multi=True, smoothing=smoothing), logits, hot),
        F.binary_cross_entropy(logits.sigmoid(), softened),
    )


@pytest.mark.parametrize("multi", [False, True])
def test_answers_are_probabilities_by_name_and_know_their_row(multi):
    module = head(multi)
    output = module(features(), Given())
    answers = module.decode(output, ())
    expected = output.sigmoid() if multi else output.softmax(1)
    for row, answer in enumerate(answers):
        assert (answer.names, answer.source, answer.multi) == (NAMES, row, multi)
        np.testing.assert_allclose(answer.scores, expected[row].detach().numpy(), rtol=1e-6)


def test_temperature_calibrates_the_answers_and_nothing_else():
    module = head()
    output = module(features(), Given()) * 100
    plain = module.decode(output, ())
    state = set(module.state_dict())
    module.temperature = 2.0
    warm = module.decode(output, ())
    for before, after, row in zip(plain, warm, output, strict=True):
        assert after.name == before.name
        np.testing.assert_allclose(after.scores, (row / 2).softmax(0).detach().numpy(), rtol=1e-5)
    assert set(module.state_dict()) == state
    assert copy.deepcopy(module).temperature == 2.0


def test_the_score_is_the_logit_that_is_asked_about():
    module, output = head(), torch.tensor([[1.0, 5.0, 2.0], [9.0, 3.0, 4.0]])
    assert module.score(output, None).tolist() == [5.0, 9.0]
    assert module.score(output, 2).tolist() == [2.0, 4.0]
    assert module.score(output, "cat").tolist() == [1.0, 9.0]
    assert module.score(output, ["dog", 0]).tolist() == [5.0, 9.0]
    with pytest.raises(UsageError, match=r"no class 'dgo'\. Did you mean dog"):
        module.score(output, "dgo")
    with pytest.raises(UsageError, match="no class 3: classes are 0 to 2"):
        module.score(output, 3)


def test_hidden_layers():
    module = head(hidden=(16, 5), dropout=0.5)
    widths = [layer.out_features for layer in module.layers if isinstance(layer, torch.nn.Linear)]
    assert widths == [16, 5, 3]
    seen = features()
    torch.testing.assert_close(module(seen, Given()), module(seen, Given()))
    module.train()
    assert not torch.equal(module(seen, Given()), module(seen, Given()))


def test_at_first_every_class_is_about_as_probable():
    for answer in head().decode(head()(features(), Given()), ()):
        np.testing.assert_allclose(answer.scores, 1 / 3, atol=0.05)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"smoothing": 1.0}, "smoothing is a share from 0 to below 1, not 1"),
        ({"dropout": -0.1}, "dropout is a share"),
        ({"hidden": (16, 0)}, "hidden layers are at least 1 wide, not 16, 0"),
    ],
)
def test_bad_words(words, message):
    with pytest.raises(UsageError, match=message):
        LinearConfig(**words)


def test_the_registry_goes_by_the_configs_name():
    for heads in HEADS.values():
        assert all(config().name == name for name, config in heads.items())
