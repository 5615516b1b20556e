"""`vitrail compare`."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vitrail.cli.parse import Common, parse, plain
from vitrail.cli.say import emit, show_table, tell
from vitrail.data.names import few
from vitrail.errors import UsageError
from vitrail.run.compare import Comparison, Outcome, carry_out, compare_runs, read_comparison
from vitrail.run.compare.dry import dry_run
from vitrail.run.compare.plan import SEEDS, TRIES
from vitrail.run.compare.verdict import reservations, verdict
from vitrail.run.content import duration, in_text, interval, is_share, written
from vitrail.run.folder import REPORT
from vitrail.run.progress import reporter
from vitrail.run.recipe import DataConfig

ABOUT = (
    "Compare models on the same pictures, with the same care and budget for each, over several seeds; or "
    "runs that are trained already. Says which is better and how sure that is, in one page."
)
EXAMPLES = """\
vitrail compare pictures/ --models vit-s16 resnet50 --budget 30ep
vitrail compare pictures/ --models vit-ti16 resnet18 efficientnet_b0 --seeds 3 --budget 20min --out which
vitrail compare pictures/ --models vit-s16 resnet50 --fractions 0.1 0.3 1.0 --also other-hospital/
vitrail compare pictures/ --models google/vit-base-patch16-224-in21k microsoft/resnet-50
vitrail compare nuclei/ --task segment --models vit-s16 resnet34 --budget 30ep
vitrail compare nuclei/ --task segment --models vit-s16 --head unet masks linear
vitrail compare recipes/compare/food101.json --dry-run
vitrail compare run-vit run-resnet
vitrail compare --resume which"""


@dataclass(frozen=True, kw_only=True)
class CompareWords(Common):
    """Several models, and which is better."""

    words: tuple[str, ...] = ()
    """DATA with --models; or two or more run folders; or a file with a comparison."""
    models: tuple[str, ...] = ()
    """The models to train and compare, by their names, folders or Hub ids."""
    recipes: tuple[str, ...] = ()
    """A recipe for all models, or one for each: names or files (default: each family's own)."""
    task: str | None = None
    """What is asked: classify or segment (default: classify)."""
    head: tuple[str, ...] = ()
    """How it is answered: a head for all models, or one for each; of a single model each of them."""
    seeds: int | None = None
    """Runs of each model (default: 5). With one, the intervals ignore what another seed would bring."""
    budget: str | None = None
    """What each run may spend: 30ep, 20min or 5e15flop (default: the most epochs that a recipe asks for)."""
    fractions: tuple[float, ...] = ()
    """Shares of the training pictures, for curves of learning: 0.1 0.3 1.0."""
    tries: int | None = None
    """Settings of rate, decay and optimizer to try for each model on validation pictures (default: 6)."""
    also: tuple[str, ...] = ()
    """Other data to measure every model on as well, of the same classes."""
    out: str | None = None
    """The folder to make, or to go on in (default: the next free one below runs/)."""
    resume: str | None = None
    """Go on with the comparison in this folder, as it was begun."""
    image_size: tuple[int, ...] | None = None
    """Height and width of every model's canvas, or one number for both (default: each model's own)."""
    augment: str | None = None
    """Augmentation by one word, the same for all: none, light, medium or strong (default: the recipes')."""
    device: str = "auto"
    """cpu, cuda, cuda:1, mps, or auto."""
    data: DataConfig = field(default_factory=DataConfig)
    dry_run: bool = False
    """Say what would be trained, and train nothing."""
    offline: bool = False
    """Never touch the network, whatever a name may mean."""


def run(argv: Sequence[str]) -> None:
    """Compare, and say what came of it."""
    words = parse(CompareWords(), argv, verb="compare", about=ABOUT, examples=EXAMPLES)
    progress = reporter()
    if words.models or words.resume or _is_file(words.words):
        comparison, out = _comparison(words)
        if words.dry_run:
            planned = dry_run(comparison, offline=words.offline)
            emit(planned.to_dict()) if words.json else planned.show(show_table, tell)
            return
        outcome = carry_out(comparison, out=out, offline=words.offline, progress=progress)
    else:
        _only_for_data(words)
        outcome = compare_runs(
            words.words,
            also=words.also,
            out=words.out,
            offline=words.offline,
            device=words.device,
            progress=progress,
        )
    emit(outcome.to_dict()) if words.json else tell_outcome(outcome)
    if any(each.failed for each in outcome.entrants):
        raise SystemExit(1)


def _is_file(words: Sequence[str]) -> bool:
    return len(words) == 1 and words[0].endswith(".json")


def _comparison(words: CompareWords) -> tuple[Comparison, str | None]:
    """Return what is to be compared and where: as begun in a folder, from a file, or from the words."""
    if words.resume is not None:
        if words.words or any(getattr(words, name) for name in (*OF_TRAINING, "models", "also", "out")):
            raise UsageError("--resume goes on with a comparison as it was begun: leave the other words out.")
        return read_comparison(Path(words.resume) / "compare.json"), words.resume
    if _is_file(words.words):
        if words.models:
            raise UsageError(f"{words.words[0]} says what to compare: leave --models out.")
        return read_comparison(Path(words.words[0])), words.out
    if len(words.words) != 1:
        raise UsageError(
            "--models are compared on one data set: vitrail compare DATA --models A B"
            if not words.words
            else f"--models are compared on one data set, not on {len(words.words)}: {few(words.words)}"
        )
    options: dict[str, Any] = {}
    before = plain(DataConfig())
    options |= {f"data.{name}": value for name, value in plain(words.data).items() if value != before[name]}
    if words.task is not None:
        options["task.name"] = words.task
    if words.image_size is not None:
        options["image_size"] = list(words.image_size)
    if words.augment is not None:
        options["augment"] = words.augment
    if words.device != "auto":
        options["device"] = words.device
    comparison = Comparison(
        where=words.words[0],
        models=words.models,
        recipes=words.recipes,
        heads=words.head,
        seeds=SEEDS if words.seeds is None else words.seeds,
        budget=words.budget,
        fractions=words.fractions or (1.0,),
        tries=TRIES if words.tries is None else words.tries,
        also=words.also,
        options=options,
    )
    return comparison, words.out


OF_TRAINING = ("recipes", "task", "head", "seeds", "budget", "fractions", "tries", "augment", "image_size")
"""What says how models are trained: nothing for runs that are there, or for a comparison that goes on."""


def _only_for_data(words: CompareWords) -> None:
    """Refuse words that mean nothing for runs that are trained already."""
    if not words.words:
        raise UsageError(
            "what is to be compared? DATA --models A B, or run folders. See vitrail compare --help"
        )
    for name in (*OF_TRAINING, "dry_run"):
        if getattr(words, name):
            flag = name.replace("_", "-")
            raise UsageError(f"--{flag} is about models to train: name them with --models, or leave it out.")


def tell_outcome(outcome: Outcome) -> None:
    """Print the verdict, a table, and where the page is."""
    ranking = outcome.ranking
    first = ranking.first
    rows = []
    for each in ranking.standings:
        value, cost = each.metrics[first], outcome.costs[each.name]
        rows.append(
            (
                each.name,
                written(first, value.value, 2),
                interval(first, value),
                len(each.seeds),
                f"{cost.parameters:,}",
                duration(cost.train_seconds),
                f"{cost.answer_rate:,.0f}",
            )
        )
    tell()
    for sentence in verdict(ranking):
        tell(sentence)
    tell()
    unit = "" if is_share(first) else " (lower is better)"
    columns = (
        "model",
        in_text(first) + unit,
        "95 % interval",
        "seeds",
        "parameters",
        "training",
        "pictures/s",
    )
    show_table(f"On {ranking.units}", columns, rows, right=(1, 3, 4, 5, 6))
    for line in reservations(ranking):
        tell(f"note: {line}")
    for failed in outcome.entrants:
        if failed.failed:
            tell(f"warning: {failed.name} dropped out: {failed.failed}")
    page = outcome.folder / REPORT
    tell(f"\nreport   {page}")
    if sys.stderr.isatty():
        tell(f"open     {page.resolve().as_uri()}")
