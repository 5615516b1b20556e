"""Pixels to a grid of tokens, ``b c (h p) (w p)`` to ``b d h w``, where ``p`` is the patch in pixels."""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn


class PatchEmbed(nn.Conv2d):
    """One linear map of each patch by itself (Dosovitskiy et al. 2020, "An image is worth 16x16 words")."""

    def __init__(self, channels: int, width: int, patch: int, *, bias: bool = True) -> None:
        super().__init__(channels, width, kernel_size=patch, stride=patch, bias=bias)

    def forward(self, pixels: Float[Tensor, "b c H W"]) -> Float[Tensor, "b d h w"]:
        """Return one token a patch."""
        return super().forward(pixels)


class TubeletEmbed(nn.Conv3d):
    """One linear map of each tubelet of a video, or cube of a volume: ``b c T H W`` to ``b d t h w``.

    A patch of some frames carries motion (Arnab et al. 2021, "ViViT"); one of some slices is a cube.
    ``patch`` is (frames or slices, height, width).
    """

    def __init__(self, channels: int, width: int, patch: Sequence[int], *, bias: bool = True) -> None:
        size = (patch[0], patch[1], patch[2])
        super().__init__(channels, width, kernel_size=size, stride=size, bias=bias)

    def forward(self, pixels: Float[Tensor, "b c T H W"]) -> Float[Tensor, "b d t h w"]:
        """Return one token a tubelet."""
        return super().forward(pixels)


class ConvStem(nn.Module):
    """Overlapping 3x3 convolutions instead of a cut into patches: one that looks, then each halves the grid.

    Neighbouring patches share their border pixels, which makes a small Transformer learn faster and care less
    about the optimizer (Xiao et al. 2021, "Early convolutions help Transformers see better"). The channels
    double up to ``width``; what of ``patch`` is not a power of two, the last projection does.
    """

    def __init__(self, channels: int, width: int, patch: int) -> None:
        halvings = (patch & -patch).bit_length() - 1
        layers: list[nn.Module] = []
        for step in range(halvings + 1):
            hidden = max(width >> (halvings - step), 1)
            layers += [
                nn.Conv2d(channels, hidden, kernel_size=3, stride=2 if step else 1, padding=1, bias=False),
                nn.BatchNorm2d(hidden),
                nn.GELU(),
            ]
            channels = hidden
        rest = patch >> halvings
        super().__init__()
        self.look = nn.Sequential(*layers)
        self.project = nn.Conv2d(channels, width, kernel_size=rest, stride=rest)

    def forward(self, pixels: Float[Tensor, "b c H W"]) -> Float[Tensor, "b d h w"]:
        """Return one token a patch."""
        grid: Tensor = self.project(self.look(pixels))
        return grid
