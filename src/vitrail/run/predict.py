"""Answering pictures with a trained run: the same class for every task."""

import glob
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import torch

from vitrail.data.faults import Unreadable
from vitrail.errors import UsageError
from vitrail.models.vision import Vision
from vitrail.run.contract import Contract, load_model, read_contract
from vitrail.run.engine import Engine, choose_device
from vitrail.values import Answer, Batch, Frame, Source

SUFFIXES = {
    ".jpg",
    ".jpeg",
    ".png",
    ".bmp",
    ".gif",
    ".tif",
    ".tiff",
    ".webp",
    ".ppm",
    ".pgm",
    ".jp2",
    ".avif",
}


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
    def load(cls, run: str | Path, *, device: str = "auto", batch: int = 32) -> Self:
        """Load a run folder."""
        folder = Path(run)
        if not folder.is_dir():
            raise UsageError(f"{run}: no such run folder. Train one: vitrail train DATA --out {run}")
        contract = read_contract(folder)
        engine = Engine(device=choose_device(device))
        model = load_model(folder, contract)
        engine.place(model)
        return cls(contract=contract, model=model, engine=engine, batch=batch)

    def __call__(self, pictures: Source | Iterable[Source]) -> list[Answer]:
        """Answer pictures, in order; one that cannot be read is an error that names it."""
        answers = []
        for source, answer in self.stream(_each(pictures)):
            if isinstance(answer, Unreadable):
                raise answer
            answers.append(answer)
            del source
        return answers

    def stream(self, pictures: Iterable[Source]) -> Iterator[tuple[Source, Answer | Unreadable]]:
        """Answer pictures batch by batch; one that cannot be read has its error in place of an answer."""
        waiting: list[tuple[Source, np.ndarray | Unreadable, Frame | None]] = []
        for source in pictures:
            try:
                pixels, frame = self.contract.preprocess(source)
                waiting.append((source, pixels, frame))
            except Unreadable as error:
                waiting.append((source, error, None))
            if len(waiting) == self.batch:
                yield from self._answer(waiting)
                waiting = []
        yield from self._answer(waiting)

    @torch.inference_mode()
    def _answer(
        self, waiting: Sequence[tuple[Source, np.ndarray | Unreadable, Frame | None]]
    ) -> Iterator[tuple[Source, Answer | Unreadable]]:
        good = [(pixels, frame) for _, pixels, frame in waiting if isinstance(pixels, np.ndarray)]
        answers: Iterator[Answer] = iter(())
        if good:
            pixels = torch.from_numpy(np.stack([pixels for pixels, _ in good])).to(self.engine.device)
            if self.engine.channels_last:
                pixels = pixels.contiguous(memory_format=torch.channels_last)
            frames = [frame for _, frame in good if frame is not None]
            keys = [str(number) for number in range(len(good))]
            answers = iter(self.model.answer(Batch(keys=keys, pixels={"image": pixels}, frames=frames)))
        for source, pixels_or_error, _ in waiting:
            yield source, pixels_or_error if isinstance(pixels_or_error, Unreadable) else next(answers)


def find_pictures(words: Sequence[str]) -> list[str]:
    """Return the files that files, folders (searched through) and patterns name, in order, each once."""
    found: dict[str, None] = {}
    for word in words:
        path = Path(word)
        if path.is_dir():
            inside = sorted(p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
            if not inside:
                raise UsageError(f"{word}: no pictures in this folder.")
            found |= {str(p): None for p in inside}
        elif path.exists() or path.is_symlink():
            found[word] = None
        else:
            matches = sorted(glob.glob(word, recursive=True))  # noqa: PTH207, Path.glob takes no absolute pattern
            if not matches:
                raise UsageError(f"{word}: no such file, folder or pattern.")
            found |= dict.fromkeys(matches)
    return list(found)


def _each(pictures: Source | Iterable[Source]) -> Iterable[Source]:
    if isinstance(pictures, str | bytes | Path):
        return [pictures if isinstance(pictures, bytes) else str(pictures)]
    if isinstance(pictures, np.ndarray) or hasattr(pictures, "getexif"):
        return [np.asarray(pictures)]
    if isinstance(pictures, Mapping):
        raise UsageError("pictures are paths, bytes or arrays, not a mapping.")
    return (picture if isinstance(picture, bytes | np.ndarray) else _plain(picture) for picture in pictures)


def _plain(picture: object) -> Source:
    return np.asarray(picture) if hasattr(picture, "getexif") else str(picture)


def load(run: str | Path, *, device: str = "auto") -> Predictor:
    """Load a trained run folder, ready to answer pictures."""
    return Predictor.load(run, device=device)
