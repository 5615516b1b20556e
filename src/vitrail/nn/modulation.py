"""A block that a condition steers: the time of a diffusion, a class, a text (Peebles & Xie 2022, "DiT")."""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from vitrail.nn.attention import Attention, Mask
from vitrail.nn.rotary import Rotation


class Modulation(nn.Linear):
    """A condition ``b e`` to ``count`` vectors of the tokens' width, each ``b 1 d``, all zero at the start.

    The functions of `init` leave it so.
    """

    def __init__(self, condition: int, width: int, count: int) -> None:
        self.count = count
        super().__init__(condition, count * width)

    def reset_parameters(self) -> None:
        """Start from nothing."""
        nn.init.zeros_(self.weight)
        nn.init.zeros_(self.bias)

    def forward(self, condition: Float[Tensor, "b e"]) -> tuple[Float[Tensor, "b 1 d"], ...]:  # type: ignore[override]
        """Return the vectors that this condition asks for."""
        return super().forward(F.silu(condition))[:, None].chunk(self.count, dim=-1)


class ModulatedBlock(nn.Module):
    """One layer whose norms and branches follow a condition: "adaLN-Zero", the best of the paper's four ways.

    The norms learn nothing of their own (they have no affine part): shift, scale and the strength of each
    branch come from the condition. Strengths start at zero, so that every layer begins as the identity.
    """

    def __init__(
        self,
        *,
        norm_mix: nn.Module,
        mix: Attention,
        norm_feed: nn.Module,
        feed: nn.Module,
        modulation: Modulation,
    ) -> None:
        super().__init__()
        self.norm_mix, self.mix = norm_mix, mix
        self.norm_feed, self.feed = norm_feed, feed
        self.modulation = modulation

    def forward(
        self,
        x: Float[Tensor, "b n d"],
        condition: Float[Tensor, "b e"],
        mask: Mask | None = None,
        rotation: Rotation | None = None,
    ) -> Float[Tensor, "b n d"]:
        """Return the tokens one layer deeper, as the condition wants them."""
        shift_mix, scale_mix, gate_mix, shift_feed, scale_feed, gate_feed = self.modulation(condition)
        x = x + gate_mix * self.mix(modulate(self.norm_mix(x), shift_mix, scale_mix), mask, rotation)
        left: Tensor = x + gate_feed * self.feed(modulate(self.norm_feed(x), shift_feed, scale_feed))
        return left

    def weights(
        self,
        x: Float[Tensor, "b n d"],
        condition: Float[Tensor, "b e"],
        mask: Mask | None = None,
        rotation: Rotation | None = None,
    ) -> Float[Tensor, "b h n n"]:
        """Return the attention that this layer pays, given what comes into it."""
        shift, scale, *_ = self.modulation(condition)
        return self.mix.weights(modulate(self.norm_mix(x), shift, scale), mask, rotation)


def modulate(
    x: Float[Tensor, "b n d"], shift: Float[Tensor, "b 1 d"], scale: Float[Tensor, "b 1 d"]
) -> Float[Tensor, "b n d"]:
    """Stretch and move each feature; zeros change nothing."""
    return x * (1 + scale) + shift
