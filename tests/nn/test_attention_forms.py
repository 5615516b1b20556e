"""The forms of attention: causal, masked, normalised, without biases, across sequences, of many lengths."""

import pytest
import torch
from torch import nn

from vitrail.errors import UsageError
from vitrail.nn.attention import Attention, CrossAttention
from vitrail.nn.norm import NORMS
from vitrail.nn.rotary import RotaryPositions

WIDTH, HEADS, LENGTH = 12, 3, 5


def form(**switches):
    torch.manual_seed(0)
    attention = Attention(WIDTH, HEADS, **switches)
    for parameter in attention.parameters():  # also norms and biases, which start at one and zero
        nn.init.normal_(parameter, std=0.5)
    return attention


def by_hand(attention, x, hidden, norms=(lambda part: part, lambda part: part)):
    """Attend head by head as the paper writes it; ``hidden`` (b n n) is added to the scores."""
    query, key, value = (part.unflatten(-1, (HEADS, -1)) for part in attention.qkv(x).chunk(3, dim=-1))
    heads, weights = [], []
    for head in range(HEADS):
        one, other = norms[0](query[:, :, head]), norms[1](key[:, :, head])
        weights.append((one @ other.mT / (WIDTH // HEADS) ** 0.5 + hidden).softmax(-1))
        heads.append(weights[-1] @ value[:, :, head])
    return attention.out(torch.cat(heads, dim=-1)), torch.stack(weights, dim=1)


def minus_infinity(seen):
    return torch.where(seen, 0.0, -torch.inf)


PADDING = torch.tensor([[True] * 5, [True, True, True, False, False]])
PAIRS = torch.rand(2, 5, 5, generator=torch.Generator().manual_seed(2)) < 0.5
PAIRS |= torch.eye(5, dtype=torch.bool)
NUMBERS = torch.randn(2, 5, 5, generator=torch.Generator().manual_seed(3))
MASKS = {
    "none": (None, torch.zeros(2, 1, 5)),
    "padding": (PADDING, minus_infinity(PADDING)[:, None]),
    "pairs": (PAIRS, minus_infinity(PAIRS)),
    "numbers for keys": (NUMBERS[:, 0], NUMBERS[:, :1]),
    "numbers for pairs": (NUMBERS, NUMBERS),
    "infinite numbers": (minus_infinity(PADDING), minus_infinity(PADDING)[:, None]),
}


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("name", MASKS)
def test_masks_and_triangles_are_what_the_formula_says(name, causal):
    attention, x = form(causal=causal), torch.randn(2, LENGTH, WIDTH)
    mask, added = MASKS[name]
    if causal:
        added = added + minus_infinity(torch.ones(5, 5, dtype=torch.bool).tril())
    mixed, weights = by_hand(attention, x, added)
    torch.testing.assert_close(attention(x, mask), mixed, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(attention.weights(x, mask), weights, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("mask", [PADDING, minus_infinity(PADDING)], ids=["truth", "numbers"])
def test_who_may_look_at_nothing_gathers_nothing(mask):
    attention, x = form(), torch.randn(2, LENGTH, WIDTH)
    nobody = mask[:, None].repeat(1, 5, 1)
    nobody[1, 2] = False if mask.dtype == torch.bool else -torch.inf
    torch.testing.assert_close(attention(x, nobody)[1, 2], attention.out.bias)
    weights = attention.weights(x, nobody)
    assert not weights[1, :, 2].any()
    torch.testing.assert_close(weights.sum(-1).sum(), torch.tensor(2 * 3 * 5 - 3.0))


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("norm", [None, "rms"])
def test_a_padded_batch_is_each_sequence_alone(causal, norm):
    attention = form(causal=causal, norm=NORMS[norm] if norm else None)
    x, lengths = torch.randn(4, 7, WIDTH), (7, 1, 4, 6)
    seen = torch.arange(7) < torch.tensor(lengths)[:, None]
    together, weights = attention(x, seen), attention.weights(x, seen)
    for row, length in enumerate(lengths):
        alone = x[row : row + 1, :length]
        torch.testing.assert_close(together[row, :length], attention(alone)[0], atol=1e-6, rtol=1e-5)
        torch.testing.assert_close(
            weights[row, :, :length, :length], attention.weights(alone)[0], atol=1e-6, rtol=1e-5
        )
        assert not weights[row, ..., length:].any()


def test_normalised_queries_and_keys():
    """ViT-22B (Dehghani et al. 2023): norms of each head's queries and keys, shared by the heads."""
    x = torch.randn(2, LENGTH, WIDTH)

    def layer(norm):
        def apply(part):
            centred = part - part.mean(-1, keepdim=True)
            return centred / (centred.square().mean(-1, keepdim=True) + 1e-6).sqrt() * norm.weight + norm.bias

        return apply

    def rms(norm):
        return lambda part: part / (part.square().mean(-1, keepdim=True) + 1e-6).sqrt() * norm.weight

    for name, formula in (("layer", layer), ("rms", rms)):
        attention = form(norm=NORMS[name])
        mixed, weights = by_hand(
            attention, x, torch.zeros(5), (formula(attention.norm_query), formula(attention.norm_key))
        )
        torch.testing.assert_close(attention(x), mixed, atol=1e-6, rtol=1e-5)
        torch.testing.assert_close(attention.weights(x), weights, atol=1e-6, rtol=1e-5)
        with torch.no_grad():
            attention.qkv.weight[: 2 * WIDTH] *= 1000
            attention.qkv.bias[: 2 * WIDTH] *= 1000
        torch.testing.assert_close(attention.weights(x), weights, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("out_bias", [True, False])
def test_biases_are_there_or_not(bias, out_bias):
    expected = {"qkv.weight", "out.weight", *["qkv.bias"] * bias, *["out.bias"] * out_bias}
    attention = form(bias=bias, out_bias=out_bias)
    assert {name for name, _ in attention.named_parameters()} == expected
    nothing = attention(torch.zeros(1, LENGTH, WIDTH))
    assert bool(nothing.any()) is (bias or out_bias)
    cross = CrossAttention(WIDTH, HEADS, context=7, bias=bias, out_bias=out_bias)
    expected = {"query.weight", "key_value.weight", "out.weight"}
    expected |= {*["query.bias", "key_value.bias"] * bias, *["out.bias"] * out_bias}
    assert {name for name, _ in cross.named_parameters()} == expected


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("context", [None, 7])
def test_across_sequences_it_is_torchs_multi_head_attention(context, bias):
    torch.manual_seed(0)
    wide = context or WIDTH
    ours = CrossAttention(WIDTH, HEADS, context=context, bias=bias, out_bias=bias)
    theirs = nn.MultiheadAttention(WIDTH, HEADS, kdim=context, vdim=context, bias=bias, batch_first=True)
    state, weight = theirs.state_dict(), ours.key_value.weight.detach()
    if context:
        state |= {
            "q_proj_weight": ours.query.weight, "k_proj_weight": weight[:12], "v_proj_weight": weight[12:],
        }  # fmt: skip
    else:
        state["in_proj_weight"] = torch.cat([ours.query.weight, weight])
    state["out_proj.weight"] = ours.out.weight
    if bias:
        nn.init.normal_(ours.query.bias)
        nn.init.normal_(ours.key_value.bias)
        state["in_proj_bias"] = torch.cat([ours.query.bias, ours.key_value.bias])
        state["out_proj.bias"] = ours.out.bias
    theirs.load_state_dict(state)
    x, other = torch.randn(2, LENGTH, WIDTH), torch.randn(2, 8, wide)
    for seen in (None, torch.arange(8) < torch.tensor([[8], [3]])):
        hidden = None if seen is None else ~seen
        mixed, weights = theirs(x, other, other, key_padding_mask=hidden, average_attn_weights=False)
        torch.testing.assert_close(ours(x, other, seen), mixed, atol=1e-6, rtol=1e-5)
        torch.testing.assert_close(ours.weights(x, other, seen), weights, atol=1e-6, rtol=1e-5)
    pairs = torch.rand(LENGTH, 8) < 0.6
    pairs[:, 0] = True
    mixed, _ = theirs(x, other, other, attn_mask=~pairs)
    torch.testing.assert_close(ours(x, other, pairs.expand(2, -1, -1)), mixed, atol=1e-6, rtol=1e-5)


def test_across_sequences_with_norms_and_of_many_lengths():
    torch.manual_seed(0)
    attention = CrossAttention(WIDTH, HEADS, norm=NORMS["layer"])
    x, other = torch.randn(3, LENGTH, WIDTH), torch.randn(3, 8, WIDTH)
    lengths = (8, 1, 5)
    seen = torch.arange(8) < torch.tensor(lengths)[:, None]
    together = attention(x, other, seen)
    for row, length in enumerate(lengths):
        alone = attention(x[row : row + 1], other[row : row + 1, :length])
        torch.testing.assert_close(together[row : row + 1], alone, atol=1e-6, rtol=1e-5)
    with torch.no_grad():
        attention.query.weight *= 1000
        attention.query.bias *= 1000
    torch.testing.assert_close(attention(x, other, seen), together, atol=1e-4, rtol=1e-3)
    with pytest.raises(UsageError, match="5 heads do not divide a width of 12"):
        CrossAttention(12, 5)


@pytest.mark.parametrize("norm", [None, *NORMS])
def test_half_precision_stays_half_precision_and_near(norm):
    """Turned and normalised queries meet values of the same kind, in a network in bf16 and under autocast."""
    torch.manual_seed(0)
    attention = Attention(24, 2, norm=NORMS[norm] if norm else None)
    rotary, x = RotaryPositions(12), torch.randn(2, 6, 24)
    expected = attention(x, None, rotary((2, 3)))
    with torch.autocast("cpu", torch.bfloat16):
        mixed = attention(x, None, rotary((2, 3)))
    assert mixed.dtype == torch.bfloat16
    torch.testing.assert_close(mixed.float(), expected, atol=0.03, rtol=0.1)
    mixed = attention.bfloat16()(x.bfloat16(), None, rotary.bfloat16()((2, 3)))
    assert mixed.dtype == torch.bfloat16
    torch.testing.assert_close(mixed.float(), expected, atol=0.03, rtol=0.1)
