"""A trained run in another library's words: written, read back and compared before it is kept."""

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vitrail.errors import UsageError, VitrailError, nearest
from vitrail.run.contract import Contract, load_model, read_contract
from vitrail.run.evaluate import own_parts
from vitrail.run.experiment import make_loader
from vitrail.run.files import cannot_write
from vitrail.run.folder import Run
from vitrail.run.formats import FORMATS, Answer, Trained
from vitrail.run.progress import Progress, Silent
from vitrail.run.recipe import Recipe

LIMIT = 1e-5
"""How far two answers may differ: of the largest logit, or of 1 if all are smaller."""

PICTURES = 16
"""How many pictures are compared."""


@dataclass(frozen=True, kw_only=True)
class Exported:
    """A folder that was kept: on which pictures it was compared, and how far each reader's answers differ."""

    path: Path
    format: str
    architecture: str
    pictures: str
    differences: Mapping[str, float]

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "out": str(self.path),
            "format": self.format,
            "architecture": self.architecture,
            "compared_on": self.pictures,
            "differences": dict(self.differences),
        }


def export(
    run: str | Path,
    format: str,  # noqa: A002 - the word on the command line
    *,
    out: str | Path | None = None,
    offline: bool = False,
    progress: Progress | None = None,
) -> Exported:
    """Write a run as a folder of another library (default: beside the run, ``RUN-FORMAT``).

    It is read back by our own reader, and by the library if it is installed, and their answers to pictures of
    the run are compared with the run's own. Raises UsageError for an unknown format, a folder that exists and
    a network that the library does not have; VitrailError when answers differ: then nothing is kept.
    """
    progress = progress or Silent()
    folder = Path(run)
    if format not in FORMATS:
        raise UsageError(f"--format {format}: not one of {', '.join(FORMATS)}.{nearest(format, FORMATS)}")
    recipe = Run(folder).recipe()
    place = Path(out) if out is not None else folder.with_name(f"{folder.resolve().name}-{format}")
    if place.exists() or place.is_symlink():
        raise UsageError(f"{place} exists. Choose another --out.")
    contract = read_contract(folder)
    if contract.task.masked:
        raise UsageError(f"{folder}: {format} has no layout for heads that answer pixels, so this run stays.")
    trained = Trained(contract=contract, model=load_model(folder, contract))
    with drafted(place) as draft:
        architecture = FORMATS[format].write(trained, draft)
        pixels, pictures = _pictures(recipe, contract, offline=offline, progress=progress)
        differences = _compare(trained, pixels, FORMATS[format].readers(trained, draft))
        for reader, difference in differences.items():
            if not difference <= LIMIT:
                raise VitrailError(
                    f"{place}: not kept: read back by {reader}, answers to {pictures} differ from the run's "
                    f"by {difference:.1e} of the largest."
                )
    return Exported(
        path=place, format=format, architecture=architecture, pictures=pictures, differences=differences
    )


def _compare(trained: Trained, pixels: Tensor, readers: Mapping[str, Answer]) -> dict[str, float]:
    """Return the largest difference of each reader's logits from the run's, as `LIMIT` measures it."""
    ours = trained(pixels)
    with torch.inference_mode():
        found = {name: answer(pixels) for name, answer in readers.items()}
    scale = max(1.0, ours.abs().max().item())
    return {name: (logits - ours).abs().max().item() / scale for name, logits in found.items()}


def _pictures(recipe: Recipe, contract: Contract, *, offline: bool, progress: Progress) -> tuple[Tensor, str]:
    """Return some of the run's test pictures, normalised, or noise when they are gone; and which it is."""
    try:
        parts = own_parts(recipe, contract, offline=offline, progress=progress)
        loader = make_loader(parts["test"], contract.preprocess, contract.task, recipe.data, batch=PICTURES)
        batch = next(iter(loader.epoch(0)))
    except (VitrailError, StopIteration) as error:
        progress.say(f"warning: compared on noise, as the run's pictures are not to be had: {error}")
        shape = (PICTURES, contract.preprocess.channels, *contract.preprocess.size)
        return contract.preprocess.normalise(torch.randint(256, shape, dtype=torch.uint8)), "random pixels"
    return contract.preprocess.normalise(batch.pixels["image"]), f"{len(batch)} test pictures"


@contextmanager
def drafted(place: Path) -> Iterator[Path]:
    """Give a draft folder beside ``place`` to fill; it takes that name when the block ends well, or goes."""
    draft = place.with_name(f".{place.name}.{os.getpid()}.part")
    try:
        draft.mkdir(parents=True)
        yield draft
        draft.rename(place)
    except OSError as error:
        raise cannot_write(place, error) from None
    finally:
        shutil.rmtree(draft, ignore_errors=True)
