"""A class for every pixel: what all heads of semantic segmentation have in common."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from vitrail.errors import UsageError, nearest
from vitrail.heads.pixel_losses import PIXEL_LOSSES, PixelLoss
from vitrail.values import Features, Frame, Given, Losses, Mask, Size

STRIP = 2**23
"""How many numbers of an answer are worked on at once."""


@dataclass(frozen=True, kw_only=True)
class Pixelwise:
    """Logits ``b c h w`` of the canvas' size; in training also auxiliary ones, by name, of any size."""

    logits: Float[Tensor, "b c h w"]
    aux: Mapping[str, Tensor] = field(default_factory=dict)


Box = tuple[int | float, int | float, int | float, int | float]


@dataclass(frozen=True, kw_only=True)
class Region:
    """A class where it is asked about.

    ``box`` is left, top, right and bottom in pixels, None for all of them: of the canvas for a head, of the
    picture for who asks a `Predictor`, for whom a ``label`` of None is that of the answer there.
    ``where`` is the class whose pixels count, ``label`` itself unless it is named; ``pixels``, bool ``h w``,
    are those once they are fixed (see `Dense.fixed`).
    """

    label: int | str | None
    box: Box | None = None
    where: int | str | None = None
    pixels: Tensor | None = field(default=None, compare=False, repr=False)


About = int | str | Region | Sequence[int | str | Region] | None
"""A class by index or name, or a region of one, the same for all samples or one each; None: see `about`."""


