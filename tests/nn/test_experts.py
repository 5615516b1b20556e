"""The mixture of experts against the papers' formulas, written out token by token."""

import copy
import importlib.util
import math
import sys

import pytest
import torch
from torch import nn

from vitrail.backbones.vit import ViTConfig
from vitrail.errors import UsageError
from vitrail.nn import experts as module
from vitrail.nn.experts import Experts, take_routing
from vitrail.nn.feedforward import MLP
from vitrail.nn.init import INITS

WIDTH = 8


def mixture(count=4, top=1, *, spread=1.0, **numbers):
    """Return experts whose router has opinions, so that queues are uneven."""
    torch.manual_seed(count + top)
    made = Experts([MLP(WIDTH, 12) for _ in range(count)], WIDTH, top=top, **numbers)
    nn.init.normal_(made.router.weight, std=spread)
    return made


def tokens(batch=3, count=7, seed=0):
    return torch.randn(batch, count, WIDTH, generator=torch.Generator().manual_seed(seed))


def slowly(mix, x, *, capacity):
    """Return the answer, both losses, usage and the dropped share, one token and one choice at a time.

    Switch Transformers (Fedus et al. 2021), equations 1 to 6; ST-MoE (Zoph et al. 2022), equation 5; V-MoE
    (Riquelme et al. 2021), algorithm 2: batch prioritised routing.
    """
    flat, count = x.reshape(-1, WIDTH), len(mix.experts)
    logits = torch.stack([mix.router.weight @ token for token in flat])
    probabilities = logits.exp() / logits.exp().sum(1, keepdim=True)
    ranked = [sorted(range(count), key=lambda expert, p=p: -p[expert]) for p in probabilities.tolist()]
    room = math.ceil(capacity * len(flat) * mix.top / count)
    turn = sorted(range(len(flat)), key=lambda token: -probabilities[token].max().item())
    out = [torch.zeros(WIDTH) for _ in flat]
    sent, taken = [0] * count, [0] * count
    for rank in range(mix.top):
        for token in turn:
            expert = ranked[token][rank]
            sent[expert] += 1
            if taken[expert] < room:
                taken[expert] += 1
                answer = mix.experts[expert](flat[token])
                out[token] = out[token] + probabilities[token, expert] * answer
    usage = torch.tensor(sent) / sum(sent)
    balance = count * sum(usage[i] * probabilities[:, i].mean() for i in range(count))
    z = sum(logits[token].exp().sum().log() ** 2 for token in range(len(flat))) / len(flat)
    return torch.stack(out).view_as(x), balance, z, usage, 1 - sum(taken) / sum(sent)


@pytest.fixture(params=["packed", "padded"])
def way(request, monkeypatch):
    """Both ways to lay tokens out: as the processor does it, and as a device or a compiler wants it."""
    if request.param == "padded":
        monkeypatch.setattr(module, "_readable", lambda _: False)
    return request.param


@pytest.mark.parametrize(("count", "top", "capacity"), [(4, 1, 1.25), (4, 2, 1.0), (5, 3, 0.5), (3, 3, 2.0)])
def test_training_follows_the_papers(way, count, top, capacity):
    mix, x = mixture(count, top, capacity=capacity, balance=0.5, z=0.25), tokens()
    out, balance, z, usage, dropped = slowly(mix, x, capacity=capacity)
    torch.testing.assert_close(mix(x), out)
    torch.testing.assert_close(mix.routing.losses["expert_balance"], 0.5 * balance)
    torch.testing.assert_close(mix.routing.losses["expert_z"], 0.25 * z)
    torch.testing.assert_close(mix.routing.usage, usage)
    torch.testing.assert_close(mix.routing.dropped, torch.tensor(dropped))
    assert dropped > 0 or capacity >= 2.0, "the case is meant to overflow"
    assert not mix.routing.usage.requires_grad
    assert not mix.routing.dropped.requires_grad


