"""The training loop: the same for every task, and short enough to read at once."""

import math
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vitrail.data.chance import key
from vitrail.data.loader import Loader
from vitrail.errors import VitrailError
from vitrail.models.vision import Vision
from vitrail.run.answer import answer_all
from vitrail.run.checkpoint import Checkpoint, load, save
from vitrail.run.contract import load_state, save_weights
from vitrail.run.engine import Engine
from vitrail.run.experiment import Experiment
from vitrail.run.interrupt import Interrupt
from vitrail.run.log import Log
from vitrail.run.optim import (
    Average,
    better,
    build_optimizers,
    optimizer_tensors,
    rank,
    rate,
    restore_optimizers,
)
from vitrail.run.progress import Progress
from vitrail.values import Batch

CHECKPOINTS = "checkpoints"


@dataclass(kw_only=True)
class State:
    """Where a run stands. ``epoch`` counts finished epochs, validation included."""

    step: int = 0
    epoch: int = 0
    best: list[float] | None = None
    best_epoch: int = 0
    seconds: float = 0.0
    loss_sum: float = 0.0


@dataclass(kw_only=True)
class Job:
    """All that the loop touches."""

    experiment: Experiment
    folder: Path
    engine: Engine
    model: Vision
    optimizers: list[torch.optim.Optimizer]
    average: Average | None
    training: Loader
    validation: Loader
    state: State = field(default_factory=State)

    @property
    def steps(self) -> int:
        """Steps of the whole run."""
        return (self.experiment.recipe.epochs or 0) * len(self.training)

    @property
    def answering(self) -> Vision:
        """The model that answers: the averaged one when there is one."""
        return self.average.model if self.average else self.model  # type: ignore[return-value]


def fit(job: Job, progress: Progress) -> None:
    """Train from ``job.state`` to the end of the recipe, saving as it goes."""
    recipe, state, loader = job.experiment.recipe, job.state, job.training
    epochs = recipe.epochs or 0
    with Interrupt() as interrupt, Log(job.folder, state.step, state.epoch) as log:
        while state.epoch < epochs and not _patience_is_over(job):
            saved = started = time.monotonic()
            before = state.seconds
            first = state.epoch * len(loader)
            progress.begin(f"epoch {state.epoch + 1}/{epochs}", len(loader), done=state.step - first)
            for batch in loader.epoch(state.epoch, start=state.step - first):
                seen = learn(job, batch)
                state.step = first + batch.number + 1
                state.seconds = before + time.monotonic() - started
                log.write({"step": state.step, **seen})
                progress.step({"loss": state.loss_sum / (state.step - first)})
                late = time.monotonic() - saved > 60 * recipe.train.save_minutes
                if interrupt.requested or late:
                    log.flush()
                    write_checkpoint(job)
                    saved = time.monotonic()
                if interrupt.requested:
                    progress.end()
                    raise VitrailError(
                        f"{interrupt.requested}: stopped after step {state.step} of {job.steps}, saved. "
                        f"Go on with: vitrail train --resume {job.folder}"
                    )
            state.step = first + len(loader)
            record = validate(job)
            log.write(record)
            log.flush()
            progress.end(_line(record, epochs, job.experiment.chooses[0]))
            write_checkpoint(job)


def learn(job: Job, batch: Batch) -> dict[str, float]:
    """Take one step on one batch and return what it saw. Weights change only if all numbers are finite."""
    recipe, state, model = job.experiment.recipe, job.state, job.model
    lr = rate(recipe.train, state.step, job.steps)
    for optimizer in job.optimizers:
        for group in optimizer.param_groups:
            group["lr"] = lr * group["share"]
    model.train()
    steady = [buffer.clone() for buffer in model.buffers()]
    batch = job.engine.ready(batch, job.experiment.preprocess)
    batch = recipe.augment.mix(batch, recipe.seed, state.epoch)
    loss = torch.zeros((), device=job.engine.device)
    parts = split_batch(batch, recipe.train.accumulate)
    for number, part in enumerate(parts):
        # The model's own draws (dropout, stochastic depth) depend on nothing but (seed, step, part).
        torch.manual_seed(key(recipe.seed, state.step, number))
        with job.engine.precision():
            losses = model.loss(part, state.step / max(job.steps, 1))
        share = losses.total * (len(part) / len(batch))
        share.backward()  # type: ignore[no-untyped-call]
        loss += share.detach()
    norm = nn.utils.clip_grad_norm_(model.parameters(), recipe.train.clip or math.inf)
    seen = {"loss": float(loss), "norm": float(norm), "lr": lr}
    if not (math.isfinite(seen["loss"]) and math.isfinite(seen["norm"])):
        _stop_unharmed(job, batch, steady, seen)
    for optimizer in job.optimizers:
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    if job.average:
        job.average.update(state.step)
    state.loss_sum += seen["loss"]
    return seen


