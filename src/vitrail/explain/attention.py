"""Where the class token looked (Dosovitskiy et al. 2020; Caron et al. 2021, "Emerging properties")."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from vitrail.errors import UsageError
from vitrail.explain.relevance import blocks_of, on_patches, summing
from vitrail.explain.tap import at_rest, heats
from vitrail.models.vision import Vision
from vitrail.values import Batch, Heat


@dataclass(frozen=True, kw_only=True)
class AttentionMap:
    """The attention of one layer to each patch, from the token that sums the picture up.

    That is the class token; where the mean of all patches sums up, their attention is averaged. ``layer``
    counts from 0 or, when negative, from the end; ``head`` is one of the layer's (None: the mean of all). It
    shows where information came from, whatever the answer: ``about`` is only written down.
    """

    layer: int = -1
    head: int | None = None

    name: ClassVar[str] = "attention"
    class_specific: ClassVar[bool] = False

    def __call__(self, model: Vision, batch: Batch, about: Any = None) -> list[Heat]:
        """Return one heat map a sample, ``h w`` patches, none below zero.

        Raises UsageError for a backbone without attention, or without this layer or head.
        """
        each = self.by_head(model, batch)
        if self.head is None:
            return heats(each.mean(dim=1), about, self.name)
        if not 0 <= self.head < each.shape[1]:
            raise UsageError(f"there is no head {self.head}: each layer has heads 0 to {each.shape[1] - 1}.")
        return heats(each[:, self.head], about, self.name)

    def by_head(self, model: Vision, batch: Batch) -> Float[Tensor, "b heads h w"]:
        """Return the attention of every head of the layer; raises as a call does."""
        blocks_of(model)
        backbone = model.backbone
        with at_rest(model, batch) as ready, torch.no_grad():
            paid: Tensor = backbone.attention(ready.pixels["image"], self.layer, ready.valid).float()
        row = torch.einsum("n,bhnm->bhm", summing(backbone, paid[:, 0]), paid)
        grid = on_patches(backbone, ready, row.flatten(0, 1))
        return grid.view(*row.shape[:2], *grid.shape[1:])
