"""A run under way: model, optimizers, loaders and where it stands, saved and restored."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import cast

import torch
from torch import Tensor

from vitrail.data.loader import Loader
from vitrail.errors import VitrailError
from vitrail.models.vision import Vision
from vitrail.run.checkpoint import Checkpoint, clear, load, save
from vitrail.run.contract import load_state, save_weights
from vitrail.run.engine import Engine
from vitrail.run.experiment import Experiment
from vitrail.run.optim import Average, build_optimizers, optimizer_tensors, restore_optimizers
from vitrail.run.progress import Progress
from vitrail.run.tune import shares

CHECKPOINTS = "checkpoints"


@dataclass(kw_only=True)
class State:
    """Where a run stands: ``epoch`` counts finished epochs, ``broken`` maps unread pictures to why.

    ``loss_sum`` and ``sums`` add up the loss and all else that is logged since the epoch began.
    """

    step: int = 0
    epoch: int = 0
    best: list[float] | None = None
    best_epoch: int = 0
    seconds: float = 0.0
    loss_sum: float = 0.0
    sums: dict[str, float] = field(default_factory=dict)
    broken: dict[str, str] = field(default_factory=dict)


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
    def epochs(self) -> int:
        """Epochs of the whole run."""
        return self.experiment.recipe.epochs or 0

    @property
    def steps(self) -> int:
        """Steps of the whole run."""
        return self.epochs * len(self.training)

    @property
    def answering(self) -> Vision:
        """The model that answers: the averaged one when there is one."""
        return cast(Vision, self.average.model) if self.average else self.model

    @property
    def impatient(self) -> bool:
        """Whether the recipe's patience is over: too many epochs without a better one."""
        patience = self.experiment.recipe.train.patience
        return patience > 0 and self.state.epoch - self.state.best_epoch >= patience


def start_job(experiment: Experiment, folder: Path, engine: Engine) -> Job:
    """Build model, optimizer, average and loaders of an experiment, at step 0."""
    recipe = experiment.recipe
    model = experiment.model()
    engine.place(model)
    average = Average(model, recipe.train.ema) if recipe.train.ema else None
    optimizers = build_optimizers(model, recipe.train, shares(model, recipe.tune))
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


def write_checkpoint(job: Job) -> None:
    """Save everything that resuming needs."""
    tensors: dict[str, Tensor] = {f"model.{name}": value for name, value in job.model.state_dict().items()}
    if job.average:
        tensors |= {f"average.{name}": value for name, value in job.average.model.state_dict().items()}
    tensors |= {f"optimizer.{name}": value for name, value in optimizer_tensors(job.optimizers).items()}
    if not all(bool(value.isfinite().all()) for value in tensors.values()):
        raise VitrailError(f"step {job.state.step}: the weights are no longer finite. Lower --train.lr.")
    save(job.folder / CHECKPOINTS, job.state.step, Checkpoint(tensors=tensors, state=asdict(job.state)))


def newest(folder: Path, progress: Progress) -> Checkpoint | None:
    """Return a run's newest good checkpoint; None when there is none, and it starts anew."""
    checkpoint, damaged = load(folder / CHECKPOINTS)
    for path in damaged:
        instead = "an earlier one is used" if checkpoint else "starting anew"
        progress.say(f"warning: {path} is damaged; {instead}.")
    if checkpoint is None:
        clear(folder / CHECKPOINTS)
    return checkpoint


def restore(job: Job, checkpoint: Checkpoint) -> None:
    """Put a run back to where a checkpoint was written."""
    job.state = State(**checkpoint.state)
    load_state(job.model, _part(checkpoint.tensors, "model."), job.folder)
    if job.average:
        load_state(job.average.model, _part(checkpoint.tensors, "average."), job.folder)
    restore_optimizers(job.optimizers, _part(checkpoint.tensors, "optimizer."))
    if job.state.epoch and job.state.epoch == job.state.best_epoch and _between_epochs(job):
        save_weights(job.folder, job.answering)  # it may have been killed between the checkpoint and these


def _between_epochs(job: Job) -> bool:
    return job.state.step == job.state.epoch * len(job.training)


def _part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
