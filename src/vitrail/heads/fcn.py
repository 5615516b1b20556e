"""A fully convolutional head (Long et al. 2015, "Fully convolutional networks for semantic segmentation")."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from torch import nn

from vitrail.backbones.pyramid import Pyramid
from vitrail.errors import UsageError
from vitrail.heads.dense import Dense, DenseConfig, Pixelwise, canvas
from vitrail.nn.convolve import convolve, enlarge
from vitrail.values import Features, Given


class FCN(nn.Module):
    """Scores of the coarsest levels, added up from the coarsest to the finest of them and enlarged.

    ``scorers`` are one a level of the ``pyramid``. The paper learns its enlarging; here it is bilinear, which
    is where theirs starts and about where it stays. ``aux`` is a scorer of the second coarsest level, which
    shortens the way of the gradient in training; None where there is one level only.
    """

    def __init__(self, pyramid: Pyramid, scorers: Sequence[nn.Module], aux: nn.Module | None) -> None:
        super().__init__()
        self.pyramid, self.scorers, self.aux = pyramid, nn.ModuleList(scorers), aux

    def forward(self, features: Features, given: Given) -> Pixelwise:
        """Return logits of the canvas' size, and those of ``aux``."""
        levels, size = self.pyramid(features), canvas(given)
        strides = self.pyramid.strides
        total = self.scorers[-1](levels[-1])
        for place in range(len(levels) - 2, -1, -1):
            score = self.scorers[place](levels[place])
            total = score + enlarge(total, strides[place + 1] / strides[place], score.shape[2:])
        extra = {}
        if self.aux is not None and self.training:
            extra["aux"] = enlarge(self.aux(levels[-2]), strides[-2], size)
        return Pixelwise(logits=enlarge(total, strides[0], size), aux=extra)


@dataclass(frozen=True, kw_only=True)
class FCNConfig(DenseConfig):
    """Scores of the three coarsest levels, added up."""

    name: Literal["fcn"] = "fcn"
    """The head."""
    width: int = 256
    """Channels before the scores of the coarsest level."""
    dropout: float = 0.1
    """The chance that a channel is dropped in training, before those scores."""
    aux: float = 0.4
    """How much an auxiliary score of the second coarsest level counts in the loss (0: there is none)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.width < 1 or not 0 <= self.dropout < 1 or self.aux < 0:
            raise UsageError("width is at least 1, dropout a share from 0 to below 1, aux 0 or more.")

    def build(self, backbone: Any, classes: Sequence[str], multi: bool = False) -> Dense:
        """Return the head for this backbone's features, with fresh weights from torch's global generator."""
        pyramid = Pyramid(backbone.strides, backbone.channels, most=3)
        *finer, coarsest = pyramid.channels
        scorers: list[nn.Module] = []
        for channels in finer:
            score = nn.Conv2d(channels, len(classes), 1)
            nn.init.zeros_(score.weight)  # as in the paper: at first the coarsest level speaks alone
            nn.init.zeros_(score.bias)  # type: ignore[arg-type]
            scorers.append(score)
        scorers.append(self._deep(coarsest, self.width, len(classes)))
        aux = None
        if finer and self.aux:
            aux = self._deep(finer[-1], max(1, finer[-1] // 4), len(classes))
        return self.head(FCN(pyramid, scorers, aux), classes, multi=multi, aux_weight=self.aux)

    def _deep(self, channels: int, width: int, classes: int) -> nn.Module:
        return nn.Sequential(
            convolve(channels, width), nn.Dropout2d(self.dropout), nn.Conv2d(width, classes, 1)
        )
