import copy
import itertools
import math

import pytest
import timm
import torch
from timm.optim import param_groups_layer_decay
from torch import nn

from vitrail.backbones.timm import TimmBackbone
from vitrail.backbones.trial import try_out
from vitrail.models.vision import Vision
from vitrail.run.muon import Muon, orthogonal
from vitrail.run.optim import (
    Average,
    better,
    build_optimizers,
    optimizer_tensors,
    rank,
    rate,
    restore_optimizers,
)
from vitrail.run.recipe import TrainConfig
from vitrail.run.tune import TuneConfig, shares


def test_the_rate_rises_then_falls_along_half_a_cosine():
    config = TrainConfig(lr=2.0, warmup=0.1, final_lr=0.01)
    rates = [rate(config, step, 1000) for step in range(1000)]
    assert rates[0] < rates[50] < rates[99] <= rates[100] == 2.0
    assert all(a > b for a, b in itertools.pairwise(rates[100:]))
    assert math.isclose(rates[550], 2.0 * (0.01 + 0.99 * 0.5), rel_tol=1e-3)
    assert rates[-1] < 0.03


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(16, 8), nn.LayerNorm(8))
        self.head = nn.Linear(8, 2)
        self.positions = nn.Parameter(torch.zeros(1, 3, 8))

    def forward(self, x):
        return self.head(self.backbone(x) + self.positions.mean())


@pytest.mark.parametrize("name", ["adamw", "sgd", "muon"])
def test_only_weights_of_maps_are_decayed_and_all_parameters_are_trained(name):
    net = Net()
    optimizers = build_optimizers(net, TrainConfig(optimizer=name, lr=0.01, weight_decay=0.3))
    groups = [group for optimizer in optimizers for group in optimizer.param_groups]
    trained = [id(p) for group in groups for p in group["params"]]
    assert sorted(trained) == sorted(id(p) for p in net.parameters())
    decayed = {id(p) for group in groups if group["weight_decay"] for p in group["params"]}
    assert decayed == {id(net.backbone[0].weight), id(net.backbone[2].weight), id(net.head.weight)}
    if name == "muon":
        (muon,) = [o for o in optimizers if isinstance(o, torch.optim.Muon)]
        assert [id(p) for group in muon.param_groups for p in group["params"]] == [id(net.backbone[2].weight)]
        assert muon.param_groups[0]["share"] == 10


@pytest.mark.parametrize("name", ["adamw", "sgd", "muon"])
def test_each_weight_has_its_share_of_the_rate_and_what_is_frozen_has_none(name):
    net = Net()
    net.backbone[0].requires_grad_(False)
    shares = {"backbone.2.weight": 0.25, "backbone.2.bias": 0.25, "head.weight": 10.0, "head.bias": 10.0}
    optimizers = build_optimizers(net, TrainConfig(optimizer=name, lr=0.01, weight_decay=0.3), shares)
    rates = {
        id(parameter): group["lr"] / 0.01
        for optimizer in optimizers
        for group in optimizer.param_groups
        for parameter in group["params"]
    }
    names = {id(parameter): name for name, parameter in net.named_parameters()}
    assert {names[key]: round(rate, 6) for key, rate in rates.items()} == {
        "backbone.2.weight": 2.5 if name == "muon" else 0.25,
        "backbone.2.bias": 0.25,
        "backbone.3.weight": 1.0,
        "backbone.3.bias": 1.0,
        "head.weight": 10.0,
        "head.bias": 10.0,
        "positions": 1.0,
    }
    assert all(
        group["share"] == pytest.approx(group["lr"] / 0.01)
        for optimizer in optimizers
        for group in optimizer.param_groups
    )


def test_layer_decay_takes_the_steps_of_timms():
    """The same weights, gradients and rates as in `param_groups_layer_decay`: the same weights afterwards."""
    torch.manual_seed(0)
    whole = timm.create_model("test_resnet", num_classes=3)
    config = TrainConfig(lr=0.01, weight_decay=0.1)
    trial = try_out(lambda **words: timm.create_model("test_resnet", **words), "test_resnet", (32, 32), 3)
    model = Vision(TimmBackbone(copy.deepcopy(whole), trial), copy.deepcopy(whole.fc))
    model.backbone.net.fc = nn.Identity()
    theirs = torch.optim.AdamW(
        param_groups_layer_decay(whole, weight_decay=0.1, layer_decay=0.7), lr=0.01, fused=True
    )
    for group in theirs.param_groups:
        group["lr"] = 0.01 * group["lr_scale"]
    (ours,) = build_optimizers(model, config, shares(model, TuneConfig(layer_decay=0.7)))
    x = torch.randn(2, 3, 64, 64)
    whole(x).square().sum().backward()
    model.head(model.backbone(x, None, False).summary).square().sum().backward()
    theirs.step()
    ours.step()
    for name, parameter in whole.named_parameters():
        mine = model.get_parameter(f"backbone.net.{name}".replace("backbone.net.fc", "head"))
        torch.testing.assert_close(mine, parameter, msg=name)


