"""Dense layers on the summary of a picture: the classifier's head."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from vitrail.errors import UsageError, nearest
from vitrail.values import Features, Frame, Given, Label, Losses

About = int | str | Sequence[int | str] | None
"""A class by index or name, the same for all samples or one each; None is each sample's most probable."""


class Linear(nn.Module):
    """One logit a class: ``b d`` to ``b c``.

    ``names`` are the classes'; with ``multi`` each is a question of its own, otherwise exactly one is right.
    ``temperature`` divides the logits before they become probabilities (Guo et al. 2017, "On calibration of
    modern neural networks"): it is fitted after training, and no weight.
    """

    levels = False  # the summary is all that it looks at

    def __init__(self, layers: nn.Sequential, names: Sequence[str], *, multi: bool, smoothing: float) -> None:
        super().__init__()
        self.layers = layers
        self.names, self.multi, self.smoothing = tuple(names), multi, smoothing
        self.temperature = 1.0

    def forward(self, features: Features, given: Given) -> Float[Tensor, "b c"]:  # noqa: ARG002
        """Return the logits."""
        logits: Tensor = self.layers(features.summary)
        return logits

    def loss(self, output: Float[Tensor, "b c"], given: Given, progress: float) -> Losses:  # noqa: ARG002
        """Return the cross-entropy with the targets ``label``, ``b c``: hot, mixed, or weighted by the row.

        A row of zeros is a sample without a label and adds nothing. Smoothing moves a share of each target
        to all classes alike (Szegedy et al. 2015, "Rethinking the Inception architecture"), with ``multi`` to
        yes and no alike.
        """
        assert given.targets is not None, "a loss needs targets"
        logits, targets = output.float(), given.targets["label"].float()
        if self.multi:
            targets = targets.lerp(torch.full_like(targets, 0.5), self.smoothing)
            return Losses(terms={"binary_cross_entropy": F.binary_cross_entropy_with_logits(logits, targets)})
        even = targets.mean(dim=1, keepdim=True).expand_as(targets)
        targets = targets.lerp(even, self.smoothing)
        return Losses(terms={"cross_entropy": -(targets * logits.log_softmax(dim=1)).sum(dim=1).mean()})

    def decode(self, output: Float[Tensor, "b c"], frames: Sequence[Frame]) -> list[Label]:  # noqa: ARG002
        """Return one answer a sample, with calibrated probabilities."""
        logits = output.detach().float() / self.temperature
        scores = (logits.sigmoid() if self.multi else logits.softmax(dim=1)).cpu().numpy()
        return [
            Label(names=self.names, scores=row, source=index, multi=self.multi)
            for index, row in enumerate(scores)
        ]

    def about(self, output: Float[Tensor, "b c"]) -> list[str]:
        """Return each sample's most probable class: what `score` takes None for."""
        return [self.names[column] for column in output.argmax(dim=1).tolist()]

    def score(self, output: Float[Tensor, "b c"], about: About) -> Float[Tensor, " b"]:
        """Return each sample's logit of the class that an explanation is about.

        Raises UsageError for a class that there is not.
        """
        if about is None:
            return output.amax(dim=1)
        each = [about] * len(output) if isinstance(about, int | str) else about
        columns = torch.tensor([self._column(what) for what in each], device=output.device)
        return output.gather(1, columns[:, None])[:, 0]

    def _column(self, about: int | str) -> int:
        if isinstance(about, int):
            if not 0 <= about < len(self.names):
                raise UsageError(f"there is no class {about}: classes are 0 to {len(self.names) - 1}.")
            return about
        if about not in self.names:
            raise UsageError(f"there is no class {about!r}.{nearest(about, self.names)}")
        return self.names.index(about)


def adopt(
    head: nn.Module, weight: Float[Tensor, "c d"], bias: Float[Tensor, " c"], names: Sequence[str]
) -> None:
    """Begin a linear head with a classifier that is trained already, its classes matched by name.

    A head with hidden layers, or of another kind, begins as it is. Raises ValueError when a class is missing.
    """
    if not isinstance(head, Linear) or len(head.layers) != 2:
        return
    order = torch.tensor([list(names).index(name) for name in head.names])
    last = head.layers[-1]
    assert isinstance(last, nn.Linear), "a linear head ends with one"
    with torch.no_grad():
        last.weight.copy_(weight[order])
        last.bias.copy_(bias[order])


@dataclass(frozen=True, kw_only=True)
class LinearConfig:
    """Dense layers on the picture's summary."""

    name: Literal["linear"] = "linear"
    """The head."""
    hidden: tuple[int, ...] = ()
    """Widths of layers before the last, each followed by a GELU (default: none, the usual linear head)."""
    dropout: float = 0.0
    """The chance that a feature is dropped in training, before each layer."""
    smoothing: float = 0.0
    """The share of each target that goes to all classes alike."""

    def __post_init__(self) -> None:
        for name in ("dropout", "smoothing"):
            if not 0 <= getattr(self, name) < 1:
                raise UsageError(f"{name} is a share from 0 to below 1, not {getattr(self, name):g}.")
        if any(width < 1 for width in self.hidden):
            raise UsageError(f"hidden layers are at least 1 wide, not {', '.join(map(str, self.hidden))}.")

    def build(self, backbone: Any, classes: Sequence[str], multi: bool = False) -> Linear:
        """Return the head for this backbone's summaries, with fresh weights from torch's global generator."""
        layers: list[nn.Module] = []
        width = backbone.width
        for hidden in self.hidden:
            layers += [nn.Dropout(self.dropout), nn.Linear(width, hidden), nn.GELU()]
            width = hidden
        last = nn.Linear(width, len(classes))
        nn.init.normal_(last.weight, std=0.01)  # at first every class is about as probable as the next
        nn.init.zeros_(last.bias)
        layers += [nn.Dropout(self.dropout), last]
        return Linear(nn.Sequential(*layers), classes, multi=multi, smoothing=self.smoothing)