class Dense(nn.Module):
    """One logit a class and pixel: ``net`` makes them, and here they are learned, answered and asked about.

    ``net`` takes features and what is given and returns `Pixelwise`, of any size. ``names`` are the classes';
    with ``multi`` each is a question of its own, otherwise each pixel is of exactly one. Auxiliary logits
    count ``aux_weight`` times in the loss. ``temperature`` divides the logits before they become
    probabilities: it is fitted after training, and no weight.
    """

    levels = True

    def __init__(
        self, net: nn.Module, names: Sequence[str], *, loss_of: PixelLoss, aux_weight: float = 0.4
    ) -> None:
        super().__init__()
        self.net = net
        self.names, self.multi = tuple(names), loss_of.multi
        self.loss_of, self.aux_weight = loss_of, aux_weight
        self.temperature = 1.0

    def forward(self, features: Features, given: Given) -> Pixelwise:
        """Return the logits of every pixel of ``given.pixels["image"]``."""
        output: Pixelwise = self.net(features, given)
        return Pixelwise(logits=_fit(output.logits, canvas(given)), aux=output.aux if self.training else {})

    def loss(self, output: Pixelwise, given: Given, progress: float) -> Losses:  # noqa: ARG002
        """Return the losses with the target ``mask``, whole numbers of the canvas' size.

        It is ``b h w``, the index of each pixel's class, or with ``multi`` ``b c h w`` of 0 and 1; what is
        `IGNORED` has no part in it. Raises ValueError for a mask of another size.
        """
        assert given.targets is not None, "a loss needs targets"
        mask = given.targets["mask"]
        terms = self.loss_of(output.logits, mask)
        for name, logits in output.aux.items():
            losses = self.loss_of(_fit(logits, (mask.shape[-2], mask.shape[-1])), mask)
            terms |= {f"{name}_{term}": self.aux_weight * loss for term, loss in losses.items()}
        return Losses(terms=terms)

    @torch.no_grad()
    def decode(self, output: Pixelwise, frames: Sequence[Frame]) -> list[Mask]:
        """Return one mask a sample, of the size of the original picture; without frames, of the canvas."""
        whole: Size = (output.logits.shape[2], output.logits.shape[3])
        framed = frames or [Frame(size=whole)] * len(output.logits)
        return [
            self._mask(logits, frame, source)
            for source, (logits, frame) in enumerate(zip(output.logits, framed, strict=True))
        ]

    def about(self, output: Pixelwise) -> list[str]:
        """Return the class of most pixels in each sample: what `score` takes None for.

        Where each pixel has one class, the first counts as background: only if there is nothing else it is
        that. With ``multi`` it is the class that most pixels are answered yes for.
        """
        found = []
        for logits in output.logits:
            if self.multi:
                counts = (logits > 0).sum(dim=(1, 2))
            else:
                counts = torch.bincount(logits.argmax(dim=0).flatten(), minlength=len(self.names))
                counts[0] = 0
            found.append(self.names[int(counts.argmax())])
        return found

    def score(self, output: Pixelwise, about: About) -> Float[Tensor, " b"]:
        """Return each sample's mean logit of a class, over the pixels answered as it, or as ``where`` says.

        Where none is, over all pixels asked about. (Vinogradova et al. 2020, "Towards interpretable semantic
        segmentation via gradient-weighted class activation mapping", who sum over a set of pixels.)
        Raises UsageError for a class that there is not, and for a box without a pixel.
        """
        logits = output.logits
        asked = self.about(output) if about is None else about
        each = [asked] * len(logits) if isinstance(asked, int | str | Region) else asked
        return torch.stack([self._score(one, what) for one, what in zip(logits, each, strict=True)])

    def fixed(self, output: Pixelwise, about: Sequence[Region]) -> list[Region]:
        """Return what is asked of each sample with the pixels that count now, whatever becomes of the answer.

        So changed pictures are asked about the same pixels, and scores can be compared.
        """
        return [
            replace(region, pixels=self._pixels(logits.detach(), region))
            for logits, region in zip(output.logits, about, strict=True)
        ]

    def _score(self, logits: Tensor, about: int | str | Region) -> Tensor:
        region = about if isinstance(about, Region) else Region(label=about)
        column = self._column(region.label)
        chosen = self._pixels(logits, region) if region.pixels is None else region.pixels
        return (logits[column] * chosen).sum() / chosen.sum()

    def _pixels(self, logits: Tensor, region: Region) -> Tensor:
        place = self._column(region.label if region.where is None else region.where)
        asked = _inside(logits, region.box)
        right = asked & (logits[place] > 0 if self.multi else logits.argmax(dim=0) == place)
        return torch.where(right.any(), right, asked)

    def _column(self, label: int | str | None) -> int:
        if label is None:
            raise UsageError("a region needs a class.")
        if isinstance(label, int):
            if not 0 <= label < len(self.names):
                raise UsageError(f"there is no class {label}: classes are 0 to {len(self.names) - 1}.")
            return label
        if label not in self.names:
            raise UsageError(f"there is no class {label!r}.{nearest(label, self.names)}")
        return self.names.index(label)

    def probabilities(self, logits: Float[Tensor, "c h w"]) -> Float[Tensor, "c h w"]:
        """Return how probable each class is at each pixel; with ``multi`` they do not sum to one."""
        settled = logits.float() / self.temperature
        return settled.sigmoid() if self.multi else settled.softmax(dim=0)

    def _mask(self, logits: Tensor, frame: Frame, source: int) -> Mask:
        """Return one sample's answer, worked out in strips: all classes of a large picture never exist."""
        height, width = frame.size
        shape = (len(self.names), height, width) if self.multi else (height, width)
        values, scores = np.empty(shape, bool if self.multi else np.uint8), np.empty(shape, np.float16)
        rows = max(1, STRIP // (len(self.names) * width))
        for top in range(0, height, rows):
            strip = slice(top, min(top + rows, height))
            sure = self.probabilities(_resample(logits, frame, strip))
            if self.multi:
                chosen = sure >= 0.5
            else:
                sure, chosen = sure.max(dim=0)
                chosen = chosen.to(torch.uint8)
            values[..., strip, :] = chosen.cpu().numpy()
            scores[..., strip, :] = sure.half().cpu().numpy()
        return Mask(
            names=self.names,
            values=values,
            source=source,
            scores=scores,
            multi=self.multi,
            pixel_size=frame.pixel_size,
        )


def canvas(given: Given) -> Size:
    """Return height and width of the pictures that a head is about."""
    height, width = given.pixels["image"].shape[-2:]
    return height, width


def _fit(logits: Tensor, size: Size) -> Tensor:
    if tuple(logits.shape[2:]) == size:
        return logits
    return F.interpolate(logits, size=size, mode="bilinear")


def _inside(logits: Tensor, box: Box | None) -> Tensor:
    """Return the pixels whose middle a box has, bool ``h w``; without a box, all."""
    if box is None:
        return torch.ones_like(logits[0], dtype=torch.bool)
    inside = torch.zeros_like(logits[0], dtype=torch.bool)
    left, top, right, bottom = (max(0, math.ceil(side - 0.5)) for side in box)
    inside[top:bottom, left:right] = True
    if not inside.any():
        raise UsageError(f"the box {box} has no pixel of a canvas {tuple(logits.shape[1:])}.")
    return inside


def _resample(logits: Tensor, frame: Frame, rows: slice) -> Tensor:
    """Return the logits ``c h w`` of some rows of the original picture, read where they lie on the canvas."""
    height, width = logits.shape[1:]
    a, b, c, d, e, f = frame.matrix
    if frame.size == (height, width) and frame.matrix == Frame(size=frame.size).matrix:
        return logits[:, rows]
    # Single precision places the far pixels of a large picture to a thousandth of a pixel: near enough.
    y = torch.arange(rows.start, rows.stop, device=logits.device)[:, None] + 0.5
    x = torch.arange(frame.size[1], device=logits.device)[None] + 0.5
    across, down = a * x + b * y + c, d * x + e * y + f
    grid = torch.stack([2 * across / width - 1, 2 * down / height - 1], dim=-1)
    sampled = F.grid_sample(
        logits[None].float(), grid[None], mode="bilinear", padding_mode="border", align_corners=False
    )
    return sampled[0]


@dataclass(frozen=True, kw_only=True)
class DenseConfig:
    """What all heads for pixels can be told about their loss."""

    losses: tuple[str, ...] = ("cross_entropy", "dice")
    """What is minimised, added up: cross_entropy, dice, focal, lovasz, border (near other classes)."""
    balance: tuple[float, ...] = ()
    """How much each class counts in cross_entropy, focal and border (default: alike)."""
    smoothing: float = 0.0
    """The share of each target that goes to all classes alike, in cross_entropy and border."""
    gamma: float = 2.0
    """How little focal counts what is right already (0: as cross_entropy)."""

    def __post_init__(self) -> None:
        for loss in self.losses:
            if loss not in PIXEL_LOSSES:
                known = ", ".join(PIXEL_LOSSES)
                raise UsageError(
                    f"there is no loss {loss!r}.{nearest(loss, PIXEL_LOSSES)} Losses are {known}."
                )
        if not self.losses or len(set(self.losses)) < len(self.losses):
            raise UsageError("name at least one loss, and each once.")
        if not 0 <= self.smoothing < 1:
            raise UsageError(f"smoothing is a share from 0 to below 1, not {self.smoothing:g}.")
        if self.gamma < 0 or any(weight < 0 for weight in self.balance):
            raise UsageError("gamma and the weights of balance are 0 or more.")

    def head(self, net: nn.Module, classes: Sequence[str], *, multi: bool, aux_weight: float = 0.0) -> Dense:
        """Return the head around a net. Raises UsageError for more or fewer weights than classes."""
        if self.balance and len(self.balance) != len(classes):
            raise UsageError(f"balance has {len(self.balance)} weights for {len(classes)} classes.")
        loss_of = PixelLoss(
            names=self.losses, multi=multi, balance=self.balance, smoothing=self.smoothing, gamma=self.gamma
        )
        return Dense(net, classes, loss_of=loss_of, aux_weight=aux_weight)
