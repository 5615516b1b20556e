"""Every loss beside a plain transcription, on pixels of which some are nobody's business."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.ndimage import distance_transform_cdt

from vitrail.heads.pixel_losses import PIXEL_LOSSES, PixelLoss, border_weights
from vitrail.values import IGNORED

CLASSES, SIZE = 4, (9, 11)
NAMES = tuple(PIXEL_LOSSES)


@pytest.fixture(params=[False, True], ids=["one", "multi"])
def multi(request):
    return request.param


def drawn(multi, seed=0):
    """Return logits and a mask in which the last class is nowhere and some pixels are ignored."""
    random = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(2, CLASSES, *SIZE, generator=random, dtype=torch.float64)
    if multi:
        mask = torch.randint(0, 2, (2, CLASSES, *SIZE), generator=random, dtype=torch.uint8)
        mask[:, -1] = 0
    else:
        mask = torch.zeros(2, *SIZE, dtype=torch.uint8)
        mask[:, 3:8, 2:9] = 1
        mask[1, 5:, 6:] = 2
    mask[torch.rand(mask.shape, generator=random) < 0.2] = IGNORED
    mask[..., :2] = IGNORED
    return logits.float(), mask


def one(name, logits, mask, **words):
    return PixelLoss(names=(name,), multi=mask.ndim == 4, **words)(logits, mask)[name]


def plain_probabilities(logits, multi):
    x = logits.double().numpy()
    if multi:
        return 1 / (1 + np.exp(-x))
    power = np.exp(x - x.max(axis=1, keepdims=True))
    return power / power.sum(axis=1, keepdims=True)


def plain_rows(logits, mask):
    """Return, for each question that is asked: probabilities of its answers, the right one, its class."""
    multi, rows = mask.ndim == 4, []
    chances, truth = plain_probabilities(logits, multi), mask.numpy()
    for place in np.ndindex(truth.shape):
        if truth[place] == IGNORED:
            continue
        if multi:
            yes = chances[place]
            rows.append((np.array([1 - yes, yes]), truth[place], place[1], place))
        else:
            rows.append((chances[place[0], :, place[1], place[2]], truth[place], truth[place], place))
    return rows


def plain_cross_entropy(logits, mask, balance=(1,) * CLASSES, smoothing=0.0, weights=None):
    total = weight = 0.0
    for chances, right, kind, place in plain_rows(logits, mask):
        target = np.full(len(chances), smoothing / len(chances))
        target[right] += 1 - smoothing
        counts = balance[kind] * (1.0 if weights is None else weights[place])
        total += counts * -(target * np.log(chances)).sum()
        weight += counts
    return total / weight


def plain_focal(logits, mask, balance=(1,) * CLASSES, gamma=2.0):
    rows = [(chances[right], balance[kind]) for chances, right, kind, _ in plain_rows(logits, mask)]
    return sum(w * (1 - p) ** gamma * -np.log(p) for p, w in rows) / sum(w for _, w in rows)


def plain_columns(logits, mask):
    """Return for each class the values that are asked for, and where they are right."""
    multi = mask.ndim == 4
    for kind in range(CLASSES):
        truth = mask[:, kind].numpy() if multi else mask.numpy()
        known = truth != IGNORED
        right = (truth == (1 if multi else kind))[known]
        yield kind, known, right


def plain_dice(logits, mask):
    chances, losses = plain_probabilities(logits, mask.ndim == 4), []
    for kind, known, right in plain_columns(logits, mask):
        values = chances[:, kind][known]
        if right.any():
            losses.append(1 - 2 * values[right].sum() / (values.sum() + right.sum()))
    return np.mean(losses)


def plain_lovasz_gradient(right):
    """Return the third algorithm of the paper, as its authors' code has it."""
    true = right.sum()
    jaccard = 1 - (true - right.cumsum()) / (true + (1 - right).cumsum())
    jaccard[1:] = jaccard[1:] - jaccard[:-1]
    return jaccard


def plain_lovasz(logits, mask):
    multi, losses = mask.ndim == 4, []
    chances = plain_probabilities(logits, multi)
    for kind, known, right in plain_columns(logits, mask):
        if multi:
            errors = 1 - logits[:, kind].double().numpy()[known] * (2.0 * right - 1)
        elif not right.any():
            continue
        else:
            errors = np.abs(right - chances[:, kind][known])
        order = np.argsort(-errors, kind="stable")
        losses.append(np.maximum(errors[order], 0) @ plain_lovasz_gradient(right[order].astype(float)))
    return np.mean(losses)


def plain_border_weights(mask):
    maps = mask.numpy().reshape(-1, *SIZE)
    weights = np.ones(maps.shape)
    for index, truth in enumerate(maps):
        border = np.zeros(SIZE, bool)
        for y, x in np.ndindex(SIZE):
            near = truth[max(0, y - 1) : y + 2, max(0, x - 1) : x + 2]
            border[y, x] = truth[y, x] != IGNORED and (near[near != IGNORED] != truth[y, x]).any()
        if border.any():
            distance = distance_transform_cdt(~border, "chessboard")
            weights[index] += np.where(distance <= 15, 10 * np.exp(-(distance**2) / 50), 0)
    return weights.reshape(mask.shape)


def plain_border(logits, mask, **words):
    return plain_cross_entropy(logits, mask, weights=plain_border_weights(mask), **words)


PLAIN = {
    "cross_entropy": plain_cross_entropy,
    "dice": plain_dice,
    "focal": plain_focal,
    "lovasz": plain_lovasz,
    "border": plain_border,
}


