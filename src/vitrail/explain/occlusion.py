"""Which places the score misses when they are covered: no gradients, any network."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from vitrail.errors import UsageError
from vitrail.explain.about import ask, repeated
from vitrail.explain.tap import at_rest, heats
from vitrail.models.vision import Vision
from vitrail.values import Batch, Heat


@dataclass(frozen=True, kw_only=True)
class Occlusion:
    """How much the score falls when a grey square covers a place, averaged over the squares that cover it.

    Zeiler and Fergus 2013, "Visualizing and understanding convolutional networks". The picture's longer side
    has ``cells`` cells; the square has ``window`` of them a side and slides by one. Grey is the mean that
    normalising takes away, so 0. ``at_once`` pictures are answered together.
    """

    cells: int = 14
    window: int = 2
    at_once: int = 64

    name: ClassVar[str] = "occlusion"
    class_specific: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not 0 < self.window <= self.cells or self.at_once < 1:
            raise UsageError(
                f"a window of {self.window} of {self.cells} cells, {self.at_once} pictures at once: "
                "take a window from 1 to as many as there are cells, and 1 or more at once."
            )

    def __call__(self, model: Vision, batch: Batch, about: Any = None) -> list[Heat]:
        """Return one heat map a sample, a value a cell."""
        with at_rest(model, batch) as ready:
            maps, settled = self.falls(model, ready, about)
        return heats(maps, settled, self.name)

    @torch.no_grad()
    def falls(self, model: Vision, batch: Batch, about: Any) -> tuple[Float[Tensor, "b h w"], Any]:
        """Return how much the score falls (rises, where negative) for each cell, and what it is about."""
        before, settled = ask(model, batch, about)
        pixels = batch.pixels["image"]
        side = max(1, -(-max(pixels.shape[2:]) // self.cells))
        height, width = (-(-length // side) for length in pixels.shape[2:])
        total, covered = (pixels.new_zeros(len(pixels), height, width, dtype=torch.float32) for _ in range(2))
        windows = list(self._windows(height, width))
        step = max(1, self.at_once // len(pixels))
        for first in range(0, len(windows), step):
            some = windows[first : first + step]
            scores, _ = ask(model, _covered(batch, some, side), repeated(settled, len(some)))
            for (down, right), score in zip(some, scores.view(len(some), -1), strict=True):
                total[:, down, right] += (before - score).float()[:, None, None]
                covered[:, down, right] += 1
        return total / covered, settled

    def _windows(self, height: int, width: int) -> Iterator[tuple[slice, slice]]:
        """Return the rows and columns of cells that each square covers."""
        tall, wide = min(self.window, height), min(self.window, width)
        for top in range(height - tall + 1):
            for left in range(width - wide + 1):
                yield slice(top, top + tall), slice(left, left + wide)


def _covered(batch: Batch, windows: list[tuple[slice, slice]], side: int) -> Batch:
    """Return the batch once for each window, which is covered there."""
    times = len(windows)
    pixels = {role: each.repeat(times, 1, 1, 1) for role, each in batch.pixels.items()}
    for copy, (down, right) in zip(pixels["image"].chunk(times), windows, strict=True):
        copy[..., down.start * side : down.stop * side, right.start * side : right.stop * side] = 0
    return replace(
        batch,
        keys=[*batch.keys] * times,
        pixels=pixels,
        frames=[*batch.frames] * times,
        targets={},
        valid=None if batch.valid is None else batch.valid.repeat(times, 1, 1),
        prompt=None if batch.prompt is None else [*batch.prompt] * times,
    )
