"""What a run tells about itself: the content of its report and of its model card."""

from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from vitrail._version import __version__
from vitrail.contracts import Samples
from vitrail.data.faults import Unreadable
from vitrail.draw.page import Shown
from vitrail.measure.classify import Quality
from vitrail.measure.examples import choose_examples
from vitrail.models.anatomy import anatomy
from vitrail.models.vision import Vision
from vitrail.run.card import write_card
from vitrail.run.content import Cost, Explained, Look, ReportContent
from vitrail.run.evaluate import Evaluation
from vitrail.run.explain.looks import look
from vitrail.run.job import Job
from vitrail.run.log import read_history
from vitrail.run.report import write_report
from vitrail.values import Label

SHEET, SIDE, HALF = 24, 8, 4
"""Pictures on the sheet of samples, and beside each other among the best, the worst and the mistakes;
of mistakes and of the best so many are explained."""


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
    folder, galleries = job.folder, _galleries(job, test)
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
        samples=_sheet(job),
        history=read_history(folder),
        best_epoch=job.state.best_epoch,
        temperature=temperature,
        uncalibrated=_uncalibrated(job, test, temperature),
        best=galleries["best"],
        worst=galleries["worst"],
        mistakes=galleries["mistakes"],
        explained=_explained(job, model, [*galleries["mistakes"][:HALF], *galleries["best"][:HALF]]),
        cost=Cost(
            parameters=result["parameters"],
            flops=anatomy(model, experiment.preprocess.size, experiment.preprocess.channels).flops,
            train_seconds=job.state.seconds,
            train_rate=job.state.step * (recipe.train.batch or 1) / max(job.state.seconds, 1e-9),
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


def _uncalibrated(job: Job, test: Evaluation, temperature: float) -> Quality:
    """Return the quality of the test answers as they were before the temperature."""
    metric = job.experiment.task.metric()
    raw = job.experiment.task.cool(test.answers.answers, 1 / temperature)
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


def _sheet(job: Job) -> list[Shown]:
    """Return training pictures as the model sees them, after augmentation."""
    classes = job.experiment.splits.classes
    shown: list[Shown] = []
    for batch in islice(job.training.epoch(0), 8):
        for pixels, target in zip(batch.pixels["image"], batch.targets["label"], strict=True):
            if len(shown) == SHEET:
                return shown
            names = [classes[i] for i in np.flatnonzero(target.numpy() > 0.5).tolist()]
            shown.append(Shown(picture=pixels.permute(1, 2, 0).numpy(), caption=", ".join(names)))
    return shown


def _galleries(job: Job, test: Evaluation) -> dict[str, list[Shown]]:
    """Return the test pictures to look at first: the surest, the hardest, the most confident mistakes."""
    found, samples = test.answers, job.experiment.splits.test
    assert found.targets is not None, "the test part has labels"
    scores = np.stack([answer.scores for answer in found.answers])
    chosen = choose_examples(scores, found.targets, multi=bool(job.experiment.recipe.task.multi), most=SIDE)
    wanted = {"best": chosen.best, "worst": chosen.worst, "mistakes": chosen.mistakes}
    row_of = {key: row for row, key in enumerate(samples.keys)}
    galleries: dict[str, list[Shown]] = {}
    for kind, indices in wanted.items():
        shown = (_show(job, test, index, row_of[found.keys[index]]) for index in indices.tolist())
        galleries[kind] = [each for each in shown if each is not None]
    return galleries


def _show(job: Job, test: Evaluation, index: int, row: int) -> Shown | None:
    """Return one test picture as the model saw it, with answer and truth; None if it is not readable now."""
    preprocess, found = job.experiment.preprocess, test.answers
    answer: Label = found.answers[index]
    assert found.targets is not None, "the test part has labels"
    try:
        picture, _ = preprocess.canvas(preprocess.load(job.experiment.splits.test.source(row)))
    except Unreadable:
        return None
    truth = {answer.names[i] for i in np.flatnonzero(found.targets[index] > 0.5).tolist()}
    right = set(answer.chosen) == truth
    sure = f"{answer.score:.0%} sure"
    return Shown(
        picture=picture,
        caption=", ".join(answer.chosen) or "nothing",
        remark=sure if right else f"{sure}, is {', '.join(sorted(truth)) or 'nothing'}",
        tone="good" if right else "bad",
    )


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
