"""Why a model answered what it answered, for any number of pictures, batch by batch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL.Image import Image

from vitrail.contracts import Explainer, Task
from vitrail.data.faults import Unreadable
from vitrail.draw.explained import heat_over
from vitrail.draw.sheet import Pixels
from vitrail.errors import UsageError
from vitrail.explain.about import ask, of_sample
from vitrail.explain.faithfulness import HEAT, Judge, Trust
from vitrail.run.explain.question import Seen, asked_of, in_words, see, settled
from vitrail.values import Answer, Batch, Frame, Heat, Label, Mask

if TYPE_CHECKING:
    from vitrail.run.asked import Picture
    from vitrail.run.predict import Predictor

AT_ONCE = 8
"""Pictures explained together: gradients need several times the memory of answers."""


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """Where a model looked when it answered.

    ``heat`` lies on the method's own grid over the ``canvas`` (uint8 ``h w c``, what the model saw), and the
    ``frame`` says where that is on the original picture. ``about`` is what it explains: a class, or a
    `Versus`. ``layer`` is the one that was asked for. ``trust`` is there when it was asked for.
    """

    answer: Answer
    about: Any
    heat: Heat
    canvas: np.ndarray
    frame: Frame
    layer: str | None = None
    trust: Trust | None = None

    @property
    def method(self) -> str:
        """The name of the method."""
        return self.heat.method

    def overlay(self, picture: Pixels | None = None, *, contours: bool = False) -> Image:
        """Return the heat over the original ``picture``, at its full resolution, or over the canvas.

        With ``contours`` lines of equal heat in place of colours.
        """
        size = (self.canvas.shape[0], self.canvas.shape[1])
        if picture is None:
            return heat_over(self.canvas, self.heat.values, Frame(size=size), size, contours=contours)
        return heat_over(picture, self.heat.values, self.frame, size, contours=contours)

    def to_dict(self) -> dict[str, Any]:
        """Return all but the arrays as one JSON object."""
        frame = self.frame
        return {
            "answer": brief(self.answer),
            "about": in_words(self.about),
            "method": self.method,
            **({} if self.layer is None else {"layer": self.layer}),
            "grid": list(self.heat.values.shape),
            "canvas": list(self.canvas.shape[:2]),
            "frame": {"size": list(frame.size), "matrix": list(frame.matrix)},
            **({} if self.trust is None else {"trust": plain_marks(self.trust)}),
        }


@dataclass(kw_only=True)
class Explained:
    """One picture by several methods; ``refused`` are those that the model does not allow, and why."""

    by_method: dict[str, Explanation] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)


def explain_each(
    predictor: Predictor,
    pictures: Iterable[Picture],
    explainers: Mapping[str, Explainer],
    about: Any = None,
    *,
    layer: str | None = None,
    judge: Judge | None = None,
) -> Iterator[tuple[Picture, Explained | Unreadable]]:
    """Explain the answers to pictures by several methods (by name), in order and in bounded memory.

    ``about`` is a class, a `Versus`, or None for each picture's own answer. With a ``judge`` every heat map
    is judged, beside the same baselines. A picture that cannot be read has its error in place of an
    explanation; a method that the model does not allow is refused. Raises UsageError for a class that there
    is not.
    """
    for waiting in _seen(predictor, pictures, about):
        good = [found for _, found in waiting if not isinstance(found, Unreadable)]
        explained = iter(_explain(predictor, good, explainers, about, layer, judge) if good else ())
        for picture, found in waiting:
            yield picture, found if isinstance(found, Unreadable) else next(explained)


def _seen(
    predictor: Predictor, pictures: Iterable[Picture], about: Any
) -> Iterator[list[tuple[Picture, Seen | Unreadable]]]:
    """Look at pictures, some at a time; one that is seen in windows, and so may be large, ends a batch."""
    waiting: list[tuple[Picture, Seen | Unreadable]] = []
    for picture in pictures:
        found = see(predictor, picture, about)
        waiting.append((picture, found))
        large = isinstance(found, Seen) and found.answer is not None
        if large or len(waiting) == min(predictor.batch, AT_ONCE):
            yield waiting
            waiting = []
    if waiting:
        yield waiting


def _explain(
    predictor: Predictor,
    good: Sequence[Seen],
    explainers: Mapping[str, Explainer],
    about: Any,
    layer: str | None,
    judge: Judge | None,
) -> list[Explained]:
    """Explain one batch of canvases."""
    batch = predictor.ready([(each.canvas, each.frame) for each in good])
    answers = [
        each.answer or answer for each, answer in zip(good, predictor.model.answer(batch), strict=True)
    ]
    question, told = question_of(predictor, batch, answers, about)
    heats, refused = ask_methods(predictor, batch, explainers, question)
    trusts = _judge(judge, predictor, batch, heats, question) if judge else {}
    return [
        Explained(
            by_method={
                name: Explanation(
                    answer=answers[index],
                    about=told[index],
                    heat=maps[index],
                    canvas=good[index].canvas,
                    frame=good[index].frame,
                    layer=layer,
                    trust=trusts[name][index] if name in trusts else None,
                )
                for name, maps in heats.items()
            },
            refused=refused,
        )
        for index in range(len(good))
    ]


def question_of(
    predictor: Predictor, batch: Batch, answers: Sequence[Answer], about: Any
) -> tuple[Any, list[Any]]:
    """Return what the model is asked, and what each sample's explanation is about for people."""
    task: Task = predictor.contract.task
    masks = [answer for answer in answers if isinstance(answer, Mask)]
    if masks:
        told = [settled(about, answer, task.about) for answer in masks]
        return asked_of(predictor.model, batch, told), told
    with torch.no_grad():
        question = ask(predictor.model, batch, about)[1]
    return question, [of_sample(question, index) for index in range(len(answers))]


def ask_methods(
    predictor: Predictor, batch: Batch, explainers: Mapping[str, Explainer], about: Any
) -> tuple[dict[str, Sequence[Heat]], dict[str, str]]:
    """Return the heat maps by method, and why the methods that the model does not allow gave none."""
    heats: dict[str, Sequence[Heat]] = {}
    refused: dict[str, str] = {}
    for name, explainer in explainers.items():
        try:
            heats[name] = explainer(predictor.model, batch, about)
        except UsageError as reason:
            refused[name] = str(reason)
    return heats, refused


def _judge(
    judge: Judge, predictor: Predictor, batch: Batch, heats: Mapping[str, Sequence[Heat]], about: Any
) -> dict[str, list[Trust]]:
    """Judge all methods beside the same baselines, which are asked once."""
    maps = {f"{HEAT} {name}": [heat.values for heat in each] for name, each in heats.items()}
    found = judge(predictor.model, batch, judge.baselines(batch) | maps, about)
    return {
        name: [
            Trust(heat=heat, random=random, edge=edge)
            for heat, random, edge in zip(
                found[f"{HEAT} {name}"], found["random"], found["edge"], strict=True
            )
        ]
        for name in heats
    }


def brief(answer: Answer) -> dict[str, Any]:
    """Return an answer without the probabilities of all that was not answered."""
    plain: dict[str, Any] = answer.to_dict() if isinstance(answer, Label | Mask) else {}
    return {name: value for name, value in plain.items() if name != "scores"}


def plain_marks(trust: Trust) -> dict[str, dict[str, float | None]]:
    """Return the measures by map, as JSON has them: None for what is not a number."""
    return {
        name: {measure: mark if np.isfinite(mark) else None for measure, mark in marks.items()}
        for name, marks in trust.marks.items()
    }