@pytest.mark.parametrize("name", NAMES)
def test_a_loss_is_what_its_paper_says(name, multi):
    for seed in range(3):
        logits, mask = drawn(multi, seed)
        assert one(name, logits, mask).item() == pytest.approx(PLAIN[name](logits, mask), rel=2e-5)


@pytest.mark.parametrize("name", ["cross_entropy", "focal", "border"])
def test_classes_count_as_they_are_told(name, multi):
    logits, mask = drawn(multi)
    balance = (0.5, 3.0, 1.0, 0.0)
    ours = one(name, logits, mask, balance=balance).item()
    assert ours == pytest.approx(PLAIN[name](logits, mask, balance=balance), rel=2e-5)
    assert ours != pytest.approx(one(name, logits, mask).item(), rel=1e-3)


@pytest.mark.parametrize("name", ["cross_entropy", "border"])
def test_smoothing(name, multi):
    logits, mask = drawn(multi)
    ours = one(name, logits, mask, smoothing=0.1).item()
    assert ours == pytest.approx(PLAIN[name](logits, mask, smoothing=0.1), rel=2e-5)


def test_cross_entropy_is_torchs():
    logits, mask = drawn(False)
    for words in ({}, {"balance": (0.5, 3.0, 1.0, 0.2)}):
        weight = torch.tensor(words["balance"]) if words else None
        expected = F.cross_entropy(logits, mask.long(), weight, ignore_index=IGNORED)
        torch.testing.assert_close(one("cross_entropy", logits, mask, **words), expected)
    expected = F.cross_entropy(logits, mask.long(), ignore_index=IGNORED, label_smoothing=0.2)
    torch.testing.assert_close(one("cross_entropy", logits, mask, smoothing=0.2), expected)


def test_focal_without_gamma_is_cross_entropy(multi):
    logits, mask = drawn(multi)
    torch.testing.assert_close(one("focal", logits, mask, gamma=0.0), one("cross_entropy", logits, mask))


@pytest.mark.parametrize("name", NAMES)
def test_ignored_pixels_have_no_part(name, multi):
    """The known fault: what is ignored is trained as the first class. Here that would be seen."""
    logits, mask = drawn(multi)
    ignored = mask == IGNORED
    where = ignored if multi else ignored[:, None].expand_as(logits)
    others = torch.where(where, 4.0 * torch.arange(1, logits.shape[1] + 1).view(-1, 1, 1), logits)
    torch.testing.assert_close(one(name, others, mask), one(name, logits, mask))
    wrong = mask.masked_fill(ignored, 0)
    assert (one(name, others, wrong) - one(name, logits, wrong)).abs() > 1e-3
    learned = logits.clone().requires_grad_()
    one(name, learned, mask).backward()
    assert not learned.grad[where].any()
    assert learned.grad[~where].any()


@pytest.mark.parametrize("name", NAMES)
def test_nothing_known_is_nothing_lost(name, multi):
    logits, mask = drawn(multi)
    logits.requires_grad_()
    loss = one(name, logits, torch.full_like(mask, IGNORED))
    loss.backward()
    assert loss.item() == 0
    assert logits.grad.shape == logits.shape
    assert not logits.grad.any()


@pytest.mark.parametrize("name", NAMES)
def test_extreme_logits_leave_numbers(name, multi):
    logits, mask = drawn(multi)
    logits = (logits * 1e4).requires_grad_()
    loss = one(name, logits, mask)
    loss.backward()
    assert loss.isfinite()
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize("name", NAMES)
def test_the_type_of_the_mask_is_no_matter(name, multi):
    logits, mask = drawn(multi)
    torch.testing.assert_close(one(name, logits, mask.long()), one(name, logits, mask))
    torch.testing.assert_close(
        one(name, logits.bfloat16(), mask), one(name, logits.bfloat16().float(), mask), rtol=0, atol=0
    )


@pytest.mark.parametrize("name", NAMES)
def test_a_step_down_the_gradient_loses_less(name, multi):
    logits, mask = drawn(multi)
    logits.requires_grad_()
    before = one(name, logits, mask)
    before.backward()
    after = one(name, (logits - logits.grad / logits.grad.norm()).detach(), mask)
    assert after < before - 1e-4


def test_a_border_is_where_another_known_class_begins():
    mask = torch.zeros(1, 1, 40, dtype=torch.uint8)
    mask[..., 20:] = 1
    weights = border_weights(mask)[0, 0]
    assert weights[19] == weights[20] == 11
    assert weights[0] == weights[39] == 1
    assert (weights[:20].diff() >= 0).all()
    mask[..., 18:22] = IGNORED
    assert (border_weights(mask) == 1).all()


def test_several_losses_stand_side_by_side():
    logits, mask = drawn(False)
    losses = PixelLoss(names=("dice", "lovasz"), multi=False)(logits, mask)
    assert list(losses) == ["dice", "lovasz"]
    torch.testing.assert_close(losses["dice"], one("dice", logits, mask))


def test_a_mask_of_another_size_is_refused():
    logits, mask = drawn(False)
    with pytest.raises(ValueError, match=r"logits \(2, 4, 9, 11\) with a mask of \(2, 9, 10\)"):
        PixelLoss(names=("dice",), multi=False)(logits, mask[..., :-1])
    with pytest.raises(ValueError, match="with a mask"):
        PixelLoss(names=("dice",), multi=True)(logits, mask)
