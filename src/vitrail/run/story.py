"""What a run tells about itself: the content of its report and of its model card."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vitrail._version import __version__
from vitrail.contracts import Samples
from vitrail.data.probe import sizes
from vitrail.data.windows import views_for
from vitrail.draw.page import Shown
from vitrail.measure.classify import Quality
from vitrail.measure.segment import ious
from vitrail.models.anatomy import anatomy
from vitrail.models.vision import Vision
from vitrail.run import shown_labels, shown_masks
from vitrail.run.card import write_card
from vitrail.run.content import CLASSIFICATION, SEGMENTATION, Cost, Explained, Look, ReportContent
from vitrail.run.contract import contract_of
from vitrail.run.engine import answering_engine
from vitrail.run.evaluate import Evaluation
from vitrail.run.explain.looks import look
from vitrail.run.job import Job
from vitrail.run.log import read_history
from vitrail.run.predict import Predictor
from vitrail.run.report import write_report
from vitrail.tasks.classify import Classify

HALF = 4
"""Of mistakes and of the best so many are explained."""


def tell_story(job: Job, model: Vision, test: Evaluation, temperature: float, result: dict[str, Any]) -> None:
    """Write ``report.html`` and ``README.md`` of a run."""
    content = _content(job, model, test, temperature, result)
    write_report(job.folder, content)
    write_card(job.folder, content)


def _content(
    job: Job, model: Vision, test: Evaluation, temperature: float, result: dict[str, Any]
) -> ReportContent:
    experiment, recipe, splits = job.experiment, job.experiment.recipe, job.experiment.splits
    environment = recipe.environment
    assert environment is not None, "a resolved recipe has an environment"
    parts = {"train": splits.train, "val": splits.val, "test": splits.test}
    height, width = experiment.preprocess.size
    folder, classifier = job.folder, isinstance(experiment.task, Classify)
    if classifier:
        galleries = shown_labels.galleries(job, test)
        shown = [*galleries["mistakes"][:HALF], *galleries["best"][:HALF]]
        why = _explained(job, model, shown)
    else:
        galleries, closer = _masks(job, model, test)
        why = _explained_parts(job, model, closer)
    seen, windows = views_for(sizes(splits.test), experiment.preprocess), recipe.data.windows or 1
    return ReportContent(
        title=f"{recipe.model.name} on {_data_name(recipe.where)}",
        model=recipe.model.name,
        data=_data_name(recipe.where),
        classes=splits.classes,
        quality=test.quality,
        multi=bool(recipe.task.multi),
        facts={"Canvas": f"{height} × {width}", "Head": recipe.head.name, "Seed": str(recipe.seed)},
        splits={name: _support(samples, len(splits.classes)) for name, samples in parts.items()},
        sizes={name: len(samples) for name, samples in parts.items()},
        broken=result["broken"],
        notes=experiment.notes,
        samples=(shown_labels if classifier else shown_masks).sheet_of(job),
        history=read_history(folder),
        best_epoch=job.state.best_epoch,
        task=CLASSIFICATION if classifier else SEGMENTATION,
        temperature=temperature if classifier else None,
        uncalibrated=_uncalibrated(job, test, temperature),
        best=galleries["best"],
        worst=galleries["worst"],
        mistakes=galleries.get("mistakes", ()),
        explained=why,
        by_picture={} if classifier else _by_picture(test, splits.classes),
        cost=Cost(
            parameters=result["parameters"],
            flops=anatomy(model, experiment.preprocess.size, experiment.preprocess.channels).flops * seen,
            train_seconds=job.state.seconds,
            train_rate=job.state.step * (recipe.train.batch or 1) / windows / max(job.state.seconds, 1e-9),
            answer_rate=result["answer_rate"],
            peak_memory=result["peak_memory"],
            hardware=environment.processor,
        ),
        versions={"vitrail": __version__, "torch": environment.torch},
        recipe=recipe.to_dict(),
        commands={
            "Make it again": f"vitrail train --recipe {folder}/recipe.json --out again",
            "Measure it": f"vitrail evaluate {folder}",
            "Use it": f"vitrail predict {folder} PICTURES...",
        },
        made=result["finished"],
    )


def _data_name(where: str) -> str:
    """Return what the data is called on pages that leave this machine: a folder's own name, or a Hub id."""
    return where if where.startswith("hf://") else Path(where).name


def _uncalibrated(job: Job, test: Evaluation, temperature: float) -> Quality | None:
    """Return the quality of the test answers as they were before the temperature, if there is one."""
    task = job.experiment.task
    if not isinstance(task, Classify):
        return None
    metric = task.metric()
    raw = task.cool(test.answers.answers, 1 / temperature)
    assert test.answers.targets is not None, "the test part has labels"
    metric.update_arrays(raw, test.answers.targets, test.answers.groups)
    return metric.quality()


def _support(samples: Samples, classes: int) -> list[int]:
    """Return how many pictures each class has."""
    targets = samples.targets
    if "labels" in targets:
        return [int(count) for count in targets["labels"].sum(0)]
    label = targets["label"]
    return [int(count) for count in np.bincount(label[label >= 0], minlength=classes)]


def _masks(
    job: Job, model: Vision, test: Evaluation
) -> tuple[dict[str, list[Shown]], list[shown_masks.Close]]:
    """Return the best and the worst pictures with their masks, answered again: answers are not kept."""
    contract = contract_of(job.experiment)
    engine = answering_engine(job.experiment.recipe, job.engine.device)
    return shown_masks.galleries(job, test, Predictor(contract=contract, model=model, engine=engine))


def _by_picture(test: Evaluation, classes: Sequence[str]) -> dict[str, np.ndarray]:
    """Return the IoU of each class in the pictures that show it."""
    found = ious(test.answers.answers)
    return {name: each[np.isfinite(each)] for name, each in zip(classes, found.T, strict=True)}


def _explained_parts(job: Job, model: Vision, closer: Sequence[shown_masks.Close]) -> Explained | None:
    """Return why the model answered a class where it did, or did not.

    It is not judged: that takes many answers, and these are few pictures.
    """
    canvases, about = [each.canvas for each in closer], [each.about for each in closer]
    found = look(model, job.engine, job.experiment.preprocess, canvases, about=about)
    if found is None:
        return None
    looks = [
        Look(
            picture=each.canvas,
            heat=heat.values,
            answer=each.answer,
            caption=each.about,
            remark=each.remark,
            tone=each.tone,
        )
        for each, heat in zip(closer, found.heats, strict=True)
    ]
    return Explained(method=found.method, looks=looks)


def _explained(job: Job, model: Vision, shown: Sequence[Shown]) -> Explained | None:
    """Return why the model answered as it did on these pictures; None for one that no method is for."""
    canvases = [np.asarray(each.picture) for each in shown]
    found = look(model, job.engine, job.experiment.preprocess, canvases, judged=True)
    if found is None:
        return None
    looks = [
        Look(picture=canvas, heat=heat.values, caption=each.caption, remark=each.remark, tone=each.tone)
        for canvas, heat, each in zip(canvases, found.heats, shown, strict=True)
    ]
    return Explained(method=found.method, looks=looks, road=found.road, random=found.random)
