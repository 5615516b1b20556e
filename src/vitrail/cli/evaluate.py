"""`vitrail evaluate`."""

from collections.abc import Sequence
from dataclasses import dataclass

import tyro

from vitrail.cli.parse import Common, parse
from vitrail.cli.say import emit, metric_rows, show_table, tell
from vitrail.run.evaluate import evaluate
from vitrail.run.progress import reporter

ABOUT = "Measure a run on its own test pictures, or on another data set; classes are matched by name."
EXAMPLES = """\
vitrail evaluate run
vitrail evaluate run other-pictures/ --json
vitrail evaluate run --split val"""


@dataclass(frozen=True, kw_only=True)
class EvaluateWords(Common):
    """Measure a run."""

    run: str = tyro.MISSING
    """A run folder."""
    data: str | None = None
    """Other pictures: a folder, a table, `digits`, or hf://owner/name."""
    split: str | None = None
    """Which part (default: test; all, when the data names no parts)."""
    device: str = "auto"
    """cpu, cuda, mps, or auto."""
    offline: bool = False
    """Never touch the network."""


def run(argv: Sequence[str]) -> None:
    """Measure and print."""
    words = parse(EvaluateWords(), argv, verb="evaluate", about=ABOUT, examples=EXAMPLES)
    found = evaluate(
        words.run,
        words.data,
        split=words.split,
        device=words.device,
        offline=words.offline,
        progress=reporter(),
    )
    if words.json:
        emit(found.to_dict())
        return
    plain = found.to_dict()
    title = f"{plain['pictures']:,} pictures of {found.where} ({found.split})"
    show_table(title, ("metric", "value", "95 % interval"), metric_rows(plain["metrics"]), right=(1,))
    tell()
    columns = list(next(iter(found.quality.per_class.values())))
    rows = [
        (label, str(found.quality.support[label]), *(f"{values[name].value:.3f}" for name in columns))
        for label, values in found.quality.per_class.items()
    ]
    show_table("By class", ("class", "pictures", *columns), rows, right=range(1, len(columns) + 2))
    for key, reason in found.broken.items():
        tell(f"not read: {key}: {reason}")
