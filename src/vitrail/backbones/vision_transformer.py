"""The Vision Transformer (Dosovitskiy et al. 2020, "An image is worth 16x16 words")."""

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from einops import repeat
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from vitrail.errors import UsageError
from vitrail.nn.encoder import Encoder
from vitrail.nn.experts import take_routing
from vitrail.nn.merging import encode_merging
from vitrail.nn.rotary import RotaryPositions, Rotation
from vitrail.values import Features, Size, Tokens

Pool = Literal["class", "mean", "attention", "class+mean", "class+distilled"]
"""What sums a picture up: see `ViTConfig.pool`."""


class ViT(nn.Module):
    """Patches become tokens, tokens become features; a token or their mean sums the picture up.

    Takes pictures ``b c h w``, or videos and volumes ``b c t h w``, of any size that the patch divides;
    positions follow their grid. There is one level: the last layer's normalised tokens on their grid, at a
    stride of one patch. ``prefix`` tokens come before the patches: class, distillation, registers.
    ``patch`` is the side of a patch in pixels along each axis. With ``patch_drop`` training leaves that share
    of the patches out. ``merge`` may be set at any time: in evaluation so many tokens a layer are merged with
    the ones most like them (see `nn.merging`), and every place gets the values of the token that holds it.
    """

    merge = 0

    def __init__(
        self,
        *,
        embed: nn.Module,
        positions: nn.Module | None,
        rotary: RotaryPositions | None,
        enter: nn.Module,
        encoder: Encoder,
        pooling: nn.Module | None,
        norm_summary: nn.Module,
        pool: Pool,
        prefix: int,
        width: int,
        patch: Sequence[int],
        dropout: float,
        patch_drop: float,
    ) -> None:
        super().__init__()
        self.embed, self.positions, self.rotary = embed, positions, rotary
        # These tokens lie nowhere: what other implementations add as their position is part of them here.
        self.prefix = nn.Parameter(torch.empty(prefix, width)) if prefix else None
        if self.prefix is not None:
            nn.init.trunc_normal_(self.prefix, std=0.02)
        self.dropout, self.patch_drop = nn.Dropout(dropout), patch_drop
        self.enter, self.encoder = enter, encoder
        self.pool, self.pooling, self.norm_summary = pool, pooling, norm_summary
        self.patches, self.patch = tuple(patch), patch[-1]
        self.width = 2 * width if pool.startswith("class+") else width
        self.strides, self.channels = (self.patch,), (width,)
        self.least: Size = (self.patch, self.patch)

    def forward(
        self,
        pixels: Float[Tensor, "b c *size"],
        valid: Bool[Tensor, "b *size"] | None = None,
        levels: bool = True,
    ) -> Features:
        """Return the features; tokens of patches without a ``valid`` pixel are looked at by nobody."""
        tokens = self.tokens(pixels, self._keep(pixels, valid), valid)
        visible = None if valid is None else self._visible(valid).gather(1, tokens.places)
        aux, seen = take_routing(self.encoder.blocks)
        return Features(
            levels=(self._on_grid(tokens, self.grid(pixels)),) if levels else (),
            strides=self.strides if levels else (),
            summary=self.norm_summary(self._summary(tokens, visible)),
            prefix=tokens.prefix,
            aux=aux,
            seen=seen,
        )

    def tokens(
        self,
        pixels: Float[Tensor, "b c *size"],
        keep: Int[Tensor, "b k"] | None = None,
        valid: Bool[Tensor, "b *size"] | None = None,
    ) -> Tokens:
        """Return the last layer's tokens, normalised; with ``keep``, of these places of the grid only.

        Places count row by row. The others are never computed, as masked pretraining and patch dropout want.
        """
        x, mask, rotation, places = self._enter(pixels, keep, valid)
        skip = x.shape[1] - places.shape[1]
        if self.merge and not self.training:
            parts = {"remove": self.merge, "prefix": skip, "visible": mask, "rotation": rotation}
            x = encode_merging(self.encoder, x, **parts).spread()
        else:
            x = self.encoder(x, mask, rotation)
        return Tokens(values=x[:, skip:], places=places, prefix=x[:, :skip] if skip else None)

    def attention(
        self,
        pixels: Float[Tensor, "b c *size"],
        layer: int = -1,
        valid: Bool[Tensor, "b *size"] | None = None,
    ) -> Float[Tensor, "b heads n n"]:
        """Return the attention of one layer, from each query to each key; the prefix tokens come first.

        It is that of the whole network, whatever ``merge`` says: merged tokens have no attention of their own.
        Raises UsageError for a layer that does not exist.
        """
        depth = len(self.encoder.blocks)
        if not -depth <= layer < depth:
            raise UsageError(f"there is no layer {layer}: this network has layers 0 to {depth - 1}.")
        x, mask, rotation, _ = self._enter(pixels, None, valid)
        return self.encoder.weights(x, layer, mask, rotation)

    def grid(self, pixels: Float[Tensor, "b c *size"]) -> tuple[int, ...]:
        """Return how many patches lie along each axis."""
        size = tuple(pixels.shape[2:])
        check_divides(self.patches, size)
        return tuple(side // patch for side, patch in zip(size, self.patches, strict=True))

    def _enter(
        self, pixels: Tensor, keep: Tensor | None, valid: Tensor | None
    ) -> tuple[Tensor, Tensor | None, Rotation | None, Tensor]:
        """Return the tokens as they enter the encoder, what they may look at, their turns and places."""
        grid, skip = self.grid(pixels), 0 if self.prefix is None else len(self.prefix)
        x = self.embed(pixels).flatten(2).mT
        if self.positions is not None:
            x = x + self.positions(grid).to(x)
        rotation = None if self.rotary is None else self.rotary(grid, skip)
        mask = None if valid is None else self._visible(valid)
        if keep is None:
            places = repeat(torch.arange(x.shape[1], device=x.device), "n -> b n", b=len(x))
        else:
            places = keep
            x = x.gather(1, repeat(keep, "b k -> b k d", d=x.shape[2]))
            mask = None if mask is None else mask.gather(1, keep)
            rotation = None if rotation is None else rotation.of(keep, skip)
        if self.prefix is not None:
            x = torch.cat([repeat(self.prefix, "p d -> b p d", b=len(x)), x], dim=1)
            mask = None if mask is None else F.pad(mask, (skip, 0), value=True)
        return self.enter(self.dropout(x)), mask, rotation, places

    def _keep(self, pixels: Tensor, valid: Tensor | None) -> Tensor | None:
        """Draw the places that this training step looks at, valid ones first; None are all."""
        if not (self.training and self.patch_drop):
            return None
        count = torch.Size(self.grid(pixels)).numel()
        chance = torch.rand(len(pixels), count, device=pixels.device)
        if valid is not None:
            chance = chance + ~self._visible(valid)
        return chance.argsort(dim=1)[:, : max(1, round(count * (1 - self.patch_drop)))]

    def _summary(self, tokens: Tokens, visible: Tensor | None) -> Tensor:
        values, prefix = tokens.values, tokens.prefix
        if self.pool == "class" and prefix is not None:
            return prefix[:, 0]
        if self.pool == "class+distilled" and prefix is not None:
            return prefix[:, :2].flatten(1)
        if self.pooling is not None:
            pooled: Tensor = self.pooling(values, visible)
            return pooled
        if visible is None:
            mean = values.mean(dim=1)
        else:
            weights = visible.to(values.dtype)
            mean = torch.einsum("bnd,bn->bd", values, weights) / weights.sum(1, keepdim=True)
        return mean if prefix is None or self.pool == "mean" else torch.cat([prefix[:, 0], mean], dim=1)

    def _on_grid(self, tokens: Tokens, grid: tuple[int, ...]) -> Tensor:
        """Lay tokens on their grid; places that none has are zero."""
        values, count = tokens.values, torch.Size(grid).numel()
        if values.shape[1] != count:
            index = tokens.places[..., None].expand_as(values)
            values = values.new_zeros(len(values), count, values.shape[2]).scatter(1, index, values)
        return values.mT.reshape(len(values), -1, *grid)

    def _visible(self, valid: Tensor) -> Tensor:
        pool = F.max_pool2d if len(self.patches) == 2 else F.max_pool3d
        return pool(valid[:, None].float(), self.patches).flatten(1) > 0


def check_divides(patches: Sequence[int], size: Sequence[int]) -> None:
    """Raise UsageError, naming the nearest sizes that would do, unless the patch divides each side."""
    if len(patches) != len(size):
        raise UsageError(f"patches with {len(patches)} sides do not cut what has {len(size)}.")
    if any(side < patch or side % patch for side, patch in zip(size, patches, strict=True)):
        near = []
        for up in (False, True):
            pairs = zip(size, patches, strict=True)
            sides = [max(patch, (side + (patch - 1) * up) // patch * patch) for side, patch in pairs]
            near.append("x".join(map(str, sides)))
        cure = " or ".join(dict.fromkeys(near))
        patch = str(patches[0]) if len(set(patches)) == 1 else "x".join(map(str, patches))
        raise UsageError(
            f"patches of {patch} pixels do not divide {'x'.join(map(str, size))}: "
            f"take {cure} for --image-size."
        )
