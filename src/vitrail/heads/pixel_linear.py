"""One linear layer a place: what a backbone's features say about pixels by themselves."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from torch import nn

from vitrail.errors import UsageError
from vitrail.heads.dense import Dense, DenseConfig, Pixelwise, canvas
from vitrail.nn.convolve import enlarge
from vitrail.values import Features, Given


class PixelLinear(nn.Module):
    """Scores of the backbone's last level, enlarged bilinearly.

    It is the baseline of Strudel et al. 2021, "Segmenter", and the probe that Oquab et al. 2023, "DINOv2",
    measure features with.
    """

    def __init__(self, layers: nn.Module, stride: int | float) -> None:
        super().__init__()
        self.layers, self.stride = layers, stride

    def forward(self, features: Features, given: Given) -> Pixelwise:
        """Return logits of the canvas' size."""
        return Pixelwise(logits=enlarge(self.layers(features.levels[-1]), self.stride, canvas(given)))


@dataclass(frozen=True, kw_only=True)
class PixelLinearConfig(DenseConfig):
    """One linear layer a place of the last level."""

    name: Literal["linear"] = "linear"
    """The head."""
    dropout: float = 0.0
    """The chance that a channel is dropped in training, for the whole picture."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.dropout < 1:
            raise UsageError(f"dropout is a share from 0 to below 1, not {self.dropout:g}.")

    def build(self, backbone: Any, classes: Sequence[str], multi: bool = False) -> Dense:
        """Return the head for this backbone's features, with fresh weights from torch's global generator."""
        last = nn.Conv2d(backbone.channels[-1], len(classes), 1)
        nn.init.normal_(last.weight, std=0.01)  # at first every class is about as probable as the next
        nn.init.zeros_(last.bias)  # type: ignore[arg-type]
        net = PixelLinear(nn.Sequential(nn.Dropout2d(self.dropout), last), backbone.strides[-1])
        return self.head(net, classes, multi=multi)
