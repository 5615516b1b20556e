"""Where two models part: pictures that one got right and the other wrong, and how often any two agree."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vitrail.draw.overlay import overlay
from vitrail.draw.page import Shown
from vitrail.draw.sheet import to_image
from vitrail.run.compare.field import Field
from vitrail.run.compare.masks import pixel_agreement, show_masks
from vitrail.run.compare.pictures import canvases
from vitrail.run.compare.race import Entrant
from vitrail.run.contract import load_model, read_contract
from vitrail.run.engine import answering_engine, choose_device
from vitrail.run.explain.looks import look
from vitrail.run.folder import Run

MOST = 8
"""Pictures shown of each side."""
MASKS, AHEAD = 4, 0.05
"""The same of masks, which are wide; and by how much a mask has to be better for its picture to count."""
SIDE = 160
"""The least height of a picture on the page, in pixels."""


@dataclass(frozen=True, kw_only=True)
class Parting:
    """Pictures that ``ours`` got right and ``theirs`` wrong, over all seeds, and how many there are.

    Of masks, which are rarely all right or all wrong: those on which it is ahead by `AHEAD` or more.
    """

    ours: str
    theirs: str
    count: int
    shown: Sequence[Shown]
    explained: Sequence[str]


def agreement(found: Field, device: str = "auto") -> dict[str, dict[str, float]]:
    """Return in which share of pictures any two models give the same answer, on average over their runs.

    Of masks it is the share of pixels. A model beside itself is how often two of its seeds agree; with one
    seed that is not a number.
    """
    names = [each.name for each in found.standing]
    if found.contract.task.masked:
        counted = pixel_agreement(found, device)
        return {
            one: {other: float(np.mean(counted.get((one, other), np.nan))) for other in names}
            for one in names
            if counted
        }
    codes: dict[Any, int] = {}  # numbers compare faster than answers

    def coded(run: Run) -> np.ndarray:
        answers = found.answers[run.path].answers
        return np.array([codes.setdefault(answer.chosen, len(codes)) for answer in answers])

    chosen = {each.name: [coded(run) for run in each.whole] for each in found.standing}
    table: dict[str, dict[str, float]] = {name: {} for name in chosen}
    for one, other in itertools.product(chosen, chosen):
        pairs = (
            list(itertools.combinations(chosen[one], 2))
            if one == other
            else list(itertools.product(chosen[one], chosen[other]))
        )
        shares = [np.mean(a == b) for a, b in pairs]
        table[one][other] = float(np.mean(shares)) if shares else float("nan")
    return table


def part(found: Field, ours: str, theirs: str, device: str = "auto") -> list[Parting]:
    """Return both sides of two models' disagreement; without pictures when the data is gone."""
    by_name = {each.name: each for each in found.standing}
    marks = {name: _marks(found, by_name[name]) for name in (ours, theirs)}
    masked = found.contract.task.masked
    sides = []
    for one, other in ((ours, theirs), (theirs, ours)):
        gap = marks[one] - marks[other]
        places = [place for place in np.argsort(-gap, kind="stable").tolist() if gap[place] > 0]
        explained: list[str] = []
        pair = [by_name[one], by_name[other]]
        if masked:
            count = int((gap >= AHEAD).sum())
            both = marks[one], marks[other]
            shown = show_masks(found, pair, places[: min(MASKS, count)], both, device)
        else:
            count = int(((marks[one] > 0.5) & (marks[other] <= 0.5)).sum())
            shown = _show(found, pair, places[: 2 * MOST], explained, device)
        sides.append(
            Parting(
                ours=one,
                theirs=other,
                count=count,
                shown=shown[:MOST],
                explained=explained,
            )
        )
    return sides


def _marks(found: Field, entrant: Entrant) -> np.ndarray:
    """Return how right a model was on each picture, on average over its seeds (``n``)."""
    task: Any = found.contract.task
    every = [found.answers[run.path] for run in entrant.whole]
    marks = [np.asarray(task.marks(answers.answers, answers.targets)) for answers in every]
    return np.asarray(np.mean(marks, axis=0))


def _show(
    found: Field, pair: Sequence[Entrant], places: Sequence[int], explained: list[str], device: str
) -> list[Shown]:
    """Return pictures with what is true and what each model answered, beside what each looked at."""
    pictures = canvases(found, found.contract.preprocess, places)
    heats = {each.name: _heats(found, each, list(pictures), device) for each in pair}
    explained += [name for name, maps in heats.items() if maps]
    shown = []
    for place, (canvas, _) in pictures.items():
        panes = [canvas, *(overlay(*maps[place]) for maps in heats.values() if place in maps)]
        said = [f"{each.name}: {_said(found, each, place)}" for each in pair]
        shown.append(Shown(picture=_beside(panes), caption=_truth(found, place), remark="; ".join(said)))
    return shown


def _heats(
    found: Field, entrant: Entrant, places: Sequence[int], device: str
) -> Mapping[int, tuple[np.ndarray, np.ndarray]]:
    """Return by place the canvas and the heat map of a model that has a way of explaining itself."""
    folder = entrant.whole[0].path
    contract = read_contract(folder)
    model = load_model(folder, contract)
    loaded = canvases(found, contract.preprocess, places)
    engine = answering_engine(contract.recipe, choose_device(device))
    engine.place(model)
    seen = look(model, engine, contract.preprocess, [canvas for canvas, _ in loaded.values()])
    if seen is None:
        return {}
    return {
        place: (canvas, heat.values)
        for (place, (canvas, _)), heat in zip(loaded.items(), seen.heats, strict=True)
    }


def _beside(panes: Sequence[Any]) -> np.ndarray:
    """Return pictures of one height beside each other, enlarged to a whole multiple where they are small."""
    images = [to_image(pane).convert("RGB") for pane in panes]
    height = max(image.height for image in images)
    height *= max(1, SIDE // height)
    sized = [image.resize((round(image.width * height / image.height), height), 0) for image in images]
    gap = np.full((height, 4, 3), 255, np.uint8)
    parts = [part for image in sized for part in (gap, np.asarray(image))]
    return np.concatenate(parts[1:], axis=1)


def _truth(found: Field, place: int) -> str:
    known = found.answers[_first(found)]
    assert known.targets is not None, "what was read has targets"
    names = [found.contract.classes[index] for index in np.flatnonzero(known.targets[place] > 0.5).tolist()]
    return ", ".join(names) or "nothing"


def _first(found: Field) -> Path:
    return next(iter(found.answers))


def _said(found: Field, entrant: Entrant, place: int) -> str:
    """Return what a model's runs answered, the most frequent answer first."""
    answers = [", ".join(found.answers[run.path].answers[place].chosen) or "nothing" for run in entrant.whole]
    counts = {answer: answers.count(answer) for answer in dict.fromkeys(answers)}
    if len(answers) == 1:
        return answers[0]
    return ", ".join(
        f"{answer} ({count} of {len(answers)})"
        for answer, count in sorted(counts.items(), key=lambda each: -each[1])
    )
