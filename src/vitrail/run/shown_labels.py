"""The pictures of a classifier's report: what it learned from, and the answers to look at first."""

from itertools import islice

import numpy as np

from vitrail.data.faults import Unreadable
from vitrail.draw.page import Shown
from vitrail.measure.examples import choose_examples
from vitrail.run.evaluate import Evaluation
from vitrail.run.job import Job
from vitrail.values import Label

SHEET, SIDE = 24, 8
"""Pictures on the sheet of samples, and beside each other among the best, the worst and the mistakes."""


def sheet_of(job: Job) -> list[Shown]:
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


def galleries(job: Job, test: Evaluation) -> dict[str, list[Shown]]:
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
