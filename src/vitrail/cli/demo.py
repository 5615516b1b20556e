"""`vitrail demo`."""

import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from vitrail.cli.parse import Common, parse
from vitrail.cli.say import emit, show_table, tell
from vitrail.run.demo import demonstrate
from vitrail.run.progress import reporter

ABOUT = (
    "Train a small Transformer and a small CNN on digits that come with the installation, measure, report."
)
EXAMPLES = """\
vitrail demo
vitrail demo --out my-demo --seed 1"""


@dataclass(frozen=True, kw_only=True)
class DemoWords(Common):
    """The main job, on digits."""

    out: str | None = None
    """The folder to make (default: vitrail-demo, or the next free one)."""
    seed: int = 0
    """Every random choice follows from it."""


def run(argv: Sequence[str]) -> None:
    """Train, compare, and say what to do next."""
    words = parse(DemoWords(), argv, verb="demo", about=ABOUT, examples=EXAMPLES)
    demo = demonstrate(words.out, seed=words.seed, progress=reporter())
    results = {name: dict(run.result) for name, run in demo.runs.items()}
    if words.json:
        emit({"report": str(demo.page), "seconds": demo.seconds, "runs": results})
        return
    rows = []
    for result in results.values():
        accuracy = result["test"]["metrics"]["accuracy"]
        interval = f"{accuracy['low']:.3f} to {accuracy['high']:.3f}"
        seconds = f"{result['train_seconds']:.0f} s"
        rows.append(
            (result["model"], f"{accuracy['value']:.3f}", interval, f"{result['parameters']:,}", seconds)
        )
    tell()
    columns = ("model", "accuracy", "95 % interval", "parameters", "training")
    pictures = results["vit"]["test"]["pictures"]
    show_table(f"On {pictures} digits held out", columns, rows, right=(1, 3, 4))
    vit = demo.runs["vit"].path
    vitrail = "vitrail" if shutil.which("vitrail") else os.path.relpath(sys.argv[0])
    tell(f"\nreport   {demo.page}\n\nNext:")
    tell(f"  {vitrail} train YOUR-PICTURES --model vit-s16     a folder with a folder for each class")
    tell(f"  {vitrail} evaluate {vit}          every metric with its interval")
    tell(f"  {vitrail} show {vit}              what the model is made of")
