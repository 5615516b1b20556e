"""Token merging against the paper's algorithm in plain loops, and what must hold whatever is merged."""

from types import SimpleNamespace

import pytest
import torch

from vitrail.backbones.vit import ViTConfig
from vitrail.nn.merging import encode_merging, join, match
from vitrail.nn.rotary import RotaryPositions, Rotation, rotate


def encoder(**changes):
    """Return an encoder whose attention is strong enough that a wrong size or turn shows."""
    torch.manual_seed(0)
    vit = ViTConfig(size="pico", patch=8, width=32, depth=3, heads=2, mlp=48, **changes).build((32, 32), 3)
    for block in vit.encoder.blocks:
        block.mix.qkv.weight.data *= 2
    return vit.encoder.eval()


def tokens(count, batch=2, width=32):
    torch.manual_seed(1)
    return torch.randn(batch, count, width)


# ---------------------------------------------------------------- the paper, one token at a time


def match_slowly(keys, remove, prefix):
    """Section 3 of the paper for one picture: return the token that each becomes part of."""
    count = len(keys)
    pairs = []
    for one in range(prefix, count, 2):
        alike = {
            other: torch.cosine_similarity(keys[one], keys[other], dim=0).item()
            for other in range(prefix + 1, count, 2)
        }
        best = max(alike, key=alike.get)
        pairs.append((alike[best], one, best))
    target = list(range(count))
    for _, one, best in sorted(pairs, reverse=True)[:remove]:
        target[one] = best
    return target


