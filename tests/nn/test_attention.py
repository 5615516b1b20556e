import pytest
import torch
from jaxtyping import TypeCheckError

from vitrail.errors import UsageError
from vitrail.nn.attention import Attention


@pytest.fixture
def attention():
    torch.manual_seed(0)
    return Attention(12, 3)


def by_hand(attention, x, mask=None):
    """Attend head by head, as the paper writes it."""
    query, key, value = (part.unflatten(-1, (3, 4)) for part in attention.qkv(x).chunk(3, dim=-1))
    heads, weights = [], []
    for head in range(3):
        scores = query[:, :, head] @ key[:, :, head].transpose(1, 2) / 4**0.5
        if mask is not None:
            scores = scores + torch.where(mask, 0.0, -torch.inf)[:, None, :]
        weights.append(scores.softmax(-1))
        heads.append(weights[-1] @ value[:, :, head])
    return attention.out(torch.cat(heads, dim=-1)), torch.stack(weights, dim=1)


@pytest.mark.parametrize("mask", [None, torch.tensor([[True] * 5, [True, False, True, False, True]])])
def test_kernel_and_weights_agree_with_the_formula(attention, mask):
    x = torch.randn(2, 5, 12)
    mixed, weights = by_hand(attention, x, mask)
    torch.testing.assert_close(attention(x, mask), mixed, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(attention.weights(x, mask), weights, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(attention.weights(x, mask).sum(-1), torch.ones(2, 3, 5))


def test_a_hidden_token_is_looked_at_by_nobody(attention):
    x = torch.randn(1, 5, 12)
    mask = torch.tensor([[True, True, False, True, True]])
    other = x.clone()
    other[0, 2] = 100.0
    seen = mask[0]
    torch.testing.assert_close(attention(x, mask)[:, seen], attention(other, mask)[:, seen])


def test_heads_that_do_not_divide_the_width_are_refused_with_the_nearest_that_do():
    with pytest.raises(UsageError, match=r"5 heads do not divide a width of 12: take 4 or 6"):
        Attention(12, 5)


def test_shapes_are_executed(attention):
    with pytest.raises(TypeCheckError):
        attention(torch.randn(5, 12))
    with pytest.raises(TypeCheckError):
        attention(torch.randn(2, 5, 12), torch.ones(2, 4, dtype=torch.bool))
