"""What a block does with each token by itself."""

from jaxtyping import Float
from torch import Tensor, nn


class MLP(nn.Module):
    """Two dense layers with a GELU between them (Hendrycks & Gimpel 2016)."""

    def __init__(self, width: int, hidden: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.up = nn.Linear(width, hidden)
        self.bend = nn.GELU()
        self.drop = nn.Dropout(dropout)
        self.down = nn.Linear(hidden, width)

    def forward(self, x: Float[Tensor, "*b d"]) -> Float[Tensor, "*b d"]:
        """Transform each token by itself."""
        fed: Tensor = self.down(self.drop(self.bend(self.up(x))))
        return fed
