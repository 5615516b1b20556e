"""A stack of blocks."""

from collections.abc import Iterable, Iterator
from typing import cast

from jaxtyping import Float
from torch import Tensor, nn

from vitrail.nn.attention import Mask
from vitrail.nn.block import Block
from vitrail.nn.rotary import Rotation


class Encoder(nn.Module):
    """Blocks one after the other, and the norm that pre-norm blocks leave to be done at the end."""

    def __init__(self, blocks: Iterable[Block], norm: nn.Module) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.norm = norm

    def forward(
        self, x: Float[Tensor, "b n d"], mask: Mask | None = None, rotation: Rotation | None = None
    ) -> Float[Tensor, "b n d"]:
        """Return the tokens after the last block, normalised."""
        for block in self.blocks:
            x = block(x, mask, rotation)
        normed: Tensor = self.norm(x)
        return normed

    def weights(
        self,
        x: Float[Tensor, "b n d"],
        layer: int = -1,
        mask: Mask | None = None,
        rotation: Rotation | None = None,
    ) -> Float[Tensor, "b h n n"]:
        """Return the attention weights of one layer, counted from 0 or, when negative, from the end.

        Raises IndexError for a layer that does not exist.
        """
        depth = range(len(self.blocks))[layer]
        for block in self.blocks[:depth]:
            x = block(x, mask, rotation)
        return cast(Block, self.blocks[depth]).weights(x, mask, rotation)

    def each_weights(
        self, x: Float[Tensor, "b n d"], mask: Mask | None = None, rotation: Rotation | None = None
    ) -> Iterator[Float[Tensor, "b h n n"]]:
        """Yield the attention weights of every layer, from the first to the last; none is kept here."""
        *others, last = cast("list[Block]", self.blocks)
        for block in others:
            x, weights = block.watched(x, mask, rotation)
            yield weights
            del weights
        yield last.weights(x, mask, rotation)
