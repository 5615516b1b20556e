"""Test pictures that models are asked about again: as they see them, all models about the same."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vitrail.data.faults import Unreadable
from vitrail.data.preprocess import Preprocess
from vitrail.data.probe import sizes
from vitrail.data.windows import look
from vitrail.models.vision import Vision
from vitrail.run.answer import Answers, answer_batch, views_of
from vitrail.run.compare.field import Field
from vitrail.run.contract import WEIGHTS, Contract, load_model, read_contract
from vitrail.run.engine import Engine, answering_engine, choose_device
from vitrail.values import Answer, Batch, Frame, Mask

ROOM = 2_000_000_000
"""Bytes of weights that may be loaded at once; beyond, one run of each model is asked."""
HELD = 500_000_000
"""Bytes of pictures and masks that are held while models are asked; beyond, there are fewer pictures."""
PART = 512
"""Of larger pictures that are seen in windows the middle is asked about, so many pixels a side, or more where
a window is larger."""
BATCH, AT_ONCE = 64, 2**24
"""Pictures, and numbers of their pixels, that are answered together."""

Change = Callable[[np.ndarray, str], np.ndarray]
"""From a picture (uint8 ``h w c``) and its key to what is asked about in its place."""
Seen = tuple[np.ndarray, Frame | None]
"""A canvas with its frame; or, without one, a picture that is seen in windows."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A run's model that can be asked, under the name that it has in the comparison."""

    name: str
    model: Vision
    engine: Engine
    contract: Contract
    classes: Sequence[str]

    @property
    def sees(self) -> str:
        """What its working pictures depend on: those of two that see alike are the same."""
        return repr(self.contract.preprocess.working)

    def answer(self, seen: Sequence[Seen]) -> Sequence[Answer]:
        """Answer some pictures."""
        preprocess = self.contract.preprocess
        each = [look(preprocess, pixels) if frame is None else [(pixels, frame)] for pixels, frame in seen]
        answers = answer_batch(self.model, views_of(each, preprocess), self.engine, preprocess)
        return [in_order(answer, self.classes) if isinstance(answer, Mask) else answer for answer in answers]


def in_order(mask: Mask, classes: Sequence[str]) -> Mask:
    """Return a mask whose classes, which are the same, are counted in another order."""
    if tuple(mask.names) == tuple(classes):
        return mask
    if mask.multi:
        order = [mask.names.index(name) for name in classes]
        scores = None if mask.scores is None else mask.scores[order]
        return replace(mask, names=classes, values=mask.values[order], scores=scores)
    places = np.array([classes.index(name) for name in mask.names], np.uint8)
    return replace(mask, names=classes, values=places[mask.values])


def loaded(name: str, folder: Path, device: torch.device, classes: Sequence[str]) -> Asked:
    """Load a run's model, whose masks are to count ``classes`` in this order."""
    contract = read_contract(folder)
    model, engine = load_model(folder, contract), answering_engine(contract.recipe, device)
    engine.place(model)
    return Asked(name=name, model=model, engine=engine, contract=contract, classes=classes)


