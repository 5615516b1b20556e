"""Where a token lies: on a line, in a picture, or in a volume or video. (Turned positions: `rotary`.)"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


class LearnedPositions(nn.Module):
    """One learned vector for each place of a grid, resampled when a picture has another grid.

    ``antialias`` chooses between torch's two bicubic filters, which differ also when they enlarge: timm
    resamples with the antialiased one, transformers with the plain one, and answers follow.
    """

    def __init__(self, grid: Sequence[int], width: int, *, antialias: bool = True) -> None:
        super().__init__()
        self.values = nn.Parameter(torch.empty(*grid, width))
        self.antialias = antialias
        nn.init.trunc_normal_(self.values, std=0.02)

    def forward(self, grid: Sequence[int]) -> Float[Tensor, "n d"]:
        """Return the vectors of a grid, row by row."""
        return resample(self.values, grid, antialias=self.antialias).flatten(0, -2)


class SinePositions(nn.Module):
    """Fixed waves over a grid of any size: nothing to learn, nothing to resample (Vaswani et al. 2017)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    def forward(self, grid: Sequence[int]) -> Float[Tensor, "n d"]:
        """Return the vectors of a grid, row by row."""
        return sine(grid, self.width).flatten(0, -2)


def sine(
    grid: Sequence[int], width: int, *, temperature: float | None = 10_000.0
) -> Float[Tensor, "*grid d"]:
    """Return waves over a grid of one, two or three axes, each of which has its share of the features.

    Half of a share are sines, half cosines, of speeds that fall geometrically from 1 to ``1 / temperature``
    radians a place (Vaswani et al. 2017; in two dimensions Chen et al. 2021, "An empirical study of training
    self-supervised vision transformers"). Without a temperature wavelengths run from two places to twice the
    grid: neighbours differ, and no two places are alike. The root mean square is one over the root of 2.
    """
    share = -(-width // (2 * len(grid)))
    waves = []
    for axis, places in enumerate(grid):
        wave = _waves(places, share, temperature)
        shape = [places if each == axis else 1 for each in range(len(grid))]
        waves.append(wave.reshape(*shape, 2 * share).expand(*grid, 2 * share))
    return torch.cat(waves, dim=-1)[..., :width]


def _waves(places: int, count: int, temperature: float | None) -> Tensor:
    falling = torch.linspace(0, 1, count) if count > 1 else torch.zeros(1)
    speeds = temperature**-falling if temperature else torch.pi / places**falling
    angles = torch.arange(places)[:, None] * speeds
    return torch.cat([angles.sin(), angles.cos()], dim=-1)


def resample(
    values: Float[Tensor, "*from_grid d"], grid: Sequence[int], *, antialias: bool = True
) -> Float[Tensor, "*to_grid d"]:
    """Stretch a grid of vectors to another: with torch's bicubic filter, a volume with the trilinear one."""
    if tuple(values.shape[:-1]) == tuple(grid):
        return values
    # Half precision has no antialiased filter on every device, and would cost digits besides.
    planes = values.float().movedim(-1, 0)[None]
    if len(grid) == 2:
        stretched = F.interpolate(planes, size=tuple(grid), mode="bicubic", antialias=antialias)
    else:
        stretched = F.interpolate(planes, size=tuple(grid), mode="linear" if len(grid) == 1 else "trilinear")
    return stretched[0].movedim(0, -1).to(values.dtype)
