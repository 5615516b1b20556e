"""A stack of blocks that look at themselves and at another sequence."""

from collections.abc import Iterable
from typing import cast

from jaxtyping import Float
from torch import Tensor, nn

from vitrail.nn.attention import Mask, OwnMask
from vitrail.nn.block import CrossBlock


class Decoder(nn.Module):
    """Cross blocks one after the other, and the norm that pre-norm blocks leave to be done at the end.

    What tokens may see of their own sequence, their blocks say: words that are written one by one attend
    causally (Vaswani et al. 2017), a detector's queries look at each other (Carion et al. 2020, "DETR").
    """

    def __init__(self, blocks: Iterable[CrossBlock], norm: nn.Module) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.norm = norm

    def forward(
        self,
        x: Float[Tensor, "b n d"],
        context: Float[Tensor, "b m e"],
        mask: OwnMask | None = None,
        context_mask: Mask | None = None,
    ) -> Float[Tensor, "b n d"]:
        """Return the tokens after the last block, normalised; masks are true where one may look."""
        for block in self.blocks:
            x = block(x, context, mask, context_mask)
        normed: Tensor = self.norm(x)
        return normed

    def weights(
        self,
        x: Float[Tensor, "b n d"],
        context: Float[Tensor, "b m e"],
        layer: int = -1,
        mask: OwnMask | None = None,
        context_mask: Mask | None = None,
    ) -> tuple[Float[Tensor, "b h n n"], Float[Tensor, "b h n m"]]:
        """Return the attention of one layer to its own sequence, and to the context.

        Layers count from 0 or, when negative, from the end. Raises IndexError for one that does not exist.
        """
        depth = range(len(self.blocks))[layer]
        for block in self.blocks[:depth]:
            x = block(x, context, mask, context_mask)
        return cast(CrossBlock, self.blocks[depth]).weights(x, context, mask, context_mask)
