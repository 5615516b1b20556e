"""How wrong the logits of pixels are. What nobody knows about a pixel has no part in any of these losses."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F
from jaxtyping import Float, Integer
from torch import Tensor

from vitrail.values import IGNORED


@dataclass(frozen=True, kw_only=True)
class Compared:
    """Logits ``b c h w`` beside what is true, and what several losses want to know about both.

    ``truth`` is a class a pixel, ``b h w``; with ``multi`` a yes or no for each class, ``b c h w``.
    ``IGNORED`` stands where nobody knows. ``balance`` is a weight a class, ``c``, or None.
    """

    logits: Float[Tensor, "b c h w"]
    truth: Integer[Tensor, "b *k h w"]
    multi: bool
    balance: Float[Tensor, " c"] | None = None
    smoothing: float = 0.0
    gamma: float = 2.0

    @cached_property
    def known(self) -> Tensor:
        """Where somebody knows: of the shape of ``truth``."""
        return self.truth != IGNORED

    @cached_property
    def safe(self) -> Tensor:
        """The truth as indices, with 0 where nobody knows: only to be looked up with, never to be learned."""
        return self.truth.masked_fill(~self.known, 0).long()

    @cached_property
    def hot(self) -> Tensor:
        """Which class each pixel is of, ``b c h w``; of none where nobody knows."""
        if self.multi:
            return self.truth == 1
        classes = torch.arange(self.logits.shape[1], device=self.truth.device)
        return self.truth[:, None] == classes[:, None, None]

    @cached_property
    def asked(self) -> Tensor:
        """Where each class is asked for: ``b c h w``, or the same for all classes."""
        return self.known if self.multi else self.known[:, None]

    @cached_property
    def log_probabilities(self) -> Tensor:
        """The logarithm of each class's probability."""
        return F.logsigmoid(self.logits) if self.multi else self.logits.log_softmax(dim=1)

    @cached_property
    def probabilities(self) -> Tensor:
        """Each class's probability."""
        return self.logits.sigmoid() if self.multi else self.log_probabilities.exp()

    @cached_property
    def log_right(self) -> Tensor:
        """The logarithm of the probability of the truth: of the shape of ``truth``."""
        if self.multi:
            return F.logsigmoid(torch.where(self.hot, self.logits, -self.logits))
        return self.log_probabilities.gather(1, self.safe[:, None])[:, 0]

    @cached_property
    def weights(self) -> Tensor:
        """How much each pixel counts in a mean: by its class, and not at all where nobody knows."""
        known = self.known.to(self.logits.dtype)
        if self.balance is None:
            return known
        return known * (self.balance[:, None, None] if self.multi else self.balance[self.safe])

    @cached_property
    def surprise(self) -> Tensor:
        """The cross-entropy of each pixel: of the shape of ``truth``."""
        wrong = -self.log_right
        if not self.smoothing:
            return wrong
        if self.multi:
            even = -(F.logsigmoid(self.logits) + F.logsigmoid(-self.logits)) / 2
        else:
            even = -self.log_probabilities.mean(dim=1)
        return wrong.lerp(even, self.smoothing)


def cross_entropy(seen: Compared) -> Float[Tensor, ""]:
    """Return the mean surprise, weighted by class; smoothing as in Szegedy et al. 2015."""
    return _mean(seen.surprise, seen.weights)


def focal(seen: Compared) -> Float[Tensor, ""]:
    """Return a cross-entropy that what is right already counts little in (Lin et al. 2017, "Focal loss")."""
    unsure = (1 - seen.log_right.exp()).clamp(min=1e-6) ** seen.gamma
    return _mean(unsure * -seen.log_right, seen.weights)


def dice(seen: Compared) -> Float[Tensor, ""]:
    """Return one minus the soft overlap, as a mean over the classes that the batch has.

    (Milletari et al. 2016, "V-Net".) A class that is nowhere has no overlap to gain, and says nothing.
    """
    hot = seen.hot.to(seen.logits.dtype)
    given = (seen.probabilities * seen.asked).sum(dim=(0, 2, 3))
    both, true = (seen.probabilities * hot).sum(dim=(0, 2, 3)), hot.sum(dim=(0, 2, 3))
    return _mean(1 - 2 * both / (given + true).clamp(min=1e-6), (true > 0).to(both.dtype))


def lovasz(seen: Compared) -> Float[Tensor, ""]:
    """Return the convex extension of the Jaccard loss over all pixels of the batch, as a mean over classes.

    Berman et al. 2018, "The Lovász-softmax loss": on probabilities, over the classes that the batch has;
    with ``multi`` their hinge on logits, over the classes that anybody knows about.
    """
    if seen.multi:
        signs = seen.hot.to(seen.logits.dtype) * 2 - 1
        errors = 1 - seen.logits * signs
        counted = seen.known.movedim(1, 0).flatten(1).any(dim=1)
    else:
        errors = (seen.hot.to(seen.logits.dtype) - seen.probabilities).abs()
        counted = seen.hot.movedim(1, 0).flatten(1).any(dim=1)
    # Errors below zero cost nothing, wherever they come in the order: so what nobody knows gets one.
    errors = torch.where(seen.asked, errors, -1.0).movedim(1, 0).flatten(1)
    order = errors.detach().argsort(dim=1, descending=True, stable=True)
    steps = _jaccard_steps(seen.hot.movedim(1, 0).flatten(1).gather(1, order)).to(errors.dtype)
    losses = (errors.gather(1, order).relu() * steps).sum(dim=1)
    return _mean(losses, counted.to(losses.dtype))


