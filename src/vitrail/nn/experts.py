"""A mixture of experts in the place of a feed-forward part: many times the parameters, at the cost of one.

Shazeer et al. 2017, "Outrageously large neural networks"; Fedus et al. 2021, "Switch Transformers"; for
pictures Riquelme et al. 2021, "Scaling vision with sparse mixture of experts" (V-MoE).
"""

import contextlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn

from vitrail.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Routing:
    """What a router did with one batch in training.

    ``losses`` have their weights and want to be minimised. ``usage`` is each expert's share of what was sent
    out, whether there was room for it or not; ``dropped`` is the share that found none. Both are detached.
    """

    losses: Mapping[str, Tensor]
    usage: Float[Tensor, " e"]
    dropped: Float[Tensor, ""]


class Experts(nn.Module):
    """Send each token to the ``top`` of several experts and add up their answers: ``b n d`` to ``b n d``.

    A linear router gives each token a probability for each expert, in float32 whatever the rest computes in
    (in half precision it is unstable: Fedus et al.). An answer is multiplied by its expert's probability as
    it stands, as in Switch and V-MoE: made to sum to one, the gate of a single expert would always be 1, and
    the router would learn nothing from the task.

    In training each expert has room for ``capacity`` times its even share of the batch. What is beyond is
    dropped, so that the residual around this part carries those tokens on. First choices come before second
    ones, then tokens with a high first gate before others (V-MoE's batch priority: pictures have no order
    of their own). In evaluation nothing is dropped: an answer never depends on the rest of its batch. A token
    that is not ``visible`` (padding) goes to no expert, takes no room, and has no part in the losses.

    After a forward in training, ``routing`` holds two losses until `take_routing` fetches them:
    ``expert_balance``, the load-balancing loss times ``balance`` (Fedus et al.; 1 times that when all experts
    are used evenly), and ``expert_z``, the router z-loss times ``z``, which keeps the logits small (Zoph et
    al. 2022, "ST-MoE"). The ``experts`` map ``t d`` to ``t d``. Raises UsageError for more choices than there
    are experts, and for no capacity at all.
    """

    def __init__(
        self,
        experts: Sequence[nn.Module],
        width: int,
        *,
        top: int = 1,
        capacity: float = 1.25,
        balance: float = 0.01,
        z: float = 0.001,
    ) -> None:
        super().__init__()
        if not 1 <= top <= len(experts):
            raise UsageError(
                f"a token cannot go to {top} of {len(experts)} experts: take 1 to {len(experts)}."
            )
        if not capacity > 0:
            raise UsageError(f"the capacity of experts must be above 0, not {capacity:g}: 1.25 is usual.")
        self.router = nn.Linear(width, len(experts), bias=False)
        self.experts = nn.ModuleList(experts)
        self.top, self.capacity = top, capacity
        self.balance, self.z = balance, z
        self.routing: Routing | None = None

    def forward(
        self, x: Float[Tensor, "b n d"], visible: Bool[Tensor, "b n"] | None = None
    ) -> Float[Tensor, "b n d"]:
        """Transform each token by the experts that its router chooses; what is not ``visible`` becomes 0."""
        tokens = rearrange(x, "b n d -> (b n) d")
        there = None if visible is None else visible.flatten()
        with _full_precision(tokens):
            logits = self.router(tokens.to(self.router.weight.dtype)).float()
        probabilities = logits.softmax(dim=-1)
        gates, choices = probabilities.topk(self.top, dim=-1)
        if there is not None:  # behind the last expert's queue is nobody
            choices = choices.where(there[:, None], len(self.experts))
        rows, gates, bounds = _line_up(gates, choices, len(self.experts))
        room = self._room(len(tokens))
        limit = None if there is None or not self.training else self._limit(there.sum())
        self.routing = (
            self._account(logits, probabilities, bounds, room, limit, there) if self.training else None
        )
        if self.training and not _readable(bounds):
            rows, gates, sizes = _admit_padded(rows, gates, bounds, room, limit)
        else:
            rows, gates, sizes = _admit(rows, gates, bounds, room if limit is None else int(limit))
        parts = tokens.index_select(0, rows).split(sizes)
        fed = torch.cat([expert(part) for expert, part in zip(self.experts, parts, strict=True)])
        answers = (fed * gates[:, None]).to(tokens.dtype)
        return torch.zeros_like(tokens).index_add(0, rows, answers).view_as(x)

    def extra_repr(self) -> str:
        """Show the numbers where torch prints the module."""
        return f"top={self.top}, capacity={self.capacity:g}, balance={self.balance:g}, z={self.z:g}"

    def _room(self, tokens: int) -> int:
        """Return how many of this many tokens an expert takes: no token comes twice."""
        if not self.training:
            return tokens
        return math.ceil(min(self.capacity * tokens * self.top / len(self.experts), tokens))

    def _limit(self, tokens: Tensor) -> Tensor:
        """Return the same of a number that is known to the device alone."""
        if math.isinf(self.capacity):
            return tokens
        return torch.ceil(tokens * min(self.capacity * self.top / len(self.experts), 1)).long()

    def _account(
        self,
        logits: Tensor,
        probabilities: Tensor,
        bounds: Tensor,
        room: int,
        limit: Tensor | None,
        there: Tensor | None,
    ) -> Routing:
        sent, squares = bounds.diff(), logits.logsumexp(dim=-1).square()
        if there is None:
            count: int | Tensor = len(logits)
        else:
            count = there.sum().clamp(min=1)
            probabilities = probabilities.masked_fill(~there[:, None], 0.0)
            squares = squares.masked_fill(~there, 0.0)
        usage = sent / (count * self.top)
        balance = len(self.experts) * (usage * probabilities.sum(dim=0) / count).sum()
        return Routing(
            losses={"expert_balance": self.balance * balance, "expert_z": self.z * squares.sum() / count},
            usage=usage,
            dropped=1 - sent.clamp(max=room if limit is None else limit).sum() / (count * self.top),
        )


