import pytest
import torch
from jaxtyping import TypeCheckError
from torch import nn

from vitrail.nn.attention import Attention, CrossAttention
from vitrail.nn.block import CrossBlock, PostNorm, PreNorm
from vitrail.nn.decoder import Decoder
from vitrail.nn.feedforward import MLP


def block(residual=PreNorm, causal=True):
    return CrossBlock(
        around_mix=residual(nn.LayerNorm(8)),
        mix=Attention(8, 2, causal=causal),
        around_cross=residual(nn.LayerNorm(8)),
        cross=CrossAttention(8, 2, context=12),
        around_feed=residual(nn.LayerNorm(8)),
        feed=MLP(8, 16),
    )


def decoder(depth=2, **parts):
    torch.manual_seed(0)
    return Decoder([block(**parts) for _ in range(depth)], nn.LayerNorm(8))


@pytest.fixture
def given():
    torch.manual_seed(1)
    return torch.randn(2, 5, 8), torch.randn(2, 7, 12)


def test_a_layer_looks_at_itself_then_at_the_context_then_is_fed(given):
    x, context = given
    layer = block()
    mixed = x + layer.mix(layer.around_mix.norm(x))
    crossed = mixed + layer.cross(layer.around_cross.norm(mixed), context)
    torch.testing.assert_close(layer(x, context), crossed + layer.feed(layer.around_feed.norm(crossed)))
    layer = block(PostNorm)
    mixed = layer.around_mix.norm(x + layer.mix(x))
    crossed = layer.around_cross.norm(mixed + layer.cross(mixed, context))
    torch.testing.assert_close(layer(x, context), layer.around_feed.norm(crossed + layer.feed(crossed)))


def test_blocks_come_one_after_the_other_and_one_norm_at_the_end(given):
    x, context = given
    stack = decoder()
    first, second = stack.blocks
    torch.testing.assert_close(stack(x, context), stack.norm(second(first(x, context), context)))


@pytest.mark.parametrize("residual", [PreNorm, PostNorm])
def test_the_weights_of_every_layer_are_those_that_it_computes_with(residual, given):
    """What the weights gather by hand is what the kernel gathered."""
    x, context = given
    stack = decoder(residual=residual)
    seen = torch.tensor([[True] * 7, [True, True, False, True, False, True, False]])
    for number, layer in enumerate(stack.blocks):
        entered = layer.around_mix.enter(x)
        _, _, value = layer.mix.project(entered)
        own, cross = stack.weights(given[0], context, number, context_mask=seen)
        assert (own.shape, cross.shape) == ((2, 2, 5, 5), (2, 2, 5, 7))
        torch.testing.assert_close(own.sum(-1), torch.ones(2, 2, 5))
        torch.testing.assert_close(cross.sum(-1), torch.ones(2, 2, 5))
        assert not own.triu(1).any()
        assert not cross[1][..., ~seen[1]].any()
        by_hand = layer.mix.out((own @ value).transpose(1, 2).flatten(2))
        mixed = layer.around_mix.leave(x, by_hand)
        value = layer.cross.key_value(context)[..., 8:].unflatten(-1, (2, 4)).transpose(1, 2)
        by_hand = layer.cross.out((cross @ value).transpose(1, 2).flatten(2))
        crossed = layer.around_cross.leave(mixed, by_hand)
        x = layer.around_feed.leave(crossed, layer.feed(layer.around_feed.enter(crossed)))
        torch.testing.assert_close(stack.weights(given[0], context, number - 2, None, seen), (own, cross))
    torch.testing.assert_close(stack(given[0], context, None, seen), stack.norm(x), atol=1e-6, rtol=1e-5)
    with pytest.raises(IndexError):
        stack.weights(given[0], context, 2)


def test_a_padded_batch_is_each_sequence_alone(given):
    x, context = given
    stack = decoder(causal=False).eval()
    lengths, contexts = (5, 3), (4, 7)
    mask = torch.arange(5) < torch.tensor(lengths)[:, None]
    context_mask = torch.arange(7) < torch.tensor(contexts)[:, None]
    together = stack(x, context, mask, context_mask)
    for row, (long, wide) in enumerate(zip(lengths, contexts, strict=True)):
        alone = stack(x[row : row + 1, :long], context[row : row + 1, :wide])
        torch.testing.assert_close(together[row : row + 1, :long], alone, atol=1e-6, rtol=1e-5)
        own, cross = stack.weights(x, context, -1, mask, context_mask)
        assert not own[row, ..., long:].any()
        assert not cross[row, ..., wide:].any()


def test_each_mask_has_the_length_of_its_own_sequence(given):
    x, context = given
    stack = decoder()
    five, seven = torch.ones(2, 5, dtype=torch.bool), torch.ones(2, 7, dtype=torch.bool)
    torch.testing.assert_close(stack(x, context, five, seven), stack(x, context), atol=1e-6, rtol=1e-5)
    with pytest.raises(TypeCheckError):
        stack(x, context, seven, five)
