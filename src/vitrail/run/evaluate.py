"""Measuring a trained model: on its own held-out pictures, or on others."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from vitrail.contracts import Samples
from vitrail.data.readers import open_data
from vitrail.data.split import complete
from vitrail.errors import UsageError, VitrailError
from vitrail.measure.classify import Quality
from vitrail.run.answer import Answers, answer_all
from vitrail.run.contract import Contract, load_model, read_contract
from vitrail.run.engine import Engine, choose_device
from vitrail.run.experiment import make_loader
from vitrail.run.files import replacing
from vitrail.run.folder import Run
from vitrail.run.progress import Progress, Silent
from vitrail.run.recipe import Recipe
from vitrail.values import Label


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What was found on one split: the numbers, the answers behind them, and the pictures not readable."""

    where: str
    split: str
    quality: Quality
    answers: Answers
    broken: Mapping[str, str]

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
        }


def evaluate(
    run: str | Path,
    where: str | None = None,
    *,
    split: str | None = None,
    device: str = "auto",
    offline: bool = False,
    progress: Progress | None = None,
) -> Evaluation:
    """Measure a run on its test part, or on all pictures of another data set; classes are matched by name.

    A data set that names splits is measured on its test part unless ``split`` says otherwise.
    """
    progress = progress or Silent()
    folder = Path(run)
    recipe = Run(folder).recipe()
    contract = read_contract(folder)
    name, samples = _choose(recipe, contract, where, split, offline=offline, progress=progress)
    model = load_model(folder, contract)
    engine = Engine(device=choose_device(device), channels_last=recipe.model.family == "timm")
    engine.place(model)
    loader = make_loader(samples, contract.preprocess, contract.task, recipe.data, batch=64)
    metric = contract.task.metric()
    found = answer_all(
        model, loader, engine, contract.preprocess, metric, progress=progress, title="evaluating"
    )
    where = where or recipe.where
    if not found.answers:
        raise VitrailError(f"{where}: none of {len(samples)} pictures can be read.")
    return Evaluation(
        where=where, split=name, quality=metric.quality(), answers=found, broken=dict(loader.broken)
    )


def _choose(
    recipe: Recipe,
    contract: Contract,
    where: str | None,
    split: str | None,
    *,
    offline: bool,
    progress: Progress,
) -> tuple[str, Samples]:
    """Return the name and the samples of the part to measure, its classes in the model's order."""
    options = replace(recipe.data, offline=recipe.data.offline or offline)
    if where is None:
        splits = complete(
            open_data(recipe.where, options), seed=recipe.seed, allow_shared_groups=recipe.data.shared_groups
        )
        if splits.fingerprint != contract.fingerprint:
            progress.say(
                f"warning: {recipe.where} has changed since the run was trained; its parts may differ."
            )
        parts = {"train": splits.train, "val": splits.val, "test": splits.test}
        split = split or "test"
    else:
        parts = dict(open_data(where, options).matched(contract.classes).splits())
        split = split or ("test" if "test" in parts else next(iter(parts)))
    if split not in parts:
        raise UsageError(f"{where or recipe.where}: no split {split!r}; there is {', '.join(parts)}.")
    return split, parts[split]


def write_predictions(path: Path, parts: Mapping[str, Answers], classes: Sequence[str]) -> None:
    """Write every held-out answer: key, split, truth, answer, and a probability a class."""
    columns: dict[str, list[Any]] = {"key": [], "split": [], "label": [], "answer": []}
    scores: list[np.ndarray] = []
    for split, found in parts.items():
        assert found.targets is not None
        for key, answer, target in zip(found.keys, found.answers, found.targets, strict=True):
            assert isinstance(answer, Label)
            columns["key"].append(key)
            columns["split"].append(split)
            columns["label"].append([classes[i] for i in np.flatnonzero(target > 0.5).tolist()])
            columns["answer"].append(list(answer.chosen))
            scores.append(answer.scores)
    table = np.stack(scores).astype(np.float32)
    data = columns | {f"score:{name}": table[:, i] for i, name in enumerate(classes)}
    with replacing(path, table.nbytes) as draft:
        pq.write_table(pa.table(data), draft)