class Again:
    """Up to ``most`` test pictures, evenly chosen, and all runs (or, if they are large, one of each model).

    ``part`` is how many pixels a side of larger pictures are asked about, None: all of them; ``cut`` says
    whether some are larger.
    """

    def __init__(self, found: Field, device: str, most: int) -> None:
        assert found.splits is not None, "the data is there"
        every = [(each.name, run.path) for each in found.standing for run in each.whole]
        if sum((folder / WEIGHTS).stat().st_size for _, folder in every) > ROOM:
            every = [(each.name, each.whole[0].path) for each in found.standing]
        place = choose_device(device)
        self.found = found
        self.asked = [loaded(name, folder, place, found.contract.classes) for name, folder in every]
        self.seen = {each.sees: each.contract.preprocess for each in self.asked}
        tiled = all(each.fit == "tile" for each in self.seen.values())
        self.part = max(PART, *(max(each.size) for each in self.seen.values())) if tiled else None
        self.cut = False
        places = spread(len(found.keys), min(most, self._room()))
        shown = {
            sees: shown_as(found, preprocess, places, self.part) for sees, preprocess in self.seen.items()
        }
        self.places = [place for place in places if all(place in each for each in shown.values())]
        self.shown = shown
        self.truths = {} if not found.contract.task.masked else self._truths()

    def rounds(self, change: Change | None = None) -> Iterator[tuple[list[int], list[Sequence[Answer]]]]:
        """Yield places and, for each of ``asked``, its answers to the pictures there."""
        with ThreadPoolExecutor(2) as pool:
            for some in self._some():
                answers: dict[int, Sequence[Answer]] = {}
                for sees, pictures in self.shown.items():

                    def changed(place: int, pictures: dict[int, Seen] = pictures) -> Seen:
                        pixels, frame = pictures[place]
                        return (change(pixels, self.found.keys[place]) if change else pixels), frame

                    seen = list(pool.map(changed, some))
                    for number, each in enumerate(self.asked):
                        if each.sees == sees:
                            answers[number] = each.answer(seen)
                yield some, [answers[number] for number in range(len(self.asked))]

    def kept(self, change: Change | None = None) -> list[Answers]:
        """Return, for each of ``asked``, what is kept of its answers."""
        task: Any = self.found.contract.task
        known = next(iter(self.found.answers.values()))
        kept: list[list[Any]] = [[] for _ in self.asked]
        for some, answers in self.rounds(change):
            truths = [self.truths[place] for place in some] if self.truths else ()
            batch = Batch(keys=[self.found.keys[place] for place in some], pixels={}, truths=truths)
            for mine, given in zip(kept, answers, strict=True):
                mine += task.kept(given, batch)
        rows = self.places
        return [
            Answers(
                keys=[self.found.keys[row] for row in rows],
                answers=mine,
                targets=None if known.targets is None else known.targets[rows],
                groups=None if known.groups is None else known.groups[rows],
            )
            for mine in kept
        ]

    def _some(self) -> Iterator[list[int]]:
        first = next(iter(self.shown.values()))
        largest = max((first[place][0].size for place in self.places), default=1)
        count = max(1, min(BATCH, AT_ONCE // largest))
        for start in range(0, len(self.places), count):
            yield self.places[start : start + count]

    def _room(self) -> int:
        """Return how many pictures there is room for."""
        assert self.found.splits is not None, "the data is there"
        test, task = self.found.splits.test, self.found.contract.task
        most = self.part or 2**31
        found = sizes(test)
        self.cut = any(max(size) > most for size in found)
        areas = [min(height, most) * min(width, most) for height, width in found] or [1]
        area = sum(areas) / len(areas)
        needed = area * (len(task.classes) if task.multi else 1) if task.masked else 0.0
        for preprocess in self.seen.values():
            shown = area if preprocess.fit == "tile" else preprocess.size[0] * preprocess.size[1]
            needed += shown * preprocess.channels
        return max(1, int(HELD / needed))

    def _truths(self) -> dict[int, np.ndarray]:
        assert self.found.splits is not None, "the data is there"
        test = self.found.splits.test
        row_of = {key: row for row, key in enumerate(test.keys)}
        found = {}
        for place in self.places:
            mask = test.mask(row_of[self.found.keys[place]])
            found[place] = mask[(..., *middle(mask.shape[-2:], self.part))].copy()
        return found


def shown_as(
    found: Field, preprocess: Preprocess, places: Iterable[int], part: int | None = None
) -> dict[int, Seen]:
    """Return what is seen of the test pictures at these places among the keys; those that can be had.

    That is a canvas with its frame; where pictures are seen in windows, it is the picture, or its middle
    ``part``.
    """
    if found.splits is None:
        return {}
    test = found.splits.test
    row_of = {key: row for row, key in enumerate(test.keys)}
    shown: dict[int, Seen] = {}
    for place in places:
        row = row_of.get(found.keys[place])
        if row is None:
            continue
        try:
            working = preprocess.load(test.source(row))
        except Unreadable:
            continue
        if preprocess.fit == "tile":
            shown[place] = working.picture[middle(working.picture.shape[:2], part)].copy(), None
        else:
            shown[place] = preprocess.canvas(working)
    return shown


def canvases(
    found: Field, preprocess: Preprocess, places: Iterable[int]
) -> dict[int, tuple[np.ndarray, Frame]]:
    """Return one canvas of each of the test pictures at these places, with its frame; those there are.

    Of pictures that are seen in windows it is a window in the middle, as a picture of its own.
    """
    shown = shown_as(found, preprocess, places, max(preprocess.size))
    return {
        place: preprocess.canvas(preprocess.load(pixels)) if frame is None else (pixels, frame)
        for place, (pixels, frame) in shown.items()
    }


def middle(size: Sequence[int], part: int | None) -> tuple[slice, slice]:
    """Return the rows and columns of the middle of a picture, ``part`` pixels a side or as many as it has."""
    starts = [0 if part is None else max(0, (side - part) // 2) for side in size]
    down, across = (slice(start, None if part is None else start + part) for start in starts)
    return down, across


def spread(count: int, most: int) -> list[int]:
    """Return up to ``most`` places among ``count``, evenly chosen."""
    places: list[int] = np.unique(np.linspace(0, count - 1, min(most, count)).round().astype(int)).tolist()
    return places