@pytest.mark.parametrize("name", ["adamw", "sgd", "muon"])
def test_an_optimizer_goes_on_to_the_same_bits(name):
    def start():
        torch.manual_seed(0)
        net = Net()
        return net, build_optimizers(net, TrainConfig(optimizer=name, lr=0.01))

    def step(net, optimizers, number):
        torch.manual_seed(number)
        net(torch.randn(4, 1, 4, 4)).square().mean().backward()
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()

    net, optimizers = start()
    for number in range(3):
        step(net, optimizers, number)
    other, others = start()
    other.load_state_dict(net.state_dict())
    restore_optimizers(others, {k: v.clone() for k, v in optimizer_tensors(optimizers).items()})
    step(net, optimizers, 3)
    step(other, others, 3)
    for mine, theirs in zip(net.state_dict().values(), other.state_dict().values(), strict=True):
        assert torch.equal(mine, theirs)


def test_the_average_follows_and_short_runs_are_averaged_over_their_length():
    net = nn.BatchNorm1d(2)
    average = Average(net, decay=0.99)
    with torch.no_grad():
        net.weight.fill_(3.0)
        net.num_batches_tracked.fill_(7)
    average.update(0)
    assert torch.allclose(average.model.weight, torch.tensor(1 * 0.1 + 3 * 0.9))
    assert int(average.model.num_batches_tracked) == 7
    for step in range(1, 2000):
        average.update(step)
    assert torch.allclose(average.model.weight, torch.tensor(3.0), atol=1e-4)
    assert not any(p.requires_grad for p in average.model.parameters())


def test_the_average_leaves_alone_what_is_frozen():
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    net[0].requires_grad_(False)
    average = Average(net, decay=0.5)
    kept = average.model[0].weight.clone()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(1.0)
    average.update(100)
    assert torch.equal(average.model[0].weight, kept)
    torch.testing.assert_close(average.model[1].weight, net[1].weight - 0.5)


def test_better():
    assert better([1.0, -0.3], None)
    assert better([0.6, -0.2], [0.6, -0.3])
    assert not better([0.6, -0.3], [0.6, -0.3])
    assert not better([math.nan, 0.0], None)
    assert not better([math.inf, 0.0], [0.1, 0.0])
    values = {"accuracy": 0.9, "log_loss": 0.2}
    assert rank(values, "accuracy", "max") == [0.9, -0.2]
    assert better(rank({"log_loss": 0.1}, "log_loss", "min"), rank(values, "log_loss", "min"))


def test_muon_takes_torchs_steps_on_stacks(monkeypatch):
    """Close to torch's, which rounds to bfloat16; wide and tall, several of a shape, one left out."""
    torch.manual_seed(0)
    shapes = [(6, 4), (6, 4), (4, 6), (5, 5), (6, 4)]
    ours = [nn.Parameter(torch.randn(shape)) for shape in shapes]
    theirs = [nn.Parameter(each.detach().clone()) for each in ours]
    words = {"lr": 0.1, "weight_decay": 0.2, "momentum": 0.9}
    steps = Muon(ours, **words), torch.optim.Muon(theirs, **words)
    monkeypatch.setattr("vitrail.run.muon.STACK", 48)  # two matrices of 6 x 4 at a time
    for _ in range(3):
        for index, pair in enumerate(zip(ours, theirs, strict=True)):
            gradient = torch.randn(shapes[index])
            for each in pair:
                each.grad = None if index == 1 else gradient
        for each in steps:
            each.step()
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, atol=0.02, rtol=0)
    assert "momentum_buffer" not in steps[0].state[ours[1]]


def test_muon_moves_along_orthogonal_matrices():
    """Five iterations bring singular values between 0.7 and 1.2 (Jordan et al. 2024); directions stay."""
    torch.manual_seed(0)
    matrices = torch.randn(3, 8, 20)
    moves = orthogonal(matrices, (3.4445, -4.775, 2.0315), 5)
    assert moves.dtype == torch.float32
    values = torch.linalg.svdvals(moves)
    assert values.min() > 0.6
    assert values.max() < 1.25
    left, _, right = torch.linalg.svd(matrices, full_matrices=False)
    diagonal = left.mT @ moves @ right.mT
    torch.testing.assert_close(
        diagonal, torch.diag_embed(diagonal.diagonal(dim1=1, dim2=2)), atol=1e-4, rtol=0
    )
    torch.testing.assert_close(orthogonal(matrices.mT, (3.4445, -4.775, 2.0315), 5), moves.mT)
