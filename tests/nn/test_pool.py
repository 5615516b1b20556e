from functools import partial

import pytest
import timm.layers
import torch
from torch import nn

from vitrail.nn.attention import CrossAttention
from vitrail.nn.block import PreNorm
from vitrail.nn.feedforward import MLP
from vitrail.nn.norm import layer_norm
from vitrail.nn.pool import AttentionPool


@pytest.fixture
def pool():
    torch.manual_seed(0)
    pool = AttentionPool(
        12, cross=CrossAttention(12, 3), around_feed=PreNorm(layer_norm(12)), feed=MLP(12, 48)
    )
    for parameter in pool.parameters():
        nn.init.normal_(parameter, std=0.5)
    return pool


def test_equal_to_timms(pool):
    """SigLIP's head, as timm has it."""
    norm = partial(nn.LayerNorm, eps=1e-6)
    theirs = timm.layers.AttentionPoolLatent(12, num_heads=3, norm_layer=norm).eval()
    names = {
        "cross.query": "q", "cross.key_value": "kv", "cross.out": "proj",
        "around_feed.norm": "norm", "feed.up": "mlp.fc1", "feed.down": "mlp.fc2",
    }  # fmt: skip
    state = {"latent": pool.probe[None]}
    for ours, their in names.items():
        state |= {f"{their}.{kind}": pool.state_dict()[f"{ours}.{kind}"] for kind in ("weight", "bias")}
    theirs.load_state_dict(state)
    x = torch.randn(4, 9, 12)
    torch.testing.assert_close(pool(x), theirs(x), atol=1e-5, rtol=1e-5)
    seen = torch.arange(9) < torch.tensor([[9], [1], [4], [7]])
    expected = theirs(x, seen[:, None, None])
    torch.testing.assert_close(pool(x, seen), expected, atol=1e-5, rtol=1e-5)


def test_hidden_tokens_and_their_order_change_nothing(pool):
    x = torch.randn(3, 9, 12)
    lengths = (9, 1, 4)
    seen = torch.arange(9) < torch.tensor(lengths)[:, None]
    pooled = pool(x, seen)
    assert pooled.shape == (3, 12)
    for row, length in enumerate(lengths):
        alone = pool(x[row : row + 1, :length].flip(1))
        torch.testing.assert_close(pooled[row : row + 1], alone, atol=1e-5, rtol=1e-5)
