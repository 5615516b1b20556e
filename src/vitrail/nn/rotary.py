"""Positions told by turning queries and keys (Su et al. 2021, "RoFormer"), along each axis of a grid."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
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
    Raises UsageError when pairs for every axis do not divide the ``width`` of a head.
    """

    speeds: Tensor

    def __init__(self, width: int, axes: int = 2, temperature: float = 100.0) -> None:
        super().__init__()
        if width % (2 * axes):
            raise UsageError(
                f"rotary positions on {axes} axes need heads whose width {2 * axes} divides, not {width}: "
                "take another number of heads."
            )
        self.width, self.axes, self.temperature = width, axes, temperature
        pairs = width // (2 * axes)
        self.register_buffer("speeds", temperature ** -(torch.arange(pairs) / pairs), persistent=False)

    def forward(self, grid: Sequence[int], prefix: int = 0) -> Rotation:
        """Return the turns of a grid's tokens, row by row, after ``prefix`` tokens that lie nowhere."""
        sides = (torch.arange(side, device=self.speeds.device) for side in grid)
        places = torch.cartesian_prod(*sides).reshape(-1, self.axes)
        angles = (places[:, :, None] * self.speeds).flatten(1).repeat_interleave(2, dim=1)
        angles = torch.cat([angles.new_zeros(prefix, self.width), angles])
        return Rotation(angles.cos()[None], angles.sin()[None])

    def extra_repr(self) -> str:
        """Show the numbers where torch prints the module."""
        return f"{self.width}, axes={self.axes}, temperature={self.temperature:g}"


def rotate(x: Float[Tensor, "b h n c"], rotation: Rotation) -> Float[Tensor, "b h n c"]:
    """Turn the feature pairs of each head's tokens."""
    turned = torch.stack([-x[..., 1::2], x[..., ::2]], dim=-1).flatten(-2)
    return x * rotation.cos[:, None] + turned * rotation.sin[:, None]
