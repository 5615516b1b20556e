import pytest
import torch
import torch.nn.functional as F

from vitrail.errors import UsageError
from vitrail.explain.model import attention_distance, feature_colours, patch_filters, position_similarity


def test_positions_are_like_themselves(make):
    vit = make(size=(16, 32)).backbone
    found = position_similarity(vit)
    assert found.shape == (2, 4, 2, 4)
    torch.testing.assert_close(torch.einsum("hwhw->hw", found), torch.ones(2, 4))
    expected = F.cosine_similarity(vit.positions.values[0, 1], vit.positions.values[1, 3], dim=0)
    torch.testing.assert_close(found[0, 1, 1, 3], expected)
    for other in (make(positions="rotary"), make("test_resnet")):
        with pytest.raises(UsageError, match="has learned no positions"):
            position_similarity(other.backbone)


def test_filters_are_orthogonal_and_the_strongest_comes_first(make):
    vit = make().backbone
    found = patch_filters(vit, 5)
    assert found.shape == (5, 3, 8, 8)
    flat = found.flatten(1)
    torch.testing.assert_close(flat @ flat.mT, torch.eye(5), atol=1e-5, rtol=0)
    filters = vit.embed.weight.flatten(1)
    spread = ((filters - filters.mean(0)) @ flat.mT).square().sum(0)
    assert spread.tolist() == sorted(spread.tolist(), reverse=True)
    for other in (make(stem="conv"), make("test_resnet")):
        assert patch_filters(other.backbone, 8).shape == (8, 3, 3, 3)
    with pytest.raises(UsageError, match="does not begin with filters"):
        patch_filters(torch.nn.Linear(3, 3))


@pytest.mark.parametrize("name", ["", "test_resnet"])
def test_colours_are_the_same_for_the_same_pictures(name, make, pictures):
    model, batch = make(name, (96, 96)), pictures((96, 96))
    twice = batch.with_(pixels={"image": batch.pixels["image"][[0, 0]]})
    found = feature_colours(model, batch)
    assert found.shape == (2, *model.features(batch).levels[-1].shape[2:], 3)
    torch.testing.assert_close(found.flatten(0, 2).amax(0), torch.ones(3))
    torch.testing.assert_close(found.flatten(0, 2).amin(0), torch.zeros(3))
    assert feature_colours(model, pictures((32, 32))).shape[-1] == 3
    left, right = feature_colours(model, twice)
    torch.testing.assert_close(left, right, atol=1e-4, rtol=0)


def test_attention_reaches_as_far_as_its_weights(make, pictures):
    model, batch = make(registers=1), pictures()
    found = attention_distance(model, batch)
    assert found.shape == (3, model.backbone.encoder.blocks[0].mix.heads)
    paid = model.backbone.attention(batch.pixels["image"], 1)[:, 0, 2:, 2:].detach()
    paid, total = paid / paid.sum(-1, keepdim=True), 0.0
    for i in range(16):
        for j in range(16):
            apart = 8 * ((i // 4 - j // 4) ** 2 + (i % 4 - j % 4) ** 2) ** 0.5
            total += apart * paid[:, i, j].mean().item() / 16
    assert found[1, 0].item() == pytest.approx(total, rel=1e-4)
    with pytest.raises(UsageError, match="no attention to show"):
        attention_distance(make("test_resnet"), batch)
