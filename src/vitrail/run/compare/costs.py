"""What each model costs: to keep, to train and to ask."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from vitrail.data.probe import sizes
from vitrail.data.windows import views_for
from vitrail.models.anatomy import Anatomy, anatomy
from vitrail.run.answer import answer_batch, batch_of
from vitrail.run.compare.field import Field
from vitrail.run.compare.pictures import Asked, canvases, loaded, spread
from vitrail.run.contract import WEIGHTS
from vitrail.run.engine import choose_device
from vitrail.run.recipe import Recipe
from vitrail.values import Frame

ROUNDS, ENOUGH = 9, 20.0
"""Rounds in which all models answer in turn, fewer once so many seconds are over."""
BATCHES = (1, 16)
STATES = {"adamw": 2, "sgd": 1, "muon": 1}
"""Numbers that an optimizer keeps for each weight."""


@dataclass(frozen=True, kw_only=True)
class Spending:
    """What a model costs. Times in seconds, memory and ``disk`` in bytes; means over its runs.

    ``latency`` is the time to answer one picture alone, ``answer_rate`` pictures a second in batches of 16,
    both without decoding; of pictures that are seen in windows, from the times of windows. ``memory`` is what
    training needs at its peak: on CUDA as measured, elsewhere computed from the shapes (weights, gradients,
    optimizer, and what is kept for the way back).
    """

    parameters: int
    flops: float
    train_seconds: float
    train_rate: float
    latency: float
    answer_rate: float
    memory: int
    disk: int

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)


def measure_costs(found: Field, device: str = "auto") -> dict[str, Spending]:
    """Return what each entrant costs, its speed measured here in turn with the others'."""
    place = choose_device(device)
    asked = {
        each.name: loaded(each.name, each.whole[0].path, place, found.contract.classes)
        for each in found.standing
    }
    speeds = _in_turn(found, asked)
    pictures_seen = [] if found.splits is None else sizes(found.splits.test)
    spent = {}
    for each in found.standing:
        run, preprocess = each.whole[0], asked[each.name].contract.preprocess
        shape = anatomy(asked[each.name].model, preprocess.size, preprocess.channels)
        parts = views_for(pictures_seen, preprocess)
        results, recipe = [some.result for some in each.whole], run.recipe()
        seconds = statistics.mean(result["train_seconds"] for result in results)
        pictures = statistics.mean(
            result["epochs"] * _learned_from(found, recipe, result) for result in results
        )
        on_cuda = recipe.environment is not None and recipe.environment.device == "cuda"
        spent[each.name] = Spending(
            parameters=shape.parameters,
            flops=float(shape.flops * parts),
            train_seconds=seconds,
            train_rate=pictures / max(seconds, 1e-9),
            latency=_seconds(speeds[each.name], parts),
            answer_rate=16 / (speeds[each.name][16] * parts),
            memory=int(results[0]["peak_memory"]) if on_cuda else training_memory(shape, recipe),
            disk=(run.path / WEIGHTS).stat().st_size,
        )
    return spent


def training_memory(shape: Anatomy, recipe: Recipe) -> int:
    """Return the bytes that a training step needs, computed from shapes, if all weights are learned."""
    batch = -(-(recipe.train.batch or 1) // recipe.train.accumulate)
    copies = 2 + STATES[recipe.train.optimizer] + (1 if recipe.train.ema else 0)
    return copies * shape.weights + batch * shape.activations


def _learned_from(found: Field, recipe: Recipe, result: Mapping[str, Any]) -> float:
    """Return how many pictures an epoch has: the data's, or an estimate from the parts that were measured."""
    if found.splits is not None:
        whole = len(found.splits.train)
        return whole * recipe.data.fraction / _fraction_of(found)
    return float(result["val"]["pictures"] * 9)


def _fraction_of(found: Field) -> float:
    """Return which share of the training part the field's data has."""
    first = next(iter(found.standing)).whole[0]
    return first.recipe().data.fraction


def _seconds(taken: Mapping[int, float], parts: float) -> float:
    """Return how long one picture takes that is seen in so many parts, which are answered together."""
    least, most = BATCHES
    return taken[least] + (parts - 1) * max(taken[most] - taken[least], 0.0) / (most - least)


def _in_turn(found: Field, asked: Mapping[str, Asked]) -> dict[str, dict[int, float]]:
    """Return the median seconds that each model takes for a batch of each size, all asked in turn."""
    batches = {}
    for name, each in asked.items():
        preprocess = each.contract.preprocess
        shown = list(canvases(found, preprocess, spread(len(found.keys), max(BATCHES))).values())
        if not shown:  # the data is gone: any picture takes as long
            blank = np.zeros((*preprocess.size, preprocess.channels), np.uint8)
            shown = [(blank, Frame(size=preprocess.size))]
        asked_for = [shown[index % len(shown)] for index in range(max(BATCHES))]
        batches[name] = {size: batch_of(*zip(*asked_for[:size], strict=True)) for size in BATCHES}
    taken: dict[str, dict[int, list[float]]] = {name: {size: [] for size in BATCHES} for name in asked}
    began = time.perf_counter()
    for number in range(ROUNDS + 1):
        for name, each in asked.items():
            for size, batch in batches[name].items():
                started = time.perf_counter()
                # Its answers wait for the device:
                answer_batch(each.model, batch, each.engine, each.contract.preprocess)
                if number:  # the first round warms up
                    taken[name][size].append(time.perf_counter() - started)
        if number and time.perf_counter() - began > ENOUGH:
            break
    return {
        name: {size: statistics.median(each) for size, each in sizes.items()} for name, sizes in taken.items()
    }
