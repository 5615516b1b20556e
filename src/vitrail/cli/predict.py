"""`vitrail predict`."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import tyro

from vitrail.cli.parse import Common, parse
from vitrail.cli.say import emit, tell
from vitrail.data.faults import Unreadable
from vitrail.data.names import storable
from vitrail.errors import UsageError, VitrailError
from vitrail.run.files import write_atomic
from vitrail.run.kept_masks import MaskKeeper
from vitrail.run.predict import Predictor, find_pictures
from vitrail.run.progress import follow, reporter
from vitrail.values import Mask

ABOUT = (
    "Answer pictures with a trained run, or with a classifier that others trained. A picture that cannot be "
    "read is named and does not stop the rest."
)
EXAMPLES = """\
vitrail predict run cat.jpg
vitrail predict run new/ 'more/**/*.png' --out answers
vitrail predict run new/ --format csv > answers.csv
vitrail predict nuclei slides/ --out answers    # of a run of segmentation: masks, and the pictures in colour
vitrail predict run new/ --format hf --top 3
vitrail predict google/vit-base-patch16-224 cat.jpg --format hf"""


@dataclass(frozen=True, kw_only=True)
class PredictWords(Common):
    """Answer pictures."""

    run: str = tyro.MISSING
    """A run folder; or a classifier of others: a folder of transformers or timm, a Hub id, a timm name."""
    pictures: tuple[str, ...] = tyro.MISSING
    """Files, folders (searched through) and patterns."""
    format: Literal["jsonl", "csv", "hf"] = "jsonl"
    """One JSON object a line, CSV, or the dicts of transformers' image-classification pipeline; one line a
    picture, in order. One that cannot be read has an `error` in its line; with `hf` its line is `null`."""
    out: str | None = None
    """Write into this folder instead of standard output; masks are written only there, and else just told of:
    `NAME.mask.png` (class numbers, shown in colour) and `NAME.overlay.png` for each picture."""
    top: int = 5
    """With `hf`: how many classes a picture."""
    batch: int = 32
    """Pictures answered at a time."""
    merge: int = 0
    """Tokens that each layer of a Vision Transformer merges with others like them: faster (0: none)."""
    device: str = "auto"
    """cpu, cuda, mps, or auto."""
    offline: bool = False
    """Never touch the network."""


def run(argv: Sequence[str]) -> None:
    """Answer and print, or write."""
    words = parse(PredictWords(), argv, verb="predict", about=ABOUT, examples=EXAMPLES)
    predictor = Predictor.load(
        words.run, device=words.device, batch=words.batch, merge=words.merge, offline=words.offline
    )
    files = find_pictures(words.pictures)
    stream = follow(reporter(), "answering", predictor.stream(files), len(files))
    keeper = None
    if words.out is not None:
        keeper = MaskKeeper(folder=Path(words.out), preprocess=predictor.contract.preprocess)
    masked = predictor.contract.task.masked
    if words.format == "hf" and masked:
        raise UsageError("--format hf is for classes of pictures; masks are files: name a folder by --out.")
    rows: list[Row] = [(storable(str(file)), _light(file, found, keeper)) for file, found in stream]
    broken = {file: found for file, found in rows if isinstance(found, Unreadable)}
    answered = [(file, found) for file, found in rows if not isinstance(found, Unreadable)]
    if not answered:
        raise VitrailError(
            f"none of {len(files)} pictures could be read; the first: {next(iter(broken.values()))}"
        )
    for fault in broken.values():
        tell(f"not read: {fault}")
    written_as = _areas if words.format == "csv" and masked else FORMATS.get(words.format)
    text = _hf(rows, words.top) if written_as is None else written_as(rows)
    written: dict[str, Any] = {}
    if words.out is not None:
        target = Path(words.out) / f"answers.{'csv' if words.format == 'csv' else 'jsonl'}"
        write_atomic(target, text)
        tell(f"{len(answered):,} answers in {target}")
        written = {"out": str(target)}
    if words.json:
        answers = [{"file": file, **answer.to_dict()} for file, answer in answered]
        emit({"answers": answers, "broken": {file: fault.reason for file, fault in broken.items()}} | written)
    elif words.out is None:
        print(text, end="")  # noqa: T201


@dataclass(frozen=True, kw_only=True)
class Line:
    """What is told of a mask, which itself is in files, or is not kept."""

    told: Mapping[str, Any]

    def to_dict(self) -> Mapping[str, Any]:
        """Return the line as one JSON object."""
        return self.told


def _light(file: Any, found: Any, keeper: MaskKeeper | None) -> Any:
    """Return an answer that can be held for all pictures: of a mask what is told of it, its files written."""
    if not isinstance(found, Mask):
        return found
    return Line(told=found.to_dict() if keeper is None else keeper.keep(file, str(file), found))


Row = tuple[str, Any]
"""A file's name and its answer, or why it could not be read; in the order of the words, none left out."""


def _jsonl(rows: Sequence[Row]) -> str:
    lines = (
        {"file": file} | ({"error": found.reason} if isinstance(found, Unreadable) else found.to_dict())
        for file, found in rows
    )
    return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)


def _hf(rows: Sequence[Row], top: int) -> str:
    lines = (None if isinstance(found, Unreadable) else found.to_hf(top) for _, found in rows)
    return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)


def _csv(rows: Sequence[Row]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = next(found.names for _, found in rows if not isinstance(found, Unreadable))
    faults = any(isinstance(found, Unreadable) for _, found in rows)
    writer.writerow(["file", "label", "score", *names, *(["error"] if faults else [])])
    for file, found in rows:
        if isinstance(found, Unreadable):
            writer.writerow([file, *[""] * (2 + len(names)), found.reason])
        else:
            scores = (f"{score:.6g}" for score in (found.score, *found.scores))
            writer.writerow([file, "|".join(found.chosen), *scores, *([""] if faults else [])])
    return text.getvalue()


def _areas(rows: Sequence[Row]) -> str:
    """Return the area of each class in pixels, a line a picture."""
    text = io.StringIO()
    names = next(list(found.told["areas"]) for _, found in rows if isinstance(found, Line))
    writer = csv.DictWriter(
        text, ["file", *names, "error"], restval="", extrasaction="ignore", lineterminator="\n"
    )
    writer.writeheader()
    for file, found in rows:
        told = {"error": found.reason} if isinstance(found, Unreadable) else found.told["areas"]
        writer.writerow({"file": file, **told})
    return text.getvalue()


FORMATS = {"jsonl": _jsonl, "csv": _csv}
