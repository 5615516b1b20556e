"""`vitrail predict`."""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import tyro

from vitrail.cli.parse import Common, parse
from vitrail.cli.say import emit, tell
from vitrail.data.faults import Unreadable
from vitrail.errors import VitrailError
from vitrail.run.files import write_atomic
from vitrail.run.predict import Predictor, find_pictures
from vitrail.run.progress import follow, reporter

ABOUT = (
    "Answer pictures with a trained run. A picture that cannot be read is named and does not stop the rest."
)
EXAMPLES = """\
vitrail predict run cat.jpg
vitrail predict run new/ 'more/**/*.png' --out answers
vitrail predict run new/ --format csv > answers.csv
vitrail predict run new/ --format hf --top 3"""


@dataclass(frozen=True, kw_only=True)
class PredictWords(Common):
    """Answer pictures."""

    run: str = tyro.MISSING
    """A run folder."""
    pictures: tuple[str, ...] = tyro.MISSING
    """Files, folders (searched through) and patterns."""
    format: Literal["jsonl", "csv", "hf"] = "jsonl"
    """One JSON object a line, CSV, or the dicts of transformers' image-classification pipeline."""
    out: str | None = None
    """Write into this folder instead of standard output."""
    top: int = 5
    """With `hf`: how many classes a picture."""
    batch: int = 32
    """Pictures answered at a time."""
    device: str = "auto"
    """cpu, cuda, mps, or auto."""


def run(argv: Sequence[str]) -> None:
    """Answer and print, or write."""
    words = parse(PredictWords(), argv, verb="predict", about=ABOUT, examples=EXAMPLES)
    predictor = Predictor.load(words.run, device=words.device, batch=words.batch)
    files = find_pictures(words.pictures)
    progress = reporter()
    rows: list[dict[str, Any]] = []
    broken: dict[str, str] = {}
    for source, answer in follow(progress, "answering", predictor.stream(files), len(files)):
        if isinstance(answer, Unreadable):
            broken[str(source)] = str(answer)
            continue
        rows.append({"file": str(source), "answer": answer})
    if not rows:
        raise VitrailError(
            f"none of {len(files)} pictures could be read; the first: {next(iter(broken.values()))}"
        )
    for reason in broken.values():
        tell(f"not read: {reason}")
    text = _hf(rows, words.top) if words.format == "hf" else FORMATS[words.format](rows)
    written: dict[str, Any] = {}
    if words.out is not None:
        target = Path(words.out) / f"answers.{'csv' if words.format == 'csv' else 'jsonl'}"
        write_atomic(target, text)
        tell(f"{len(rows):,} answers in {target}")
        written = {"out": str(target)}
    if words.json:
        answers = [{"file": row["file"], **row["answer"].to_dict()} for row in rows]
        emit({"answers": answers, "broken": broken} | written)
    elif words.out is None:
        print(text, end="")  # noqa: T201


def _jsonl(rows: Sequence[dict[str, Any]]) -> str:
    return "".join(
        json.dumps({"file": row["file"], **row["answer"].to_dict()}, ensure_ascii=False) + "\n"
        for row in rows
    )


def _hf(rows: Sequence[dict[str, Any]], top: int) -> str:
    return "".join(json.dumps(row["answer"].to_hf(top), ensure_ascii=False) + "\n" for row in rows)


def _csv(rows: Sequence[dict[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = rows[0]["answer"].names
    writer.writerow(["file", "label", "score", *names])
    for row in rows:
        answer = row["answer"]
        writer.writerow(
            [
                row["file"],
                "|".join(answer.chosen),
                f"{answer.score:.6g}",
                *(f"{score:.6g}" for score in answer.scores),
            ]
        )
    return text.getvalue()


FORMATS = {"jsonl": _jsonl, "csv": _csv}
