"""From the best weights to a finished run: calibrate, measure, write down, report."""

import time
from typing import Any

from vitrail.errors import VitrailError
from vitrail.models.vision import Vision
from vitrail.run.answer import answer_all
from vitrail.run.contract import WEIGHTS, contract_of, load_model, write_contract
from vitrail.run.engine import Engine, answering_engine, peak_memory
from vitrail.run.evaluate import Evaluation
from vitrail.run.files import write_json
from vitrail.run.folder import PREDICTIONS, RESULT, Run
from vitrail.run.job import Job
from vitrail.run.predictions import write_predictions
from vitrail.run.progress import Progress
from vitrail.run.story import tell_story
from vitrail.tasks.classify import Classify


def finish(job: Job, progress: Progress) -> Run:
    """Measure the best weights on the parts that they were not trained on, and write the run's documents.

    The temperature is fitted on the validation part alone; the test part is answered when all is decided.
    """
    folder, experiment = job.folder, job.experiment
    if not (folder / WEIGHTS).exists():
        raise VitrailError(f"{folder}: no epoch had a finite {experiment.chooses[0]}; nothing was kept.")
    model = load_model(folder, contract_of(experiment))
    engine = answering_engine(experiment.recipe, job.engine.device)
    engine.place(model)
    task = experiment.task
    temperature = 1.0
    if isinstance(task, Classify):
        found = answer_all(model, job.validation, engine, experiment.preprocess, task)
        assert found.targets is not None, "the validation part has labels"
        temperature = task.calibrate(found.answers, found.targets)
    contract = contract_of(experiment, temperature)
    write_contract(folder, contract)
    model.calibrate(temperature)
    held = {split: _measure(job, model, engine, split, progress) for split in ("val", "test")}
    write_predictions(
        folder / PREDICTIONS, {split: part.answers for split, part in held.items()}, contract.classes
    )
    result = _result(job, model, held, temperature)
    tell_story(job, model, held["test"], temperature, result)
    write_json(folder / RESULT, result)
    return Run(folder)


def _measure(job: Job, model: Vision, engine: Engine, split: str, progress: Progress) -> Evaluation:
    experiment = job.experiment
    metric, loader = experiment.task.metric(), experiment.loader(split)
    found = answer_all(
        model,
        loader,
        engine,
        experiment.preprocess,
        experiment.task,
        metric,
        progress=progress,
        title=f"measuring {split}",
    )
    return Evaluation(
        where=experiment.recipe.where,
        split=split,
        quality=metric.quality(),
        answers=found,
        broken=dict(loader.broken),
    )


def _result(job: Job, model: Vision, held: dict[str, Evaluation], temperature: float) -> dict[str, Any]:
    """Return the run's numbers as one JSON object."""
    recipe, state = job.experiment.recipe, job.state
    broken = dict(job.state.broken) | {k: v for part in held.values() for k, v in part.broken.items()}
    test = held["test"].answers
    return {
        "run": str(job.folder),
        "model": recipe.model.name,
        "task": recipe.task.name,
        "classes": list(job.experiment.splits.classes),
        "parameters": sum(p.numel() for p in model.parameters()),
        "epochs": state.epoch,
        "best_epoch": state.best_epoch,
        "chosen_by": job.experiment.chooses[0],
        "train_seconds": round(state.seconds, 3),
        "answer_rate": round(len(test.keys) / max(test.seconds, 1e-9), 1),
        "peak_memory": peak_memory(job.engine.device),
        "temperature": temperature,
        "val": held["val"].to_dict(),
        "test": held["test"].to_dict(),
        "broken": broken,
        "finished": time.strftime("%Y-%m-%d"),
    }
