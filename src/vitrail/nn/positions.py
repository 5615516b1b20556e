"""Where a token lies in the picture."""

import torch
import torch.nn.functional as F
from einops import repeat
from jaxtyping import Float
from torch import Tensor, nn

from vitrail.values import Size


class LearnedPositions(nn.Module):
    """One learned vector for each place of a grid, resampled when a picture has another grid."""

    def __init__(self, grid: Size, width: int) -> None:
        super().__init__()
        self.values = nn.Parameter(torch.empty(*grid, width))
        nn.init.trunc_normal_(self.values, std=0.02)

    def forward(self, grid: Size) -> Float[Tensor, "n d"]:
        """Return the vectors of a grid ``(height, width)``, row by row."""
        return resample(self.values, grid).flatten(0, 1)


def sine(grid: Size, width: int) -> Float[Tensor, "h w d"]:
    """Return waves over a grid: half of the features tell the row, half the column, by sine and cosine.

    Vaswani et al. 2017 in two dimensions. Wavelengths run geometrically from two places to twice the grid, so
    that neighbours differ and no two places are alike. The root mean square is one over the square root of 2.
    """
    rows, columns = (_waves(places, -(-width // 4)) for places in grid)
    rows, columns = (
        repeat(rows, "h d -> h w d", w=grid[1]),
        repeat(columns, "w d -> h w d", h=grid[0]),
    )
    return torch.cat([rows, columns], dim=-1)[..., :width]


def _waves(places: int, count: int) -> Tensor:
    octaves = torch.linspace(0, 1, count) if count > 1 else torch.zeros(1)
    angles = torch.arange(places)[:, None] * (torch.pi / places**octaves)
    return torch.cat([angles.sin(), angles.cos()], dim=-1)


def resample(values: Float[Tensor, "h w d"], grid: Size) -> Float[Tensor, "y x d"]:
    """Stretch a grid of vectors to another, with torch's bicubic filter (antialiased: it may also shrink)."""
    if tuple(values.shape[:2]) == tuple(grid):
        return values
    # Half precision has no antialiased filter on every device, and would cost digits besides.
    planes = values.float().permute(2, 0, 1)[None]
    stretched = F.interpolate(planes, size=grid, mode="bicubic", antialias=True)
    return stretched[0].permute(1, 2, 0).to(values.dtype)
