"""What a run tells about itself: the content of its report and of its model card."""

from collections.abc import Sequence
from itertools import islice
from typing import Any

import numpy as np

from vitrail._version import __version__
from vitrail.contracts import Samples
from vitrail.data.faults import Unreadable
from vitrail.data.preprocess import Preprocess
from vitrail.draw.page import Shown
from vitrail.explain import EXPLAINERS
from vitrail.measure.classify import Quality
from vitrail.models.anatomy import anatomy
from vitrail.models.vision import Vision
from vitrail.run.card import write_card
from vitrail.run.content import Cost, Look, ReportContent
from vitrail.run.evaluate import Evaluation
from vitrail.run.log import read_history
from vitrail.run.report import write_report
from vitrail.run.train import Job
from vitrail.values import Batch, Label

SHEET, SIDE = 24, 8
"""Pictures on the sheet of samples, and beside each other among the best, the worst and the mistakes."""


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
    folder = job.folder
    return ReportContent(
        title=f"{recipe.model.name} on {recipe.where}",
        model=recipe.model.name,
        data=recipe.where,
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
        best=_gallery(test, splits.test, experiment.preprocess, "best"),
        worst=_gallery(test, splits.test, experiment.preprocess, "worst"),
        mistakes=_gallery(test, splits.test, experiment.preprocess, "mistakes"),
        attention=_attention(job, model, test),
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


def _uncalibrated(job: Job, test: Evaluation, temperature: float) -> Quality:
    """Return the quality of the test answers as they were before the temperature."""
    metric = job.experiment.task.metric()
    raw = job.experiment.task.cool(test.answers.answers, 1 / temperature)
    assert test.answers.targets is not None, "the test part has labels"
    metric.update_arrays(raw, test.answers.targets)
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


def _gallery(test: Evaluation, samples: Samples, preprocess: Preprocess, kind: str) -> list[Shown]:
    """Return the test pictures that it was surest of and right, least right about, or surest of and wrong."""
    found = test.answers
    assert found.targets is not None
    truth = found.targets > 0.5
    scores = np.stack([answer.scores for answer in found.answers if isinstance(answer, Label)])
    fit = np.where(truth, scores, 1 - scores).min(1) if _is_multi(found.answers) else (scores * truth).max(1)
    right = (
        ((scores >= 0.5) == truth).all(1)
        if _is_multi(found.answers)
        else truth[np.arange(len(scores)), scores.argmax(1)]
    )
    sure = np.abs(scores - 0.5).max(1) if _is_multi(found.answers) else scores.max(1)
    ranked = {
        "best": np.argsort(-np.where(right, fit, -1), kind="stable"),
        "worst": np.argsort(fit, kind="stable"),
        "mistakes": np.argsort(-np.where(right, -1, sure), kind="stable"),
    }[kind]
    wanted = right if kind == "best" else ~right
    row_of = {key: row for row, key in enumerate(samples.keys)}
    shown: list[Shown] = []
    for index in ranked[wanted[ranked]][:SIDE]:
        answer, key = found.answers[index], found.keys[index]
        assert isinstance(answer, Label)
        try:
            picture, _ = preprocess.canvas(preprocess.load(samples.source(row_of[key])))
        except Unreadable:  # readable when it was measured, gone since
            continue
        names = [answer.names[i] for i in np.flatnonzero(truth[index]).tolist()]
        said = ", ".join(answer.chosen) or "nothing"
        caption = f"{said}, {answer.score:.0%} sure"
        remark = key if right[index] else f"is {', '.join(names) or 'nothing'} · {key}"
        shown.append(
            Shown(picture=picture, caption=caption, remark=remark, tone="good" if right[index] else "bad")
        )
    return shown


def _is_multi(answers: Sequence[Any]) -> bool:
    return bool(answers and answers[0].multi)


def _attention(job: Job, model: Vision, test: Evaluation) -> list[Look]:
    """Return where a Transformer's summary looked on a few test pictures; nothing for other backbones."""
    if not hasattr(model.backbone, "attention"):
        return []
    looks: list[Look] = []
    loader = job.experiment.loader("test")
    for batch in islice(loader.epoch(0), 1):
        few = Batch(
            keys=batch.keys[:SIDE],
            pixels={"image": batch.pixels["image"][:SIDE]},
            frames=batch.frames[:SIDE],
        )
        heats = EXPLAINERS["attention"]()(model, job.engine.ready(few, job.experiment.preprocess), None)
        for heat, pixels, key in zip(heats, few.pixels["image"], few.keys, strict=True):
            answer = test.answers.answers[test.answers.keys.index(key)]
            assert isinstance(answer, Label)
            looks.append(
                Look(
                    picture=pixels.permute(1, 2, 0).numpy(),
                    heat=heat.values,
                    caption=", ".join(answer.chosen) or "nothing",
                    remark=key,
                )
            )
    return looks
