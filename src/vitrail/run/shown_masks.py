"""The pictures of a segmenter's report: what it learned from, and truth, answer and error side by side."""

from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import numpy as np

from vitrail.contracts import Samples
from vitrail.data.faults import Unreadable
from vitrail.data.lay import canvas_mask, with_mask
from vitrail.data.windows import fullest
from vitrail.draw.masks import mask_over, truth_answer_error
from vitrail.draw.page import Shown
from vitrail.measure.segment import marks as marks_of
from vitrail.run.content import percent
from vitrail.run.evaluate import Evaluation
from vitrail.run.job import Job
from vitrail.run.kept_masks import reduced, thinned, times_of
from vitrail.run.predict import Predictor
from vitrail.values import IGNORED, Mask

SHEET, SIDE, CLOSER, SEEN = 12, 4, 2, 256
"""Pictures on the sheet of samples, below each other among the best and the worst, and those of either that
are explained; small pictures are enlarged to about so many pixels, so that they are seen."""
MOST = 2**20
"""The most pixels of a picture that is shown: larger ones are made smaller."""


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


@dataclass(frozen=True, kw_only=True)
class Close:
    """What a model saw of a picture, or of a part of it, and answered; ``about`` is the class to explain."""

    canvas: np.ndarray
    answer: np.ndarray
    about: str
    remark: str
    tone: str


def galleries(job: Job, test: Evaluation, predictor: Predictor) -> tuple[dict[str, list[Shown]], list[Close]]:
    """Return the test pictures to look at first, the best and the worst by their mean IoU.

    Beside them is what is worth explaining of the first few of each.
    """
    samples = job.experiment.splits.test
    marks = marks_of(test.answers.answers)
    order = [index for index in np.argsort(marks, kind="stable").tolist() if np.isfinite(marks[index])]
    row_of = {key: row for row, key in enumerate(samples.keys)}
    worst, best = order[: min(SIDE, -(-len(order) // 2))], order[::-1][: min(SIDE, len(order) // 2)]
    found: dict[str, list[Shown]] = {"worst": [], "best": []}
    closer: list[Close] = []
    for kind, indices in {"worst": worst, "best": best}.items():
        for place, index in enumerate(indices):
            key = test.answers.keys[index]
            row = row_of[key]
            try:
                (answer,) = predictor([samples.source(row)])
                assert isinstance(answer, Mask), "a segmenter answers masks"
                picture, small = reduced(samples.source(row), answer, predictor.contract.preprocess, MOST)
            except Unreadable:
                continue
            truth, remark = samples.mask(row), f"mean IoU {percent(float(marks[index]))}"
            sheet = truth_answer_error(
                picture, small, thinned(truth, times_of(answer.size, MOST)), least=SEEN
            )
            found[kind].append(Shown(picture=np.asarray(sheet), caption=key, remark=remark))
            if place < CLOSER:
                of_errors = truth if kind == "worst" else None
                closer.append(_closer(job, samples, row, answer, of_errors))
    return found, closer


def _closer(job: Job, samples: Samples, row: int, answer: Mask, truth: np.ndarray | None) -> Close:
    """Return what to explain of a picture: where its class is answered most, or with a truth wrong most."""
    task: Any = job.experiment.task
    preprocess, source, key = job.experiment.preprocess, samples.source(row), samples.keys[row]
    label, here = _most_wrong(answer, truth) if truth is not None else ("", np.zeros(0, bool))
    wrong = bool(here.any())
    if not wrong:
        label = task.about(answer)
        here = layer_of(answer, answer.names.index(label))
    whole = preprocess.fit != "tile"
    rows, columns = fullest(here, answer.size if whole else preprocess.size)
    corner = rows.start, columns.start
    loaded = with_mask(preprocess.load(source), answer.values.astype(np.uint8), key)
    canvas, _ = preprocess.canvas(loaded, corner)
    assert loaded.mask is not None, "it was given one"
    values = canvas_mask(loaded.mask, preprocess.place(loaded, corner), preprocess.size).transpose(2, 0, 1)
    mask = replace(answer, values=values == 1 if answer.multi else values[0], scores=None)
    remark = key
    if not whole and answer.values[..., rows, columns].shape[-2:] != answer.size:
        remark += f", rows {rows.start} to {rows.stop}, columns {columns.start} to {columns.stop}"
    return Close(
        canvas=canvas.copy(),
        answer=np.asarray(mask_over(canvas, mask)),
        about=label,
        remark=remark,
        tone="bad" if wrong else "good",
    )


def _most_wrong(answer: Mask, truth: np.ndarray) -> tuple[str, np.ndarray]:
    """Return the class that is wrong in most pixels, a background only if nothing else is, and where."""

    def wrong(index: int) -> np.ndarray:
        known = truth[index] if answer.multi else truth
        true = known == (1 if answer.multi else index)
        found: np.ndarray = (layer_of(answer, index) != true) & (known != IGNORED)
        return found

    counts = [int(wrong(index).sum()) for index in range(len(answer.names))]
    first = 0 if answer.multi or not any(counts[1:]) else 1
    worst = first + int(np.argmax(counts[first:]))
    return answer.names[worst], wrong(worst)


def layer_of(mask: Mask, index: int) -> np.ndarray:
    """Return where a class is answered, bool ``h w``."""
    layer: np.ndarray = mask.values[index] if mask.multi else mask.values == index
    return layer
