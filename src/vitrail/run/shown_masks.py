"""The pictures of a segmenter's report: what it learned from, and truth, answer and error side by side."""

from dataclasses import replace
from itertools import islice

import numpy as np

from vitrail.contracts import Samples
from vitrail.data.faults import Unreadable
from vitrail.draw.masks import mask_over, truth_answer_error
from vitrail.draw.page import Shown
from vitrail.measure.segment import marks as marks_of
from vitrail.run.content import percent
from vitrail.run.evaluate import Evaluation
from vitrail.run.job import Job
from vitrail.run.predict import Predictor
from vitrail.values import Mask

SHEET, SIDE, SEEN = 12, 4, 256
"""Pictures on the sheet of samples, and below each other among the best and the worst; small
pictures are enlarged to about so many pixels, so that they are seen."""


def sheet_of(job: Job) -> list[Shown]:
    """Return training pictures with their masks as the model sees them, after augmentation."""
    task = job.experiment.task
    shown: list[Shown] = []
    for batch in islice(job.training.epoch(0), SHEET):
        for pixels, target in zip(batch.pixels["image"], batch.targets["mask"], strict=True):
            if len(shown) == SHEET:
                return shown
            values = target.numpy().astype(bool) if task.multi else target.numpy()
            mask = Mask(names=task.classes, values=values, source=0, multi=task.multi)
            picture = pixels.permute(1, 2, 0).numpy()
            shown.append(Shown(picture=np.asarray(mask_over(picture, mask)), caption=""))
    return shown


def galleries(job: Job, test: Evaluation, predictor: Predictor) -> dict[str, list[Shown]]:
    """Return the test pictures to look at first, the best and the worst by their mean IoU."""
    samples = job.experiment.splits.test
    marks = marks_of(test.answers.answers)
    order = [index for index in np.argsort(marks, kind="stable").tolist() if np.isfinite(marks[index])]
    row_of = {key: row for row, key in enumerate(samples.keys)}
    worst, best = order[: min(SIDE, -(-len(order) // 2))], order[::-1][: min(SIDE, len(order) // 2)]
    found: dict[str, list[Shown]] = {}
    for kind, indices in {"worst": worst, "best": best}.items():
        keys = [test.answers.keys[index] for index in indices]
        shown = [_shown(samples, row_of[key], key, predictor) for key in keys]
        found[kind] = [
            replace(each, remark=f"mean IoU {percent(float(marks[index]))}")
            for each, index in zip(shown, indices, strict=True)
            if each is not None
        ]
    return found


def enlarged(pixels: np.ndarray, times: int) -> np.ndarray:
    """Return pixels ``... h w`` as squares, so many times as large."""
    larger: np.ndarray = pixels.repeat(times, -2).repeat(times, -1)
    return larger


def _shown(samples: Samples, row: int, key: str, predictor: Predictor) -> Shown | None:
    """Return a picture, its truth, its answer and where that is wrong; None if it is unreadable."""
    source = samples.source(row)
    try:
        picture = predictor.contract.preprocess.original(source)
        (answer,) = predictor([source])
    except Unreadable:
        return None
    assert isinstance(answer, Mask)
    times = max(1, SEEN // max(answer.size))
    truth = enlarged(samples.mask(row), times)
    answer = replace(answer, values=enlarged(answer.values, times), scores=None)
    picture = enlarged(picture.transpose(2, 0, 1), times).transpose(1, 2, 0)
    sheet = truth_answer_error(picture, answer, truth)
    return Shown(picture=np.asarray(sheet), caption=key)
