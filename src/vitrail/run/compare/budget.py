"""How much each model may spend: epochs, minutes or arithmetic, turned into epochs once and then frozen."""

import itertools
import re
import statistics
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vitrail.data.probe import sizes
from vitrail.data.windows import views_for
from vitrail.errors import UsageError
from vitrail.models.anatomy import anatomy
from vitrail.run.answer import answer_batch
from vitrail.run.contract import contract_of
from vitrail.run.engine import answering_engine, start_engine
from vitrail.run.experiment import Experiment
from vitrail.run.job import Job, start_job
from vitrail.run.train import learn

Unit = Literal["ep", "min", "flop"]
FORM = re.compile(r"(?P<amount>\d+(?:\.\d+)?(?:e\+?\d+)?)\s*(?P<unit>ep|epochs?|min|h|flops?)")
WARM, STEPS = 2, 8
"""Steps that are taken before and while a model's pace is measured."""
BACKWARD = 2
"""The way back costs twice the way there (Kaplan et al. 2020, "Scaling laws", section 2.1)."""


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What each training run may spend."""

    amount: float
    unit: Unit

    def __str__(self) -> str:
        return f"{self.amount:g}{self.unit}"


def parse_budget(text: str) -> Budget:
    """Read ``30ep``, ``20min``, ``1.5h`` or ``5e15flop``; UsageError for anything else."""
    found = FORM.fullmatch(text.strip().lower())
    amount = float(found["amount"]) if found else 0.0
    if found is None or not amount > 0:
        raise UsageError(
            f"--budget {text}: it is a number of epochs, minutes or FLOPs: 30ep, 20min, 5e15flop."
        )
    unit = found["unit"]
    if unit == "h":
        return Budget(amount=60 * amount, unit="min")
    kind: Unit = "ep" if unit.startswith("ep") else "min" if unit == "min" else "flop"
    if kind == "ep" and amount != round(amount):
        raise UsageError(f"--budget {text}: epochs are whole numbers.")
    return Budget(amount=amount, unit=kind)


def epochs_within(budget: Budget | None, experiments: Mapping[str, Experiment]) -> dict[str, int]:
    """Return how many epochs each model may train for.

    Without a budget all get as many as the one whose own recipe asks for most. Minutes are measured here, a
    few steps of each model in turn, so that all meet the machine in the same mood. Raises UsageError for a
    budget that is less than an epoch of a model.
    """
    if budget is None:
        most = max(each.recipe.epochs or 1 for each in experiments.values())
        return dict.fromkeys(experiments, most)
    if budget.unit == "ep":
        return dict.fromkeys(experiments, int(budget.amount))
    if budget.unit == "flop":
        prices = {name: flops_of_epoch(each) for name, each in experiments.items()}
        limit, said = budget.amount, "FLOPs"
    else:
        prices, limit, said = seconds_of_epoch(experiments), 60 * budget.amount, "s"
    found = {name: int(limit // price) for name, price in prices.items()}
    for name, epochs in found.items():
        if epochs < 1:
            raise UsageError(
                f"--budget {budget}: one epoch of {name} takes {prices[name]:.3g} {said}, and {limit:.3g} "
                "are allowed. Allow more, or take --fractions below 1."
            )
    return found


def flops_of_epoch(experiment: Experiment) -> float:
    """Return the arithmetic of one epoch: training there and back, validation there."""
    preprocess = experiment.preprocess
    one = anatomy(contract_of(experiment).build(), preprocess.size, preprocess.channels).flops
    train, val = experiment.splits.train, experiment.splits.val
    learned = len(train) * (experiment.recipe.data.windows or 1)
    return float(one * ((1 + BACKWARD) * learned + len(val) * views_for(sizes(val), preprocess)))


def seconds_of_epoch(experiments: Mapping[str, Experiment]) -> dict[str, float]:
    """Return how long one epoch of each model takes here, steps and validation, from a few of each."""
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="vitrail-pace-") as scratch:
        jobs = {
            name: start_job(each, Path(scratch) / str(number), start_engine(each.recipe))
            for number, (name, each) in enumerate(experiments.items())
        }
        steps: dict[str, list[float]] = {name: [] for name in jobs}
        batches = {
            name: itertools.cycle(list(itertools.islice(job.training.epoch(0), 2)))
            for name, job in jobs.items()
        }
        for number in range(WARM + STEPS):
            for name, job in jobs.items():
                started = time.perf_counter()
                learn(job, next(batches[name]))
                if number >= WARM:
                    steps[name].append(time.perf_counter() - started)
        for name, job in jobs.items():
            answering = _seconds_to_answer(job) * len(job.validation)
            found[name] = statistics.median(steps[name]) * len(job.training) + answering
    return found


def _seconds_to_answer(job: Job) -> float:
    """Return the median time that one validation batch takes, of three."""
    engine = answering_engine(job.experiment.recipe, job.engine.device)
    batch = next(job.validation.epoch(0))
    model, taken = job.answering.eval(), []
    for _ in range(3):
        started = time.perf_counter()
        answer_batch(model, batch, engine, job.experiment.preprocess)
        taken.append(time.perf_counter() - started)
    return statistics.median(taken)
