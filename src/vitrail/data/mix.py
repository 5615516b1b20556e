"""Pictures of a batch mixed with one another: Mixup (Zhang et al. 2018) and CutMix (Yun et al. 2019)."""

import math

import numpy as np
from torch import Tensor

from vitrail.data.chance import uniform
from vitrail.values import Batch

CANDIDATES = 256
MAPS = ("mask",)
"""Targets that lie over the pictures: parts of them are pasted as those of pictures are."""


def mixed(batch: Batch, mixup: float, cutmix: float, *, seed: int, epoch: int) -> Batch:
    """Mix each picture (float ``b c h w``) and its targets with its neighbour's, or none.

    Targets are shares, float ``b c``, or masks ``b [k] h w``, which can be cut but not blended: CutMix alone
    is for them. ``mixup`` and ``cutmix`` are the parameters of beta distributions (0: off); one ratio serves
    a batch.
    """
    if not (mixup or cutmix) or len(batch) < 2:
        return batch
    coin, y, x = uniform(seed, epoch, [batch.number], "mix", draws=3)[0].tolist()
    cutting = bool(cutmix) and (not mixup or coin < 0.5)
    kept = _beta(cutmix if cutting else mixup, seed, epoch, batch.number)
    pixels: dict[str, Tensor] = {}
    maps = {name: batch.targets[name] for name in MAPS if name in batch.targets}
    share, box = kept, (0, 0, 0, 0)
    for role, mine in batch.pixels.items():
        if cutting:
            height, width = mine.shape[2:]
            box = _rectangle(height, width, 1 - kept, y, x)
            share = 1 - (box[1] - box[0]) * (box[3] - box[2]) / (height * width)
            pixels[role] = _pasted(mine, box)
        else:
            pixels[role] = mine * kept + mine.roll(1, 0) * (1 - kept)
    if maps and not cutting:
        raise ValueError("masks cannot be blended")
    targets = {
        name: _pasted(mine, box) if name in maps else mine * share + mine.roll(1, 0) * (1 - share)
        for name, mine in batch.targets.items()
    }
    return batch.with_(pixels=pixels, targets=targets)


def _pasted(mine: Tensor, box: tuple[int, int, int, int]) -> Tensor:
    """Return maps ``b ... h w`` with a part of their neighbours'."""
    top, bottom, left, right = box
    pasted = mine.clone()
    pasted[..., top:bottom, left:right] = mine.roll(1, 0)[..., top:bottom, left:right]
    return pasted


def _rectangle(height: int, width: int, area: float, y: float, x: float) -> tuple[int, int, int, int]:
    """Return ``(top, bottom, left, right)`` of a part of ``area`` around a point, clipped at the borders."""
    half = math.sqrt(area) / 2
    top, bottom = (min(max(round(height * (y + sign * half)), 0), height) for sign in (-1, 1))
    left, right = (min(max(round(width * (x + sign * half)), 0), width) for sign in (-1, 1))
    return top, bottom, left, right


def _beta(alpha: float, seed: int, epoch: int, number: int) -> float:
    """Return a draw of the beta distribution with both parameters ``alpha``, by Jöhnk's rejection (1964)."""
    one, two = uniform(seed, epoch, [number], "beta", draws=2 * CANDIDATES)[0].reshape(2, -1) ** (1 / alpha)
    good = np.flatnonzero((one + two <= 1) & (one + two > 0))
    return float(one[good[0]] / (one[good[0]] + two[good[0]])) if len(good) else 0.5