def encode_slowly(encoder, x, remove, prefix, turns=None):
    """Run one picture; return values, sizes and holders as lists over tokens."""
    groups = [SimpleNamespace(value=row, members=[number]) for number, row in enumerate(x)]
    lying = list(range(len(x)))  # the original token by whose place each is turned
    for block in encoder.blocks:
        values = torch.stack([group.value for group in groups])
        sizes = torch.tensor([float(len(group.members)) for group in groups])
        entered, mix = block.around_mix.enter(values[None])[0], block.mix
        query, key, value = mix.qkv(entered).unflatten(-1, (3, mix.heads, -1)).permute(1, 2, 0, 3)
        query, key = mix.norm_query(query), mix.norm_key(key)
        if turns is not None:
            turned = Rotation(turns.cos[:, lying], turns.sin[:, lying])
            query, key = rotate(query[None], turned)[0], rotate(key[None], turned)[0]
        scores = query @ key.mT / query.shape[-1] ** 0.5 + sizes.log()  # proportional attention
        mixed = mix.out((scores.softmax(-1) @ value).transpose(0, 1).flatten(1))
        values = block.around_mix.leave(values[None], mixed[None])[0]
        target = match_slowly(key.mean(0), min(remove, (len(groups) - prefix) // 2), prefix)
        together = []
        for here in sorted(set(target)):
            joined = [number for number in range(len(groups)) if target[number] == here]
            weights = sizes[joined] / sizes[joined].sum()
            members = [member for number in joined for member in groups[number].members]
            together.append(SimpleNamespace(value=weights @ values[joined], members=members))
        lying = [lying[here] for here in sorted(set(target))]
        values = torch.stack([group.value for group in together])[None]
        fed = block.around_feed.leave(values, block.feed(block.around_feed.enter(values)))[0]
        groups = [SimpleNamespace(value=row, members=g.members) for row, g in zip(fed, together, strict=True)]
    members = [group.members for group in groups]
    holders = [next(at for at, group in enumerate(members) if one in group) for one in range(len(x))]
    values = encoder.norm(torch.stack([group.value for group in groups]))
    return values, [len(group.members) for group in groups], holders


@pytest.mark.parametrize("prefix", [0, 1, 3])
@pytest.mark.parametrize("remove", [1, 3, 5, 100])
@pytest.mark.parametrize(
    "changes", [{}, {"norm_place": "post"}, {"layer_scale": 0.5, "qk_norm": True, "feed": "swiglu"}]
)
def test_equal_to_the_paper_in_loops(changes, remove, prefix):
    body, x = encoder(**changes), tokens(16 + prefix)
    merged = encode_merging(body, x, remove=remove, prefix=prefix)
    for row, picture in enumerate(x):
        values, sizes, holders = encode_slowly(body, picture, remove, prefix)
        torch.testing.assert_close(merged.values[row], values, atol=1e-5, rtol=1e-5)
        assert merged.sizes[row].tolist() == sizes
        assert merged.holders[row].tolist() == holders


def test_a_token_that_takes_others_in_keeps_its_turn():
    body, x = encoder(), tokens(18)
    turns = RotaryPositions(16, 2)((4, 4), prefix=2)
    merged = encode_merging(body, x, remove=3, prefix=2, rotation=turns)
    for row, picture in enumerate(x):
        values, _, holders = encode_slowly(body, picture, 3, 2, turns)
        torch.testing.assert_close(merged.values[row], values, atol=1e-5, rtol=1e-5)
        assert merged.holders[row].tolist() == holders


# ---------------------------------------------------------------- what always holds


@pytest.mark.parametrize("remove", [1, 2, 4, 7, 50])
@pytest.mark.parametrize("count", [1, 2, 13, 16])
def test_every_token_is_held_once_and_the_prefix_by_itself(count, remove):
    prefix = 2
    merged = encode_merging(encoder(), tokens(prefix + count), remove=remove, prefix=prefix)
    left = count
    for _ in range(3):
        left -= min(remove, left // 2)
    assert merged.values.shape == (2, prefix + left, 32)
    assert merged.sizes.sum(1).tolist() == [prefix + count] * 2
    assert merged.holders[:, :prefix].tolist() == [[0, 1]] * 2
    for holders, sizes in zip(merged.holders, merged.sizes, strict=True):
        assert holders.bincount().tolist() == sizes.tolist()
    assert merged.sizes[:, :prefix].eq(1).all()
    spread = merged.spread()
    for row in range(2):
        for number, holder in enumerate(merged.holders[row]):
            assert spread[row, number].equal(merged.values[row, holder])


def test_the_most_similar_are_joined_and_their_mean_counts_what_they_stand_for():
    keys = torch.tensor([[[1.0, 0.0], [1.0, 0.1], [0.0, 1.0], [-1.0, 0.0]]])
    sizes = torch.tensor([[3.0, 1.0, 1.0, 1.0]])
    matching = match(keys, 1)
    assert matching.kept.tolist() == [[1, 2, 3]]
    assert matching.into.tolist() == [[0, 0, 1, 2]]
    x = torch.tensor([[[4.0], [8.0], [1.0], [2.0]]])
    joined, total = join(x, sizes, matching)
    assert joined.flatten().tolist() == [(3 * 4 + 8) / 4, 1, 2]
    assert total.tolist() == [[4, 1, 1]]


def test_like_tokens_merge_without_a_trace():
    """Tokens of two kinds only: whatever is merged is equal, and counted as often as before."""
    body = encoder()
    torch.manual_seed(2)
    kinds = torch.randn(2, 32)
    x = kinds[torch.randint(0, 2, (3, 36))]
    whole = body(x)
    for remove in (1, 4, 7):
        merged = encode_merging(body, x, remove=remove)
        assert merged.values.shape[1] == 36 - 3 * remove
        torch.testing.assert_close(merged.spread(), whole, atol=1e-5, rtol=1e-5)


def test_without_sizes_on_the_scores_the_trace_would_show():
    """The counterpart of the test above: proportional attention is what makes it exact."""
    body = encoder()
    torch.manual_seed(2)
    kinds = torch.randn(2, 32)
    x = kinds[torch.tensor([[0] * 30 + [1] * 6])]
    once = body(kinds[None])[0]
    assert not torch.allclose(body(x)[0, 0], once[0], atol=1e-3)
    merged = encode_merging(body, x, remove=7)
    torch.testing.assert_close(merged.spread()[0, 0], body(x)[0, 0], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("remove", [1, 3, 6, 50])
@pytest.mark.parametrize("hidden", [1, 5, 12, 15])
def test_what_is_not_visible_changes_nothing(hidden, remove):
    body, x = encoder(), tokens(18)
    visible = torch.ones(2, 18, dtype=torch.bool)
    visible[0, 18 - hidden :] = False
    visible[1, 2 : 2 + hidden] = False
    merged = encode_merging(body, x, remove=remove, prefix=2, visible=visible)
    other = encode_merging(
        body, torch.where(visible[..., None], x, 9 * x.flip(1)), remove=remove, prefix=2, visible=visible
    )
    assert merged.sizes.sum(1).tolist() == [18 - hidden] * 2
    assert merged.values.isfinite().all()
    torch.testing.assert_close(merged.spread()[visible], other.spread()[visible], atol=1e-5, rtol=1e-5)


def on_canvas(x, turns, grid, canvas, prefix):
    """Return tokens at the upper left of a larger grid, which are visible, all turns, and their places."""
    places = torch.arange(canvas[0] * canvas[1]).view(canvas)[: grid[0], : grid[1]].flatten() + prefix
    places = torch.cat([torch.arange(prefix), places])
    count = prefix + canvas[0] * canvas[1]
    wide = 5 * torch.randn(len(x), count, x.shape[2])
    wide[:, places] = x
    visible = torch.zeros(len(x), count, dtype=torch.bool)
    visible[:, places] = True
    return wide, visible, turns(canvas, prefix=prefix), places


@pytest.mark.parametrize("remove", [1, 3, 5, 50])
@pytest.mark.parametrize("grid", [(4, 4), (3, 5), (2, 2), (1, 1)])
@pytest.mark.parametrize("canvas", [(4, 5), (5, 7), (9, 6)])
def test_a_picture_is_the_same_on_any_canvas_and_beside_any_other(grid, canvas, remove):
    """Also where a layer may remove more than there is to see."""
    body, turns, prefix = encoder(), RotaryPositions(16, 2), 2
    x = tokens(prefix + grid[0] * grid[1], batch=1)
    plain = encode_merging(body, x, remove=remove, prefix=prefix, rotation=turns(grid, prefix=prefix))
    wide, visible, rotation, places = on_canvas(x, turns, grid, canvas, prefix)
    words = {"remove": remove, "prefix": prefix, "rotation": rotation}
    alone = encode_merging(body, wide, visible=visible, **words)
    torch.testing.assert_close(alone.spread()[:, places], plain.spread(), atol=1e-5, rtol=1e-5)
    assert alone.sizes[0, alone.sizes[0] > 0].tolist() == plain.sizes[0].tolist()
    other = tokens(wide.shape[1], batch=2)
    seen = torch.ones(2, wide.shape[1], dtype=torch.bool)
    seen[1, prefix + 3 :] = False
    together = encode_merging(
        body, torch.cat([other, wide]), visible=torch.cat([seen, visible]), **words
    ).spread()
    torch.testing.assert_close(together[2:, places], plain.spread(), atol=1e-5, rtol=1e-5)
    unseen = encode_merging(body, other[:1], **words).spread()
    torch.testing.assert_close(together[:1], unseen, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("remove", [2, 6])
def test_alone_or_in_a_batch(remove):
    body, x = encoder(), tokens(20, batch=5)
    together = encode_merging(body, x, remove=remove, prefix=1)
    for row in range(5):
        alone = encode_merging(body, x[row : row + 1], remove=remove, prefix=1)
        torch.testing.assert_close(alone.spread()[0], together.spread()[row], atol=1e-5, rtol=1e-5)


def test_gradients_reach_every_token():
    body, x = encoder(), tokens(16).requires_grad_()
    encode_merging(body, x, remove=4, prefix=1).spread().square().sum().backward()
    assert x.grad.isfinite().all()
    assert x.grad.abs().amax(2).min() > 0


def test_half_precision_counts_in_full():
    body, x = encoder().bfloat16(), tokens(16).bfloat16()
    merged = encode_merging(body, x, remove=4)
    assert merged.values.dtype == torch.bfloat16
    assert merged.sizes.dtype == torch.float32
    assert merged.sizes.sum(1).tolist() == [16, 16]
