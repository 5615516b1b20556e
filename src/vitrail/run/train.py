"""The training loop: the same for every task, and short enough to read at once."""

import math
import time
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from vitrail.data.chance import key
from vitrail.errors import Interrupted, VitrailError
from vitrail.run.answer import answer_all
from vitrail.run.contract import save_weights
from vitrail.run.engine import answering_engine
from vitrail.run.interrupt import Interrupt, Stopped
from vitrail.run.job import Job, write_checkpoint
from vitrail.run.log import Log
from vitrail.run.optim import better, rank, rate
from vitrail.run.progress import Progress
from vitrail.values import Batch, Losses


def fit(job: Job, progress: Progress) -> None:
    """Train from ``job.state`` to the end of the recipe, saving as it goes."""
    state = job.state
    if job.impatient and state.epoch < job.epochs:
        idle = state.epoch - state.best_epoch
        progress.say(f"patience ended the run at epoch {state.epoch}: {idle} without a better one.")
    with Interrupt() as interrupt, Log(job.folder, state.step, state.epoch) as log:
        try:
            while state.epoch < job.epochs and not job.impatient:
                interrupt.check()
                train_epoch(job, log, interrupt, progress)
                record, best = validate(job, interrupt)
                log.write(record)
                log.flush()
                write_checkpoint(job)
                if best:
                    save_weights(job.folder, job.answering)
                progress.end(_line(record, job))
        except Stopped as stopped:
            log.flush()
            write_checkpoint(job)
            raise Interrupted(
                f"{stopped}: stopped after step {state.step} of {job.steps}, saved. "
                f"Go on with: vitrail train --resume {job.folder}"
            ) from None
        finally:
            progress.end()


def train_epoch(job: Job, log: Log, interrupt: Interrupt, progress: Progress) -> None:
    """Learn from every batch of an epoch that has not been learned from yet."""
    state, loader = job.state, job.training
    saved = started = time.monotonic()
    before, first = state.seconds, state.epoch * len(loader)
    progress.begin(f"epoch {state.epoch + 1}/{job.epochs}", len(loader), done=state.step - first)
    for batch in loader.epoch(state.epoch, start=state.step - first):
        seen = learn(job, batch)
        state.step = first + batch.number + 1
        state.seconds = before + time.monotonic() - started
        log.write({"step": state.step, **seen})
        progress.step({"loss": state.loss_sum / (state.step - first)})
        interrupt.check()
        if time.monotonic() - saved > 60 * job.experiment.recipe.train.save_minutes:
            log.flush()
            write_checkpoint(job)
            saved = time.monotonic()
    state.step = first + len(loader)
    if loader.broken and not state.broken:
        progress.say(f"note: {_unread(loader.broken)}")
    state.broken |= loader.broken


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
    numbers = torch.zeros((), device=job.engine.device)
    names: list[str] = []
    parts = split_batch(batch, recipe.train.accumulate)
    for number, part in enumerate(parts):
        # The model's own draws (dropout, stochastic depth) depend on nothing but (seed, step, part).
        torch.manual_seed(key(recipe.seed, state.step, number))
        with job.engine.precision():
            losses = model.loss(part, state.step / max(job.steps, 1))
        share = len(part) / len(batch)
        (losses.total * share).backward()  # type: ignore[no-untyped-call]
        names, values = numbers_of(losses)
        numbers = numbers + values * share
    norm = nn.utils.clip_grad_norm_(model.parameters(), recipe.train.clip or math.inf)
    # All numbers come from the device at once: to ask is to wait for it.
    told = dict(zip([*names, "norm"], torch.cat([numbers, norm[None]]).tolist(), strict=True))
    seen = {name: value for name, value in told.items() if not name.startswith("train_")}
    seen["lr"] = lr
    if not (math.isfinite(seen["loss"]) and math.isfinite(seen["norm"])):
        _stop_unharmed(job, batch, steady, seen)
    for optimizer in job.optimizers:
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    if job.average:
        job.average.update(state.step)
    state.loss_sum += seen["loss"]
    for name in names[1:]:
        state.sums[name] = state.sums.get(name, 0.0) + told[name]
    return seen


def numbers_of(losses: Losses) -> tuple[list[str], Tensor]:
    """Return what is logged of a step, as names and their numbers side by side on the device.

    The ``loss`` comes first, then each ``loss_TERM`` when there are several, then each ``train_NAME`` seen.
    """
    values: dict[str, float | Tensor] = {"loss": losses.total}
    if len(losses.terms) > 1:
        values |= {f"loss_{name}": term for name, term in losses.terms.items()}
    values |= {f"train_{name}": value for name, value in losses.seen.items()}
    device = losses.total.device
    scalars = [torch.as_tensor(each, device=device).detach().float() for each in values.values()]
    return list(values), torch.stack(scalars)


def validate(job: Job, interrupt: Interrupt) -> tuple[dict[str, Any], bool]:
    """Answer the validation part and close the epoch; return its record, and whether it is the best."""
    state, task = job.state, job.experiment.task
    started = time.monotonic()
    metric = task.metric()
    with interrupt.at_once():  # nothing has changed yet: the epoch is simply validated again
        engine = answering_engine(job.experiment.recipe, job.engine.device)
        answer_all(job.answering, job.validation, engine, job.experiment.preprocess, task, metric)
    values = metric.points()
    ranked = rank(values, *job.experiment.chooses)
    state.epoch += 1
    best = better(ranked, state.best)
    if best:
        state.best, state.best_epoch = ranked, state.epoch
    loss = state.loss_sum / len(job.training)
    means = {name: total / len(job.training) for name, total in state.sums.items()}
    state.loss_sum, state.sums = 0.0, {}
    state.seconds += time.monotonic() - started
    record = {
        "epoch": state.epoch,
        "step": state.step,
        "loss": loss,
        **means,
        "lr": rate(job.experiment.recipe.train, max(state.step - 1, 0), job.steps),
        **{f"val_{name}": value if math.isfinite(value) else None for name, value in values.items()},
        "best": state.best_epoch,
        "seconds": round(state.seconds, 3),
    }
    return record, best


def split_batch(batch: Batch, parts: int) -> list[Batch]:
    """Cut a batch into at most ``parts`` of about equal size, to be worked through one after the other."""
    if parts <= 1:
        return [batch]
    parts = min(parts, max(1, len(batch) // 2))  # batch norms want two pictures at least
    edges = [len(batch) * number // parts for number in range(parts + 1)]
    cuts = [slice(*ends) for ends in pairwise(edges)]
    return [
        batch.with_(
            keys=batch.keys[cut],
            pixels={role: tensor[cut] for role, tensor in batch.pixels.items()},
            targets={name: tensor[cut] for name, tensor in batch.targets.items()},
            frames=batch.frames[cut],
        )
        for cut in cuts
    ]


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


def _unread(broken: Mapping[str, str]) -> str:
    name, reason = next(iter(broken.items()))
    what = "picture was" if len(broken) == 1 else "pictures were"
    return f"{len(broken):,} {what} not read and left out; the first, {name}: {reason}"


def _line(record: Mapping[str, Any], job: Job) -> str:
    chosen, _ = job.experiment.chooses
    shown = {"loss": record["loss"], chosen: record[f"val_{chosen}"], "log loss": record.get("val_log_loss")}
    numbers = "  ".join(f"{name} {value:.4f}" for name, value in shown.items() if value is not None)
    star = " *" if record["best"] == record["epoch"] else ""
    return f"epoch {record['epoch']}/{job.epochs}  {numbers}{star}"
