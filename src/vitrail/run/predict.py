"""Answering pictures with a trained run: the same class for every task."""

import glob
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from PIL import Image

from vitrail.data.faults import Unreadable
from vitrail.data.names import storable
from vitrail.data.readers import listing
from vitrail.errors import UsageError
from vitrail.models.vision import Vision
from vitrail.run.answer import answer_batch, batch_of
from vitrail.run.contract import FILE, Contract, load_model, read_contract
from vitrail.run.engine import Engine, answering_engine, choose_device
from vitrail.run.folder import Run
from vitrail.run.pretrained import load_pretrained, names_a_model
from vitrail.values import Answer, Frame, Source

Picture = Source | os.PathLike[str] | Image.Image
"""What can be asked about: a path, an encoded file, an array ``h w [c]``, or a Pillow picture."""


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
        waiting: list[tuple[Picture, tuple[np.ndarray, Frame] | Unreadable]] = []
        for picture in pictures:
            waiting.append((picture, self._load(picture)))
            if len(waiting) == self.batch:
                yield from self._answer(waiting)
                waiting = []
        yield from self._answer(waiting)

    def _load(self, picture: Picture) -> tuple[np.ndarray, Frame] | Unreadable:
        """Return what the model sees of a picture, and where, or why it cannot be read."""
        preprocess = self.contract.preprocess
        try:
            return preprocess.canvas(preprocess.load(_source(picture)))
        except Unreadable as fault:
            return fault

    def _answer(
        self, waiting: Sequence[tuple[Picture, tuple[np.ndarray, Frame] | Unreadable]]
    ) -> Iterator[tuple[Picture, Answer | Unreadable]]:
        good = [loaded for _, loaded in waiting if not isinstance(loaded, Unreadable)]
        answers: Iterator[Answer] = iter(())
        if good:
            canvases, frames = zip(*good, strict=True)
            batch = batch_of(canvases, frames)
            answers = iter(answer_batch(self.model, batch, self.engine, self.contract.preprocess))
        for picture, loaded in waiting:
            yield picture, loaded if isinstance(loaded, Unreadable) else next(answers)


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
