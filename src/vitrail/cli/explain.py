"""`vitrail explain`."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from vitrail.cli.explained import tell_benchmark, tell_explanations
from vitrail.cli.parse import Common, parse
from vitrail.cli.say import emit, tell
from vitrail.contracts import Explainer
from vitrail.data.faults import Unreadable
from vitrail.data.names import storable
from vitrail.errors import UsageError, VitrailError
from vitrail.explain import EXPLAINERS, Region, Versus, layers_of
from vitrail.explain.faithfulness import Judge
from vitrail.models.vision import Vision
from vitrail.run.asked import find_pictures
from vitrail.run.explain.benchmark import PICTURES, benchmark
from vitrail.run.explain.choice import default_method, explainer_of, find_class, layer_field
from vitrail.run.explain.depth import check_depth, check_heads
from vitrail.run.explain.explanation import explain_each
from vitrail.run.explain.keep import Keeper
from vitrail.run.explain.page import write_benchmark
from vitrail.run.explain.within import look_within, write_within
from vitrail.run.files import first_free, replacing
from vitrail.run.predict import Predictor
from vitrail.run.progress import follow, reporter

ABOUT = (
    "Show where a model looked when it answered: for each picture the original beside its heat map, the map "
    "as numbers, and how far it can be trusted. A picture that cannot be read is named and does not stop the "
    "rest."
)
EXAMPLES = """\
vitrail explain run cat.jpg
vitrail explain run new/ --method grad-cam --trust --out why
vitrail explain run cat.jpg --method all
vitrail explain run cat.jpg --heads --animate
vitrail explain run --inside
vitrail explain run cat.jpg --about cat --rather-than lynx
vitrail explain nuclei slide.tif --about nucleus --box 120 80 260 200    # why these pixels are nucleus
vitrail explain run --list-layers
vitrail explain run --benchmark pictures/ --pictures 200
vitrail explain google/vit-base-patch16-224 cat.jpg"""

ALL = "all"
EXPORTED = (".onnx", ".tflite", ".engine", ".pt2")
"""Endings of files that answer and hold no network."""
FILE = "explanations.jsonl"


@dataclass(frozen=True, kw_only=True)
class ExplainWords(Common):
    """Explain answers."""

    run: str = tyro.MISSING
    """A run folder; or a classifier of others: a folder of transformers or timm, a Hub id, a timm name."""
    files: tuple[str, ...] = ()
    """Files, folders (searched through) and patterns."""
    method: tuple[str, ...] = ()
    """One or more methods, or all that this network allows (default: what suits the network)."""
    about: str | None = None
    """The class to explain (default: each picture's own answer)."""
    rather_than: str | None = None
    """Explain why --about, or the answer, and not this class."""
    box: tuple[float, float, float, float] | None = None
    """Where each pixel is answered: explain those in this box (left, top, right, bottom) of the picture."""
    layer: str | None = None
    """The layer to look at (default: the last that says where)."""
    list_layers: bool = False
    """Name the layers that --layer may name, and stop."""
    out: str | None = None
    """The folder to write into (default: explained, or the next that is free)."""
    trust: bool = False
    """Say how each heat map does beside a map at random and the picture's edges (some hundred answers)."""
    heads: bool = False
    """Also a sheet of where each head of a layer looked (of --layer, a number; default: the last)."""
    animate: bool = False
    """Also a picture that moves through the depth of the network, layer by layer."""
    inside: bool = False
    """Explain the model itself: positions, filters and, with PICTURES, features and how far heads look."""
    contours: bool = False
    """Lines of equal heat on the picture in place of colours over it."""
    benchmark: str | None = None
    """Measure the methods on pictures of this data, instead of explaining pictures."""
    pictures: int = PICTURES
    """With --benchmark: how many pictures."""
    masks: str | None = None
    """With --benchmark: a folder with a mask of the object for each picture, under the picture's name."""
    batch: int = 8
    """Pictures explained at a time, at most 8."""
    device: str = "auto"
    """cpu, cuda, mps, or auto."""
    offline: bool = False
    """Never touch the network."""


def run(argv: Sequence[str]) -> None:
    """Explain, and write what was found out."""
    words = parse(ExplainWords(), argv, verb="explain", about=ABOUT, examples=EXAMPLES)
    _check(words)
    predictor = Predictor.load(
        words.run, device=words.device, batch=words.batch, merge=0, offline=words.offline
    )
    if words.list_layers:
        _list_layers(words, predictor.model)
        return
    if words.inside:
        _inside(words, predictor)
        return
    if words.heads:
        check_heads(predictor.model)
    if words.animate:
        check_depth(predictor.model)
    explainers = _explainers(words, predictor.model)
    about = _about(words, predictor)
    if words.benchmark is not None:
        _benchmark(words, predictor, explainers, about)
    else:
        _explain(words, predictor, explainers, about)


def _check(words: ExplainWords) -> None:
    """Refuse words that do not go together, before anything is loaded."""
    if words.run.lower().endswith(EXPORTED):
        raise UsageError(
            f"{words.run}: an exported file answers, and has no layers or gradients left: all that could "
            "still explain it is what changes when parts are covered.\n"
            "Explain the run that it was exported from."
        )
    if words.batch < 1:
        raise UsageError(f"--batch {words.batch}: it is 1 or more.")
    if words.benchmark is None and words.masks is not None:
        raise UsageError("--masks are for --benchmark: name the data whose objects they show.")
    if words.benchmark is not None and words.files:
        raise UsageError("--benchmark measures on its own data: leave the pictures out.")
    if words.benchmark is None and not (words.files or words.list_layers or words.inside):
        raise UsageError("PICTURES is missing; to explain the model itself: --inside.")


def _list_layers(words: ExplainWords, model: Vision) -> None:
    names = layers_of(model)
    looking = [name for name, kind in EXPLAINERS.items() if isinstance(layer_field(kind), str | None)]
    if words.json:
        emit({"layers": names, "methods": looking})
        return
    print("\n".join(names))  # noqa: T201
    tell(f"In the order that data passes them, for {', '.join(looking)}.")


def _explainers(words: ExplainWords, model: Vision) -> dict[str, Explainer]:
    """Return the methods that are named: for all, those that look at no such layer look where they would."""
    if ALL in words.method:
        if len(words.method) > 1:
            raise UsageError("--method all: leave the other methods out.")
        at_layers = {name for name, kind in EXPLAINERS.items() if isinstance(layer_field(kind), str | None)}
        return {
            name: explainer_of(model, name, words.layer if name in at_layers else None) for name in EXPLAINERS
        }
    if words.benchmark is not None and not words.method:
        return {name: explainer_of(model, name) for name in EXPLAINERS}
    names = words.method or (default_method(model),)
    return {name: explainer_of(model, name, words.layer) for name in names}


def _about(words: ExplainWords, predictor: Predictor) -> Any:
    classes = predictor.contract.classes
    about: Any = None if words.about is None else find_class(words.about, classes)
    if words.box is not None:
        if not predictor.contract.task.masked:
            raise UsageError(
                "--box: this model answers pictures as a whole; boxes are for answers of pixels."
            )
        about = Region(label=about, box=words.box)
    if words.rather_than is None:
        return about
    return Versus(about, find_class(words.rather_than, classes, "--rather-than"))


# ---------------------------------------------------------------- the model itself


def _inside(words: ExplainWords, predictor: Predictor) -> None:
    """Draw what a model has learned, and write a page of it."""
    found = look_within(predictor, find_pictures(words.files) if words.files else ())
    folder = _folder(words.out)
    written = write_within(found, folder)
    for name, reason in (found.broken | found.refused).items():
        tell(f"without {name}: {reason}")
    if words.json:
        plain = {"out": str(folder), "files": written, "refused": found.refused, "broken": found.broken}
        emit(plain)
        return
    for name in written:
        tell(str(folder / name))


# ---------------------------------------------------------------- pictures


def _explain(
    words: ExplainWords, predictor: Predictor, explainers: Mapping[str, Explainer], about: Any
) -> None:
    """Explain pictures one after the other, so that thousands take no more memory than a few."""
    files = find_pictures(words.files)
    folder = _folder(words.out)
    keeper = Keeper(
        folder,
        predictor,
        contours=words.contours,
        heads=_head_layer(words) if words.heads else None,
        animate=words.animate,
    )
    judge = Judge() if words.trust else None
    stream = explain_each(predictor, files, explainers, about, layer=words.layer, judge=judge)
    broken: dict[str, str] = {}
    refused: dict[str, str] = {}

    def lines() -> Iterator[dict[str, Any]]:
        for file, found in follow(reporter(), "explaining", stream, len(files)):
            name = storable(str(file))
            try:
                if isinstance(found, Unreadable):
                    raise found
                refused.update(found.refused)
                if not found.by_method:
                    each, reason = next(iter(refused.items()))
                    raise UsageError(f"{each}: {reason}")
                yield from keeper.keep(str(file), found)
            except Unreadable as fault:
                broken[name] = fault.reason
                tell(f"not read: {fault}")
                yield {"file": name, "error": fault.reason}

    kept: list[dict[str, Any]] = []
    with replacing(folder / FILE) as draft, draft.open("w", encoding="utf-8") as text:
        for line in lines():
            text.write(json.dumps(line, ensure_ascii=False) + "\n")
            kept += [line] if "error" not in line else []
        if not kept:
            fault = next(iter(broken.items()))
            raise VitrailError(
                f"none of {len(files)} pictures could be read; the first: {fault[0]}: {fault[1]}"
            )
    for name, reason in refused.items():
        tell(f"without {name}: {reason}")
    if words.json:
        emit({"out": str(folder), "explanations": kept, "broken": broken, "refused": refused})
        return
    tell_explanations(kept, file=FILE, trust=words.trust, many=len(explainers) > 1)
    tell(f"\n{len(kept):,} explanations in {folder}")


def _head_layer(words: ExplainWords) -> int:
    """Return the layer whose heads are shown: that of --layer where it is a number, else the last."""
    try:
        return int(words.layer or -1)
    except ValueError:
        return -1


def _folder(out: str | None) -> Path:
    if out is not None:
        return Path(out)
    return first_free(lambda number: Path("explained" if number == 1 else f"explained-{number}"))


# ---------------------------------------------------------------- methods


def _benchmark(
    words: ExplainWords, predictor: Predictor, explainers: Mapping[str, Explainer], about: Any
) -> None:
    """Measure methods on data, and write a table and a page."""
    assert words.benchmark is not None, "there is data to measure on"
    folder = _folder(words.out)
    found = benchmark(
        predictor,
        words.benchmark,
        explainers,
        pictures=words.pictures,
        about=about,
        masks=words.masks,
        offline=words.offline,
        progress=reporter(),
    )
    write_benchmark(found, folder)
    for name, reason in found.broken.items():
        tell(f"not read: {name}: {reason}")
    for name, reason in found.refused.items():
        tell(f"without {name}: {reason}")
    if words.json:
        emit({"out": str(folder)} | found.to_dict())
        return
    tell_benchmark(found)
    tell(f"\nreport   {folder / 'report.html'}")
