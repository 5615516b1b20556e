"""Tokens of several modalities as one sequence, in which any of them may be missing."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn


class Modalities(nn.Module):
    """Put the tokens of ``count`` modalities one after the other, each with a learned vector for its kind.

    (Kim et al. 2021, "ViLT: vision-and-language Transformer", which calls it the modal-type embedding.)
    ``drop`` is the chance that training hides a modality from a sample which has others, so that the network
    learns to do without (Neverova et al. 2014, "ModDrop: adaptive multi-modal gesture recognition").
    """

    def __init__(self, count: int, width: int, drop: float = 0.0) -> None:
        super().__init__()
        self.kinds = nn.Parameter(torch.empty(count, width))
        nn.init.trunc_normal_(self.kinds, std=0.02)
        self.drop = drop

    def forward(
        self, tokens: Sequence[Float[Tensor, "b _ d"] | None], present: Bool[Tensor, "b m"] | None
    ) -> tuple[Float[Tensor, "b n d"], Bool[Tensor, "b n"] | None]:
        """Return one sequence, and which of it may be looked at (None: all).

        ``tokens`` are None for a modality that no sample has; ``present`` says which samples have the others.
        """
        parts = [part + kind for part, kind in zip(tokens, self.kinds, strict=True) if part is not None]
        if present is None:
            return torch.cat(parts, dim=1), None
        mask = [
            present[:, number, None].expand(-1, part.shape[1])
            for number, part in enumerate(tokens)
            if part is not None
        ]
        return torch.cat(parts, dim=1), torch.cat(mask, dim=1)

    def hide(self, present: Bool[Tensor, "b m"]) -> Bool[Tensor, "b m"]:
        """Draw what this training step leaves of what samples have: of each one modality at least."""
        if not (self.training and self.drop):
            return present
        chance = torch.rand(present.shape, device=present.device).masked_fill(~present, -1.0)
        return present & ((chance >= self.drop) | (chance == chance.amax(dim=1, keepdim=True)))

    def extra_repr(self) -> str:
        """Show the numbers where torch prints the module."""
        return f"{len(self.kinds)}, drop={self.drop:g}"