@pytest.mark.parametrize("top", [1, 2])
def test_evaluation_drops_nothing_and_keeps_no_books(top):
    mix, x = mixture(top=top, capacity=0.25).eval(), tokens()
    torch.testing.assert_close(mix(x), slowly(mix, x, capacity=100.0)[0])
    assert mix.routing is None


def test_gradients_are_those_of_the_formulas(way):
    mix, x = mixture(top=2, capacity=1.0, balance=0.5, z=0.25), tokens().requires_grad_()
    wanted = [x, *mix.parameters()]
    out, balance, z, *_ = slowly(mix, x, capacity=1.0)
    expected = torch.autograd.grad(out.square().sum() + 0.5 * balance + 0.25 * z, wanted)
    found = torch.autograd.grad(mix(x).square().sum() + sum(mix.routing.losses.values()), wanted)
    torch.testing.assert_close(found, expected)
    assert all(gradient.abs().sum() > 0 for gradient in found)


def test_the_task_alone_teaches_the_router_of_a_single_choice(way):
    mix = mixture(top=1)
    mix(tokens()).square().sum().backward()
    assert mix.router.weight.grad.abs().sum() > 0


def test_a_dropped_token_is_left_to_the_residual(way):
    mix, x = mixture(4, 1, capacity=0.25, spread=3.0), tokens(1, 16)
    out = mix(x)[0]
    nothing = (out == 0).all(1)
    room = math.ceil(0.25 * 16 / 4)
    assert int(nothing.sum()) == round(16 * float(mix.routing.dropped)) >= 16 - 4 * room
    gates, choices = mix.router(x[0]).softmax(-1).max(-1)
    for expert in range(4):
        queue = choices == expert
        surest = gates.where(queue, -1).topk(min(room, int(queue.sum()))).indices
        assert set(surest.tolist()) == set((queue & ~nothing).nonzero().flatten().tolist())


@pytest.mark.parametrize("top", [1, 2])
def test_an_answer_never_depends_on_the_rest_of_its_batch(top):
    mix, x = mixture(top=top).eval(), tokens(batch=9, count=16)
    together = mix(x)
    alone = torch.cat([mix(each[None]) for each in x])
    shuffled = mix(x.flip(0)).flip(0)
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)
    torch.testing.assert_close(together, shuffled, atol=1e-5, rtol=0)


@pytest.mark.parametrize("shape", [(1, 1), (1, 2), (2, 1)])
@pytest.mark.parametrize("top", [1, 3])
def test_fewer_tokens_than_experts(way, shape, top):
    mix, x = mixture(6, top), tokens(*shape)
    for training in (True, False):
        expected = slowly(mix, x, capacity=1.25 if training else 100.0)[0]
        torch.testing.assert_close(mix.train(training)(x), expected)
    assert mix.train()(x).shape == x.shape
    assert 0 <= mix.routing.dropped < 1


@pytest.mark.parametrize(("count", "top", "capacity"), [(4, 1, 1.0), (4, 2, 0.5), (3, 3, math.inf)])
@pytest.mark.parametrize("training", [True, False])
def test_hidden_tokens_take_no_room_and_have_no_part_in_the_losses(way, count, top, capacity, training):
    mix, x = mixture(count, top, capacity=capacity, spread=3.0).train(training), tokens(2, 13)
    alone, routing = mix(x), mix.routing
    wide, visible = 9 * tokens(2, 29, seed=1), torch.zeros(2, 29, dtype=torch.bool)
    visible[0, 16:], visible[1, 3:16] = True, True
    wide[visible] = x.flatten(0, 1)
    out = mix(wide, visible)
    torch.testing.assert_close(out[visible].view_as(alone), alone)
    assert out[~visible].eq(0).all()
    if training:
        torch.testing.assert_close(dict(mix.routing.losses), dict(routing.losses))
        torch.testing.assert_close(mix.routing.usage, routing.usage)
        torch.testing.assert_close(mix.routing.dropped, routing.dropped)


