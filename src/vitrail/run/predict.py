"""Answering pictures with a trained run: the same class for every task."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np

from vitrail.data.faults import Unreadable
from vitrail.data.windows import View, Windows, look, overlap_of
from vitrail.errors import UsageError
from vitrail.explain.faithfulness import Judge
from vitrail.models.vision import Vision
from vitrail.run.answer import answer_batch, batch_of, views_of
from vitrail.run.asked import Picture, batched, each_of, named, source_of
from vitrail.run.contract import FILE, Contract, load_model, read_contract
from vitrail.run.engine import Engine, answering_engine, choose_device
from vitrail.run.explain.choice import default_method, explainer_of
from vitrail.run.explain.explanation import Explained, Explanation, explain_each
from vitrail.run.folder import Run
from vitrail.run.pretrained import load_pretrained, names_a_model
from vitrail.run.progress import Progress
from vitrail.values import Answer, Batch, Frame

Loaded = tuple[np.ndarray, Frame] | Unreadable
"""What the model sees of a picture, and where that lies on it; or why it cannot be read."""
Views = Windows | list[View] | Unreadable
"""The same where it is seen in windows, one or more."""


@dataclass(frozen=True, kw_only=True)
class Predictor:
    """A trained model that answers pictures exactly as it was measured.

    Called with one picture or many: paths, encoded bytes, arrays ``h w [c]``, or Pillow pictures. Many
    are answered in batches of ``batch``. Windows of a picture share ``overlap`` pixels with the next (None:
    an eighth of their side). Without ``scores`` masks do not say how sure they are, which takes two bytes
    a pixel.
    """

    contract: Contract
    model: Vision
    engine: Engine
    batch: int = 32
    overlap: int | None = None
    scores: bool = True

    @classmethod
    def load(
        cls,
        run: str | Path,
        *,
        device: str = "auto",
        batch: int = 32,
        merge: int = 0,
        overlap: int | None = None,
        scores: bool = True,
        offline: bool = False,
    ) -> Self:
        """Load a run folder, or a classifier that somebody else trained, by what names it.

        With ``merge`` it answers faster, with so many tokens merged in each layer. ``offline`` forbids the
        Hub. Raises UsageError for an ``overlap`` that its windows cannot have.
        """
        folder = Path(run)
        if (folder / FILE).exists() or Run(folder).begun:
            contract = read_contract(folder)
            model = load_model(folder, contract)
        elif names_a_model(str(run)):
            contract, model = load_pretrained(str(run), offline=offline)
        else:
            raise UsageError(
                f"{run}: no such run folder, and no model of this name. Train one: "
                f"vitrail train DATA --out {run}"
            )
        overlap_of(contract.preprocess, overlap)
        engine = answering_engine(contract.recipe, choose_device(device))
        model.merge(merge)
        engine.place(model)
        return cls(contract=contract, model=model, engine=engine, batch=batch, overlap=overlap, scores=scores)

    def __call__(self, pictures: Picture | Iterable[Picture]) -> list[Answer]:
        """Answer pictures, in order; one that cannot be read is an error that names it."""
        answers = []
        for _, answer in self.stream(each_of(pictures)):
            if isinstance(answer, Unreadable):
                raise answer
            answers.append(answer)
        return answers

    def stream(
        self, pictures: Iterable[Picture], progress: Progress | None = None
    ) -> Iterator[tuple[Picture, Answer | Unreadable]]:
        """Answer pictures batch by batch; one that cannot be read has its error in place of an answer.

        A picture of more windows than a batch is answered by itself, while ``progress`` counts them, and let
        go of before its answer is given away.
        """
        for waiting in self._seen(pictures):
            answered = self._answered(waiting, progress)
            waiting.clear()
            answered.reverse()
            while answered:
                yield answered.pop()

    def _answered(
        self, waiting: Sequence[tuple[Picture, Views]], progress: Progress | None
    ) -> list[tuple[Picture, Answer | Unreadable]]:
        good = [seen for _, seen in waiting if not isinstance(seen, Unreadable)]
        answers: Iterator[Answer] = iter(())
        if good:
            batch = views_of(good, self.contract.preprocess)
            alone = len(waiting) == 1 and self._room(good[0]) > self.batch
            watched, title = (progress if alone else None), named(waiting[0][0])
            ask = partial(answer_batch, scores=self.scores, progress=watched, title=title)
            try:
                answers = iter(ask(self.model, batch, self.engine, self.contract.preprocess))
            except Unreadable as fault:  # a picture that was read while it was answered, so by itself
                return [(picture, fault) for picture, _ in waiting]
        return [
            (picture, seen if isinstance(seen, Unreadable) else next(answers)) for picture, seen in waiting
        ]

    def _seen(self, pictures: Iterable[Picture]) -> Iterator[list[tuple[Picture, Views]]]:
        """Load pictures until they fill a batch; one of more windows than that is one by itself.

        Nothing is held of what was given away: whoever has it may clear it.
        """
        waiting: list[tuple[Picture, Views]] = []
        filled = 0
        for picture in pictures:
            seen = self.views(picture)
            count = self._room(seen)
            if waiting and count > self.batch:
                yield waiting
                waiting, filled = [], 0
            waiting.append((picture, seen))
            del seen
            filled += count
            if filled >= self.batch:
                yield waiting
                waiting, filled = [], 0
        if waiting:
            yield waiting

    def _room(self, seen: Views) -> int:
        """Return how much of a batch a picture takes: one that is read while it is answered, all of it."""
        if isinstance(seen, Windows) and seen.read:
            return max(len(seen), self.batch + 1)
        return 1 if isinstance(seen, Unreadable) else len(seen)

    def explain(
        self,
        pictures: Picture | Iterable[Picture],
        method: str | None = None,
        about: Any = None,
        layer: str | None = None,
        *,
        trust: bool = False,
    ) -> list[Explanation]:
        """Explain the answers to pictures, in order; one that cannot be read is an error that names it.

        ``method`` is one of `vitrail.explain.EXPLAINERS` (None: what suits the model). ``about`` is a class,
        a `vitrail.explain.Versus` of two or, of pixels, a `vitrail.explain.Region`, for all pictures (None:
        each picture's own answer). Of a picture that is seen in windows the one around the region is
        explained, or that with most pixels of the class. ``layer`` is one of `vitrail.explain.layers_of`.
        With ``trust`` each explanation says how it does beside a map at random and the picture's edges, which
        asks the model about a hundred times a picture.

        Raises UsageError for a method, a layer or a class that there is not, and for a method that is not for
        this model.
        """
        explanations = []
        for _, found in self.explain_stream(each_of(pictures), method, about, layer, trust=trust):
            if isinstance(found, Unreadable):
                raise found
            explanations.append(found)
        return explanations

    def explain_stream(
        self,
        pictures: Iterable[Picture],
        method: str | None = None,
        about: Any = None,
        layer: str | None = None,
        *,
        trust: bool = False,
    ) -> Iterator[tuple[Picture, Explanation | Unreadable]]:
        """Explain pictures batch by batch; one that cannot be read has its error in place of that."""
        chosen = method or default_method(self.model)
        explainers = {chosen: explainer_of(self.model, chosen, layer)}
        judge = Judge() if trust else None
        for picture, found in explain_each(self, pictures, explainers, about, layer=layer, judge=judge):
            if isinstance(found, Explained) and found.refused:
                raise UsageError(f"{chosen}: {found.refused[chosen]}")
            yield picture, found.by_method[chosen] if isinstance(found, Explained) else found

    def batches(self, pictures: Iterable[Picture], size: int) -> Iterator[list[tuple[Picture, Loaded]]]:
        """Load pictures as one canvas each, so many at a time.

        Raises UsageError for a picture that the model would see in several windows.
        """
        for waiting in batched(pictures, size):
            yield [
                (picture, seen if isinstance(seen, Unreadable) else self._single(picture, seen))
                for picture, seen in zip(waiting, map(self.views, waiting), strict=True)
            ]

    def ready(self, canvases: Sequence[tuple[np.ndarray, Frame]]) -> Batch:
        """Return canvases as a batch on the model's device, normalised."""
        return self.engine.ready(batch_of(*zip(*canvases, strict=True)), self.contract.preprocess)

    def views(self, picture: Picture) -> Views:
        """Return what the model sees of a picture, and where, or why it cannot be read."""
        try:
            return look(self.contract.preprocess, source_of(picture), self.overlap)
        except Unreadable as fault:
            return fault

    def _single(self, picture: Picture, seen: Windows | list[View]) -> View:
        if len(seen) > 1:
            height, width = self.contract.preprocess.size
            raise UsageError(
                f"{named(picture)}: larger than the {height} x {width} pixels that the model sees at once. "
                "Cut out a part of that size."
            )
        return next(iter(seen))


def load(
    run: str | Path,
    *,
    device: str = "auto",
    merge: int = 0,
    overlap: int | None = None,
    scores: bool = True,
    offline: bool = False,
) -> Predictor:
    """Load a trained run folder, ready to answer pictures, or somebody else's classifier by its name.

    With ``merge`` so many tokens are merged in each layer of a Vision Transformer, which is faster. Windows
    of a picture share ``overlap`` pixels with the next (None: an eighth of their side). Without ``scores``
    masks do not say how sure they are, which takes two bytes a pixel.
    """
    return Predictor.load(run, device=device, merge=merge, overlap=overlap, scores=scores, offline=offline)
