"""A ViT that leaves patches out while it learns, or merges its tokens when it answers."""

import pytest
import torch

from vitrail.backbones.vit import ViTConfig
from vitrail.errors import UsageError
from vitrail.explain.attention import AttentionMap
from vitrail.heads.linear import LinearConfig
from vitrail.models.vision import Vision
from vitrail.values import Batch

POOLS = ["class", "mean", "attention", "class+mean", "class+distilled"]


def pico(size=(32, 32), **changes):
    torch.manual_seed(0)
    return ViTConfig(**{"size": "pico", "patch": 8, "depth": 2, **changes}).build(size, 3)


def pixels(size=(32, 32), count=2):
    torch.manual_seed(1)
    return torch.randn(count, 3, *size)


def lying(level):
    """Return which places of a level have a token, ``b n``."""
    return level.flatten(2).abs().amax(1) > 0


# ---------------------------------------------------------------- patches left out in training


@pytest.mark.parametrize(("share", "left"), [(0.25, 12), (0.5, 8), (0.75, 4), (0.9, 2), (0.99, 1)])
@pytest.mark.parametrize("pool", ["class", "mean"])
def test_so_many_tokens_are_computed(share, left, pool):
    vit, seen = pico(pool=pool, patch_drop=share).train(), []
    for block in vit.encoder.blocks:
        block.register_forward_pre_hook(lambda _, given: seen.append(given[0].shape[1]))
    vit(pixels())
    assert seen == [left + (pool == "class")] * 2


def test_every_place_has_the_same_chance_in_every_picture():
    vit, rounds, count = pico(patch_drop=0.5, width=8, heads=1, depth=1).train(), 40, 64
    pictures = pixels(count=count)
    kept = torch.zeros(count, 16)
    together = 0
    with torch.no_grad():
        for _ in range(rounds):
            here = lying(vit(pictures).levels[0])
            assert here.sum(1).tolist() == [8] * count
            kept += here
            together += int((here[:, 0] & here[:, 1]).sum())
    draws = rounds * count
    spread = (0.25 / draws) ** 0.5
    assert (kept.sum(0) / draws - 0.5).abs().max() < 5 * spread  # each place
    assert abs(together / draws - 8 / 16 * 7 / 15) < 5 * spread  # neighbours are drawn independently
    assert (kept.sum(1) == 8 * rounds).all()
    assert kept.unique(dim=0).shape[0] == count  # no two pictures drew alike


def test_draws_follow_torchs_generator():
    vit = pico(patch_drop=0.5).train()

    def drawn(seed):
        torch.manual_seed(seed)
        return lying(vit(pixels_once).levels[0])

    pixels_once = pixels()
    assert drawn(3).equal(drawn(3))
    assert not drawn(3).equal(drawn(4))


@pytest.mark.parametrize("pool", POOLS)
def test_nothing_is_left_out_in_evaluation(pool):
    dropping, whole = pico(pool=pool, patch_drop=0.5), pico(pool=pool)
    state = torch.get_rng_state()
    ours, theirs = dropping.eval()(pixels()), whole.eval()(pixels())
    assert ours.summary.equal(theirs.summary)
    assert ours.levels[0].equal(theirs.levels[0])
    torch.set_rng_state(state)


def test_the_mean_is_of_what_was_kept_and_other_places_are_zero():
    features = pico(pool="mean", patch_drop=0.75).train()(pixels())
    level = features.levels[0].flatten(2)
    assert lying(level).sum(1).tolist() == [4, 4]
    torch.testing.assert_close(features.summary, level.sum(2) / 4)


@pytest.mark.parametrize("positions", ["none", "learned", "sine", "rotary"])
@pytest.mark.parametrize("pool", POOLS)
def test_dropped_patches_are_as_if_they_were_hidden(pool, positions):
    vit, pictures = pico(pool=pool, positions=positions, patch_drop=0.5).train(), pixels()
    features = vit(pictures)
    here = lying(features.levels[0])
    valid = here.reshape(2, 4, 4).repeat_interleave(8, 1).repeat_interleave(8, 2)
    hidden = vit.eval()(pictures, valid)
    torch.testing.assert_close(features.summary, hidden.summary, atol=1e-5, rtol=1e-5)
    every = hidden.levels[0].flatten(2).mT[here]
    torch.testing.assert_close(features.levels[0].flatten(2).mT[here], every, atol=1e-5, rtol=1e-5)


