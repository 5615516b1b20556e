"""Learning in few dimensions beside weights that stay as they are.

Hu et al. 2021, "LoRA: low-rank adaptation of large language models".
"""

from collections.abc import Iterator
from typing import Any, Literal, cast

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from vitrail.errors import UsageError

Targets = Literal["attention", "feed", "all"]
"""The linear maps within attention, all others, or both."""


class Adapted(nn.Linear):
    """A linear map with a thin product beside it, ``(weight + alpha / rank * up @ down) x + bias``.

    ``down`` (``rank in``) starts as linear layers do and ``up`` (``out rank``) at zero, so nothing is changed
    at first. Weight and bias are those of the ``linear`` that it takes the place of, under the same names.
    """

    def __init__(self, linear: nn.Linear, rank: int, alpha: float) -> None:
        nn.Module.__init__(self)  # not Linear's own, which would draw a weight
        self.out_features, self.in_features = linear.out_features, linear.in_features
        self.share = alpha / rank
        self._parameters |= {"weight": linear._parameters["weight"], "bias": linear._parameters["bias"]}
        self.lora_down = nn.Parameter(self._base.new_empty(rank, self.in_features))
        self.lora_up = nn.Parameter(self._base.new_zeros(self.out_features, rank))
        nn.init.kaiming_uniform_(self.lora_down, a=5**0.5)

    @property
    def _base(self) -> Tensor:
        return cast(Tensor, self._parameters["weight"])

    @property
    def weight(self) -> Float[Tensor, "out in"]:  # type: ignore[override]
        """The weight with what was learned: for networks that take it instead of calling the layer (BEiT)."""
        return self._base + self.share * (self.lora_up @ self.lora_down)

    def forward(self, x: Float[Tensor, "*b in"]) -> Float[Tensor, "*b out"]:
        """Map each vector; the product is never formed, so that no gradient as large as the weight is."""
        thin = F.linear(F.linear(x, self.lora_down), self.lora_up)
        return F.linear(x, self._base, self.bias) + self.share * thin

    def extra_repr(self) -> str:
        """Show the rank where torch prints the module."""
        return f"{super().extra_repr()}, rank={len(self.lora_down)}"


def adapt(model: nn.Module, rank: int, alpha: float, targets: Targets) -> list[str]:
    """Put an `Adapted` in the place of each linear map that is meant, and return their names.

    Layers that are no wider than the rank are left out: they would learn more by themselves. Raises
    UsageError when no other is left.
    """
    meant = {id(layer): layer for layer in _linear(model, targets)}
    widest = max((_narrow(layer) for layer in meant.values()), default=0)
    if meant and rank >= widest:
        raise UsageError(
            f"a rank of {rank} is not below the {widest} of the widest layer: take a smaller --tune.rank."
        )
    wide = {key: layer for key, layer in meant.items() if _narrow(layer) > rank}
    adapted = {key: Adapted(layer, rank, alpha) for key, layer in wide.items()}
    names = []
    for name, parent in list(model.named_modules(remove_duplicate=False)):
        for word, child in list(parent._modules.items()):
            if id(child) in adapted:
                setattr(parent, word, adapted[id(child)])
                names.append(f"{name}.{word}".lstrip("."))
    return names


def can_adapt(model: nn.Module, targets: Targets) -> bool:
    """Whether there is a linear map of this kind."""
    return next(_linear(model, targets), None) is not None


def merged(model: nn.Module) -> dict[str, Tensor]:
    """Return a model's state as if its weights had been trained themselves: without adapters."""
    state: dict[str, Any] = model.state_dict()
    with torch.no_grad():
        for name, module in model.named_modules(remove_duplicate=False):
            if isinstance(module, Adapted):
                state[f"{name}.weight"] = module.weight
                del state[f"{name}.lora_down"], state[f"{name}.lora_up"]
    return state


def _narrow(layer: nn.Linear) -> int:
    return min(layer.in_features, layer.out_features)


def _linear(
    module: nn.Module, targets: Targets, name: str = "", attending: bool = False
) -> Iterator[nn.Linear]:
    """Give the linear layers that are meant. Attention is known by its class or its name, timm's as ours."""
    kind = type(module)
    label = f"{name} {kind.__name__}".lower()
    attending = attending or "attention" in label or "attn" in label
    meant = targets == "all" or attending == (targets == "attention")
    if meant and isinstance(module, nn.Linear) and kind.forward is nn.Linear.forward:
        yield module
    for word, child in module.named_children():
        yield from _linear(child, targets, word, attending)
