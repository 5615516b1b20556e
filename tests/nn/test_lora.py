import copy

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import nn

from vitrail.errors import UsageError
from vitrail.nn.attention import Attention
from vitrail.nn.feedforward import MLP
from vitrail.nn.lora import Adapted, adapt, can_adapt, merged


class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.mix, self.feed = Attention(16, 4), MLP(16, 32)

    def forward(self, x):
        x = x + self.mix(x)
        return x + self.feed(x)


def disturb(model):
    """Let every adapter have learned something."""
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, Adapted):
                module.lora_up.normal_(std=0.1)


def test_it_is_the_formula_of_the_paper():
    torch.manual_seed(0)
    linear, x = nn.Linear(6, 5), torch.randn(3, 6)
    adapted = Adapted(linear, rank=2, alpha=3.0)
    assert torch.equal(adapted(x), linear(x)), "nothing is changed at first"
    assert adapted.lora_down.abs().max() <= 6**-0.5
    assert adapted.lora_down.std() > 0
    disturb(adapted)
    down, up = adapted.lora_down, adapted.lora_up
    expected = x @ (linear.weight + 3.0 / 2 * up @ down).T + linear.bias
    torch.testing.assert_close(adapted(x), expected)
    torch.testing.assert_close(F.linear(x, adapted.weight, adapted.bias), expected)
    assert "rank=2" in repr(adapted)


def test_the_start_is_the_trained_model_and_the_merge_is_the_adapted_one():
    torch.manual_seed(0)
    model, x = Two().eval(), torch.randn(2, 5, 16)
    before, names = model(x), list(model.state_dict())
    fresh = copy.deepcopy(model)
    assert sorted(adapt(model, 4, 8.0, "all")) == ["feed.down", "feed.up", "mix.out", "mix.qkv"]
    assert torch.equal(model(x), before)
    disturb(model)
    assert (model(x) - before).abs().max() > 0.01
    assert list(merged(model)) == names
    fresh.load_state_dict(merged(model))
    torch.testing.assert_close(fresh(x), model(x), atol=1e-5, rtol=0)
    assert set(model.state_dict()) - set(names) == {
        f"{layer}.lora_{way}"
        for layer in ("mix.qkv", "mix.out", "feed.up", "feed.down")
        for way in ("up", "down")
    }


@pytest.mark.parametrize(
    ("targets", "names"),
    [("attention", {"mix.qkv", "mix.out"}), ("feed", {"feed.up", "feed.down"})],
)
def test_what_is_adapted_can_be_chosen(targets, names):
    model = Two()
    assert can_adapt(model, targets)
    assert set(adapt(model, 4, 4.0, targets)) == names
    assert not can_adapt(nn.Sequential(nn.Conv2d(3, 4, 3)), targets)


NETWORKS = {
    "test_vit": {},
    "test_resnet": {},
    "swin_tiny_patch4_window7_224": {"depths": (1, 1, 1, 1)},
    "beit_base_patch16_224": {"depth": 2},
}


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_of_timm_answer_alike_adapted_and_merged(name):
    """BEiT among them, which takes the weight of its first layer instead of calling it."""
    torch.manual_seed(0)
    net = timm.create_model(name, num_classes=3, **NETWORKS[name]).eval()
    fresh, x = copy.deepcopy(net), torch.randn(1, 3, *net.pretrained_cfg["input_size"][1:])
    with torch.no_grad():
        before = net.forward_features(x)
        names = adapt(net, 2, 16.0, "attention" if can_adapt(net, "attention") else "feed")
        assert torch.equal(net.forward_features(x), before)
        disturb(net)
        after = net.forward_features(x)
        assert names == ["fc"] or (after - before).abs().max() > 0.01
        fresh.load_state_dict(merged(net))
        torch.testing.assert_close(fresh.forward_features(x), after, atol=1e-5, rtol=1e-5)


def test_gradients_reach_the_adapters_alone_either_way():
    torch.manual_seed(0)
    linear, x = nn.Linear(6, 5).requires_grad_(False), torch.randn(3, 6)
    adapted = Adapted(linear, rank=2, alpha=2.0)
    disturb(adapted)
    gradients = []
    for y in (adapted(x), F.linear(x, adapted.weight, adapted.bias)):
        adapted.zero_grad()
        y.square().sum().backward()
        gradients.append([adapted.lora_down.grad.clone(), adapted.lora_up.grad.clone()])
    torch.testing.assert_close(gradients[0], gradients[1])
    assert dict(adapted.named_parameters())["weight"].grad is None


def test_a_copy_is_alike_and_apart():
    torch.manual_seed(0)
    model, x = Two().eval(), torch.randn(2, 5, 16)
    adapt(model, 4, 8.0, "all")
    disturb(model)
    twin = copy.deepcopy(model)
    before = twin(x)
    assert torch.equal(before, model(x))
    disturb(model)
    assert torch.equal(before, twin(x))


def test_layers_that_are_no_wider_than_the_rank_are_left_out():
    net = nn.Sequential(nn.Linear(8, 2), nn.Linear(2, 16), nn.Linear(16, 8))
    assert adapt(net, 4, 1.0, "all") == ["2"]
    with pytest.raises(UsageError, match=r"rank of 8 is not below the 8 of the widest.*--tune\.rank"):
        adapt(nn.Sequential(nn.Linear(8, 2), nn.Linear(16, 8)), 8, 1.0, "all")
