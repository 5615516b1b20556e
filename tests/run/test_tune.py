"""What is learned, what rests, and at which rate, for each way of tuning."""

import pytest
import torch
from torch import nn

from vitrail.backbones.vit import ViTConfig
from vitrail.errors import UsageError
from vitrail.models.vision import Vision
from vitrail.nn.attention import Attention
from vitrail.run.recipe import from_dict
from vitrail.run.tune import TuneConfig, shares, tune


def made(config, drop=0.0):
    torch.manual_seed(0)
    vit = ViTConfig(size="pico", patch=4, depth=4, stem="conv", pool="mean", drop_path=drop)
    model = Vision(vit.build((12, 12), 1), nn.Linear(64, 3))
    tune(model, config)
    return model


def learned(model):
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


HEAD = {"head.weight", "head.bias"}


def test_all_weights_are_learned_unless_said_otherwise():
    model = made(TuneConfig())
    assert learned(model) == {name for name, _ in model.named_parameters()}
    assert model.resting == ()
    assert set(shares(model, TuneConfig()).values()) == {1.0}


def test_a_probe_learns_the_head_alone_and_all_else_rests():
    config = TuneConfig(mode="probe")
    model = made(config, drop=0.5)
    assert learned(model) == HEAD
    model.train()
    assert model.head.training
    assert not any(module.training for module in model.backbone.modules())
    x = torch.randn(4, 1, 12, 12)
    summary = model.backbone(x).summary
    assert not summary.requires_grad, "there is no graph"
    assert torch.equal(summary, model.backbone(x).summary), "nothing is dropped"
    assert int(model.backbone.embed.look[1].num_batches_tracked) == 0


def test_the_last_blocks_are_learned_with_the_norm_after_them():
    model = made(TuneConfig(mode="last", blocks=2))
    parts = {name.removeprefix("backbone.encoder.")[:8] for name in learned(model) - HEAD}
    assert parts == {"blocks.2", "blocks.3", "norm.wei", "norm.bia"}
    model.train()
    assert [block.training for block in model.backbone.encoder.blocks] == [False, False, True, True]
    assert not model.backbone.embed.look[1].training
    with pytest.raises(UsageError, match=r"--tune\.blocks 5: this network has 4"):
        made(TuneConfig(mode="last", blocks=5))


@pytest.mark.parametrize("frozen", [True, False])
def test_lora_learns_thin_matrices_and_the_head_and_norms_by_choice(frozen):
    config = TuneConfig(mode="lora", rank=4, alpha=8.0, targets="attention", freeze_norms=frozen)
    model = made(config)
    adapters = {name for name in learned(model) if "lora" in name}
    assert len(adapters) == 4 * 2 * 2
    norms = learned(model) - adapters - HEAD
    assert (norms == set()) == frozen
    assert all("norm" in name or "look" in name for name in norms)
    model.train()
    assert model.backbone.embed.look[1].training is not frozen
    assert not model.backbone.embed.project.training


def test_frozen_norms_keep_their_weights_and_statistics_while_all_else_learns():
    model = made(TuneConfig(freeze_norms=True))
    kept = {name for name, _ in model.named_parameters()} - learned(model)
    batch = {f"backbone.embed.look.{at}.{kind}" for at in (1, 4, 7) for kind in ("weight", "bias")}
    assert batch < kept
    assert all("norm" in name for name in kept - batch)
    model.train()
    before = model.backbone.embed.look[1].running_mean.clone()
    model.backbone(torch.randn(4, 1, 12, 12)).summary.sum().backward()
    assert torch.equal(model.backbone.embed.look[1].running_mean, before)
    assert model.backbone.embed.look[0].weight.grad is not None


def test_a_batch_norm_without_weights_rests_too():
    model = Vision(nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2, affine=False)), nn.Linear(2, 2))
    tune(model, TuneConfig(freeze_norms=True))
    model.train()
    assert [module.training for module in model.backbone] == [True, False]


def test_rates_shrink_from_the_head_downwards():
    config = TuneConfig(layer_decay=0.5, head_lr=10.0)
    rates = shares(made(config), config)
    assert rates["head.bias"] == 10
    assert rates["backbone.encoder.norm.weight"] == rates["backbone.encoder.blocks.3.mix.qkv.weight"] == 0.5
    assert rates["backbone.encoder.blocks.0.feed.up.bias"] == 0.5**4
    assert rates["backbone.positions.values"] == rates["backbone.embed.project.weight"] == 0.5**5


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"mode": "last", "blocks": 0}, r"--tune\.blocks 0: it is 1 or more"),
        ({"layer_decay": 1.5}, r"--tune\.layer-decay 1\.5: it is above 0 to 1"),
        ({"layer_decay": 0.0}, r"--tune\.layer-decay 0: it is above 0 to 1"),
        ({"head_lr": 0.0}, r"--tune\.head-lr 0: it is above 0\."),
        ({"mode": "lora", "rank": 0}, r"--tune\.rank 0"),
        ({"mode": "lora", "alpha": -1.0}, r"--tune\.alpha -1"),
        ({"mode": "full", "rank": 4}, r"--tune\.rank belongs to --tune\.mode lora, not to full"),
        ({"mode": None, "rank": 4, "blocks": 2}, "take one out"),
    ],
)
def test_numbers_and_settings_that_do_not_fit_are_named(given, said):
    with pytest.raises(UsageError, match=said):
        TuneConfig(**given)


@pytest.mark.parametrize(
    ("layers", "targets", "cure"),
    [
        (
            [nn.Conv2d(1, 2, 3), nn.Conv2d(2, 2, 3)],
            "attention",
            r"nor any other: take --tune\.mode last or full",
        ),
        ([nn.Conv2d(1, 2, 3)], "all", r"nor any other: take --tune\.mode full"),
        ([nn.Linear(8, 8)], "attention", r"only of 'feed': take --tune\.targets feed\."),
        ([Attention(8, 2)], "feed", r"only of 'attention': take --tune\.targets attention\."),
    ],
)
def test_lora_needs_linear_layers_and_names_those_that_there_are(layers, targets, cure):
    model = Vision(nn.Sequential(*layers), nn.Linear(2, 2))
    with pytest.raises(UsageError, match=f"no linear layers of the kind '{targets}', {cure}"):
        tune(model, TuneConfig(mode="lora", rank=2, alpha=2.0, targets=targets))


def test_a_recipe_of_before_learns_everything():
    recipe = from_dict({"where": "pictures", "model": {"family": "vit"}}, "recipe.json")
    assert recipe.tune == TuneConfig()