def test_gradients_reach_all_weights_and_no_dropped_pixel():
    vit, pictures = pico(patch_drop=0.5, registers=1).train(), pixels().requires_grad_()
    features = vit(pictures)
    (features.summary.square().sum() + features.levels[0].sum()).backward()
    for name, parameter in vit.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
    here = lying(features.levels[0]).reshape(2, 4, 4)
    reached = pictures.grad.abs().amax(1).unfold(1, 8, 8).unfold(2, 8, 8).amax((3, 4)) > 0
    assert reached.equal(here)


@pytest.mark.parametrize("pool", ["class", "mean", "attention"])
def test_padding_is_dropped_first(pool):
    vit, pictures = pico(pool=pool, patch_drop=0.5).train(), pixels()
    valid = torch.zeros(2, 32, 32, dtype=torch.bool)
    valid[0, :16] = True  # as many patches as are kept
    valid[1, :9, :9] = True  # 4 of them
    features = vit(pictures, valid)
    here = lying(features.levels[0]).reshape(2, 4, 4)
    assert here[0, :2].all()
    assert here[1, :2, :2].all()
    assert here.flatten(1).sum(1).tolist() == [8, 8]
    torch.testing.assert_close(features.summary, vit.eval()(pictures, valid).summary, atol=1e-5, rtol=1e-5)


def test_volumes_leave_cubes_out():
    vit = pico((8, 16, 16), tubelet=4, pool="mean", patch_drop=0.5).train()
    features = vit(torch.randn(2, 3, 8, 16, 16))
    assert features.levels[0].shape == (2, 64, 2, 2, 2)
    assert lying(features.levels[0]).sum(1).tolist() == [4, 4]
    valid = torch.zeros(2, 8, 16, 16, dtype=torch.bool)
    valid[:, :4] = True
    assert lying(vit(torch.randn(2, 3, 8, 16, 16), valid).levels[0])[:, :4].all()


# ---------------------------------------------------------------- tokens merged in answering


@pytest.mark.parametrize("changes", [{"pool": pool} for pool in POOLS] + [{"positions": "rotary"}])
def test_merging_nothing_is_the_network_itself(changes):
    vit, pictures = pico(**changes).eval(), pixels()
    whole = vit(pictures)
    vit.merge = 0
    assert vit(pictures).summary.equal(whole.summary)
    assert vit(pictures).levels[0].equal(whole.levels[0])


@pytest.mark.parametrize("changes", [{"registers": 2}, {"norm_place": "post"}])
@pytest.mark.parametrize("pool", POOLS)
def test_merged_tokens_lie_on_all_places_that_they_stand_for(pool, changes):
    vit, pictures = pico(pool=pool, **changes).eval(), pixels()
    vit.merge = 3
    features = vit(pictures)
    level = features.levels[0].flatten(2)
    assert level.shape == (2, 64, 16)
    for picture in level:
        assert picture.unique(dim=1).shape[1] == 16 - 2 * 3
    assert lying(level).all()
    if pool == "mean":
        torch.testing.assert_close(features.summary, level.mean(2))
    assert vit.tokens(pictures).places.tolist() == [list(range(16))] * 2
    alone = torch.cat([vit(picture[None]).summary for picture in pictures])
    torch.testing.assert_close(features.summary, alone, atol=1e-5, rtol=1e-5)


def test_training_never_merges():
    vit, pictures = pico().train(), pixels()
    whole = vit(pictures).summary
    vit.merge = 4
    assert vit(pictures).summary.equal(whole)
    assert not torch.allclose(vit.eval()(pictures).summary, whole, atol=1e-3)


