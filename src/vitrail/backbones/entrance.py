"""Pixels of one kind to tokens that know where they lie."""

from collections.abc import Sequence

import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from vitrail.errors import UsageError
from vitrail.nn.rotary import RotaryPositions, Rotation


class Entrance(nn.Module):
    """Cut pictures ``b c h w``, or videos and volumes ``b c t h w``, into patches and add their positions.

    Any size that the patch divides will do: positions follow the grid. ``patch`` is the side of a patch in
    pixels along each axis.
    """

    def __init__(
        self,
        *,
        embed: nn.Module,
        positions: nn.Module | None,
        rotary: RotaryPositions | None,
        patch: Sequence[int],
    ) -> None:
        super().__init__()
        self.embed, self.positions, self.rotary = embed, positions, rotary
        self.patches = tuple(patch)

    @property
    def inputs(self) -> int:
        """The pictures' channels."""
        looks = (each for each in self.embed.modules() if isinstance(each, nn.Conv2d | nn.Conv3d))
        return next(looks).in_channels

    def grid(self, pixels: Float[Tensor, "b c *size"]) -> tuple[int, ...]:
        """Return how many patches lie along each axis."""
        size = tuple(pixels.shape[2:])
        check_divides(self.patches, size)
        return tuple(side // patch for side, patch in zip(size, self.patches, strict=True))

    def embedded(
        self, pixels: Float[Tensor, "b c *size"], present: Bool[Tensor, " b"] | None = None
    ) -> Float[Tensor, "b n d"]:
        """Return the tokens, row by row; a sample that is not ``present`` is zeros, whatever stands there."""
        grid = self.grid(pixels)
        if present is not None:  # what is not a number would get past a mask
            pixels = pixels.masked_fill(~present.view(-1, *[1] * (pixels.ndim - 1)), 0.0)
        # Token by token in memory: every layer's sums would keep the order of a convolution's output.
        x: Tensor = self.embed(pixels).flatten(2).mT.contiguous()
        return x if self.positions is None else x + self.positions(grid).to(x)

    def turns(self, pixels: Float[Tensor, "b c *size"], prefix: int = 0) -> Rotation | None:
        """Return how far each token is turned, after ``prefix`` tokens that are not; None if none is."""
        return None if self.rotary is None else self.rotary(self.grid(pixels), prefix)

    def visible(self, valid: Bool[Tensor, "b *size"]) -> Bool[Tensor, "b n"]:
        """Return which patches have a ``valid`` pixel."""
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
