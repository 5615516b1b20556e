"""Positions told by turning queries and keys (Su et al. 2021, "RoFormer"), along each axis of a grid."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from vitrail.errors import UsageError


class Rotation(NamedTuple):
    """How far each feature pair of each token is turned: cosines and sines, one a feature."""

    cos: Float[Tensor, "b n c"]
    sin: Float[Tensor, "b n c"]

    def of(self, places: Int[Tensor, "b k"], prefix: int) -> "Rotation":
        """Return the turns of the prefix tokens and of these places only."""
        index = torch.cat(
            [torch.arange(prefix, device=places.device).expand(len(places), -1), places + prefix], 1
        )
        return Rotation(self.cos[0][index], self.sin[0][index])


class RotaryPositions(nn.Module):
    """Turn each feature pair of a head by an angle that grows with the token's place on one axis of the grid.

    The score of a query and a key then depends on how far apart they lie, and there is nothing to learn or
    to resample. Each axis has its share of the pairs, at speeds that fall to about ``1 / temperature``
    (Heo et al. 2024, "Rotary position embedding for vision transformer", who take 100 for grids of patches).
    Pairs that the axes cannot share evenly are never turned, as in V-JEPA 2 (Assran et al. 2025): a head of
    64 has 10 pairs for each axis of a volume, and 2 over.
    Raises UsageError when the ``width`` of a head is odd, or has no pair for every axis.
    """

    pairs: Tensor

    def __init__(self, width: int, axes: int = 2, temperature: float = 100.0) -> None:
        super().__init__()
        if width % 2 or width < 2 * axes:
            raise UsageError(
                f"rotary positions on {axes} axes need heads of an even width from {2 * axes}, not {width}: "
                "take another number of heads."
            )
        self.width, self.axes, self.temperature = width, axes, temperature
        # Whole numbers stay what they are when the network is turned into half precision; speeds would not.
        self.register_buffer("pairs", torch.arange(width // (2 * axes)), persistent=False)

    def forward(self, grid: Sequence[int], prefix: int = 0) -> Rotation:
        """Return the turns of a grid's tokens, row by row, after ``prefix`` tokens that lie nowhere."""
        sides = (torch.arange(side, device=self.pairs.device) for side in grid)
        places = torch.cartesian_prod(*sides).reshape(-1, self.axes)
        speeds = torch.exp(self.pairs * (-math.log(self.temperature) / len(self.pairs)))
        angles = (places[:, :, None] * speeds).flatten(1).repeat_interleave(2, dim=1)
        angles = F.pad(angles, (0, self.width - angles.shape[1], prefix, 0))
        return Rotation(angles.cos()[None], angles.sin()[None])

    def extra_repr(self) -> str:
        """Show the numbers where torch prints the module."""
        return f"{self.width}, axes={self.axes}, temperature={self.temperature:g}"


def rotate(x: Float[Tensor, "b h n c"], rotation: Rotation) -> Float[Tensor, "b h n c"]:
    """Turn the feature pairs of each head's tokens; the angles keep their precision, the result has x's."""
    turned = torch.stack([-x[..., 1::2], x[..., ::2]], dim=-1).flatten(-2)
    return (x * rotation.cos[:, None] + turned * rotation.sin[:, None]).to(x.dtype)
