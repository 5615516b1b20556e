"""The block that every Transformer here is stacked of."""

from jaxtyping import Bool, Float
from torch import Tensor, nn

from vitrail.nn.attention import Attention


class Block(nn.Module):
    """One layer of finished parts: tokens are mixed with each other, then fed each by itself.

    Both branches are normalised at their entrance (Xiong et al. 2020, "On layer normalization in the
    Transformer architecture": gradients stay even at depth, no warm-up is needed to survive) and added to
    what came in; ``drop`` regularises what is added.
    """

    def __init__(
        self, *, norm_mix: nn.Module, mix: Attention, norm_feed: nn.Module, feed: nn.Module, drop: nn.Module
    ) -> None:
        super().__init__()
        self.norm_mix, self.mix = norm_mix, mix
        self.norm_feed, self.feed = norm_feed, feed
        self.drop = drop

    def forward(
        self, x: Float[Tensor, "b n d"], mask: Bool[Tensor, "b n"] | None = None
    ) -> Float[Tensor, "b n d"]:
        """Return the tokens one layer deeper; ``mask`` is true where a token may be looked at."""
        mixed: Tensor = x + self.drop(self.mix(self.norm_mix(x), mask))
        fed: Tensor = mixed + self.drop(self.feed(self.norm_feed(mixed)))
        return fed

    def weights(
        self, x: Float[Tensor, "b n d"], mask: Bool[Tensor, "b n"] | None = None
    ) -> Float[Tensor, "b h n n"]:
        """Return the attention that this layer pays, given what comes into it."""
        return self.mix.weights(self.norm_mix(x), mask)
