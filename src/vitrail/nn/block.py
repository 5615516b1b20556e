"""The block that every Transformer here is stacked of, and its siblings."""

from jaxtyping import Float
from torch import Tensor, nn

from vitrail.nn.attention import Attention, CrossAttention, Mask, OwnMask, seen_by_any
from vitrail.nn.rotary import Rotation


class PreNorm(nn.Module):
    """A residual whose branch is normalised at its entrance (Xiong et al. 2020, "On layer normalization").

    Gradients stay even at depth, so that no warm-up is needed to survive. What comes in is never normalised:
    the last layer's output wants a norm of its own. ``scale`` and ``drop`` act on what is added.
    """

    def __init__(
        self, norm: nn.Module, *, scale: nn.Module | None = None, drop: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.norm = norm
        self.scale, self.drop = scale or nn.Identity(), drop or nn.Identity()

    def enter(self, x: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        """Return what the branch is given."""
        entered: Tensor = self.norm(x)
        return entered

    def leave(self, x: Float[Tensor, "b n d"], branch: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        """Return what came in with the branch's output added."""
        left: Tensor = x + self.drop(self.scale(branch))
        return left


class PostNorm(PreNorm):
    """The residual of 2017: the sum is normalised (Vaswani et al. 2017).

    Strong when it trains, and DETR has it; deep stacks of it diverge without a warm-up.
    """

    def enter(self, x: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        """Return what the branch is given: all that came in."""
        return x

    def leave(self, x: Float[Tensor, "b n d"], branch: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        """Return what came in with the branch's output added, normalised."""
        left: Tensor = self.norm(super().leave(x, branch))
        return left


RESIDUALS = {"pre": PreNorm, "post": PostNorm}


class Block(nn.Module):
    """One layer of finished parts: tokens are mixed with each other, then fed each by itself."""

    def __init__(self, *, around_mix: PreNorm, mix: Attention, around_feed: PreNorm, feed: nn.Module) -> None:
        super().__init__()
        self.around_mix, self.mix = around_mix, mix
        self.around_feed, self.feed = around_feed, feed

    def forward(
        self, x: Float[Tensor, "b n d"], mask: Mask | None = None, rotation: Rotation | None = None
    ) -> Float[Tensor, "b n d"]:
        """Return the tokens one layer deeper; ``mask`` is true where a token may be looked at."""
        x = self.around_mix.leave(x, self.mix(self.around_mix.enter(x), mask, rotation))
        return self.fed(x, mask)

    def fed(self, x: Float[Tensor, "b n d"], mask: Mask | None = None) -> Float[Tensor, "b n d"]:  # noqa: ARG002
        """Return mixed tokens after the feed-forward part, to which each token is all that there is."""
        return self.around_feed.leave(x, self.feed(self.around_feed.enter(x)))

    def weights(
        self, x: Float[Tensor, "b n d"], mask: Mask | None = None, rotation: Rotation | None = None
    ) -> Float[Tensor, "b h n n"]:
        """Return the attention that this layer pays, given what comes into it."""
        return self.mix.weights(self.around_mix.enter(x), mask, rotation)

    def watched(
        self, x: Float[Tensor, "b n d"], mask: Mask | None = None, rotation: Rotation | None = None
    ) -> tuple[Float[Tensor, "b n d"], Float[Tensor, "b h n n"]]:
        """Return what ``forward`` returns, and the attention that it comes from for who wants gradients."""
        mixed, weights = self.mix.watched(self.around_mix.enter(x), mask, rotation)
        return self.fed(self.around_mix.leave(x, mixed), mask), weights


class ExpertsBlock(Block):
    """A layer whose feed-forward part is `Experts`: they share the tokens out, and must know which count."""

    def fed(self, x: Float[Tensor, "b n d"], mask: Mask | None = None) -> Float[Tensor, "b n d"]:
        """Return mixed tokens after the experts that take them; those that nobody may look at take none."""
        return self.around_feed.leave(x, self.feed(self.around_feed.enter(x), seen_by_any(mask)))


class CrossBlock(nn.Module):
    """A layer that also looks at another sequence: a decoder's (Vaswani et al. 2017)."""

    def __init__(
        self,
        *,
        around_mix: PreNorm,
        mix: Attention,
        around_cross: PreNorm,
        cross: CrossAttention,
        around_feed: PreNorm,
        feed: nn.Module,
    ) -> None:
        super().__init__()
        self.around_mix, self.mix = around_mix, mix
        self.around_cross, self.cross = around_cross, cross
        self.around_feed, self.feed = around_feed, feed

    def forward(
        self,
        x: Float[Tensor, "b n d"],
        context: Float[Tensor, "b m e"],
        mask: OwnMask | None = None,
        context_mask: Mask | None = None,
    ) -> Float[Tensor, "b n d"]:
        """Return the tokens one layer deeper; each mask is true where its sequence may be looked at."""
        x = self.around_mix.leave(x, self.mix(self.around_mix.enter(x), mask))
        x = self.around_cross.leave(x, self.cross(self.around_cross.enter(x), context, context_mask))
        return self.around_feed.leave(x, self.feed(self.around_feed.enter(x)))

    def weights(
        self,
        x: Float[Tensor, "b n d"],
        context: Float[Tensor, "b m e"],
        mask: OwnMask | None = None,
        context_mask: Mask | None = None,
    ) -> tuple[Float[Tensor, "b h n n"], Float[Tensor, "b h n m"]]:
        """Return the attention that this layer pays to its own sequence, and to the other."""
        entered = self.around_mix.enter(x)
        mixed = self.around_mix.leave(x, self.mix(entered, mask))
        own = self.mix.weights(entered, mask)
        return own, self.cross.weights(self.around_cross.enter(mixed), context, context_mask)