def test_where_nothing_is_visible_nothing_is_learned(way):
    mix, x = mixture(), tokens()
    assert mix(x, torch.zeros(x.shape[:2], dtype=torch.bool)).eq(0).all()
    assert [loss.item() for loss in mix.routing.losses.values()] == [0, 0]


def test_a_layer_tells_its_experts_what_its_mask_hides():
    torch.manual_seed(0)
    config = ViTConfig(size="pico", patch=4, depth=2, experts=2, experts_capacity=0.5)
    encoder = config.build((16, 16), 1).encoder
    x, visible = torch.randn(2, 17, 64), torch.ones(2, 17, dtype=torch.bool)
    visible[:, 9:] = False
    for mask in (visible, visible.float().log(), visible[:, None].expand(-1, 17, -1)):
        used = []
        for wide in (x, torch.where(visible[..., None], x, 7.0)):
            out = encoder(wide, mask)
            used.append((out[visible], encoder.blocks[1].feed.routing.usage, take_routing(encoder.blocks)[0]))
        torch.testing.assert_close(*used)


def test_without_a_limit_nothing_is_dropped_in_training(way):
    mix, x = mixture(capacity=math.inf, spread=3.0), tokens()
    torch.testing.assert_close(mix(x), mix.eval()(x))


def test_a_single_expert_is_the_plain_layer():
    mix, x = mixture(1, 1), tokens()
    torch.testing.assert_close(mix(x), mix.experts[0](x))
    torch.testing.assert_close(mix.routing.losses["expert_balance"], torch.tensor(0.01))
    assert mix.routing.dropped == 0


def test_balance_is_least_when_all_experts_are_used_evenly():
    mix, x = mixture(4, spread=0.0), tokens(2, 64)
    mix(x)
    even = 0.01  # probabilities are even, whoever is chosen
    torch.testing.assert_close(mix.routing.losses["expert_balance"], torch.tensor(even))
    nn.init.normal_(mix.router.weight, std=5.0)
    mix(x.abs())
    assert mix.routing.losses["expert_balance"] > 1.2 * even


def test_the_balance_loss_alone_evens_out_a_collapsed_router():
    mix, x = mixture(4, spread=0.02), tokens(4, 64).abs()
    with torch.no_grad():
        mix.router.weight[2] += 1.0
    mix(x)
    assert mix.routing.usage[2] == 1.0
    optimizer = torch.optim.Adam([mix.router.weight], 0.02)
    for _ in range(150):
        optimizer.zero_grad()
        mix(x)
        mix.routing.losses["expert_balance"].backward()
        optimizer.step()
    assert mix.routing.usage.max() < 0.5


def test_the_router_stays_in_float32_under_autocast():
    mix, x = mixture(8), 30 * tokens(4, 64)
    logits = []
    mix.router.register_forward_hook(lambda *words: logits.append(words[2]))
    exact = mix.eval()(x)
    for training in (False, True):
        mix.train(training)
        with torch.autocast("cpu", torch.bfloat16):
            rounded = mix(x)
        assert rounded.dtype == x.dtype
        torch.testing.assert_close(logits[-1], logits[0], rtol=0, atol=0)
        if training:
            assert {loss.dtype for loss in mix.routing.losses.values()} == {torch.float32}
            (rounded.sum() + sum(mix.routing.losses.values())).backward()
            assert mix.router.weight.grad.isfinite().all()
        else:
            torch.testing.assert_close(rounded, exact, rtol=0.05, atol=0.2)


def test_half_precision_throughout():
    mix, x = mixture().to(torch.bfloat16), tokens().to(torch.bfloat16)
    assert mix(x).dtype == mix.eval()(x).dtype == torch.bfloat16


