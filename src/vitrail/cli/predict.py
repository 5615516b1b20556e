"""`vitrail predict`."""

import contextlib
import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import tyro

from vitrail.cli.parse import Common, parse
from vitrail.cli.say import emit, tell
from vitrail.data.faults import Unreadable
from vitrail.data.names import few, storable
from vitrail.data.pixel_size import area_unit, in_area, parse_pixel_size, uneven_sides
from vitrail.errors import UsageError, VitrailError
from vitrail.run.asked import find_pictures
from vitrail.run.files import write_atomic
from vitrail.run.kept_masks import USUAL, Kept, MaskKeeper, keeping
from vitrail.run.predict import Predictor
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
vitrail predict nuclei slides/ --out answers --write mask geojson coco --pixel-size 0.5um
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
    """Write into this folder instead of standard output; masks are written only there, else just told of."""
    write: tuple[Kept, ...] = ()
    """What to write of masks: `mask` is `NAME.mask.png` for each picture (class numbers, shown in colour),
    `overlay` is `NAME.overlay.png` (the picture in those colours), `geojson` is `NAME.geojson` (outlines, for
    QuPath), `coco` is one `answers.coco.json` (runs, by class). Unless told: mask and overlay."""
    pixel_size: str | None = None
    """The side of a pixel of masks' pictures, such as `0.5um` (nm, um, mm, cm, m), for areas in such units;
    unless told it is what the file says, as a TIFF may."""
    top: int = 5
    """With `hf`: how many classes a picture."""
    batch: int = 32
    """Pictures answered at a time."""
    merge: int = 0
    """Tokens that each layer of a Vision Transformer merges with others like them: faster (0: none)."""
    overlap: int | None = None
    """Pixels that windows of a large picture share with the next (default: an eighth of their side)."""
    device: str = "auto"
    """cpu, cuda, mps, or auto."""
    offline: bool = False
    """Never touch the network."""


def run(argv: Sequence[str]) -> None:
    """Answer and print, or write."""
    words = parse(PredictWords(), argv, verb="predict", about=ABOUT, examples=EXAMPLES)
    predictor = Predictor.load(
        words.run,
        device=words.device,
        batch=words.batch,
        merge=words.merge,
        overlap=words.overlap,
        scores=False,  # nothing that is written tells how sure a pixel is
        offline=words.offline,
    )
    masked = predictor.contract.task.masked
    pixel_size = _check(words, masked=masked)
    files = find_pictures(words.pictures)
    progress = reporter()
    stream = follow(progress, "answering", predictor.stream(files, progress), len(files))
    with contextlib.ExitStack() as stack:
        keeper = None
        if masked and words.out is not None:
            keeper = stack.enter_context(
                keeping(Path(words.out), predictor.contract.preprocess, words.write or USUAL, files)
            )
        rows: list[Row] = [
            (storable(str(file)), _light(file, found, keeper, pixel_size)) for file, found in stream
        ]
        broken = {file: found for file, found in rows if isinstance(found, Unreadable)}
        answered = [(file, found) for file, found in rows if not isinstance(found, Unreadable)]
        if not answered:
            raise VitrailError(
                f"none of {len(files)} pictures could be read; the first: {next(iter(broken.values()))}"
            )
    for fault in broken.values():
        tell(f"not read: {fault}")
    if masked and pixel_size is None:
        _tell_uneven(answered)
    written_as = _areas if words.format == "csv" and masked else FORMATS.get(words.format)
    text = _hf(rows, words.top) if written_as is None else written_as(rows)
    written: dict[str, Any] = {}
    if words.out is not None:
        target = Path(words.out) / f"answers.{'csv' if words.format == 'csv' else 'jsonl'}"
        write_atomic(target, text)
        tell(f"{len(answered):,} answers in {target}")
        if masked:
            _tell_areas(answered)
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


def _check(words: PredictWords, *, masked: bool) -> float | None:
    """Return the size of a pixel that the words name; raises UsageError for what does not suit the task."""
    if not masked:
        for flag, given in (("--write", words.write), ("--pixel-size", words.pixel_size is not None)):
            if given:
                raise UsageError(f"{flag} is about masks, and {words.run} answers with classes of pictures.")
    elif words.format == "hf":
        raise UsageError("--format hf is for classes of pictures; masks are files: name a folder by --out.")
    elif words.write and words.out is None:
        raise UsageError("--write needs a folder to write into: name one by --out.")
    return None if words.pixel_size is None else parse_pixel_size(words.pixel_size)


def _light(file: Any, found: Any, keeper: MaskKeeper | None, pixel_size: float | None) -> Any:
    """Return an answer that can be held for all pictures: of a mask what is told of it, its files written."""
    if not isinstance(found, Mask):
        return found
    if pixel_size is not None:
        found = replace(found, pixel_size=pixel_size)
    return Line(told=found.to_dict() if keeper is None else keeper.keep(file, str(file), found))


SI = "square_metres"
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
    """Return the area of each class in pixels, a line a picture, and in one larger unit where it is known."""
    text = io.StringIO()
    lines = [found.told for _, found in rows if isinstance(found, Line)]
    names = list(lines[0]["areas"])
    sizes = [told[SI].values() for told in lines if SI in told]
    unit, size = area_unit(max(areas, default=0.0) for areas in sizes)
    known = [f"{name} ({unit})" for name in names] if sizes else []
    columns = ["file", *names, *known, "error"]
    writer = csv.DictWriter(text, columns, restval="", extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    for file, found in rows:
        if isinstance(found, Unreadable):
            writer.writerow({"file": file, "error": found.reason})
        else:
            areas = found.told.get(SI, {})
            shown = {f"{name} ({unit})": f"{area / size:.6g}" for name, area in areas.items()}
            writer.writerow({"file": file, **found.told["areas"], **shown})
    return text.getvalue()


def _tell_areas(answered: Sequence[Row]) -> None:
    """Say how large the classes are in all pictures of which the size of a pixel is known."""
    sums: dict[str, float] = {}
    known = [found.told[SI] for _, found in answered if SI in found.told]
    for areas in known:
        for name, area in areas.items():
            sums[name] = sums.get(name, 0.0) + area
    if sums:
        shown = ", ".join(f"{name} {in_area(area)}" for name, area in sums.items() if area)
        tell(f"areas in {len(known):,} pictures: {shown}")


def _tell_uneven(answered: Sequence[Row]) -> None:
    """Say of which pictures areas are in pixels only because these are no squares."""
    uneven = [file for file, found in answered if SI not in found.told and uneven_sides(file)]
    if uneven:
        tell(f"their pixels are no squares, so that areas are in pixels only: {few(uneven)}")


FORMATS = {"jsonl": _jsonl, "csv": _csv}
