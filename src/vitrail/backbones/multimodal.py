"""Several kinds of pictures, as a radar's beside a camera's or CT beside MR, seen by one Transformer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import cast

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from vitrail.backbones.entrance import Entrance
from vitrail.backbones.vision_transformer import ViT
from vitrail.backbones.vit import ViTConfig
from vitrail.errors import UsageError, nearest
from vitrail.nn.experts import take_routing
from vitrail.nn.init import INITS
from vitrail.nn.modalities import Modalities
from vitrail.nn.rotary import Rotation
from vitrail.values import Features, Size, Tokens

Pictures = Mapping[str, Float[Tensor, "b _ ..."]]
"""Pixels by role, each ``b c h w`` or ``b c t h w``; a role that no sample has is left out."""

Present = Mapping[str, Bool[Tensor, " b"]]
"""Which samples have a picture, for the roles that not every one has."""


class MultimodalViT(nn.Module):
    """A ViT whose layers look at all the modalities that a sample has, as one sequence of tokens.

    Each modality is a role of ``Batch.pixels`` with patches and positions of its own, after Bachmann et al.
    2022, "MultiMAE". The first is the ViT's own, and its grid is the one level, at a stride of its patch. Any
    may be missing, from a batch or from some of its samples: nobody then looks at its tokens, so an answer
    does not depend on what stands in its place. Without the first, its level holds what the others tell about
    each place.
    """

    def __init__(
        self, *, first: str, vit: ViT, others: Mapping[str, Entrance], modalities: Modalities
    ) -> None:
        super().__init__()
        self.first, self.vit = first, vit
        self.others, self.modalities = nn.ModuleDict(dict(others)), modalities
        self.roles = (first, *others)
        self.width, self.strides, self.channels = vit.width, vit.strides, vit.channels
        self.least: Size = vit.least

    def forward(self, pixels: Pictures, present: Present | None = None, levels: bool = True) -> Features:
        """Return the features.

        Raises UsageError for a role that there is not, for a sample without any picture, and for levels when
        the batch has no picture of the first modality, which would tell their grid.
        """
        values, prefix, visible = self._encode(pixels, present)
        if levels and self.first not in pixels:
            raise UsageError(
                f"the level is a map over {self.first!r}, of which this batch has no picture: "
                "ask for the summary alone (levels=False)."
            )
        aux, seen = take_routing(self.vit.encoder.blocks)
        return Features(
            levels=(self._on_grid(values, pixels[self.first]),) if levels else (),
            strides=self.strides if levels else (),
            summary=self.vit.summary(values, prefix, visible),
            prefix=prefix,
            aux=aux,
            seen=seen,
        )

    def tokens(self, pixels: Pictures, present: Present | None = None) -> Mapping[str, Tokens]:
        """Return the last layer's tokens of each modality, normalised, with the prefix that all share."""
        values, prefix, _ = self._encode(pixels, present)
        counts = self._counts(pixels)
        return {
            role: Tokens(
                values=part,
                places=torch.arange(part.shape[1], device=part.device).expand(len(part), -1),
                prefix=prefix,
            )
            for role, part in zip(counts, torch.split(values, list(counts.values()), dim=1), strict=True)
        }

    def attention(
        self, pixels: Pictures, layer: int = -1, present: Present | None = None
    ) -> Float[Tensor, "b heads n n"]:
        """Return the attention of one layer: first the prefix, then the modalities in the order of ``roles``.

        Raises UsageError for a layer that does not exist.
        """
        x, mask, rotation = self._enter(pixels, present)
        return self.vit.weights(x, layer, mask, rotation)

    def _encode(
        self, pixels: Pictures, present: Present | None
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Return the encoded tokens, those of the prefix, and which of the former may be looked at."""
        x, mask, rotation = self._enter(pixels, present)
        prefix, values = self.vit.encode(x, mask, rotation)
        return values, prefix, None if mask is None else mask[:, self.vit.skip :]

    def _enter(
        self, pixels: Pictures, present: Present | None
    ) -> tuple[Tensor, Tensor | None, Rotation | None]:
        """Return the tokens as they enter the encoder, what they may look at, and their turns."""
        there = self._there(pixels, present)
        tokens: list[Tensor | None] = []
        turns: list[Rotation] = []
        for number, role in enumerate(self.roles):
            if role not in pixels:
                tokens.append(None)
                continue
            entrance = self._entrance(role)
            rotation = entrance.turns(pixels[role], 0 if turns else self.vit.skip)
            turns += [] if rotation is None else [rotation]
            tokens.append(entrance.embedded(pixels[role], None if there is None else there[:, number]))
        x, mask = self.vit.begin(*self.modalities(tokens, there))
        each = (torch.cat(parts, dim=1) for parts in zip(*turns, strict=True))
        return x, mask, Rotation(*each) if turns else None

    def _there(self, pixels: Pictures, present: Present | None) -> Tensor | None:
        """Return which modalities each sample has and may use (b m); None are all that there are."""
        for role in {**pixels, **(present or {})}:
            if role not in self.roles:
                raise UsageError(
                    f"there is no modality {role!r}.{nearest(role, self.roles)} "
                    f"This network knows {', '.join(self.roles)}."
                )
        if not pixels:
            raise UsageError(f"a batch needs pictures of at least one of {', '.join(self.roles)}.")
        if present is None and not (self.training and self.modalities.drop):
            return None
        first = next(iter(pixels.values()))
        everyone = torch.ones(len(first), dtype=torch.bool, device=first.device)
        claimed = {role: (present or {}).get(role, everyone) for role in pixels}
        there = torch.stack([claimed.get(role, ~everyone) for role in self.roles], dim=1)
        if present is not None and not (some := there.any(dim=1)).all():
            raise UsageError(
                f"sample {int(some.int().argmin())} of the batch has no picture of any modality."
            )
        return self.modalities.hide(there)

    def _counts(self, pixels: Pictures) -> dict[str, int]:
        """Return how many tokens each modality has, in the order of the sequence."""
        grids = {role: self._entrance(role).grid(pixels[role]) for role in self.roles if role in pixels}
        return {role: torch.Size(grid).numel() for role, grid in grids.items()}

    def _on_grid(self, values: Tensor, pixels: Tensor) -> Tensor:
        grid = self.vit.grid(pixels)
        return values[:, : torch.Size(grid).numel()].mT.reshape(len(values), -1, *grid)

    def _entrance(self, role: str) -> Entrance:
        return self.vit if role == self.first else cast(Entrance, self.others[role])


@dataclass(frozen=True, kw_only=True)
class Modality:
    """One kind of picture: how many channels it has, and into what patches it is cut."""

    channels: int
    """Channels of a picture: 3 of a camera, 2 of a radar with two polarisations, 1 of a depth or a CT."""
    patch: int | None = None
    """The side of a patch in pixels (default: the body's)."""
    tubelet: int | None = None
    """Frames or slices that a patch takes in; 0 for pictures (default: the body's)."""

    def __post_init__(self) -> None:
        if self.channels < 1:
            raise UsageError(f"channels must be at least 1, not {self.channels}.")


@dataclass(frozen=True, kw_only=True)
class MultimodalConfig:
    """A Vision Transformer for several modalities; the first of them has the level."""

    body: ViTConfig
    """The Transformer that they share, and the patches of those that have none of their own."""
    modalities: Mapping[str, Modality]
    """The kinds of pictures by role, in the order of their tokens."""
    modality_drop: float = 0.0
    """The chance that training hides a modality from a sample that has others."""

    def __post_init__(self) -> None:
        if not self.modalities:
            raise UsageError("a network for several modalities needs at least one.")
        for role in self.modalities:
            if not role.isidentifier() or hasattr(nn.ModuleDict(), role):
                raise UsageError(f"{role!r} cannot be the name of a modality: take a plain word.")
        if not 0 <= self.modality_drop < 1:
            raise UsageError(f"modality_drop is a chance from 0 to below 1, not {self.modality_drop:g}.")
        if self.body.stem == "conv":
            raise UsageError(
                "a convolutional stem normalises over the batch, in which modalities may be missing: "
                "take stem='patch'."
            )
        if self.body.patch_drop:
            raise UsageError("patch_drop is for one modality: take modality_drop.")

    def build(self, sizes: Mapping[str, Sequence[int]], *, offline: bool = False) -> MultimodalViT:
        """Return the network for pictures of these sizes by role; weights to start from are the body's.

        Raises UsageError when a size is missing, and what `ViTConfig.build` raises.
        """
        if sizes.keys() != self.modalities.keys():
            raise UsageError(
                f"sizes of {', '.join(sizes)} do not suit the modalities {', '.join(self.modalities)}."
            )
        first, *others = self.modalities
        vit = self._config(first).build(sizes[first], self.modalities[first].channels, offline=offline)
        return MultimodalViT(
            first=first,
            vit=vit,
            others={role: self._entrance(role, sizes[role]) for role in others},
            modalities=Modalities(len(self.modalities), vit.channels[0], self.modality_drop),
        )

    def _entrance(self, role: str, size: Sequence[int]) -> Entrance:
        config = self._config(role).suited((size[-2], size[-1]))
        entrance = config.entrance(size, self.modalities[role].channels)
        return entrance.apply(INITS[config.init])

    def _config(self, role: str) -> ViTConfig:
        own = self.modalities[role]
        patch = self.body.patch if own.patch is None else own.patch
        tubelet = self.body.tubelet if own.tubelet is None else own.tubelet
        return replace(self.body, patch=patch, tubelet=tubelet)
