"""The Vision Transformer (Dosovitskiy et al. 2020, "An image is worth 16x16 words")."""

from collections.abc import Iterator, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from einops import repeat
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from vitrail.backbones.entrance import Entrance
from vitrail.errors import UsageError
from vitrail.nn.encoder import Encoder
from vitrail.nn.experts import take_routing
from vitrail.nn.merging import encode_merging
from vitrail.nn.rotary import Rotation
from vitrail.values import Features, Size, Tokens

Pool = Literal["class", "mean", "attention", "class+mean", "class+distilled"]
"""What sums a picture up: see `ViTConfig.pool`."""


class ViT(Entrance):
    """Patches become tokens, tokens become features; a token or their mean sums the picture up.

    Takes what its `Entrance` takes, whose parts become its own. There is one level: the last layer's
    normalised tokens on their grid, at a stride of one patch. ``prefix`` tokens come before the patches:
    class, distillation, registers. With ``patch_drop`` training leaves that share of the patches out.
    ``merge`` may be set at any time: in evaluation so many tokens a layer are merged with the ones most like
    them (see `nn.merging`), and every place gets the values of the token that holds it.

    With ``depths`` there is a level for each of these layers instead (counted from 0, the earliest first),
    all at the stride of one patch and through the last norm, as DINOv2 shows its layers to dense heads.
    Setting them raises UsageError for layers that do not exist or do not rise.
    """

    merge = 0

    def __init__(
        self,
        entrance: Entrance,
        *,
        enter: nn.Module,
        encoder: Encoder,
        pooling: nn.Module | None,
        norm_summary: nn.Module,
        pool: Pool,
        prefix: int,
        width: int,
        dropout: float,
        patch_drop: float,
    ) -> None:
        super().__init__(
            embed=entrance.embed,
            positions=entrance.positions,
            rotary=entrance.rotary,
            patch=entrance.patches,
        )
        # These tokens lie nowhere: what other implementations add as their position is part of them here.
        self.prefix = nn.Parameter(torch.empty(prefix, width)) if prefix else None
        if self.prefix is not None:
            nn.init.trunc_normal_(self.prefix, std=0.02)
        self.dropout, self.patch_drop = nn.Dropout(dropout), patch_drop
        self.enter, self.encoder = enter, encoder
        self.pool, self.pooling, self.norm_summary = pool, pooling, norm_summary
        self.patch = self.patches[-1]
        self.width = 2 * width if pool.startswith("class+") else width
        self.strides: tuple[int, ...] = (self.patch,)
        self.channels: tuple[int, ...] = (width,)
        self._depths: tuple[int, ...] = ()
        self.least: Size = (self.patch, self.patch)

    @property
    def depths(self) -> tuple[int, ...]:
        """The layers that are levels; none: the last alone."""
        return self._depths

    @depths.setter
    def depths(self, layers: Sequence[int]) -> None:
        last = len(self.encoder.blocks) - 1
        if list(layers) != sorted({layer for layer in layers if 0 <= layer <= last}):
            raise UsageError(f"depths rise from 0 to {last} in this network, unlike {list(layers)}.")
        self._depths, width = tuple(layers), self.channels[-1]
        self.strides = (self.patch,) * max(1, len(layers))
        self.channels = (width,) * max(1, len(layers))

    def forward(
        self,
        pixels: Float[Tensor, "b c *size"],
        valid: Bool[Tensor, "b *size"] | None = None,
        levels: bool = True,
    ) -> Features:
        """Return the features; tokens of patches without a ``valid`` pixel are looked at by nobody."""
        x, mask, rotation, places = self._enter(pixels, self._keep(pixels, valid), valid)
        if levels and self.depths:
            *shown, (prefix, values) = self._each_depth(x, mask, rotation)
        else:
            prefix, values = self.encode(x, mask, rotation)
            shown = [(prefix, values)] if levels else []
        visible = None if valid is None else self.visible(valid).gather(1, places)
        aux, seen = take_routing(self.encoder.blocks)
        grid = self.grid(pixels)
        return Features(
            levels=tuple(self._on_grid(Tokens(values=each, places=places), grid) for _, each in shown),
            strides=self.strides if levels else (),
            summary=self.summary(values, prefix, visible),
            prefix=prefix,
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
        prefix, values = self.encode(x, mask, rotation)
        return Tokens(values=values, places=places, prefix=prefix)

    def attention(
        self,
        pixels: Float[Tensor, "b c *size"],
        layer: int = -1,
        valid: Bool[Tensor, "b *size"] | None = None,
    ) -> Float[Tensor, "b heads n n"]:
        """Return the attention of one layer, from each query to each key; the prefix tokens come first.

        It is that of the whole network, whatever ``merge`` says: merged tokens pay none of their own.
        Raises UsageError for a layer that does not exist.
        """
        x, mask, rotation, _ = self._enter(pixels, None, valid)
        return self.weights(x, layer, mask, rotation)

    def each_attention(
        self, pixels: Float[Tensor, "b c *size"], valid: Bool[Tensor, "b *size"] | None = None
    ) -> Iterator[Float[Tensor, "b heads n n"]]:
        """Yield the attention of every layer, as `attention` returns it, from the first to the last."""
        x, mask, rotation, _ = self._enter(pixels, None, valid)
        yield from self.encoder.each_weights(x, mask, rotation)

    def begin(
        self, x: Float[Tensor, "b n d"], mask: Bool[Tensor, "b n"] | None
    ) -> tuple[Float[Tensor, "b m d"], Bool[Tensor, "b m"] | None]:
        """Return tokens as they enter the encoder, after the prefix, and which of them may be looked at."""
        if self.prefix is not None:
            x = torch.cat([repeat(self.prefix, "p d -> b p d", b=len(x)), x], dim=1)
            mask = None if mask is None else F.pad(mask, (len(self.prefix), 0), value=True)
        return self.enter(self.dropout(x)), mask

    def encode(
        self, x: Float[Tensor, "b n d"], mask: Bool[Tensor, "b n"] | None, rotation: Rotation | None
    ) -> tuple[Float[Tensor, "b p d"] | None, Float[Tensor, "b m d"]]:
        """Return the last layer's tokens, normalised: those of the prefix (None without) and the others."""
        skip = self.skip
        if self.merge and not self.training:
            merged = encode_merging(
                self.encoder, x, remove=self.merge, prefix=skip, visible=mask, rotation=rotation
            )
            x = merged.spread()
        else:
            x = self.encoder(x, mask, rotation)
        return (x[:, :skip] if skip else None), x[:, skip:]

    def _each_depth(
        self, x: Tensor, mask: Tensor | None, rotation: Rotation | None
    ) -> list[tuple[Tensor | None, Tensor]]:
        """Return what `encode` does after each of the ``depths``, and at the end."""
        if self.merge and not self.training:
            raise UsageError("a head that looks at several depths leaves no tokens to merge: leave --merge.")
        skip, found = self.skip, []
        for layer, block in enumerate(self.encoder.blocks):
            x = block(x, mask, rotation)
            if layer in self.depths:
                found.append(self.encoder.norm(x))
        found.append(found[-1] if self.depths[-1] == layer else self.encoder.norm(x))
        return [((each[:, :skip] if skip else None), each[:, skip:]) for each in found]

    def weights(
        self,
        x: Float[Tensor, "b n d"],
        layer: int,
        mask: Bool[Tensor, "b n"] | None,
        rotation: Rotation | None,
    ) -> Float[Tensor, "b heads n n"]:
        """Return the attention of one layer, given the tokens that enter the encoder."""
        depth = len(self.encoder.blocks)
        if not -depth <= layer < depth:
            raise UsageError(f"there is no layer {layer}: this network has layers 0 to {depth - 1}.")
        return self.encoder.weights(x, layer, mask, rotation)

    def summary(
        self,
        values: Float[Tensor, "b n d"],
        prefix: Float[Tensor, "b p d"] | None,
        visible: Bool[Tensor, "b n"] | None,
    ) -> Float[Tensor, "b e"]:
        """Return the one vector that sums encoded tokens up; what is not ``visible`` has no part in it."""
        summary: Tensor = self.norm_summary(self._pooled(values, prefix, visible))
        return summary

    @property
    def skip(self) -> int:
        """How many tokens come before the patches."""
        return 0 if self.prefix is None else len(self.prefix)

    def _enter(
        self, pixels: Tensor, keep: Tensor | None, valid: Tensor | None
    ) -> tuple[Tensor, Tensor | None, Rotation | None, Tensor]:
        """Return the tokens as they enter the encoder, what they may look at, their turns and places."""
        x, rotation = self.embedded(pixels), self.turns(pixels, self.skip)
        mask = None if valid is None else self.visible(valid)
        if keep is None:
            places = repeat(torch.arange(x.shape[1], device=x.device), "n -> b n", b=len(x))
        else:
            places = keep
            x = x.gather(1, repeat(keep, "b k -> b k d", d=x.shape[2]))
            mask = None if mask is None else mask.gather(1, keep)
            rotation = None if rotation is None else rotation.of(keep, self.skip)
        x, mask = self.begin(x, mask)
        return x, mask, rotation, places

    def _keep(self, pixels: Tensor, valid: Tensor | None) -> Tensor | None:
        """Draw the places that this training step looks at, valid ones first; None are all."""
        if not (self.training and self.patch_drop):
            return None
        count = torch.Size(self.grid(pixels)).numel()
        chance = torch.rand(len(pixels), count, device=pixels.device)
        if valid is not None:
            chance = chance + ~self.visible(valid)
        return chance.argsort(dim=1)[:, : max(1, round(count * (1 - self.patch_drop)))]

    def _pooled(self, values: Tensor, prefix: Tensor | None, visible: Tensor | None) -> Tensor:
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
            mean = torch.einsum("bnd,bn->bd", values, weights) / weights.sum(1, keepdim=True).clamp(min=1)
        return mean if prefix is None or self.pool == "mean" else torch.cat([prefix[:, 0], mean], dim=1)

    def _on_grid(self, tokens: Tokens, grid: tuple[int, ...]) -> Tensor:
        """Lay tokens on their grid; places that none has are zero."""
        values, count = tokens.values, torch.Size(grid).numel()
        if values.shape[1] != count:
            index = tokens.places[..., None].expand_as(values)
            values = values.new_zeros(len(values), count, values.shape[2]).scatter(1, index, values)
        return values.mT.reshape(len(values), -1, *grid)
