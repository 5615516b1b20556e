"""The Vision Transformer (Dosovitskiy et al. 2020, "An image is worth 16x16 words")."""

import math
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from vitrail.backbones.names import SIZES
from vitrail.errors import UsageError, nearest
from vitrail.nn.attention import Attention
from vitrail.nn.block import Block
from vitrail.nn.droppath import DropPath
from vitrail.nn.embed import EMBEDS
from vitrail.nn.encoder import Encoder
from vitrail.nn.feedforward import MLP
from vitrail.nn.init import INITS
from vitrail.nn.positions import LearnedPositions
from vitrail.values import Features, Size, Tokens


class ViT(nn.Module):
    """Patches become tokens, tokens become features; the class token or their mean sums the picture up.

    Takes pictures ``b c h w`` of any size that the patch divides; positions are resampled to their grid.
    There is one level: the last layer's normalised tokens on their grid, at a stride of one patch.
    """

    def __init__(
        self,
        *,
        embed: nn.Module,
        positions: LearnedPositions,
        encoder: Encoder,
        width: int,
        patch: int,
        pool: Literal["class", "mean"],
        dropout: float,
    ) -> None:
        super().__init__()
        self.embed, self.positions, self.encoder = embed, positions, encoder
        # The class token lies nowhere: what other implementations add as its position is part of it here.
        self.prefix = nn.Parameter(torch.empty(1, width)) if pool == "class" else None
        if self.prefix is not None:
            nn.init.trunc_normal_(self.prefix, std=0.02)
        self.dropout = nn.Dropout(dropout)
        self.pool, self.patch, self.width = pool, patch, width
        self.strides, self.channels = (patch,), (width,)
        self.least: Size = (patch, patch)

    def forward(
        self,
        pixels: Float[Tensor, "b c H W"],
        valid: Bool[Tensor, "b H W"] | None = None,
        levels: bool = True,
    ) -> Features:
        """Return the features; tokens of patches without a ``valid`` pixel are looked at by nobody."""
        tokens = self.tokens(pixels, valid=valid)
        if tokens.prefix is not None:
            summary = tokens.prefix[:, 0]
        elif valid is None:
            summary = tokens.values.mean(dim=1)
        else:
            weights = self._visible(valid).to(tokens.values.dtype)
            summary = torch.einsum("bnd,bn->bd", tokens.values, weights) / weights.sum(1, keepdim=True)
        grid = rearrange(tokens.values, "b (h w) d -> b d h w", h=pixels.shape[2] // self.patch)
        return Features(
            levels=(grid,) if levels else (),
            strides=self.strides if levels else (),
            summary=summary,
            prefix=tokens.prefix,
        )

    def tokens(
        self,
        pixels: Float[Tensor, "b c H W"],
        keep: Int[Tensor, "b k"] | None = None,
        valid: Bool[Tensor, "b H W"] | None = None,
    ) -> Tokens:
        """Return the last layer's tokens, normalised; with ``keep``, of these places of the grid only.

        Places count row by row. The others are never computed, as masked pretraining and patch dropout want.
        """
        x, mask, places = self._enter(pixels, keep, valid)
        x = self.encoder(x, mask)
        skip = x.shape[1] - places.shape[1]
        return Tokens(values=x[:, skip:], places=places, prefix=x[:, :skip] if skip else None)

    def attention(
        self,
        pixels: Float[Tensor, "b c H W"],
        layer: int = -1,
        valid: Bool[Tensor, "b H W"] | None = None,
    ) -> Float[Tensor, "b heads n n"]:
        """Return the attention of one layer, from each query to each key; the class token comes first.

        Raises UsageError for a layer that does not exist.
        """
        depth = len(self.encoder.blocks)
        if not -depth <= layer < depth:
            raise UsageError(f"there is no layer {layer}: this network has layers 0 to {depth - 1}.")
        x, mask, _ = self._enter(pixels, None, valid)
        return self.encoder.weights(x, layer, mask)

    def _enter(
        self, pixels: Tensor, keep: Tensor | None, valid: Tensor | None
    ) -> tuple[Tensor, Tensor | None, Tensor]:
        size = (pixels.shape[2], pixels.shape[3])
        check_divides(self.patch, size)
        grid = (size[0] // self.patch, size[1] // self.patch)
        x = rearrange(self.embed(pixels), "b d h w -> b (h w) d") + self.positions(grid)
        mask = None if valid is None else self._visible(valid)
        places = repeat(torch.arange(x.shape[1], device=x.device), "n -> b n", b=len(x))
        if keep is not None:
            places = keep
            x = x.gather(1, repeat(keep, "b k -> b k d", d=self.width))
            mask = None if mask is None else mask.gather(1, keep)
        if self.prefix is not None:
            x = torch.cat([repeat(self.prefix, "p d -> b p d", b=len(x)), x], dim=1)
            mask = None if mask is None else F.pad(mask, (len(self.prefix), 0), value=True)
        return self.dropout(x), mask, places

    def _visible(self, valid: Tensor) -> Tensor:
        seen = F.max_pool2d(rearrange(valid, "b h w -> b 1 h w").float(), self.patch)
        return seen.flatten(1) > 0


@dataclass(frozen=True, kw_only=True)
class ViTConfig:
    """A Vision Transformer of our own: ``size`` names a row of the table, the rest departs from it."""

    family: Literal["vit"] = "vit"
    """The family of networks."""
    size: str = "s"
    """pico, ti, s, b, l, h or g."""
    patch: int = 16
    """The side of a patch in pixels, which divides the pictures' sides (0: chosen by the pictures)."""
    width: int | None = None
    """Features of a token (default: the size's)."""
    depth: int | None = None
    """Layers (default: the size's)."""
    heads: int | None = None
    """Attentions side by side in a layer; they divide the width (default: the size's)."""
    mlp: int | None = None
    """Hidden width of the feed-forward part (default: the size's)."""
    pool: Literal["class", "mean"] = "class"
    """What sums the picture up: a class token, or the mean of the patches' tokens."""
    stem: Literal["patch", "conv"] = "patch"
    """Pixels to tokens: one linear map of each patch, or small overlapping convolutions."""
    init: Literal["normal", "xavier"] = "xavier"
    """The weights at the start: normal with deviation 0.02, or Xavier-uniform."""
    drop_path: float = 0.0
    """The chance that the last layer's branches are dropped in training; earlier ones less."""
    dropout: float = 0.0
    """The chance that an activation is dropped in training."""

    def __post_init__(self) -> None:
        if self.size not in SIZES:
            known = ", ".join(SIZES)
            raise UsageError(f"there is no size {self.size!r}.{nearest(self.size, SIZES)} Sizes are {known}.")
        for name in ("patch", "width", "depth", "heads", "mlp"):
            value, least = getattr(self, name), int(name != "patch")
            if value is not None and value < least:
                raise UsageError(f"{name} must be at least {least}, not {value}.")
        for name in ("drop_path", "dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise UsageError(f"{name} is a chance from 0 to below 1, not {getattr(self, name):g}.")

    @classmethod
    def named(cls, size: str, patch: int) -> "ViTConfig":
        """Return what a name stands for: below S with the stem and the pool that such networks like best.

        See benchmarks/results for what each is worth to them.
        """
        if SIZES[size].width < SIZES["s"].width:
            return cls(size=size, patch=patch, stem="conv", pool="mean")
        return cls(size=size, patch=patch)

    @property
    def name(self) -> str:
        """The model's name: size and patch."""
        return f"vit-{self.size}{self.patch or ''}"

    def build(self, image_size: Size, channels: int, *, offline: bool = False) -> ViT:  # noqa: ARG002
        """Return the network for pictures of this size, with fresh weights from torch's global generator.

        Raises UsageError when the patch does not divide the pictures, or the heads the width.
        """
        if not self.patch:
            return self.suited(image_size).build(image_size, channels)
        check_divides(self.patch, image_size)
        shape = SIZES[self.size]
        width, depth = self.width or shape.width, self.depth or shape.depth
        heads, mlp = self.heads or shape.heads, self.mlp or shape.mlp
        blocks = [
            Block(
                norm_mix=nn.LayerNorm(width, eps=1e-6),
                mix=Attention(width, heads),
                norm_feed=nn.LayerNorm(width, eps=1e-6),
                feed=MLP(width, mlp, self.dropout),
                drop=nn.Sequential(
                    nn.Dropout(self.dropout), DropPath(self.drop_path * layer / max(depth - 1, 1))
                ),
            )
            for layer in range(depth)
        ]
        vit = ViT(
            embed=EMBEDS[self.stem](channels, width, self.patch),
            positions=LearnedPositions((image_size[0] // self.patch, image_size[1] // self.patch), width),
            encoder=Encoder(blocks, nn.LayerNorm(width, eps=1e-6)),
            width=width,
            patch=self.patch,
            pool=self.pool,
            dropout=self.dropout,
        )
        return vit.apply(INITS[self.init])

    def fetch(self, *, offline: bool = False) -> None:
        """Bring the weights to start from into the cache: there are none."""

    def untrained(self) -> "ViTConfig":
        """Return the same network without weights to start from, which it never has yet."""
        return self

    def preprocessing(self) -> dict[str, Any]:
        """Return how pictures were prepared for the weights to start from: nothing, without such weights."""
        return {}

    def suited(self, pictures: Size) -> "ViTConfig":
        """Return the network with its patch chosen, if it is not: 7 to 14 patches a side of pictures."""
        patch = 2 ** math.floor(math.log2(max(2.0, min(pictures) / 7)))
        return self if self.patch else replace(self, patch=min(16, patch))

    def suitable_size(self, pictures: Size) -> Size:
        """Return a canvas for pictures of about this size, which the patch divides.

        Small pictures keep their shape, larger ones become squares of 224. With less than 4 patches a side
        there is little for tokens to tell each other: such pictures are enlarged to 7.
        """
        if max(pictures) > 224:
            pictures = (224, 224)
        fewest = min(pictures) / self.patch
        scale = 1.0 if fewest >= 4 else 7 / fewest
        height, width = (round(side * scale / self.patch) * self.patch for side in pictures)
        return height, width


def check_divides(patch: int, size: Size) -> None:
    """Raise UsageError, naming the nearest sizes that would do, unless the patch divides both sides."""
    if any(side < patch or side % patch for side in size):
        lower, upper = (
            tuple(max(patch, (side + up) // patch * patch) for side in size) for up in (0, patch - 1)
        )
        near = f"{lower[0]}x{lower[1]}" + (f" or {upper[0]}x{upper[1]}" if upper != lower else "")
        raise UsageError(
            f"patches of {patch} pixels do not divide {size[0]}x{size[1]}: take {near} for --image-size."
        )
