"""Answering pictures with a trained run: the same class for every task."""

import glob
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Self

import numpy as np
from PIL import Image

from vitrail.data.faults import Unreadable
from vitrail.data.names import storable
from vitrail.data.readers import listing
from vitrail.data.windows import views
from vitrail.errors import UsageError
from vitrail.explain.faithfulness import Judge
from vitrail.models.vision import Vision
from vitrail.run.answer import answer_batch, batch_of, views_of
from vitrail.run.contract import FILE, Contract, load_model, read_contract
from vitrail.run.engine import Engine, answering_engine, choose_device
from vitrail.run.explain.choice import default_method, explainer_of
from vitrail.run.explain.explanation import Explained, Explanation, explain_each
from vitrail.run.folder import Run
from vitrail.run.pretrained import load_pretrained, names_a_model
from vitrail.values import Answer, Batch, Frame, Source

Picture = Source | os.PathLike[str] | Image.Image
"""What can be asked about: a path, an encoded file, an array ``h w [c]``, or a Pillow picture."""
Loaded = tuple[np.ndarray, Frame] | Unreadable
"""What the model sees of a picture, and where that lies on it; or why it cannot be read."""
Views = list[tuple[np.ndarray, Frame]] | Unreadable
"""The same where it is seen in windows, one or more."""


@dataclass(frozen=True, kw_only=True)
class Predictor:
    """A trained model that answers pictures exactly as it was measured.

    Called with one picture or many: paths, encoded bytes, arrays ``h w [c]``, or Pillow pictures. Many
    are answered in batches of ``batch``.
    """

    contract: Contract
    model: Vision
    engine: Engine
    batch: int = 32

    @classmethod
    def load(
        cls,
        run: str | Path,
        *,
        device: str = "auto",
        batch: int = 32,
        merge: int = 0,
        offline: bool = False,
    ) -> Self:
        """Load a run folder, or a classifier that somebody else trained, by what names it.

        With ``merge`` it answers faster, with so many tokens merged in each layer. ``offline`` forbids the
        Hub.
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
        engine = answering_engine(contract.recipe, choose_device(device))
        model.merge(merge)
        engine.place(model)
        return cls(contract=contract, model=model, engine=engine, batch=batch)

    def __call__(self, pictures: Picture | Iterable[Picture]) -> list[Answer]:
        """Answer pictures, in order; one that cannot be read is an error that names it."""
        answers = []
        for _, answer in self.stream(_each(pictures)):
            if isinstance(answer, Unreadable):
                raise answer
            answers.append(answer)
        return answers

    def stream(self, pictures: Iterable[Picture]) -> Iterator[tuple[Picture, Answer | Unreadable]]:
        """Answer pictures batch by batch; one that cannot be read has its error in place of an answer."""
        for waiting in self._seen(pictures):
            good = [seen for _, seen in waiting if not isinstance(seen, Unreadable)]
            answers: Iterator[Answer] = iter(())
            if good:
                batch = views_of(good, self.contract.preprocess)
                answers = iter(answer_batch(self.model, batch, self.engine, self.contract.preprocess))
            for picture, seen in waiting:
                yield picture, seen if isinstance(seen, Unreadable) else next(answers)

    def _seen(self, pictures: Iterable[Picture]) -> Iterator[list[tuple[Picture, Views]]]:
        """Load pictures until they fill a batch: large ones, which have many windows, do so by themselves."""
        waiting: list[tuple[Picture, Views]] = []
        filled = 0
        for picture in pictures:
            seen = self._views(picture)
            waiting.append((picture, seen))
            filled += 1 if isinstance(seen, Unreadable) else len(seen)
            if filled >= self.batch:
                yield waiting
                waiting, filled = [], 0
        if waiting:
            yield waiting

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
        each picture's own answer). ``layer`` is
        one of `vitrail.explain.layers_of`. With ``trust`` each explanation says how it does beside a map at
        random and the picture's edges, which asks the model about a hundred times a picture.

        Raises UsageError for a method, a layer or a class that there is not, and for a method that is not for
        this model.
        """
        explanations = []
        for _, found in self.explain_stream(_each(pictures), method, about, layer, trust=trust):
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
                (picture, seen if isinstance(seen, Unreadable) else _single(picture, seen))
                for picture, seen in zip(waiting, map(self._views, waiting), strict=True)
            ]

    def ready(self, canvases: Sequence[tuple[np.ndarray, Frame]]) -> Batch:
        """Return canvases as a batch on the model's device, normalised."""
        return self.engine.ready(batch_of(*zip(*canvases, strict=True)), self.contract.preprocess)

    def _views(self, picture: Picture) -> Views:
        """Return what the model sees of a picture, and where, or why it cannot be read."""
        try:
            return views(self.contract.preprocess, self.contract.preprocess.load(_source(picture)))
        except Unreadable as fault:
            return fault


def _single(picture: Picture, seen: list[tuple[np.ndarray, Frame]]) -> tuple[np.ndarray, Frame]:
    if len(seen) > 1:
        height, width = seen[0][0].shape[:2]
        named = picture if isinstance(picture, str | os.PathLike) else "a picture"
        raise UsageError(
            f"{named}: larger than the {height} x {width} pixels that the model sees at once. "
            "Cut out a part of that size."
        )
    return seen[0]


def batched(pictures: Iterable[Picture], size: int) -> Iterator[list[Picture]]:
    """Yield pictures so many at a time (itertools has it from Python 3.12 on)."""
    waiting = iter(pictures)
    while some := list(islice(waiting, size)):
        yield some


def find_pictures(words: Sequence[str]) -> list[str]:
    """Return the files that files, folders (searched through) and patterns name, in the order of the words.

    Folders are searched as those of a data set are. What is named twice is there twice.
    """
    found: list[str] = []
    for word in words:
        path = Path(word)
        if path.is_dir():
            inside = listing.find_pictures(word)
            if not inside:
                raise UsageError(f"{storable(word)}: no pictures in this folder.")
            found += inside
        elif path.exists() or path.is_symlink():
            found.append(word)
        else:
            matches = sorted(glob.glob(word, recursive=True))  # noqa: PTH207, Path.glob takes no absolute pattern
            matches = [match for match in matches if listing.is_picture(match) or not Path(match).is_dir()]
            if not matches:
                raise UsageError(f"{storable(word)}: no such file, folder or pattern.")
            found += matches
    return found


def _each(pictures: Picture | Iterable[Picture]) -> Iterable[Picture]:
    if isinstance(pictures, str | bytes | os.PathLike | np.ndarray | Image.Image):
        return [pictures]
    if isinstance(pictures, Mapping):
        raise UsageError("pictures are paths, bytes, arrays or Pillow pictures, not a mapping.")
    return pictures


def _source(picture: Picture) -> Source | Image.Image:
    if isinstance(picture, os.PathLike):
        return os.fspath(picture)
    if isinstance(picture, str | bytes | np.ndarray | Image.Image):
        return picture
    raise UsageError(
        f"a picture is a path, bytes, an array or a Pillow picture, not a {type(picture).__name__}."
    )


def load(run: str | Path, *, device: str = "auto", merge: int = 0, offline: bool = False) -> Predictor:
    """Load a trained run folder, ready to answer pictures, or somebody else's classifier by its name.

    With ``merge`` so many tokens are merged in each layer of a Vision Transformer, which is faster.
    """
    return Predictor.load(run, device=device, merge=merge, offline=offline)
