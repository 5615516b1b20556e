"""Where two segmenters part: their masks of the same pictures, and how often any two agree on a pixel."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from vitrail.data.faults import Unreadable
from vitrail.data.probe import sizes
from vitrail.data.windows import fullest, look
from vitrail.draw.masks import answers_beside
from vitrail.draw.page import Shown
from vitrail.run.answer import answer_batch, views_of
from vitrail.run.compare.field import Field
from vitrail.run.compare.pictures import Again, in_order, loaded
from vitrail.run.compare.race import Entrant
from vitrail.run.content import percent
from vitrail.run.engine import choose_device
from vitrail.values import Mask

SIDE, LEAST = 512, 224
"""Of larger pictures a part of so many pixels a side is shown; smaller ones are enlarged to about so many."""
LARGEST = 64_000_000
"""Pictures of more pixels are not shown: to answer one more for its looks takes too long."""
PICTURES = 100
"""Test pictures on which it is counted how often two agree."""


def show_masks(
    found: Field, pair: Sequence[Entrant], places: Sequence[int], marks: Sequence[np.ndarray], device: str
) -> list[Shown]:
    """Return pictures with what is true and the mask of each model's first run; ``marks`` are the models'.

    Of a large picture it is the part in which the masks differ most.
    """
    if found.splits is None or not places:
        return []
    test, place_of = found.splits.test, choose_device(device)
    row_of = {key: row for row, key in enumerate(test.keys)}
    asked = [loaded(each.name, each.whole[0].path, place_of, found.contract.classes) for each in pair]
    shown = []
    for place in places:
        row = row_of.get(found.keys[place])
        if row is None:
            continue
        try:
            size = next(iter(sizes(test.take([row]))), None)
            if size is None or size[0] * size[1] > LARGEST:
                continue
            picture = found.contract.preprocess.original(test.source(row))
            masks = {}
            for each in asked:
                preprocess = each.contract.preprocess
                seen = look(preprocess, test.source(row))
                (mask,) = answer_batch(each.model, views_of([seen], preprocess), each.engine, preprocess)
                assert isinstance(mask, Mask), "a segmenter answers masks"
                masks[each.name] = in_order(mask, found.contract.classes)
        except Unreadable:
            continue
        ours, theirs = masks.values()
        differ = ours.values != theirs.values
        rows, columns = fullest(differ.any(0) if ours.multi else differ, (SIDE, SIDE))
        cut = {
            name: replace(mask, values=mask.values[..., rows, columns], scores=None)
            for name, mask in masks.items()
        }
        truth = test.mask(row)[..., rows, columns]
        said = ", ".join(
            f"{each.name} {percent(float(mark[place]))}" for each, mark in zip(pair, marks, strict=True)
        )
        sheet = answers_beside(picture[rows, columns], cut, truth, least=LEAST)
        if differ.shape[-2:] != truth.shape[-2:]:
            said += f"; a part of it, from row {rows.start} and column {columns.start}"
        shown.append(Shown(picture=np.asarray(sheet), caption=found.keys[place], remark=f"mean IoU: {said}"))
    return shown


def pixel_agreement(found: Field, device: str) -> Mapping[tuple[str, str], list[float]]:
    """Return in which share of the pixels of some test pictures runs of two models say the same.

    Nothing when the data is gone.
    """
    if found.splits is None:
        return {}
    again = Again(found, device, PICTURES)
    pairs = list(itertools.combinations(range(len(again.asked)), 2))
    shares: dict[tuple[int, int], list[float]] = {pair: [] for pair in pairs}
    for _, answers in again.rounds():
        for one, other in pairs:
            both: Any = zip(answers[one], answers[other], strict=True)
            shares[one, other] += [float(np.mean(a.values == b.values)) for a, b in both]
    result: dict[tuple[str, str], list[float]] = {}
    for (one, other), values in shares.items():
        names = again.asked[one].name, again.asked[other].name
        for key in {names, names[::-1]}:
            result.setdefault(key, []).append(float(np.mean(values)))
    return result
