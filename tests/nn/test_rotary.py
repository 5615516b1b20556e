import pytest
import timm.layers
import torch

from vitrail.errors import UsageError
from vitrail.nn.attention import Attention
from vitrail.nn.rotary import RotaryPositions, rotate


@pytest.mark.parametrize("grid", [(4, 4), (3, 7), (1, 5)])
@pytest.mark.parametrize("width", [8, 64])
def test_a_pictures_turns_are_timms(grid, width):
    torch.manual_seed(0)
    theirs = timm.layers.RotaryEmbeddingCat(width, temperature=100.0, in_pixels=False)
    x = torch.randn(2, 3, grid[0] * grid[1], width)
    expected = timm.layers.apply_rot_embed_cat(x, theirs.get_embed(list(grid)))
    torch.testing.assert_close(rotate(x, RotaryPositions(width)(grid)), expected, atol=1e-6, rtol=1e-6)


def test_a_lines_turns_are_the_papers():
    """RoFormer (Su et al. 2021), equation 15: pairs of features times a rotation by m theta_i."""
    torch.manual_seed(0)
    x = torch.randn(1, 1, 9, 6)
    turned = rotate(x, RotaryPositions(6, axes=1, temperature=10_000.0)((9,)))
    for place in range(9):
        for pair in range(3):
            angle = torch.tensor(place * 10_000 ** (-2 * pair / 6))
            matrix = torch.tensor([[angle.cos(), -angle.sin()], [angle.sin(), angle.cos()]])
            features = slice(2 * pair, 2 * pair + 2)
            expected = matrix @ x[0, 0, place, features]
            torch.testing.assert_close(turned[0, 0, place, features], expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize(("grid", "width"), [((11,), 16), ((4, 5), 16), ((2, 3, 4), 16), ((2, 3, 4), 64)])
def test_scores_depend_on_how_far_apart_two_places_lie(grid, width):
    """The same query and key give the same score wherever both are moved to, on every axis."""
    torch.manual_seed(0)
    query, key = torch.randn(2, 1, 1, 1, width)
    rotation = RotaryPositions(width, axes=len(grid))(grid)
    count = torch.Size(grid).numel()
    scores = (rotate(query.expand(1, 1, count, width), rotation) @ rotate(
        key.expand(1, 1, count, width), rotation
    ).mT)[0, 0]  # fmt: skip
    places = torch.cartesian_prod(*map(torch.arange, grid)).reshape(count, len(grid))
    apart = (places[:, None] - places[None]).flatten(0, 1)
    by_distance = {}
    for distance, score in zip(apart.tolist(), scores.flatten().tolist(), strict=True):
        by_distance.setdefault(tuple(distance), []).append(score)
    assert len(by_distance) == torch.Size([2 * side - 1 for side in grid]).numel()
    for same in by_distance.values():
        assert max(same) - min(same) < 1e-4
    first = [same[0] for same in by_distance.values()]
    assert len({round(score, 5) for score in first}) > 0.9 * len(first), "distances are told apart"


def test_each_axis_turns_pairs_of_its_own_and_what_is_over_stays():
    torch.manual_seed(0)
    rotary = RotaryPositions(64, axes=3)
    cos, sin = (turns[0].reshape(2, 3, 4, 64) for turns in rotary((2, 3, 4)))
    assert (cos[..., 60:] == 1).all()
    assert not sin[..., 60:].any()
    for axis in range(3):
        angle = torch.atan2(sin, cos)[..., 20 * axis : 20 * axis + 20]
        for other in {0, 1, 2} - {axis}:
            assert (angle == angle.narrow(other, 0, 1)).all()
        assert (angle.narrow(axis, 1, 1) > 0).all()


def test_prefix_tokens_lie_nowhere():
    torch.manual_seed(0)
    rotary, x = RotaryPositions(8), torch.randn(1, 2, 8, 8)
    turned = rotate(x, rotary((2, 3), 2))
    torch.testing.assert_close(turned[:, :, :2], x[:, :, :2])
    torch.testing.assert_close(turned[:, :, 2:], rotate(x[:, :, 2:], rotary((2, 3))))


def test_turns_follow_the_tokens_that_are_kept():
    torch.manual_seed(0)
    rotary, x = RotaryPositions(8)((2, 3), 1), torch.randn(2, 2, 7, 8)
    keep = torch.tensor([[5, 0], [2, 3]])
    whole, index = rotate(x, rotary), torch.cat([torch.zeros(2, 1, dtype=torch.long), keep + 1], 1)
    kept = torch.stack([x[row, :, index[row]] for row in range(2)])
    expected = torch.stack([whole[row, :, index[row]] for row in range(2)])
    torch.testing.assert_close(rotate(kept, rotary.of(keep, 1)), expected)


def test_lengths_and_the_strength_of_values_stay():
    torch.manual_seed(0)
    x, rotation = torch.randn(2, 3, 20, 16), RotaryPositions(16)((4, 5))
    torch.testing.assert_close(rotate(x, rotation).norm(dim=-1), x.norm(dim=-1))
    attention, tokens = Attention(32, 2), torch.randn(2, 20, 32)
    _, _, value = attention.project(tokens, rotation)
    torch.testing.assert_close(value, attention.project(tokens)[2], rtol=0, atol=0)


def test_angles_keep_their_precision_in_half_precision():
    rotary = RotaryPositions(16)
    expected = rotary((40, 40))
    for turned, exact in zip(rotary.bfloat16()((40, 40)), expected, strict=True):
        torch.testing.assert_close(turned, exact, rtol=0, atol=0)
    x = torch.randn(1, 1, 1600, 16, dtype=torch.bfloat16)
    assert rotate(x, expected).dtype == torch.bfloat16


@pytest.mark.parametrize(("width", "axes"), [(4, 3), (2, 2), (7, 1)])
def test_heads_too_narrow_are_refused(width, axes):
    with pytest.raises(UsageError, match=rf"on {axes} axes need heads of an even width from {2 * axes}, not"):
        RotaryPositions(width, axes)


def test_there_is_nothing_to_save():
    assert RotaryPositions(16).state_dict() == {}
    assert str(RotaryPositions(16, 3)) == "RotaryPositions(16, axes=3, temperature=100)"
