"""`vitrail.train`: from words to a finished run folder, new or resumed."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from vitrail.errors import UsageError, VitrailError
from vitrail.run.checkpoint import Checkpoint
from vitrail.run.claim import claimed, next_free
from vitrail.run.compose import compose
from vitrail.run.contract import FILE, contract_of, read_contract, write_contract
from vitrail.run.engine import choose_environment, start_engine
from vitrail.run.experiment import Experiment, prepare
from vitrail.run.files import locked, sweep, write_json
from vitrail.run.finish import finish
from vitrail.run.folder import RECIPE, RESULT, Run
from vitrail.run.job import CHECKPOINTS, newest, restore, start_job
from vitrail.run.plan import describe
from vitrail.run.progress import Progress, Silent
from vitrail.run.recipe import Recipe, differences
from vitrail.run.train import fit


def train(
    where: str | Path | None = None,
    *,
    model: str | None = None,
    task: str | None = None,
    head: str | None = None,
    epochs: int | None = None,
    seed: int | None = None,
    image_size: int | tuple[int, int] | None = None,
    out: str | Path | None = None,
    recipe: Recipe | str | Path | None = None,
    options: Mapping[str, Any] | None = None,
    resume: str | Path | None = None,
    offline: bool = False,
    progress: Progress | None = None,
) -> Run:
    """Train a model on a folder of pictures and measure it; return the finished run.

    ``where`` is a folder, a table, ``digits``, or ``hf://owner/name``. ``recipe`` is a recipe to start from,
    a file with one, or a name (``finetune``, ``scratch``; by default whether the model brings trained weights
    decides); ``options`` sets any of its keys by dotted name, as in ``{"train.lr": 1e-3}``.
    ``resume`` goes on with a run folder that was cut off (with more ``epochs``, if given).

    Raises `UsageError` when the words are wrong and `VitrailError` when the work fails.
    """
    progress = progress or Silent()
    words = {"seed": seed, "image_size": image_size, "task.name": task, "head.name": head, **(options or {})}
    if resume is not None:
        if where or model or recipe or out:
            raise UsageError("resume goes on with the run's own recipe: leave where, model, recipe and out.")
        return resume_run(Path(resume), epochs=epochs, wanted=words, offline=offline, progress=progress)
    start = compose(where, model, recipe, {"epochs": epochs, **words}, offline=offline)
    return run_recipe(start, out=out, offline=offline, progress=progress)


def run_recipe(
    recipe: Recipe, *, out: str | Path | None = None, offline: bool = False, progress: Progress | None = None
) -> Run:
    """Make a new run of a recipe in the folder ``out`` (default: the next free one below ``runs``)."""
    progress = progress or Silent()
    with claimed(Path(out) if out is not None else next_free(recipe)) as folder:
        experiment = prepare(replace(placed(recipe), environment=None), offline=offline)
        write_json(folder / RECIPE, experiment.recipe.to_dict())
        for note in experiment.notes:
            progress.say(f"note: {note}")
        progress.say(_introduction(experiment, folder))
        return _carry_out(experiment, folder, None, progress)


def placed(recipe: Recipe) -> Recipe:
    """Return a recipe whose paths can be found from anywhere."""
    model = recipe.model
    if model.weights is not None:
        model = replace(model, weights=_found(model.weights))
    return replace(recipe, where=_found(recipe.where), model=model)


def _found(name: str) -> str:
    """Return a path that exists as seen from anywhere; what is no path stays as it is."""
    return str(Path(name).absolute()) if Path(name).exists() else name


def resume_run(
    folder: Path,
    *,
    epochs: int | None = None,
    wanted: Mapping[str, Any] | None = None,
    offline: bool = False,
    progress: Progress | None = None,
) -> Run:
    """Go on with a run that was cut off at whatever moment, to the same bits as if it had not been.

    More ``epochs`` than the run had train exactly the rest. ``wanted`` are other keys by dotted name: one
    that differs from the run's recipe is refused.
    """
    progress = progress or Silent()
    run = Run(folder)
    recipe = run.recipe()
    _refuse_changes(folder, recipe, wanted or {})
    if epochs is not None and epochs < (recipe.epochs or 0):
        raise UsageError(
            f"{folder}: the run is of {recipe.epochs} epochs; --epochs {epochs} would take some back."
        )
    longer = epochs is not None and epochs != recipe.epochs
    if run.finished and not longer:
        progress.say(f"{folder} is finished; train on with --epochs N, N over {recipe.epochs}.")
        return run
    recipe = replace(recipe, epochs=epochs or recipe.epochs)
    with locked(folder):
        checkpoint = newest(folder, progress)
        # With its own weights at hand, those that it started from need not be had any more.
        begun = read_contract(folder).preprocess if checkpoint and (folder / FILE).exists() else None
        experiment = prepare(recipe, offline=offline, begun=begun)
        changed = differences(recipe.to_dict(), experiment.recipe.to_dict())
        if changed:
            raise VitrailError(f"{folder}: the data no longer leads to the same recipe: {'; '.join(changed)}")
        _same_data(folder, experiment)
        here = replace(recipe, environment=choose_environment(recipe))
        for line in differences(recipe.to_dict(), here.to_dict()):
            progress.say(f"warning: {line}; the same pictures in the same order, but perhaps other bits")
        if longer:
            (folder / RESULT).unlink(missing_ok=True)  # the numbers of before are about other weights
            write_json(folder / RECIPE, recipe.to_dict())
        return _carry_out(experiment, folder, checkpoint, progress)


def _refuse_changes(folder: Path, recipe: Recipe, wanted: Mapping[str, Any]) -> None:
    """Raise UsageError, key by key, when a run is to be resumed with another recipe."""
    before = recipe.to_dict()
    changed = differences(before, compose(None, None, recipe, wanted).to_dict())
    if changed:
        raise UsageError(
            f"{folder} cannot go on with another recipe: {'; '.join(changed)}.\n"
            f"Start anew: vitrail train --recipe {folder / RECIPE} with these changes and another --out."
        )


def _carry_out(
    experiment: Experiment, folder: Path, checkpoint: Checkpoint | None, progress: Progress
) -> Run:
    """Train, from a checkpoint if there is one, then measure and report."""
    sweep(folder, folder / CHECKPOINTS)
    job = start_job(experiment, folder, start_engine(experiment.recipe))
    if checkpoint is not None:
        restore(job, checkpoint)
        progress.say(f"resumed after step {job.state.step} of {job.steps}")
    else:
        if line := describe(experiment.recipe, job.model):
            progress.say(line)
        write_json(folder / CHECKPOINTS / "data.json", {"fingerprint": experiment.splits.fingerprint})
    write_contract(folder, contract_of(experiment))  # so that the best weights can answer meanwhile
    fit(job, progress)
    return finish(job, progress)


def _same_data(folder: Path, experiment: Experiment) -> None:
    """Refuse to resume on data that has changed: order and splits would not be the same."""
    file = folder / CHECKPOINTS / "data.json"
    if file.exists() and experiment.splits.fingerprint not in file.read_text(encoding="utf-8"):
        raise VitrailError(
            f"{experiment.recipe.where} has changed since {folder} was started, so it cannot be resumed to "
            "the same result. Put the pictures back, or start anew with another --out."
        )


def _introduction(experiment: Experiment, folder: Path) -> str:
    recipe, splits = experiment.recipe, experiment.splits
    parts = {"to train": splits.train, "to choose": splits.val, "to test": splits.test}
    counts = ", ".join(f"{len(samples):,} {purpose}" for purpose, samples in parts.items()) + " (pictures)"
    height, width = experiment.preprocess.size
    environment = recipe.environment
    device = f"{environment.device} {environment.precision}" if environment else ""
    return (
        f"{recipe.model.name} on {recipe.where}: {counts}; {len(splits.classes)} classes; {height}x{width}; "
        f"{recipe.epochs} epochs of batch {recipe.train.batch}; {device}\ninto {folder}"
    )
