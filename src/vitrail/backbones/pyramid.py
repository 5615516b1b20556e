"""A pyramid of maps from any backbone: its own, or one that is made of its only level."""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn

from vitrail.nn.norm import ChannelNorm
from vitrail.values import Features


class Pyramid(nn.Module):
    """Maps of several ``strides`` and ``channels``, finest first, whatever the backbone.

    A network with stages gives these, of each stride the last. A network with one stride (a plain
    Transformer) gives its last level at a quarter, a half, once and twice its stride, as in Li et al. 2022,
    "Exploring plain vision transformer backbones for object detection": transposed convolutions enlarge, a
    pooling halves. Strides below one pixel are left out. With ``most`` only so many are given, the coarsest.
    Strides need not be whole: a quarter of 14 is 3.5.
    """

    def __init__(self, strides: Sequence[int], channels: Sequence[int], most: int | None = None) -> None:
        super().__init__()
        last = {stride: place for place, stride in enumerate(strides)}
        self.makers = nn.ModuleList()
        if len(last) > 1:
            self._places = list(last.values())
            found = [(float(stride), channels[place]) for stride, place in last.items()]
        else:
            patch, width = strides[-1], channels[-1]
            half, quarter = max(1, width // 2), max(1, width // 4)
            steps = [(patch / 4, quarter), (patch / 2, half), (patch, width), (patch * 2, width)]
            found = [(float(stride), width) for stride, width in steps if stride >= 1]
            self._places = [len(strides) - 1] * len(found)
        keep = len(found) - (most or len(found))
        self._places, found = self._places[keep:], found[keep:]
        if len(last) == 1:
            self.makers.extend(_maker(stride / strides[-1], channels[-1], width) for stride, width in found)
        self.strides = tuple(stride for stride, _ in found)
        self.channels = tuple(width for _, width in found)

    def forward(self, features: Features) -> list[Float[Tensor, "b _c _h _w"]]:
        """Return the maps, finest first."""
        levels = [features.levels[place] for place in self._places]
        if not self.makers:
            return levels
        return [maker(level) for maker, level in zip(self.makers, levels, strict=True)]


def _maker(scale: float, width: int, out: int) -> nn.Module:
    """Return what makes a level at this multiple of the only one's stride."""
    if scale == 1:
        return nn.Identity()
    if scale > 1:
        return nn.MaxPool2d(2, ceil_mode=True)
    if scale == 0.5:
        return nn.ConvTranspose2d(width, out, 2, stride=2)
    half = max(1, width // 2)
    return nn.Sequential(
        nn.ConvTranspose2d(width, half, 2, stride=2),
        ChannelNorm(half, eps=1e-6),
        nn.GELU(),
        nn.ConvTranspose2d(half, out, 2, stride=2),
    )