def test_a_picture_of_two_patches_is_merged_without_a_trace():
    vit = pico(positions="none").eval()
    torch.manual_seed(2)
    dark, bright = torch.randn(2, 3, 8, 8)
    rows = [[dark, bright, bright, dark], [dark, dark, dark, bright]] * 2
    picture = torch.cat([torch.cat(row, dim=2) for row in rows], dim=1)[None]
    whole = vit(picture)
    vit.merge = 3
    merged = vit(picture)
    torch.testing.assert_close(merged.summary, whole.summary, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(merged.levels[0], whole.levels[0], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("pool", POOLS)
def test_merging_does_not_look_at_padding(pool):
    vit, pictures = pico(pool=pool, positions="rotary").eval(), pixels()
    vit.merge = 3
    valid = torch.ones(2, 32, 32, dtype=torch.bool)
    valid[0, 8:] = False
    valid[1, :, 16:] = False
    other = torch.where(valid[:, None], pictures, 100.0)
    torch.testing.assert_close(vit(pictures, valid).summary, vit(other, valid).summary)


def test_experts_and_kept_places_merge_too():
    vit, pictures = pico(experts=4).eval(), pixels()
    vit.merge = 2
    keep = torch.tensor([[1, 5, 9, 11, 2, 14], [0, 3, 4, 8, 12, 15]])
    tokens = vit.tokens(pictures, keep)
    assert tokens.values.shape == (2, 6, 64)
    assert tokens.places.equal(keep)
    assert tokens.values[0].unique(dim=0).shape[0] == 6 - 2 - 2


@pytest.mark.parametrize("experts", [0, 3])
@pytest.mark.parametrize("merge", [2, 50])
def test_a_merged_answer_does_not_depend_on_its_canvas(merge, experts):
    vit = pico((16, 16), patch=4, positions="rotary", experts=experts).eval()
    vit.merge = merge
    picture = torch.randn(1, 3, 16, 16)
    canvas, valid = torch.randn(2, 3, 20, 28), torch.ones(2, 20, 28, dtype=torch.bool)
    canvas[0, :, :16, :16] = picture[0]
    valid[0, 16:], valid[0, :, 16:] = False, False
    plain, padded = vit(picture), vit(canvas, valid)
    torch.testing.assert_close(padded.summary[:1], plain.summary, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(padded.levels[0][:1, :, :4, :4], plain.levels[0], atol=1e-5, rtol=1e-5)


def test_volumes_merge():
    vit = pico((8, 16, 16), tubelet=4, pool="mean").eval()
    vit.merge = 2
    assert vit(torch.randn(2, 3, 8, 16, 16)).levels[0].flatten(2)[0].unique(dim=1).shape[1] == 4


# ---------------------------------------------------------------- the model around it


def model(backbone):
    return Vision(backbone, LinearConfig().build(backbone, ("a", "b"), False)).eval()


def test_a_model_is_told_to_merge_and_explains_itself_as_before():
    vision, batch = model(pico()), Batch(keys=["x", "y"], pixels={"image": pixels()})
    scores, heats = vision.score(batch, "a"), AttentionMap()(vision, batch, "a")
    vision.merge(0)
    assert vision.score(batch, "a").equal(scores)
    vision.merge(4)
    assert not vision.score(batch, "a").equal(scores)
    for heat, before in zip(AttentionMap()(vision, batch, "a"), heats, strict=True):
        assert heat.values.tolist() == before.values.tolist()
    vision.score(batch, "a").sum().backward()
    assert vision.backbone.embed.weight.grad.abs().sum() > 0


def test_what_cannot_be_merged_is_refused():
    vision = model(pico())
    with pytest.raises(UsageError, match="--merge -1: tokens to merge in each layer are 0 or more"):
        vision.merge(-1)
    other = Vision(torch.nn.Identity(), vision.head)
    other.merge(0)
    with pytest.raises(UsageError, match="--merge 2: only a Vision Transformer of ours"):
        other.merge(2)
