"""Where the class token looked (Dosovitskiy et al. 2020; Caron et al. 2021, "Emerging properties")."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
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
        blocks_of(model)
        backbone = model.backbone
        with at_rest(model, batch) as ready, torch.no_grad():
            paid: Tensor = backbone.attention(ready.pixels["image"], self.layer, ready.valid).float()
        heads = paid.shape[1]
        if self.head is not None and not 0 <= self.head < heads:
            raise UsageError(f"there is no head {self.head}: each layer has heads 0 to {heads - 1}.")
        each = paid.mean(dim=1) if self.head is None else paid[:, self.head]
        row = torch.einsum("n,bnm->bm", summing(backbone, each), each)
        return heats(on_patches(backbone, ready, row), about, self.name)
