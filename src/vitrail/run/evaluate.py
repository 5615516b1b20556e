"""Measuring a trained model: on its own held-out pictures, or on others."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vitrail.contracts import Samples
from vitrail.data.readers import ReaderOptions, open_data
from vitrail.data.windows import overlap_of
from vitrail.errors import UsageError, VitrailError
from vitrail.measure.classify import Quality
from vitrail.run.answer import Answers, answer_all
from vitrail.run.contract import Contract, load_model, read_contract
from vitrail.run.engine import answering_engine, choose_device
from vitrail.run.experiment import make_loader, open_splits
from vitrail.run.folder import Run
from vitrail.run.progress import Progress, Silent
from vitrail.run.recipe import Recipe
from vitrail.run.seams import Seams, measure_seams


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What was found on one split: the numbers, the answers behind them, and the pictures not readable.

    ``merge`` is how many tokens were merged in each layer. ``seams`` is how far answers depend on
    where windows lie, if pictures are larger than those.
    """

    where: str
    split: str
    quality: Quality
    answers: Answers
    broken: Mapping[str, str]
    merge: int = 0
    seams: Seams | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the numbers as one JSON object."""
        quality = self.quality
        return {
            "where": self.where,
            "split": self.split,
            "pictures": quality.pictures,
            "metrics": {name: value.to_dict() for name, value in quality.metrics.items()},
            "per_class": {
                label: {"support": quality.support[label]}
                | {name: value.to_dict() for name, value in values.items()}
                for label, values in quality.per_class.items()
            },
            "absent": list(quality.absent),
            "broken": dict(self.broken),
            **({"merge": self.merge} if self.merge else {}),
            **({"seams": self.seams.to_dict()} if self.seams else {}),
        }


def evaluate(
    run: str | Path,
    where: str | None = None,
    *,
    split: str | None = None,
    options: ReaderOptions | None = None,
    device: str = "auto",
    merge: int = 0,
    overlap: int | None = None,
    offline: bool = False,
    progress: Progress | None = None,
) -> Evaluation:
    """Measure a run on its test part, or on other data; classes are matched by name.

    Other data that names parts is measured on its test part unless ``split`` says otherwise. ``options`` name
    its columns; the run's own data is read as it was for training. With ``merge`` so many tokens are merged
    in each layer, which is faster: measured is what that costs. Windows of a picture share ``overlap`` pixels
    with the next (None: an eighth of their side). Raises UsageError for a part that is not
    there, and VitrailError for one without a picture or with classes that the model does not know.
    """
    progress = progress or Silent()
    folder = Path(run)
    recipe = Run(folder).recipe()
    contract = read_contract(folder)
    if where is None and options is not None:
        raise UsageError("columns are named for other data; the run's own is read as it was for training.")
    if where is None:
        parts = own_parts(recipe, contract, offline=offline, progress=progress)
    else:
        parts = _other_parts(where, options or ReaderOptions(), contract, offline=offline)
    own, where = where is None, where or recipe.where
    name = _part(where, parts, split)
    if not own and name != "test" and os.path.realpath(where) == os.path.realpath(recipe.where):
        progress.say(
            f"warning: {where} is what the run was made from: its part {name!r} has pictures that chose "
            f"weights or settings. For those that did not: vitrail evaluate {run}"
        )
    samples = parts[name]
    if not len(samples):
        raise VitrailError(f"{where}: its part {name!r} has no picture to measure.")
    overlap_of(contract.preprocess, overlap)
    model = load_model(folder, contract)
    model.merge(merge)
    engine = answering_engine(recipe, choose_device(device))
    engine.place(model)
    loader = make_loader(samples, contract.preprocess, contract.task, recipe.data, batch=64, overlap=overlap)
    metric = contract.task.metric()
    found = answer_all(
        model,
        loader,
        engine,
        contract.preprocess,
        contract.task,
        metric,
        progress=progress,
        title="evaluating",
    )
    return Evaluation(
        where=where,
        split=name,
        quality=metric.quality(),
        answers=found,
        broken=dict(loader.broken),
        merge=merge,
        seams=measure_seams(model, samples, engine, contract.preprocess, overlap)
        if contract.preprocess.fit == "tile"
        else None,
    )


def own_parts(
    recipe: Recipe, contract: Contract, *, offline: bool, progress: Progress
) -> Mapping[str, Samples]:
    """Return the parts of the data that a run was made from, as they were when it was trained."""
    splits = open_splits(recipe, offline=offline)
    if splits.fingerprint != contract.fingerprint:
        progress.say(f"warning: {recipe.where} has changed since the run was trained; its parts may differ.")
    return {"train": splits.train, "val": splits.val, "test": splits.test}


def _other_parts(
    where: str, options: ReaderOptions, contract: Contract, *, offline: bool
) -> Mapping[str, Samples]:
    """Return the parts that other data names, or all of it, its targets in the model's order of classes."""
    options = replace(options, offline=options.offline or offline)
    return open_data(where, options).matched(contract.classes).splits()


def _part(where: str, parts: Mapping[str, Samples], wanted: str | None) -> str:
    """Return the part to measure: the one wanted, else test, else all: never train unasked."""
    found = wanted or next((name for name in ("test", "all") if name in parts), None)
    names = ", ".join(parts)
    if found is None:
        raise UsageError(f"{where}: there is no test part, but {names}. Choose one with --split.")
    if found not in parts:
        raise UsageError(f"{where}: no split {found!r}; there is {names}.")
    return found
