"""From a loss to the next weights: parameter groups, schedule, weight averaging."""

import copy
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from vitrail.run.muon import Muon
from vitrail.run.recipe import TrainConfig


def build_optimizers(
    model: nn.Module, config: TrainConfig, shares: Mapping[str, float] | None = None
) -> list[torch.optim.Optimizer]:
    """Return AdamW (fused), SGD with Nesterov momentum, or Muon with AdamW for what is no hidden matrix.

    Only what requires a gradient is learned, each parameter at its share of the recipe's rate (``shares``, by
    name; 1 when missing). Only weights of linear maps and convolutions are decayed: not biases, norms, class
    tokens or positions, as timm and the papers that it reproduces have it. Loshchilov and Hutter, "Decoupled
    weight decay regularization", 2019; Jordan et al., "Muon: an optimizer for hidden layers in neural
    networks", 2024.
    """
    lr, decay = config.lr, config.weight_decay
    assert lr is not None, "a resolved recipe has a learning rate"
    learned = {name: each for name, each in model.named_parameters() if each.requires_grad}
    weights, hidden = _weights(model), set[str]()
    if config.optimizer == "muon":
        hidden = _hidden_matrices(model) & learned.keys()
    decayed = [name for name in learned if name in weights and name not in hidden]
    others = [name for name in learned if name not in weights and name not in hidden]

    def groups(names: Iterable[str], peak: float, decay: float) -> list[dict[str, Any]]:
        """Return one group a learning rate; ``share`` is a group's peak as a multiple of the recipe's."""
        found: dict[float, list[Tensor]] = {}
        for name in names:
            found.setdefault(peak * (shares or {}).get(name, 1.0), []).append(learned[name])
        return [
            {"params": each, "lr": lr * share, "weight_decay": decay, "share": share}
            for share, each in found.items()
        ]

    plain = [*groups(decayed, 1.0, decay), *groups(others, 1.0, 0.0)]
    optimizers: list[torch.optim.Optimizer] = []
    if plain and config.optimizer == "sgd":
        momentum = config.momentum
        optimizers.append(torch.optim.SGD(plain, lr=lr, momentum=momentum, nesterov=momentum > 0, fused=True))
    elif plain:
        optimizers.append(torch.optim.AdamW(plain, lr=lr, betas=config.betas, fused=True))
    if hidden:
        matrices = groups((name for name in learned if name in hidden), config.muon_lr, decay)
        optimizers.append(Muon(matrices, lr=lr, weight_decay=decay, momentum=0.95))
    return optimizers


def _weights(model: nn.Module) -> set[str]:
    """Return the names of the weights of linear maps and convolutions."""
    kinds = (nn.Linear, nn.modules.conv._ConvNd)
    return {f"{name}.weight" for name, module in model.named_modules() if isinstance(module, kinds)}


def _hidden_matrices(model: nn.Module) -> set[str]:
    """Return the names of the matrices between a backbone's first and last layer."""
    inside = "backbone." if hasattr(model, "backbone") else ""
    linear = {f"{name}.weight" for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    return {name for name in linear if name.startswith(inside)}


def rate(config: TrainConfig, step: int, steps: int) -> float:
    """Return the learning rate of ``step`` of ``steps``: linear warm-up, then half a cosine.

    Loshchilov and Hutter, "SGDR", 2017; Goyal et al., "Accurate, large minibatch SGD", 2017.
    """
    assert config.lr is not None
    warmup = config.warmup * steps
    if step < warmup:
        return config.lr * (step + 1) / (warmup + 1)
    done = (step - warmup) / max(1.0, steps - warmup)
    floor = config.final_lr
    return config.lr * (floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * done)))


class Average:
    """The exponential moving average of a model's weights, with its own copy of the model to answer with.

    The decay grows from 0 as ``(1 + n) / (10 + n)``, so that short runs are averaged over their own length.
    Polyak and Juditsky, 1992; the warm-up is TensorFlow's ``ExponentialMovingAverage(num_updates)``.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        self.decay = decay
        every = zip(_state(self.model), _state(model), strict=True)
        pairs = [(mean, now) for mean, now in every if now.requires_grad or not isinstance(now, nn.Parameter)]
        self._averaged = [(mean, now) for mean, now in pairs if mean.is_floating_point()]
        self._copied = [(mean, now) for mean, now in pairs if not mean.is_floating_point()]

    @torch.no_grad()
    def update(self, steps: int) -> None:
        """Move a little towards the model's weights; ``steps`` have been taken so far."""
        decay = min(self.decay, (1 + steps) / (10 + steps))
        means = [mean for mean, _ in self._averaged]
        nows = [now.detach() for _, now in self._averaged]
        torch._foreach_lerp_(means, nows, 1 - decay)
        for mean, now in self._copied:
            mean.copy_(now)


Order = Literal["max", "min"]


def rank(values: Mapping[str, float], name: str, order: Order) -> list[float]:
    """Return what epochs are compared by, larger being better: a metric, then the log loss if any."""
    return [values[name] if order == "max" else -values[name], -values.get("log_loss", 0.0)]


def better(ranked: Sequence[float], best: Sequence[float] | None) -> bool:
    """Whether one rank beats the ``best`` so far; numbers that are not finite never do."""
    return all(map(math.isfinite, ranked)) and (best is None or list(ranked) > list(best))


def optimizer_tensors(optimizers: list[torch.optim.Optimizer]) -> dict[str, Tensor]:
    """Return the optimizers' state as tensors by name, for a checkpoint."""
    return {
        f"{number}.{index}.{key}": torch.as_tensor(value)
        for number, optimizer in enumerate(optimizers)
        for index, entry in optimizer.state_dict()["state"].items()
        for key, value in entry.items()
        if value is not None
    }


def restore_optimizers(optimizers: list[torch.optim.Optimizer], tensors: dict[str, Tensor]) -> None:
    """Put back what `optimizer_tensors` returned."""
    states: list[dict[int, dict[str, Any]]] = [{} for _ in optimizers]
    for name, tensor in tensors.items():
        number, index, key = name.split(".", 2)
        states[int(number)].setdefault(int(index), {})[key] = tensor
    for optimizer, state in zip(optimizers, states, strict=True):
        optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
        for parameter, entry in optimizer.state.items():
            for key, value in entry.items():
                if isinstance(value, Tensor) and value.shape == parameter.shape:
                    # Fused kernels walk parameter and memory side by side: both need the same layout.
                    entry[key] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)


def _state(model: nn.Module) -> list[Tensor]:
    return [*model.parameters(), *model.buffers()]