def test_training_compiles_to_one_graph_and_evaluation_compiles():
    # The file once more under a name of its own: the tests' executed shapes are no part of a graph.
    spec = importlib.util.spec_from_file_location("experts_without_shapes", module.__file__)
    plain = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, spec.name, plain)
        spec.loader.exec_module(plain)
    torch.manual_seed(0)
    block, x = nn.Module(), tokens()
    block.feed = plain.Experts([nn.Linear(WIDTH, WIDTH) for _ in range(4)], WIDTH, top=2)

    def step(x):
        return block.feed(x), plain.take_routing([block])

    torch.compiler.reset()
    compiled = torch.compile(step, backend="aot_eager", fullgraph=True)(x)
    torch.testing.assert_close(compiled, step(x))
    assert block.feed.routing is None
    block.feed.eval()
    with torch.no_grad():
        torch.testing.assert_close(torch.compile(block.feed, backend="aot_eager")(x), block.feed(x))
    torch.compiler.reset()


def test_routing_is_summed_over_layers_named_and_forgotten():
    plain = nn.Module()
    plain.feed = MLP(WIDTH, 12)
    blocks = [nn.Module(), plain, nn.Module()]
    blocks[0].feed, blocks[2].feed = mixture(2), mixture(3, capacity=0.25)
    assert take_routing(blocks) == ({}, {})
    for block in blocks:
        block.feed(tokens())
    first, third = blocks[0].feed.routing, blocks[2].feed.routing
    losses, seen = take_routing(blocks)
    assert set(losses) == {"expert_balance", "expert_z"}
    for name, loss in losses.items():
        torch.testing.assert_close(loss, first.losses[name] + third.losses[name])
        assert loss.requires_grad
    assert set(seen) == {"experts.dropped", *(f"experts.{x}" for x in ("0.0", "0.1", "2.0", "2.1", "2.2"))}
    torch.testing.assert_close(seen["experts.2.1"], third.usage[1])
    torch.testing.assert_close(seen["experts.dropped"], (first.dropped + third.dropped) / 2)
    assert not any(number.requires_grad for number in seen.values())
    assert take_routing(blocks) == ({}, {})
    copy.deepcopy(blocks)  # as weight averaging does: nothing of a graph is left


@pytest.mark.parametrize("init", INITS)
def test_each_expert_starts_differently_and_as_any_dense_layer(init):
    torch.manual_seed(0)
    mix = Experts([MLP(64, 128) for _ in range(3)], 64).apply(INITS[init])
    ups = [expert.up.weight for expert in mix.experts]
    alone = MLP(64, 128).apply(INITS[init]).up.weight
    assert not torch.equal(ups[0], ups[1])
    for up in ups:
        torch.testing.assert_close(up.std(), alone.std(), rtol=0.05, atol=0)
    assert 0 < mix.router.weight.std() < 1


def test_shapes_alone_are_enough_to_count_arithmetic():
    from torch.utils.flop_counter import FlopCounterMode

    x = torch.empty(2, 32, WIDTH, device="meta")
    counted = {}
    for name, feed in (("dense", MLP(WIDTH, 12)), ("experts", mixture(8))):
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            assert feed.to("meta").eval()(x).shape == x.shape
        counted[name] = counter.get_total_flops()
    assert counted["experts"] == counted["dense"] + 2 * 64 * WIDTH * 8  # as dense, and the router


@pytest.mark.parametrize(
    ("numbers", "said"),
    [
        ({"top": 5}, r"to 5 of 4 experts: take 1 to 4"),
        ({"top": 0}, r"to 0 of 4 experts"),
        ({"capacity": 0.0}, r"capacity of experts must be above 0, not 0"),
        ({"capacity": math.nan}, r"not nan"),
    ],
)
def test_numbers_that_cannot_be_are_refused(numbers, said):
    with pytest.raises(UsageError, match=said):
        Experts([MLP(WIDTH, 12) for _ in range(4)], WIDTH, **numbers)
