"""Muon, with all matrices of one shape made orthogonal side by side."""

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

STACK = 1 << 24
"""Numbers that are made orthogonal at a time: in float32, 64 MB, and a few times that on the way."""


class Muon(torch.optim.Muon):
    """torch's Muon, a stack of matrices at a time, and in float32 where bfloat16 does not pay.

    Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024. A small Transformer has
    dozens of small matrices of a few shapes. One by one, and in the bfloat16 that processors emulate, they
    took longer than the network's own passes (`benchmarks/muon.py`). The arithmetic is the same.
    """

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Take one step; return what ``closure``, if any, returns."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            alike: dict[tuple[Any, ...], list[Tensor]] = {}
            for each in group["params"]:
                if each.grad is not None:
                    alike.setdefault((each.shape, each.dtype, each.device), []).append(each)
            for matrices in alike.values():
                many = max(1, STACK // matrices[0].numel())
                for start in range(0, len(matrices), many):
                    self._move(matrices[start : start + many], group)
        return loss

    def _move(self, matrices: list[Tensor], group: dict[str, Any]) -> None:
        gradients = [each.grad for each in matrices if each.grad is not None]
        memories = [self._memory(each) for each in matrices]
        torch._foreach_lerp_(memories, gradients, 1 - group["momentum"])
        ahead = torch._foreach_lerp(gradients, memories, group["momentum"]) if group["nesterov"] else memories
        moves = orthogonal(
            torch.stack(list(ahead)), group["ns_coefficients"], group["ns_steps"], group["eps"]
        )
        rows, columns = matrices[0].shape
        rate = group["lr"] * math.sqrt(max(1, rows / columns))
        torch._foreach_mul_(matrices, 1 - group["lr"] * group["weight_decay"])
        torch._foreach_add_(matrices, moves.to(matrices[0].dtype).unbind(), alpha=-rate)

    def _memory(self, matrix: Tensor) -> Tensor:
        state = self.state[matrix]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(matrix)
        memory: Tensor = state["momentum_buffer"]
        return memory


def orthogonal(
    matrices: Float[Tensor, "k m n"],
    coefficients: tuple[float, float, float],
    steps: int,
    eps: float = 1e-7,
) -> Float[Tensor, "k m n"]:
    """Return each matrix with all singular values brought near 1, by Newton and Schulz's iteration.

    In bfloat16 on a GPU, whose tensor cores multiply it fastest, and elsewhere in float32.
    """
    a, b, c = coefficients
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.to(torch.bfloat16 if matrices.device.type == "cuda" else torch.float32)
    x = x.mT if tall else x
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=eps)
    for _ in range(steps):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x
