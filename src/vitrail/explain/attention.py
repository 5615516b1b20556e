"""Where the class token looked (Dosovitskiy et al. 2020; Caron et al. 2021, "Emerging properties")."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from vitrail.errors import UsageError
from vitrail.models.vision import Vision
from vitrail.values import Batch, Heat


@dataclass(frozen=True, kw_only=True)
class AttentionMap:
    """The attention of one layer to each patch, averaged over heads, from the token that sums the picture up.

    That is the class token; where the mean of all patches sums up, their attention is averaged. ``layer``
    counts from 0 or, when negative, from the end. It shows where information came from, whatever the answer:
    ``about`` is only written down.
    """

    layer: int = -1

    name: ClassVar[str] = "attention"
    class_specific: ClassVar[bool] = False

    @torch.inference_mode()
    def __call__(self, model: Vision, batch: Batch, about: Any = None) -> list[Heat]:
        """Return one heat map a sample, ``h w`` patches, none below zero.

        Raises UsageError for a backbone without attention, or without this layer.
        """
        backbone = model.backbone
        if not hasattr(backbone, "attention"):
            raise UsageError("this network has no attention to show: explain it by another method.")
        pixels = batch.pixels["image"]
        paid: Tensor = backbone.attention(pixels, self.layer, batch.valid).float().mean(dim=1)
        height, width = (side // backbone.patch for side in pixels.shape[2:])
        prefix = paid.shape[-1] - height * width
        summing = paid[:, 0] if backbone.pool == "class" else paid[:, prefix:].mean(dim=1)
        maps = summing[:, prefix:].reshape(-1, height, width).cpu().numpy()
        return [
            Heat(values=values, about=about, method="attention", source=index)
            for index, values in enumerate(maps)
        ]