def validate(job: Job) -> dict[str, Any]:
    """Answer the validation part, keep the weights if they are the best so far, and close the epoch."""
    state, task = job.state, job.experiment.task
    started = time.monotonic()
    metric = task.metric()
    answer_all(job.answering, job.validation, job.engine, job.experiment.preprocess, metric)
    values = metric.points()
    name, order = job.experiment.chooses
    state.epoch += 1
    ranked = rank(values, name, order)
    if better(ranked, state.best):
        save_weights(job.folder, job.answering)
        state.best, state.best_epoch = ranked, state.epoch
    loss = state.loss_sum / len(job.training)
    state.loss_sum = 0.0
    state.seconds += time.monotonic() - started
    lr = job.optimizers[0].param_groups[0]["lr"]
    numbers = {f"val_{key}": value if math.isfinite(value) else None for key, value in values.items()}
    return {
        "epoch": state.epoch,
        "step": state.step,
        "loss": loss,
        "lr": lr,
        **numbers,
        "best": state.best_epoch,
        "seconds": round(state.seconds, 3),
    }


def split_batch(batch: Batch, parts: int) -> list[Batch]:
    """Cut a batch into at most ``parts`` of equal size, to be worked through one after the other."""
    if parts <= 1:
        return [batch]
    size = math.ceil(len(batch) / parts)
    cuts = [slice(start, start + size) for start in range(0, len(batch), size)]
    return [
        batch.with_(
            keys=batch.keys[cut],
            pixels={role: tensor[cut] for role, tensor in batch.pixels.items()},
            targets={name: tensor[cut] for name, tensor in batch.targets.items()},
            frames=batch.frames[cut],
        )
        for cut in cuts
    ]


def write_checkpoint(job: Job) -> None:
    """Save everything that resuming needs."""
    tensors: dict[str, Tensor] = {f"model.{name}": value for name, value in job.model.state_dict().items()}
    if job.average:
        tensors |= {f"average.{name}": value for name, value in job.average.model.state_dict().items()}
    tensors |= {f"optimizer.{name}": value for name, value in optimizer_tensors(job.optimizers).items()}
    if not all(bool(value.isfinite().all()) for value in tensors.values()):
        raise VitrailError(f"step {job.state.step}: the weights are no longer finite. Lower --train.lr.")
    save(job.folder / CHECKPOINTS, job.state.step, Checkpoint(tensors=tensors, state=asdict(job.state)))


def restore(job: Job, progress: Progress) -> bool:
    """Put a run back to its newest good checkpoint; False when there is none (it starts anew)."""
    checkpoint, warnings = load(job.folder / CHECKPOINTS)
    for warning in warnings:
        progress.say(f"warning: {warning}")
    if checkpoint is None:
        return False
    job.state = State(**checkpoint.state)
    load_state(job.model, _part(checkpoint.tensors, "model."), job.folder)
    if job.average:
        load_state(job.average.model, _part(checkpoint.tensors, "average."), job.folder)
    restore_optimizers(job.optimizers, _part(checkpoint.tensors, "optimizer."))
    return True


def start_job(experiment: Experiment, folder: Path, engine: Engine) -> Job:
    """Build model, optimizer, average and loaders of an experiment, at step 0."""
    recipe = experiment.recipe
    model = experiment.model()
    engine.place(model)
    average = Average(model, recipe.train.ema) if recipe.train.ema else None
    optimizers = build_optimizers(model, recipe.train)
    if engine.compile:
        model.backbone.compile()
    return Job(
        experiment=experiment,
        folder=folder,
        engine=engine,
        model=model,
        optimizers=optimizers,
        average=average,
        training=experiment.loader("train", augmented=True),
        validation=experiment.loader("val"),
    )


def _stop_unharmed(job: Job, batch: Batch, steady: list[Tensor], seen: Mapping[str, float]) -> None:
    """Stop with the weights of before the step, naming what led to it."""
    for buffer, value in zip(job.model.buffers(), steady, strict=True):
        buffer.copy_(value)  # a batch norm has already averaged the bad batch in
    write_checkpoint(job)
    files = ", ".join(batch.keys[:8]) + (f" and {len(batch.keys) - 8} more" if len(batch.keys) > 8 else "")
    raise VitrailError(
        f"step {job.state.step + 1}: loss {seen['loss']:.4g}, gradient norm {seen['norm']:.4g} at learning "
        f"rate {seen['lr']:.3g}; stopped with the weights of before.\n"
        f"Lower --train.lr, or look at the pictures of this batch: {files}"
    )


def _patience_is_over(job: Job) -> bool:
    patience = job.experiment.recipe.train.patience
    return patience > 0 and job.state.epoch - job.state.best_epoch >= patience


def _part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _line(record: Mapping[str, Any], epochs: int, chosen: str) -> str:
    shown = {"loss": record["loss"], chosen: record[f"val_{chosen}"], "log loss": record.get("val_log_loss")}
    numbers = "  ".join(f"{name} {value:.4f}" for name, value in shown.items() if value is not None)
    star = " *" if record["best"] == record["epoch"] else ""
    return f"epoch {record['epoch']}/{epochs}  {numbers}{star}"
