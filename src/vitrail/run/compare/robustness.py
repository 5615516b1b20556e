"""How much of a model is left when pictures get worse: noise, blur, JPEG, contrast, a covered part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from vitrail.data.corrupt import CORRUPTIONS, STRENGTHS, corrupt
from vitrail.measure.paired import over_seeds
from vitrail.models.vision import Vision
from vitrail.run.answer import Answers, answer_batch, batch_of
from vitrail.run.compare.field import Field
from vitrail.run.compare.pictures import canvases, spread
from vitrail.run.compare.statistics import resampled
from vitrail.run.contract import WEIGHTS, Contract, load_model, read_contract
from vitrail.run.engine import Engine, answering_engine, choose_device
from vitrail.run.progress import Progress
from vitrail.values import Estimate, Frame

MOST = 500
"""Test pictures that are made worse, in 15 ways each."""
ROOM = 2_000_000_000
"""Bytes of weights that may be loaded at once; beyond, one run of each model is asked."""
BATCH = 64


@dataclass(frozen=True, kw_only=True)
class Robustness:
    """The first metric by corruption, model and strength (0: as they are, then 1, 2, 3).

    ``pictures`` were asked about, by ``seeds`` runs of each model.
    """

    metric: str
    pictures: int
    seeds: int
    values: Mapping[str, Mapping[str, Sequence[Estimate]]]

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        values = {
            kind: {name: [each.to_dict() for each in row] for name, row in models.items()}
            for kind, models in self.values.items()
        }
        return {"metric": self.metric, "pictures": self.pictures, "seeds": self.seeds, "values": values}


def measure_robustness(found: Field, progress: Progress, device: str = "auto") -> Robustness | None:
    """Ask all models about the same pictures made worse in the same way; None when the data is gone.

    Pictures are made worse as the models see them, on the canvas, and each in the same way for all models
    that have the same canvas.
    """
    if found.splits is None:
        return None
    every = [(each.name, run) for each in found.standing for run in each.whole]
    weight = sum((run.path / WEIGHTS).stat().st_size for _, run in every)
    if weight > ROOM:
        every = [(each.name, each.whole[0]) for each in found.standing]
    task = found.contract.task
    place = choose_device(device)
    loaded: list[tuple[str, Vision, Engine, Contract]] = []
    for name, run in every:
        contract = read_contract(run.path)
        model, engine = load_model(run.path, contract), answering_engine(contract.recipe, place)
        engine.place(model)
        loaded.append((name, model, engine, contract))
    seen = {repr(contract.preprocess.working): contract for *_, contract in loaded}
    places = spread(len(found.keys), MOST)
    shown = {key: canvases(found, contract.preprocess, places) for key, contract in seen.items()}
    levels = [(kind, strength) for kind in CORRUPTIONS for strength in STRENGTHS]
    work = [("", 0), *levels]
    numbers: dict[tuple[str, int], dict[str, list[Any]]] = {each: {} for each in work}
    again: Any = None
    progress.begin("making pictures worse", len(work) * len(loaded))
    with ThreadPoolExecutor(2) as pool:
        for kind, strength in work:
            worse = {key: _worse(pool, found, pictures, kind, strength) for key, pictures in shown.items()}
            for name, model, engine, contract in loaded:
                key = repr(contract.preprocess.working)
                frames = [frame for _, frame in shown[key].values()]
                answers = _answers(found, model, engine, contract, worse[key], frames, list(shown[key]))
                drawn = resampled(answers, task)
                again = drawn.again
                numbers[kind, strength].setdefault(name, []).append(drawn.metrics[task.primary])
                progress.step()
    progress.end()
    estimates = {
        place: {name: over_seeds(runs, again) for name, runs in each.items()}
        for place, each in numbers.items()
    }
    return Robustness(
        metric=task.primary,
        pictures=max(map(len, shown.values())),
        seeds=len(loaded) // max(len(found.standing), 1),
        values={
            kind: {
                each.name: [estimates["", 0][each.name]]
                + [estimates[kind, strength][each.name] for strength in STRENGTHS]
                for each in found.standing
            }
            for kind in CORRUPTIONS
        },
    )


def _worse(
    pool: ThreadPoolExecutor,
    found: Field,
    pictures: Mapping[int, tuple[np.ndarray, Frame]],
    kind: str,
    strength: int,
) -> list[np.ndarray]:
    if not strength:
        return [canvas for canvas, _ in pictures.values()]
    jobs = [
        pool.submit(corrupt, canvas, kind, strength, seed=0, key=found.keys[place])
        for place, (canvas, _) in pictures.items()
    ]
    return [job.result() for job in jobs]


def _answers(
    found: Field,
    model: Vision,
    engine: Engine,
    contract: Contract,
    pictures: Sequence[np.ndarray],
    frames: Sequence[Frame],
    kept: Sequence[int],
) -> Answers:
    """Return a model's answers to canvases, with the targets of the keys that they are."""
    known = next(iter(found.answers.values()))
    assert known.targets is not None, "what was read has targets"
    given: list[Any] = []
    for start in range(0, len(pictures), BATCH):
        part = slice(start, start + BATCH)
        given += answer_batch(model, batch_of(pictures[part], frames[part]), engine, contract.preprocess)
    rows = list(kept)
    return Answers(
        keys=[found.keys[row] for row in rows],
        answers=given,
        targets=known.targets[rows],
        groups=None if known.groups is None else known.groups[rows],
    )
