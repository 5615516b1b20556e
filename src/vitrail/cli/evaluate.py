"""`vitrail evaluate`."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import tyro

from vitrail.cli.parse import Common, parse
from vitrail.cli.say import emit, metric_rows, show_table, tell
from vitrail.data.readers import ReaderOptions
from vitrail.run.evaluate import evaluate
from vitrail.run.progress import reporter
from vitrail.values import Estimate

ABOUT = "Measure a run on its own test pictures, or on another data set; classes are matched by name."
EXAMPLES = """\
vitrail evaluate run
vitrail evaluate run other-pictures/ --json
vitrail evaluate run labels.csv --label species --group site
vitrail evaluate run --split val
vitrail evaluate run --merge 8"""


@dataclass(frozen=True, kw_only=True)
class EvaluateWords(Common):
    """Measure a run."""

    run: str = tyro.MISSING
    """A run folder."""
    data: str | None = None
    """Other pictures: a folder, a table, `digits`, or hf://owner/name."""
    split: str | None = None
    """Which part (default: test; all, when the data names no parts)."""
    file: str | None = None
    """Of other data: the column with the picture (default: file_name, image, path or the like)."""
    label: str | None = None
    """Of other data: the column with the one class of each picture (default: label)."""
    labels: tuple[str, ...] = ()
    """Of other data: the column with all classes of each picture (default: labels), or one a class."""
    group: str | None = None
    """Of other data: the column of what belongs together, such as a patient (default: group, if any)."""
    merge: int = 0
    """Tokens that each layer of a Vision Transformer merges with others like them: faster (0: none)."""
    overlap: int | None = None
    """Pixels that windows of a large picture share with the next (default: an eighth of their side)."""
    device: str = "auto"
    """cpu, cuda, mps, or auto."""
    offline: bool = False
    """Never touch the network."""


def run(argv: Sequence[str]) -> None:
    """Measure and print."""
    words = parse(EvaluateWords(), argv, verb="evaluate", about=ABOUT, examples=EXAMPLES)
    options = ReaderOptions(file=words.file, label=words.label, labels=words.labels, group=words.group)
    found = evaluate(
        words.run,
        words.data,
        split=words.split,
        options=None if options == ReaderOptions() else options,
        device=words.device,
        merge=words.merge,
        overlap=words.overlap,
        offline=words.offline,
        progress=reporter(),
    )
    if words.json:
        emit(found.to_dict())
        return
    plain = found.to_dict()
    title = f"{plain['pictures']:,} pictures of {found.where} ({found.split})"
    if found.merge:
        title += f", {found.merge} tokens merged in each layer"
    show_table(title, ("metric", "value", "95 % interval"), metric_rows(plain["metrics"]), right=(1,))
    tell()
    columns = list(next(iter(found.quality.per_class.values())))
    rows = [
        (label, f"{found.quality.support[label]:,}", *(_cell(name, values[name]) for name in columns))
        for label, values in found.quality.per_class.items()
    ]
    heads = [name if name in BARE else f"{TITLES.get(name, name)} (95 %)" for name in columns]
    show_table("By class", ("class", "pictures", *heads), rows, right=range(1, len(columns) + 2))
    if found.seams:
        tell(found.seams.in_words())
    for key, reason in found.broken.items():
        tell(f"not read: {key}: {reason}")


BARE = {"precision", "recall"}
"""Numbers of a class without room for their intervals, which `--json` and the report have."""
TITLES = {"average_precision": "avg. precision"}


def _cell(name: str, value: Estimate) -> str:
    """Return a number of a class, with its interval where there is room; a dash where it is undefined."""
    if not math.isfinite(value.value):
        return "–"
    return f"{value.value:.3f}" if name in BARE else f"{value.value:.3f} ({value.low:.3f}–{value.high:.3f})"
