"""A dense prediction Transformer (Ranftl et al. 2021, "Vision transformers for dense prediction")."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from vitrail.backbones.pyramid import Pyramid
from vitrail.backbones.vision_transformer import ViT
from vitrail.errors import UsageError
from vitrail.heads.dense import Dense, DenseConfig, Pixelwise, canvas
from vitrail.nn.convolve import BatchNorm, convolve, enlarge
from vitrail.values import Features, Given


class Reassemble(nn.Module):
    """Tokens of several layers, all on one grid, become levels: the earliest the finest.

    Each layer's tokens are projected and brought to a quarter, a half, once or twice the stride.
    """

    def __init__(self, stride: int, channels: Sequence[int], width: int) -> None:
        super().__init__()
        kept = [min(scale, stride) for scale in (4, 2, 1, 0.5)[: len(channels)]]  # no cell below a pixel
        self.makers = nn.ModuleList(
            nn.Sequential(nn.Conv2d(each, width, 1), _scaled(scale, width))
            for each, scale in zip(channels, kept, strict=True)
        )
        self.strides = tuple(stride / scale for scale in kept)
        self.channels = (width,) * len(channels)

    def forward(self, features: Features) -> list[Float[Tensor, "b _c _h _w"]]:
        """Return the levels, finest first."""
        return [maker(level) for maker, level in zip(self.makers, features.levels, strict=True)]


def _scaled(scale: int | float, width: int) -> nn.Module:
    if scale > 1:
        return nn.ConvTranspose2d(width, width, int(scale), stride=int(scale))
    return nn.Identity() if scale == 1 else nn.Conv2d(width, width, 3, stride=2, padding=1)


class Unit(nn.Module):
    """Two convolutions whose result is added to what came in (Lin et al. 2016, "RefineNet")."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.second = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norms = nn.ModuleList(BatchNorm(width) for _ in range(2))

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Return the map, refined."""
        branch = self.norms[0](self.first(F.relu(x)))
        refined: Tensor = x + self.norms[1](self.second(F.relu(branch)))
        return refined


class Fuse(nn.Module):
    """A level and what comes from the coarser ones: added, refined, and ready to be enlarged.

    The coarsest level comes ``alone``, and so needs one unit less.
    """

    def __init__(self, width: int, *, alone: bool = False) -> None:
        super().__init__()
        self.enter, self.refine = nn.Identity() if alone else Unit(width), Unit(width)
        self.leave = nn.Conv2d(width, width, 1)

    def forward(
        self, level: Float[Tensor, "b c h w"], coarser: Float[Tensor, "b c h w"] | None
    ) -> Float[Tensor, "b c h w"]:
        """Return both as one map of the level's size."""
        x = self.enter(level) if coarser is None else coarser + self.enter(level)
        left: Tensor = self.leave(self.refine(x))
        return left


class DPT(nn.Module):
    """Levels brought to one width and fused from the coarsest to the finest.

    ``levels`` makes them of the features, finest first. Class and register tokens are left out, as in the
    paper's variant "ignore".
    """

    def __init__(
        self, levels: Pyramid | Reassemble, *, enters: Sequence[nn.Module], width: int, last: nn.Module
    ) -> None:
        super().__init__()
        self.levels, self.enters = levels, nn.ModuleList(enters)
        self.fuses = nn.ModuleList(Fuse(width, alone=maker is enters[-1]) for maker in enters)
        self.last = last
        self.ratios = tuple(coarse / fine for fine, coarse in pairwise(levels.strides))

    def forward(self, features: Features, given: Given) -> Pixelwise:
        """Return logits of the canvas' size."""
        maps = [enter(level) for enter, level in zip(self.enters, self.levels(features), strict=True)]
        x = self.fuses[-1](maps[-1], None)
        for place in range(len(maps) - 2, -1, -1):
            x = self.fuses[place](maps[place], enlarge(x, self.ratios[place], maps[place].shape[2:]))
        return Pixelwise(logits=enlarge(self.last(x), self.levels.strides[0], canvas(given)))


@dataclass(frozen=True, kw_only=True)
class DPTConfig(DenseConfig):
    """Several layers of a Transformer, or levels of a pyramid, fused from coarse to fine."""

    name: Literal["dpt"] = "dpt"
    """The head."""
    width: int = 128
    """Channels of every level (the paper has 256)."""
    depths: tuple[int, ...] = ()
    """The layers of a Transformer of ours that are looked at, at most four (default: each quarter's last)."""
    dropout: float = 0.1
    """The chance that a channel is dropped in training, before the scores."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.width < 1 or not 0 <= self.dropout < 1 or len(self.depths) > 4:
            raise UsageError(
                "width is at least 1, dropout a share from 0 to below 1, and depths are at most four."
            )

    def build(self, backbone: Any, classes: Sequence[str], multi: bool = False) -> Dense:
        """Return the head for this backbone's features, with fresh weights from torch's global generator.

        A Transformer of ours is told which layers to show. Raises UsageError for ``depths`` that it does not
        have, and for any of another backbone.
        """
        levels: Pyramid | Reassemble
        if isinstance(backbone, ViT):
            count = len(backbone.encoder.blocks)
            quarters = {max(0, round(count * part / 4) - 1) for part in (1, 2, 3, 4)}
            backbone.depths = self.depths or tuple(sorted(quarters))
            levels = Reassemble(backbone.patch, backbone.channels, self.width)
        elif self.depths:
            raise UsageError("only a Transformer of ours has depths to look at: leave depths.")
        else:
            levels = Pyramid(backbone.strides, backbone.channels, most=4)
        enters = [nn.Conv2d(channels, self.width, 3, padding=1, bias=False) for channels in levels.channels]
        score = nn.Conv2d(self.width, len(classes), 1)
        last = nn.Sequential(convolve(self.width, self.width), nn.Dropout2d(self.dropout), score)
        return self.head(DPT(levels, enters=enters, width=self.width, last=last), classes, multi=multi)
