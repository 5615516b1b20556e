"""`vitrail.train`: from words to a finished run folder, new or resumed."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from vitrail.data.augment import PRESETS
from vitrail.errors import UsageError, VitrailError, nearest
from vitrail.run.contract import contract_of, write_contract
from vitrail.run.engine import choose_environment, start_engine
from vitrail.run.experiment import Experiment, prepare
from vitrail.run.files import cannot_write, locked, sweep, write_json
from vitrail.run.finish import finish
from vitrail.run.folder import RECIPE, RESULT, Run
from vitrail.run.job import CHECKPOINTS, restore, start_job
from vitrail.run.progress import Progress, Silent
from vitrail.run.recipe import Recipe, differences, from_dict, read_recipe, start_recipe
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

    ``where`` is a folder, a table, ``digits``, or ``hf://owner/name``. ``recipe`` is a recipe, or a file with
    one, to start from; ``options`` sets any of its keys by dotted name, as in ``{"train.lr": 1e-3}``.
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


def compose(
    where: str | Path | None,
    model: str | None,
    recipe: Recipe | str | Path | None,
    options: Mapping[str, Any],
    *,
    offline: bool = False,
) -> Recipe:
    """Return the recipe that words describe: a file's or the model family's, with some keys changed.

    In a file ``model`` may be a name alone; the rest is then what its family starts from.
    """
    if isinstance(recipe, Recipe):
        plain = recipe.to_dict()
    elif recipe is not None:
        plain = read_recipe(Path(recipe))
    else:
        plain = {}
    named = plain.pop("model") if isinstance(plain.get("model"), str) else None
    if model is not None or "model" not in plain:
        plain.pop("model", None)
        begun = start_recipe(model or named or DEFAULT_MODEL, str(where or ""), offline=offline)
        plain = _merged(begun.to_dict(), plain)
    if where is not None:
        plain["where"] = str(where)
    if not plain.get("where"):
        raise UsageError("which data? Name a folder, a table, `digits`, or hf://owner/name.")
    for name, value in options.items():
        if name == "augment":
            plain["augment"] = preset(value)
        elif value is not None:
            _set(plain, name, _sides(value) if name == "image_size" else value)
    return from_dict(plain, "recipe" if isinstance(recipe, Recipe | None) else str(recipe))


def preset(word: str) -> dict[str, Any]:
    """Return the augmentation that one word means."""
    if word not in PRESETS:
        raise UsageError(f"--augment {word}: not one of {', '.join(PRESETS)}.{nearest(word, PRESETS)}")
    return asdict(PRESETS[word])


DEFAULT_MODEL = "vit-ti"
"""A small Transformer whose patch follows the pictures' size."""


def run_recipe(
    recipe: Recipe, *, out: str | Path | None = None, offline: bool = False, progress: Progress | None = None
) -> Run:
    """Make a new run of a recipe in the folder ``out`` (default: the next free one below ``runs``)."""
    progress = progress or Silent()
    folder = _claim(Path(out)) if out is not None else _claim_next(recipe)
    try:
        where = str(Path(recipe.where).absolute()) if Path(recipe.where).exists() else recipe.where
        experiment = prepare(replace(recipe, where=where, environment=None), offline=offline)
    except BaseException:
        folder.rmdir()  # nothing has been written into it yet
        raise
    write_json(folder / RECIPE, experiment.recipe.to_dict())
    for note in experiment.notes:
        progress.say(f"note: {note}")
    progress.say(_introduction(experiment, folder))
    return _carry_out(experiment, folder, progress)


def _claim(folder: Path) -> Path:
    """Make the run folder, so that no other process takes it; one with anything in it is refused."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        if folder.exists():
            raise UsageError(f"{folder} is a file. Choose another --out.") from None
        raise cannot_write(folder, error) from None
    if any(folder.iterdir()):
        raise UsageError(
            f"{folder} exists. Choose another --out, or go on with it: vitrail train --resume {folder}"
        )
    return folder


def _claim_next(recipe: Recipe) -> Path:
    """Make the next free folder below ``runs``; two processes never get the same."""
    data = re.sub(r"[^\w.-]+", "-", Path(recipe.where).name or "data").strip("-")
    number = 1
    while True:
        folder = Path("runs") / f"{data}-{Path(recipe.model.name).name}-{number}"
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            number += 1
        except OSError as error:
            raise cannot_write(folder, error) from None
        else:
            return folder


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
    experiment = prepare(recipe, offline=offline)
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
    return _carry_out(experiment, folder, progress)


def _refuse_changes(folder: Path, recipe: Recipe, wanted: Mapping[str, Any]) -> None:
    """Raise UsageError, key by key, when a run is to be resumed with another recipe."""
    before = recipe.to_dict()
    changed = differences(before, compose(None, None, recipe, wanted).to_dict())
    if changed:
        raise UsageError(
            f"{folder} cannot go on with another recipe: {'; '.join(changed)}.\n"
            f"Start anew: vitrail train --recipe {folder / RECIPE} with these changes and another --out."
        )


def _carry_out(experiment: Experiment, folder: Path, progress: Progress) -> Run:
    """Train, from the newest checkpoint if there is one, then measure and report."""
    with locked(folder):
        sweep(folder, folder / CHECKPOINTS)
        engine = start_engine(experiment.recipe)
        job = start_job(experiment, folder, engine)
        if restore(job, progress):
            progress.say(f"resumed after step {job.state.step} of {job.steps}")
        else:
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


def _merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``base`` with the keys of ``over``, those of inner objects one by one."""
    merged = dict(base)
    for key, value in over.items():
        inner = merged.get(key)
        both = isinstance(inner, Mapping) and isinstance(value, Mapping)
        merged[key] = _merged(inner, value) if both else value  # type: ignore[arg-type]
    return merged


def _sides(size: int | Sequence[int]) -> list[int]:
    """Return height and width; one number stands for both."""
    sides = [size] if isinstance(size, int) else list(size)
    if len(sides) not in (1, 2):
        raise UsageError(f"--image-size is a height and a width, or one number for both, not {sides}.")
    return [sides[0], sides[-1]]


def _set(plain: dict[str, Any], name: str, value: Any) -> None:
    """Set a key by its dotted name."""
    *path, last = name.split(".")
    for part in path:
        inner = plain.get(part)
        plain[part] = dict(inner) if isinstance(inner, Mapping) else {}
        plain = plain[part]
    plain[last] = value


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