def take_routing(blocks: Iterable[nn.Module]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return the losses of all blocks' experts, and numbers worth logging, and let the blocks forget them.

    Each loss is the sum over layers (Fedus et al.: every router is pulled as hard, whatever the depth). The
    numbers, detached, are ``experts.LAYER.EXPERT``, each expert's share of what was sent out, with layers and
    experts counted from 0, and ``experts.dropped``, the share that found no room. Without experts, or without
    a forward in training before, both are empty.
    """
    routings: dict[int, Routing] = {}
    for layer, block in enumerate(blocks):
        feed = getattr(block, "feed", None)
        if isinstance(feed, Experts) and feed.routing is not None:
            routings[layer] = feed.routing
            feed.routing = None  # it holds on to the whole graph of the forward
    if not routings:
        return {}, {}
    each = [routing.losses for routing in routings.values()]
    losses = {name: torch.stack([losses[name] for losses in each]).sum() for name in each[0]}
    seen = {
        f"experts.{layer}.{expert}": share
        for layer, routing in routings.items()
        for expert, share in enumerate(routing.usage.unbind())
    }
    seen["experts.dropped"] = torch.stack([routing.dropped for routing in routings.values()]).mean()
    return losses, seen


def _line_up(gates: Tensor, choices: Tensor, experts: int) -> tuple[Tensor, Tensor, Tensor]:
    """Let every choice (``t k``, best first) queue at its expert; return the queues one after the other.

    That is for each place in a queue the token's row and its gate, both ``k t``, and ``e + 1`` bounds of the
    queues. Who stands before whom is said in `Experts`.
    """
    first = gates[:, 0].argsort(descending=True, stable=True)
    experts_in_turn, order = choices[first].T.flatten().sort(stable=True)
    rows = first.repeat(choices.shape[1])[order]
    bounds = torch.searchsorted(experts_in_turn, torch.arange(experts + 1, device=rows.device))
    return rows, gates[first].T.flatten()[order], bounds


def _admit(rows: Tensor, gates: Tensor, bounds: Tensor, room: int) -> tuple[Tensor, Tensor, list[int]]:
    """Return the rows and gates for which there is ``room``, and how many each expert has of them."""
    if bounds.is_meta:  # shapes only, to count arithmetic: as if all experts were used evenly
        edges = [len(rows) * expert // (len(bounds) - 1) for expert in range(len(bounds))]
    else:
        edges = bounds.tolist()
    admitted = [slice(start, min(end, start + room)) for start, end in pairwise(edges)]
    sizes = [each.stop - each.start for each in admitted]
    if sum(sizes) == len(rows):
        return rows, gates, sizes
    return torch.cat([rows[each] for each in admitted]), torch.cat([gates[each] for each in admitted]), sizes


def _admit_padded(
    rows: Tensor, gates: Tensor, bounds: Tensor, room: int, limit: Tensor | None
) -> tuple[Tensor, Tensor, list[int]]:
    """Return what `_admit` does with every expert filled up to ``room``, by any tokens with a gate of 0.

    Shapes then depend on the batch's alone: no waiting for a device to tell them, one graph to compile. With
    a ``limit`` no more than that are taken, however much room there is.
    """
    turn = torch.arange(room, device=bounds.device)
    places = bounds[:-1, None] + turn
    taken = places < bounds[1:, None]
    taken = taken if limit is None else taken & (turn < limit)
    places = places.clamp(max=len(rows) - 1).flatten()
    return rows[places], gates[places] * taken.flatten(), [room] * (len(bounds) - 1)


def _readable(tensor: Tensor) -> bool:
    """Whether the numbers in a tensor may be looked at without waiting for a device or breaking a graph."""
    return tensor.device.type in ("cpu", "meta") and not torch.compiler.is_compiling()


def _full_precision(tensor: Tensor) -> contextlib.AbstractContextManager[object]:
    """Keep autocast out; tensors of shapes only know none."""
    if tensor.is_meta:
        return contextlib.nullcontext()
    return torch.autocast(tensor.device.type, enabled=False)
