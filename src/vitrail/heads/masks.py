"""A mask Transformer (Strudel et al. 2021, "Segmenter: Transformer for semantic segmentation")."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from torch import Tensor, nn

from vitrail.backbones.vision_transformer import ViT
from vitrail.errors import UsageError
from vitrail.heads.dense import Dense, DenseConfig, Pixelwise, canvas
from vitrail.nn.attention import Attention
from vitrail.nn.block import Block, PreNorm
from vitrail.nn.convolve import enlarge
from vitrail.nn.encoder import Encoder
from vitrail.nn.feedforward import MLP
from vitrail.nn.init import INITS
from vitrail.nn.norm import layer_norm
from vitrail.nn.positions import SinePositions
from vitrail.values import Features, Given


class Masks(nn.Module):
    """Class tokens beside the places of a level, through blocks; the likeness of the two are the scores.

    A place has the features of the level, and of all coarser ones where it lies. ``enter`` brings them to the
    blocks' width; ``positions`` are None where places know already where they lie. The likeness is a cosine,
    times a learned sharpness. The paper normalises it over the classes instead, which leaves nothing of one
    class and the mere sign of a difference of two.
    """

    def __init__(
        self,
        *,
        level: int,
        stride: int | float,
        enter: nn.Module,
        positions: nn.Module | None,
        encoder: Encoder,
        width: int,
        classes: int,
    ) -> None:
        super().__init__()
        self.level, self.stride = level, stride
        self.enter, self.positions, self.encoder = enter, positions, encoder
        self.classes = nn.Parameter(torch.empty(classes, width))
        nn.init.trunc_normal_(self.classes, std=0.02)
        self.of_place, self.of_class = (nn.Linear(width, width, bias=False) for _ in range(2))
        self.sharpness, self.bias = nn.Parameter(torch.tensor(10.0)), nn.Parameter(torch.zeros(classes))

    def forward(self, features: Features, given: Given) -> Pixelwise:
        """Return logits of the canvas' size; nobody looks at places without a ``valid`` pixel."""
        grid = features.levels[self.level]
        height, width = grid.shape[2:]
        coarser = [
            F.interpolate(level, size=(height, width), mode="bilinear")
            for level in features.levels[self.level + 1 :]
        ]
        places = self.enter(torch.cat([grid, *coarser], dim=1).flatten(2).mT)
        if self.positions is not None:
            places = places + self.positions((height, width)).to(places)
        tokens = torch.cat([places, repeat(self.classes, "c d -> b c d", b=len(places))], dim=1)
        tokens = self.encoder(tokens, self._visible(given.valid, (height, width)))
        split = height * width
        near = F.normalize(self.of_place(tokens[:, :split]), dim=-1)
        asked = F.normalize(self.of_class(tokens[:, split:]), dim=-1)
        scores = self.sharpness * near @ asked.mT + self.bias
        logits = rearrange(scores, "b (h w) c -> b c h w", h=height)
        return Pixelwise(logits=enlarge(logits, self.stride, canvas(given)))

    def _visible(self, valid: Tensor | None, grid: tuple[int, int]) -> Tensor | None:
        """Return which tokens may be looked at: places with a valid pixel, and every class."""
        if valid is None:
            return None
        # A cell that reaches over the border of the canvas has its pixels there all the same.
        padding = [round(side * self.stride) - size for side, size in zip(grid, valid.shape[1:], strict=True)]
        whole = F.pad(valid[:, None].float(), (0, max(0, padding[1]), 0, max(0, padding[0])))
        seen = F.adaptive_max_pool2d(whole, grid).flatten(1) > 0
        return F.pad(seen, (0, len(self.classes)), value=True)


@dataclass(frozen=True, kw_only=True)
class MasksConfig(DenseConfig):
    """Class tokens that look for their places."""

    name: Literal["masks"] = "masks"
    """The head."""
    depth: int = 2
    """Blocks through which places and classes go together."""
    stride: int = 16
    """How many pixels a place has a side, at most: less is finer and slower."""
    width: int | None = None
    """Features of a token (default: a Transformer's own, else the level's channels, from 64 to 384)."""
    heads: int | None = None
    """Attentions side by side in a block, which divide the width (default: one for 64 features)."""
    dropout: float = 0.0
    """The chance that an activation of the feed-forward parts is dropped in training."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.depth, self.stride, self.width or 1, self.heads or 1) < 1 or not 0 <= self.dropout < 1:
            raise UsageError(
                "depth, stride, width and heads are at least 1, dropout is a share from 0 to below 1."
            )

    def build(self, backbone: Any, classes: Sequence[str], multi: bool = False) -> Dense:
        """Return the head for this backbone's features, with fresh weights from torch's global generator.

        Its places are those of the coarsest level of this stride or less, or of the finest if none is. Raises
        UsageError when the heads do not divide the width.
        """
        level = max((at for at, stride in enumerate(backbone.strides) if stride <= self.stride), default=0)
        channels, ours = backbone.channels[level], isinstance(backbone, ViT)
        width = self.width or (channels if ours else min(384, max(64, -(-channels // 64) * 64)))
        net = Masks(
            level=level,
            stride=backbone.strides[level],
            enter=nn.Linear(sum(backbone.channels[level:]), width),
            positions=None if ours else SinePositions(width),
            encoder=Encoder((self._block(width) for _ in range(self.depth)), layer_norm(width)),
            width=width,
            classes=len(classes),
        )
        return self.head(net.apply(INITS["xavier"]), classes, multi=multi)

    def _block(self, width: int) -> Block:
        heads = self.heads or max(each for each in range(1, max(1, width // 64) + 1) if width % each == 0)
        return Block(
            around_mix=PreNorm(layer_norm(width)),
            mix=Attention(width, heads),
            around_feed=PreNorm(layer_norm(width)),
            feed=MLP(width, 4 * width, dropout=self.dropout),
        )
