"""Heat maps are judged beside a model whose relevant places are known: it looks at a few and at no others."""

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix
from scipy.sparse.linalg import spsolve
from skimage import data
from torch import nn

from vitrail.errors import UsageError
from vitrail.explain import Versus
from vitrail.explain.faithfulness import SHARES, Judge
from vitrail.explain.fill import AROUND, NOISE, blurred, filled
from vitrail.explain.inside import box_mask, points_inside, share_inside
from vitrail.explain.places import edge_map, grid_of, on_grid, random_map, ranks, spread
from vitrail.explain.sanity import in_order, sanity_check, summary
from vitrail.heads.linear import LinearConfig
from vitrail.models.vision import Vision
from vitrail.values import Batch, Features, Heat

SIDE, CELLS = 32, 8
SPOT = (slice(8, 16), slice(20, 28))
"""Where the model looks: two by two cells, far from the strongest edges."""


class Spot(nn.Module):
    """A backbone whose one feature is how red a place is, through a layer with weights of its own."""

    strides, channels, width, least = (), (), 1, (1, 1)

    def __init__(self):
        super().__init__()
        weight = torch.zeros(SIDE, SIDE)
        weight[SPOT] = 1 / 64
        self.weight = nn.Parameter(weight)

    def forward(self, pixels, valid=None, levels=True):
        summary = (pixels[:, 0] * self.weight).sum((1, 2))[:, None]
        return Features(levels=(), strides=(), summary=summary)


@pytest.fixture
def model():
    head = LinearConfig().build(Spot(), ("spot", "none"), False)
    with torch.no_grad():
        head.layers[-1].weight.copy_(torch.tensor([[3.5], [-3.5]]))
        head.layers[-1].bias.copy_(torch.tensor([-4.0, 4.0]))
    return Vision(Spot(), head).eval()


