"""What a block does with each token by itself."""

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


class QuickGELU(nn.Module):
    """The GELU that CLIP was trained with: ``x sigmoid(1.702 x)`` (Radford et al. 2021)."""

    def forward(self, x: Float[Tensor, "*b d"]) -> Float[Tensor, "*b d"]:
        """Bend each number."""
        return x * torch.sigmoid(1.702 * x)


ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "gelu": nn.GELU,  # Hendrycks & Gimpel 2016: ViT and most of its children
    "gelu_tanh": partial(nn.GELU, approximate="tanh"),  # JAX's default, so SigLIP's
    "quick_gelu": QuickGELU,
    "relu": nn.ReLU,  # Vaswani et al. 2017
}


class MLP(nn.Module):
    """Two dense layers with a bend between them (Vaswani et al. 2017)."""

    def __init__(
        self, width: int, hidden: int, *, activation: str = "gelu", bias: bool = True, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.up = nn.Linear(width, hidden, bias=bias)
        self.activation = ACTIVATIONS[activation]()
        self.drop = nn.Dropout(dropout)
        self.down = nn.Linear(hidden, width, bias=bias)

    def forward(self, x: Float[Tensor, "*b d"]) -> Float[Tensor, "*b d"]:
        """Transform each token by itself."""
        fed: Tensor = self.down(self.drop(self.activation(self.up(x))))
        return fed


class SwiGLU(nn.Module):
    """Two dense layers of which one gates the other, then a third (Shazeer 2020, "GLU variants improve").

    Three matrices instead of two: ``hidden`` is two thirds of an MLP's for the same number of parameters.
    Language models prefer it, and DINOv2's giant has it.
    """

    def __init__(self, width: int, hidden: int, *, bias: bool = True, dropout: float = 0.0) -> None:
        super().__init__()
        self.gate = nn.Linear(width, hidden, bias=bias)
        self.up = nn.Linear(width, hidden, bias=bias)
        self.drop = nn.Dropout(dropout)
        self.down = nn.Linear(hidden, width, bias=bias)

    def forward(self, x: Float[Tensor, "*b d"]) -> Float[Tensor, "*b d"]:
        """Transform each token by itself."""
        fed: Tensor = self.down(self.drop(F.silu(self.gate(x)) * self.up(x)))
        return fed


def gated_width(hidden: int) -> int:
    """Return the hidden width of a SwiGLU with the parameters of an MLP: two thirds, a multiple of 8."""
    return -(-2 * hidden // 3 // 8) * 8 if hidden >= 12 else max(1, 2 * hidden // 3)