def border(seen: Compared) -> Float[Tensor, ""]:
    """Return a cross-entropy that counts pixels near another class up to eleven times.

    After Ronneberger et al. 2015, "U-Net", whose weights fall with the distance to the two nearest cells. A
    mask of classes knows no cells: here they fall with the distance to the nearest border of classes.
    """
    return _mean(seen.surprise, seen.weights * border_weights(seen.truth).to(seen.logits.dtype))


def border_weights(
    truth: Integer[Tensor, "b *k h w"], most: float = 10.0, spread: float = 5.0
) -> Float[Tensor, "b *k h w"]:
    """Return 1 far from borders, and ``1 + most`` on pixels that touch another class, also at a corner.

    Between, the surplus falls as a Gaussian of the deviation ``spread`` with the distance in pixels, diagonal
    steps counted as one, and is cut off after three deviations. What nobody knows is no other class.
    """
    maps = truth.flatten(1, -3)[:, :, None].flatten(0, 1) if truth.ndim == 4 else truth[:, None]
    values, known = maps.float(), maps != IGNORED
    highest = _spread(values.masked_fill(~known, -1.0))
    lowest = -_spread((-values).masked_fill(~known, -float(IGNORED)))
    reached = ((highest != lowest) & known).float()
    weights = 1 + most * reached
    for distance in range(1, round(3 * spread) + 1):
        wider = _spread(reached)
        weights = weights + (wider - reached) * most * math.exp(-(distance**2) / 2 / spread**2)
        reached = wider
    return weights.view(truth.shape)


PIXEL_LOSSES: dict[str, Callable[[Compared], Tensor]] = {
    "cross_entropy": cross_entropy,
    "dice": dice,
    "focal": focal,
    "lovasz": lovasz,
    "border": border,
}
"""The losses, by the names that configs and logs call them."""


@dataclass(frozen=True, kw_only=True)
class PixelLoss:
    """Several losses of the same pixels, side by side: ``names`` are keys of `PIXEL_LOSSES`.

    ``balance`` is a weight a class, or none. ``smoothing`` goes to all classes alike, with ``multi`` to yes
    and no, in those losses that are cross-entropies of the truth; ``gamma`` is the focal loss's exponent.
    """

    names: Sequence[str]
    multi: bool
    balance: Sequence[float] = ()
    smoothing: float = 0.0
    gamma: float = 2.0

    def __call__(
        self, logits: Float[Tensor, "b c h w"], truth: Integer[Tensor, "..."]
    ) -> dict[str, Float[Tensor, ""]]:
        """Return each loss by its name: all zero where nobody knows anything.

        ``truth`` is ``b h w``, or with ``multi`` ``b c h w``, of the logits' height and width.
        """
        expected = logits.shape if self.multi else (logits.shape[0], *logits.shape[2:])
        if truth.shape != expected:
            raise ValueError(f"logits {tuple(logits.shape)} with a mask of {tuple(truth.shape)}")
        logits = logits.float()  # sums over a million pixels need the digits
        balance = logits.new_tensor(self.balance) if self.balance else None
        seen = Compared(
            logits=logits,
            truth=truth,
            multi=self.multi,
            balance=balance,
            smoothing=self.smoothing,
            gamma=self.gamma,
        )
        return {name: PIXEL_LOSSES[name](seen) for name in self.names}


def _mean(values: Tensor, weights: Tensor) -> Tensor:
    """Return the weighted mean; of nothing it is 0, which has a gradient like any other."""
    return (values * weights).sum() / weights.sum().clamp(min=1e-12)


def _jaccard_steps(hot: Tensor) -> Tensor:
    """Return how much each pixel adds to the Jaccard loss, ``c n``, when they become wrong one by one."""
    order = hot.long()  # whole numbers add up to the same on every device
    hits, misses = order.cumsum(dim=1), (1 - order).cumsum(dim=1)
    true = hits[:, -1:]
    either = (true + misses).float()
    missed = (true - hits) / ((either - 1).clamp(min=1) * either)
    steps = torch.where(hot, 1 / either, missed)
    return torch.where((true == 0) & (misses == 1), 1.0, steps)  # without any, the first is all that is wrong


def _spread(maps: Tensor) -> Tensor:
    """Return the largest value of each pixel and its eight neighbours."""
    return F.max_pool2d(maps, 3, stride=1, padding=1)