@pytest.fixture
def batch():
    """Return two pictures with strong edges at the left, of which the second is less red in the spot."""
    pixels = 0.1 * torch.randn(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    pixels[:, :, :, 0:8:4] = 2.0
    pixels[:, :, :, 2:8:4] = -2.0
    pixels[0, 0][SPOT] += 2.0
    pixels[1, 0][SPOT] += 1.5
    return Batch(keys=["x", "y"], pixels={"image": pixels})


class TrueMap:
    """What each pixel adds to the score, which for this model is its weight times its redness."""

    def __call__(self, model, batch, about=None):
        maps = (batch.pixels["image"][:, 0] * model.backbone.weight * model.head.layers[-1].weight[0]).abs()
        return [
            Heat(values=each, about="spot", method="true", source=index)
            for index, each in enumerate(maps.detach().numpy())
        ]


class EdgeMap:
    """The edges of the picture, whatever the model is."""

    def __call__(self, model, batch, about=None):
        return [
            Heat(values=edge_map(each), about="spot", method="edge", source=index)
            for index, each in enumerate(batch.pixels["image"])
        ]


def values(heats):
    return [heat.values for heat in heats]


# ---------------------------------------------------------------- insertion, deletion, ROAD


def test_the_true_map_beats_a_random_one_and_the_edges_by_every_measure(model, batch):
    for trust in Judge(cells=CELLS).trust(model, batch, values(TrueMap()(model, batch)), "spot"):
        assert trust.beats("random") == trust.beats("edge") == ["insertion", "deletion", "road"]
        assert trust.marks["heat"]["road"] > 0.3
        assert trust.marks["heat"]["insertion"] - trust.marks["edge"]["insertion"] > 0.1


def test_the_courses_are_what_they_are_by_hand(model, batch):
    pixels, maps = batch.pixels["image"], values(TrueMap()(model, batch))
    judge = Judge(cells=CELLS, steps=4)
    found = judge(model, batch, {"true": maps}, "spot")["true"]

    def sure(pixels):
        return [answer.scores[0] for answer in model.answer(batch.with_(pixels={"image": pixels}))]

    order = torch.from_numpy(np.stack([ranks(on_grid(each, (CELLS, CELLS)), 0) for each in maps]))
    order = order.repeat_interleave(SIDE // CELLS, 1).repeat_interleave(SIDE // CELLS, 2)
    for step, share in enumerate((0, 0.25, 0.5, 0.75, 1)):
        first = (order < share - 0.5 / CELLS**2)[:, None]
        inserted = sure(torch.where(first, pixels, blurred(pixels)))
        deleted = sure(torch.where(first, torch.zeros(()), pixels))
        np.testing.assert_allclose([course.insertion[step] for course in found], inserted, atol=1e-6)
        np.testing.assert_allclose([course.deletion[step] for course in found], deleted, atol=1e-6)
    for step, share in enumerate(SHARES):
        most = sure(filled(pixels, order < share - 0.5 / CELLS**2))
        least = sure(filled(pixels, order >= 1 - share - 0.5 / CELLS**2))
        np.testing.assert_allclose([course.most[step] for course in found], most, atol=1e-6)
        np.testing.assert_allclose([course.least[step] for course in found], least, atol=1e-6)
    course = found[0]
    area = (course.insertion[:-1] + course.insertion[1:]).sum() / 2 / 4
    np.testing.assert_allclose(course.marks["insertion"], area)
    np.testing.assert_allclose(course.marks["road"], np.mean(course.least - course.most))


def test_no_number_depends_on_the_batch_or_on_how_many_are_answered_at_once(model, batch):
    maps = values(TrueMap()(model, batch))
    together = Judge(cells=CELLS, steps=5).trust(model, batch, maps, "spot")
    for at_once in (1, 7):
        again = Judge(cells=CELLS, steps=5, at_once=at_once).trust(model, batch, maps, "spot")
        for one, other in zip(together, again, strict=True):
            np.testing.assert_allclose(
                [[*marks.values()] for marks in one.marks.values()],
                [[*marks.values()] for marks in other.marks.values()],
                atol=1e-6,
            )
    second = batch.with_(keys=["y"], pixels={"image": batch.pixels["image"][1:]})
    (alone,) = Judge(cells=CELLS, steps=5).trust(model, second, maps[1:], "spot")
    for name, marks in alone.marks.items():
        for measure, mark in marks.items():
            np.testing.assert_allclose(mark, together[1].marks[name][measure], atol=1e-6)


def test_the_answer_and_one_class_rather_than_another_are_judged_too(model, batch):
    maps = values(TrueMap()(model, batch))
    judge = Judge(cells=CELLS, steps=3)
    (asked, _), (named, _), (versus, _) = (
        judge.trust(model, batch, maps, about) for about in (None, "spot", Versus("spot", "none"))
    )
    assert asked.marks == named.marks
    assert versus.marks["heat"] == pytest.approx(named.marks["heat"], abs=1e-6)  # of two classes, so the same


def test_answers_without_a_probability_are_judged_on_a_scale_of_each_picture(model, batch):
    model.head.decode = lambda output, frames: [object()] * len(output)
    (course, _) = Judge(cells=CELLS, steps=4)(
        model, batch, {"true": values(TrueMap()(model, batch))}, "spot"
    )["true"]
    np.testing.assert_allclose([course.deletion[0], course.deletion[-1]], [1, 0], atol=1e-6)
    assert course.insertion[-1] == pytest.approx(1)
    assert course.marks["road"] > 0.3
    dark = batch.with_(pixels={"image": torch.zeros_like(batch.pixels["image"])})
    (course, _) = Judge(cells=CELLS)(model, dark, {"true": values(TrueMap()(model, batch))}, "spot")["true"]
    assert np.isnan(course.marks["deletion"])


def test_wrong_numbers_are_refused():
    with pytest.raises(UsageError, match="0 steps, 14 cells"):
        Judge(steps=0)


# ---------------------------------------------------------------- what takes the place of pixels


@pytest.mark.parametrize("scattered", [True, False])
def test_what_is_filled_in_is_the_mean_of_its_neighbours(scattered):
    pixels = torch.from_numpy(data.chelsea()[100:157, 100:164].copy()).permute(2, 0, 1)[None].float() / 60
    draw = np.random.default_rng(0)
    missing = draw.random(pixels.shape[2:]) < 0.6 if scattered else np.zeros(pixels.shape[2:], bool)
    if not scattered:
        missing[5:40, 9:50] = True
    found = filled(pixels, torch.from_numpy(missing)[None])[0].permute(1, 2, 0).numpy()
    exact, before = _solved(pixels[0].permute(1, 2, 0).numpy(), missing), pixels[0].permute(1, 2, 0).numpy()
    assert np.sqrt(np.square(found - exact)[missing].mean()) < 0.05 * before.std() + NOISE
    np.testing.assert_array_equal(found[~missing], before[~missing])


def test_a_picture_that_is_wholly_missing_is_filled_with_the_mean_colour():
    found = filled(torch.rand(1, 3, 9, 12), torch.ones(1, 9, 12, dtype=torch.bool))
    assert found.abs().max() < 6 * NOISE


def _solved(pixels, missing):
    """Solve the system of equations itself."""
    index = np.full(missing.shape, -1)
    index[missing] = np.arange(missing.sum())
    rows, columns, entries = [], [], []
    right = np.zeros((missing.sum(), pixels.shape[2]))
    for y, x in np.argwhere(missing):
        total = 0
        for dy, line in enumerate(AROUND, -1):
            for dx, weight in enumerate(line, -1):
                if weight and 0 <= y + dy < missing.shape[0] and 0 <= x + dx < missing.shape[1]:
                    total += weight
                    if missing[y + dy, x + dx]:
                        rows.append(index[y, x])
                        columns.append(index[y + dy, x + dx])
                        entries.append(-weight)
                    else:
                        right[index[y, x]] += weight * pixels[y + dy, x + dx]
        rows.append(index[y, x])
        columns.append(index[y, x])
        entries.append(total)
    solved = pixels.astype(np.float64)
    solved[missing] = spsolve(csr_matrix((entries, (rows, columns))), right)
    return solved


# ---------------------------------------------------------------- places


def test_equal_places_come_in_an_order_of_chance():
    found = ranks(np.array([[0, 0, 0, 0], [0, 5, 0, 0]]), seed=0)
    assert found[1, 1] == 0
    assert sorted(found.ravel() * 8) == list(range(8))
    assert not (np.diff(found[0]) > 0).all()


def test_grids_keep_the_shape_of_the_canvas():
    assert grid_of((224, 224), 14) == (14, 14)
    assert grid_of((64, 96), 14) == (9, 14)
    assert grid_of((8, 8), 14) == (8, 8)
    assert grid_of((2, 500), 14) == (1, 14)
    assert (on_grid(np.arange(4.0).reshape(2, 2), (1, 1)) == 1.5).all()
    cells = torch.arange(6.0).view(1, 2, 3)
    np.testing.assert_array_equal(spread(cells, (3, 4))[0], [[0, 0, 1, 2], [0, 0, 1, 2], [3, 3, 4, 5]])


def test_a_random_map_is_a_pictures_own_and_edges_are_where_the_picture_changes():
    pixels = torch.zeros(3, 8, 8)
    pixels[:, :, 4:] = 1
    found = edge_map(pixels)
    assert (found[:, 3:5] == 4).all()
    assert (found[:, [0, 1, 2, 5, 6, 7]] == 0).all()
    np.testing.assert_array_equal(random_map(pixels, (4, 4)), random_map(pixels.clone(), (4, 4)))
    assert not np.allclose(random_map(pixels, (4, 4)), random_map(pixels + 1, (4, 4)))


# ---------------------------------------------------------------- without what the model has learned


def test_a_map_of_the_model_loses_its_likeness_and_an_edge_map_does_not(model, batch):
    before = [parameter.clone() for parameter in model.parameters()]
    ours, edges = (sanity_check(model, each, batch, "spot", rungs=2) for each in (TrueMap(), EdgeMap()))
    assert [rung.part for rung in ours] == ["head.layers.1", "backbone"]
    assert ours[-1].share == 1
    assert abs(summary(ours)) < 0.2
    assert summary(edges) == pytest.approx(1)
    for parameter, kept in zip(model.parameters(), before, strict=True):
        assert torch.equal(parameter, kept)
    with pytest.raises(UsageError, match="1 rungs"):
        sanity_check(model, TrueMap(), batch, rungs=1)


@pytest.mark.parametrize("name", ["", "test_resnet"])
def test_the_cascade_goes_from_the_head_to_the_pixels(make, pictures, name):
    network = make(name)
    parts = [part for part, _ in in_order(network, pictures())]
    assert parts[-1] == "head.layers.1"
    assert {each.split(".")[0] for each in parts[:-1]} == {"backbone"}
    assert len(parts) == sum(bool([*module.parameters(recurse=False)]) for module in network.modules())
    assert not any(module._forward_pre_hooks for module in network.modules())


# ---------------------------------------------------------------- where the object is known


def test_heat_inside_a_mask_over_what_even_heat_would_have():
    mask = box_mask((0, 0, 10, 5), (10, 20))
    assert mask.sum() == 50
    assert share_inside(np.ones((2, 2)), mask) == pytest.approx(1)
    assert share_inside(np.array([[1.0, 0], [0, 0]]), mask) == pytest.approx(4)
    assert share_inside(np.ones((3, 3)), mask) == pytest.approx(1)  # cells that the mask's edge cuts
    assert share_inside(np.zeros((2, 2)), mask) == 1  # no heat points nowhere, as even heat does
    with pytest.raises(UsageError, match="no object"):
        share_inside(np.ones((2, 2)), np.zeros((4, 4), bool))
    with pytest.raises(UsageError, match="a mask is H W"):
        share_inside(np.ones((2, 2)), np.zeros((4, 4, 3), bool))


def test_the_pointing_game():
    mask = box_mask((0, 0, 10, 5), (10, 20))
    assert points_inside(np.array([[1.0, 0], [0, 0]]), mask) == 1
    assert points_inside(np.array([[0, 1.0], [0, 0]]), mask) == 0
    assert points_inside(np.array([[1.0, 1.0], [0, 0]]), mask) == 0.5
