"""How far answers depend on where the windows lie, in which a large picture is seen."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vitrail.contracts import Samples
from vitrail.data.faults import Unreadable
from vitrail.data.preprocess import Loaded, Preprocess
from vitrail.data.windows import STEP, Corner, Windows, corners, overlap_of, windows_of
from vitrail.models.vision import Vision
from vitrail.run.engine import Engine
from vitrail.run.tiles import blended, logits_of

PICTURES, TRIED, ACROSS = 4, 16, 3
"""Pictures that are measured, those looked at to find some that are large enough, and the windows of each
beside and below each other: the middle of a larger picture."""


@dataclass(frozen=True, kw_only=True)
class Seams:
    """What becomes of answers when the windows lie half a step elsewhere, over the pixels of some pictures.

    ``probability`` is how much that of the class answered differs, on average; ``changed`` the share of
    pixels that are answered otherwise. With ``multi`` both are over classes as well. Both are 0 for a network
    that sees no further than a quarter of the overlap.
    """

    pictures: int
    probability: float
    changed: float

    def to_dict(self) -> dict[str, Any]:
        """Return the numbers as one JSON object."""
        return asdict(self)

    def in_words(self) -> str:
        """Return the numbers in a sentence."""
        return (
            f"Seams: with windows half a step elsewhere {self.changed:.2%} of pixels are answered otherwise, "
            f"and the probability of the class answered differs by {self.probability:.4f} "
            f"({self.pictures} pictures larger than a window)."
        )


@torch.inference_mode()
def measure_seams(
    model: Vision, samples: Samples, engine: Engine, preprocess: Preprocess, overlap: int | None = None
) -> Seams | None:
    """Answer some samples twice, with the windows elsewhere; None if no picture is larger than a window.

    ``model`` is in ``eval()``.
    """
    differences, changes = [], []
    for windows in _large(samples, preprocess, overlap):
        size, shared = windows.size, windows.overlap
        moved = replace(windows, corners=corners(size, preprocess.size, shared, STEP, shifted=True))
        with engine.precision():
            difference, changed = _compared(model, windows, moved, engine)
        differences.append(difference)
        changes.append(changed)
    if not differences:
        return None
    return Seams(
        pictures=len(differences),
        probability=float(np.mean(differences)),
        changed=float(np.mean(changes)),
    )


def _large(samples: Samples, preprocess: Preprocess, overlap: int | None) -> Iterator[Windows]:
    """Yield the windows of the middles of some pictures, of those whose windows can lie elsewhere."""
    found, shared = 0, overlap_of(preprocess, overlap)
    most = [side + (ACROSS - 1) * (side - shared) for side in preprocess.size]
    for row in np.unique(np.linspace(0, len(samples) - 1, min(TRIED, len(samples))).astype(int)).tolist():
        try:
            picture = preprocess.load(samples.source(row)).picture
        except Unreadable:
            continue
        part = _part(picture, (min(most[0], picture.shape[0]), min(most[1], picture.shape[1])))
        windows = windows_of(preprocess, part, overlap)
        if windows.corners != corners(windows.size, preprocess.size, windows.overlap, STEP, shifted=True):
            yield windows
            found += 1
        if found == PICTURES:
            return


def _part(picture: np.ndarray, size: tuple[int, ...]) -> Loaded:
    """Return the middle of a picture."""
    (height, width), (rows, columns) = size, picture.shape[:2]
    top, left = (rows - height) // 2, (columns - width) // 2
    pixels = picture[top : top + height, left : left + width].copy()  # the rest need not be held
    return Loaded(pixels, (height, width), (0, 0, width, height))


def _compared(model: Vision, one: Windows, other: Windows, engine: Engine) -> tuple[float, float]:
    """Return the mean difference of probabilities of the class answered, and the share of other answers."""
    head: Any = model.head
    shape = (len(head.names), *one.size) if head.multi else one.size
    sure, chosen = torch.empty(shape), torch.empty(shape, dtype=torch.long)
    for (top, left), found in _probabilities(model, one, engine):
        place = (..., slice(top, top + found.shape[1]), slice(left, left + found.shape[2]))
        if head.multi:
            sure[place], chosen[place] = found, (found >= 0.5).long()
        else:
            sure[place], chosen[place] = found.max(0)
    difference, changed = 0.0, 0
    for (top, left), found in _probabilities(model, other, engine):
        place = (..., slice(top, top + found.shape[1]), slice(left, left + found.shape[2]))
        same = found if head.multi else found.gather(0, chosen[place][None])[0]
        again = (found >= 0.5).long() if head.multi else found.argmax(0)
        difference += float((same - sure[place]).abs().sum())
        changed += int((again != chosen[place]).sum())
    return difference / sure.numel(), changed / sure.numel()


def _probabilities(model: Vision, windows: Windows, engine: Engine) -> Iterator[tuple[Corner, Tensor]]:
    """Yield the probabilities ``c h w`` of parts of a picture, on the processor."""
    parts = logits_of(model, windows, engine, windows.preprocess)
    for corner, logits in blended(windows.corners, parts, windows.overlap):
        yield corner, model.head.probabilities(logits).cpu()
