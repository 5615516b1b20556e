"""Rollout and relevance beside their papers' formulas, with every layer's attention as a whole matrix."""

import numpy as np
import pytest
import torch

from vitrail.errors import UsageError
from vitrail.explain.relevance import Relevance, Rollout

NETWORKS = [
    {},
    {"pool": "mean", "registers": 2},
    {"pool": "class", "positions": "rotary", "norm_place": "post"},
    {"pool": "class+mean", "layer_scale": 0.1, "qk_norm": True},
    {"pool": "class+distilled", "feed": "swiglu"},
]


def watched(model, batch):
    """Run a Transformer by hand; return the logits and every layer's attention, in the graph."""
    vit, all_weights = model.backbone, []

    def attend(self, x, mask=None, rotation=None):
        query, key, value = self.project(x, rotation)
        weights = (query @ key.mT / query.shape[-1] ** 0.5).softmax(-1)
        all_weights.append(weights)
        return self.out((weights @ value).transpose(1, 2).flatten(2))

    for block in vit.encoder.blocks:
        block.mix.forward = attend.__get__(block.mix)
    logits = model.outputs(batch)
    for block in vit.encoder.blocks:
        del block.mix.forward
    return logits, all_weights


def read(model, whole):
    """Return the row, or the rows' mean, of what sums the picture up: its patches on their grid."""
    skip, pool = model.backbone.skip, model.backbone.pool
    tokens = {
        "class": whole[:, 0],
        "class+distilled": whole[:, :2].mean(1),
        "mean": whole[:, skip:].mean(1),
        "class+mean": (whole[:, 0] + whole[:, skip:].mean(1)) / 2,
    }[pool]
    return tokens[:, skip:].unflatten(1, (4, 4)).detach()


@pytest.mark.parametrize("switches", NETWORKS, ids=str)
def test_rollout_is_the_product_of_half_attention_half_identity(switches, make, pictures):
    model, batch = make(**switches), pictures()
    _, weights = watched(model, batch)
    product = torch.eye(weights[0].shape[-1])
    for each in weights:
        product = (0.5 * each.mean(1) + 0.5 * torch.eye(each.shape[-1])) @ product
    for heat, expected in zip(Rollout()(model, batch, None), read(model, product), strict=True):
        np.testing.assert_allclose(heat.values, expected, atol=1e-6)


@pytest.mark.parametrize("about", ["a", None])
@pytest.mark.parametrize("switches", NETWORKS, ids=str)
def test_relevance_is_the_rule_for_self_attention(switches, about, make, pictures):
    model, batch = make(**switches), pictures()
    logits, weights = watched(model, batch)
    score = logits.amax(1) if about is None else logits[:, 0]
    slopes = torch.autograd.grad(score.sum(), weights)
    relevance = torch.eye(weights[0].shape[-1]).repeat(len(logits), 1, 1)
    for each, slope in zip(weights, slopes, strict=True):
        relevance = relevance + (slope * each).relu().mean(1) @ relevance
    expected = read(model, relevance - torch.eye(weights[0].shape[-1]))
    for heat, each in zip(Relevance()(model, batch, about), expected, strict=True):
        np.testing.assert_allclose(heat.values / expected.max().item(), each / expected.max(), atol=1e-5)


def test_what_is_not_valid_is_looked_at_by_nobody(make, pictures):
    model, batch = make(), pictures()
    valid = torch.ones(2, 32, 32, dtype=torch.bool)
    valid[:, :, 16:] = False
    for method in (Rollout, Relevance):
        for heat in method()(model, batch.with_(valid=valid), "a"):
            assert not heat.values[:, 2:].any()
            assert heat.values[:, :2].any()


@pytest.mark.parametrize("method", [Rollout, Relevance])
def test_a_network_without_attention_of_ours(method, make, pictures):
    with pytest.raises(UsageError, match="no attention to show: explain it by another method"):
        method()(make("test_resnet"), pictures(), None)
