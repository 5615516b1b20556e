"""Stochastic depth (Huang et al. 2016, "Deep networks with stochastic depth")."""

from jaxtyping import Float
from torch import Tensor, nn


class DropPath(nn.Module):
    """In training, drop a residual branch for some samples of the batch and scale it up for the others.

    ``rate`` is the chance of being dropped. Every sample draws for itself, from torch's global generator.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, branch: Float[Tensor, "b *n"]) -> Float[Tensor, "b *n"]:
        """Return the branch, with whole samples of it zeroed."""
        if not self.training or not self.rate:
            return branch
        keep = 1.0 - self.rate
        chance = branch.new_empty(len(branch), *[1] * (branch.ndim - 1)).bernoulli_(keep)
        return branch * (chance / keep)

    def extra_repr(self) -> str:
        """Show the rate where torch prints the module."""
        return f"rate={self.rate:g}"
