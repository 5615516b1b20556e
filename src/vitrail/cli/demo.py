"""`vitrail demo`."""

import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from vitrail.cli.compare import tell_outcome
from vitrail.cli.parse import Common, parse
from vitrail.cli.say import emit, tell
from vitrail.run.demo import demonstrate
from vitrail.run.progress import reporter

ABOUT = (
    "Train a small Transformer and a small CNN on digits that come with the installation, and compare them."
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
    if words.json:
        results = {name: dict(run.result) for name, run in demo.runs.items()}
        ranking = demo.outcome.ranking.to_dict()
        emit({"report": str(demo.page), "seconds": demo.seconds, "runs": results, "ranking": ranking})
        return
    tell_outcome(demo.outcome)
    vit = demo.runs["vit"].path
    vitrail = "vitrail" if shutil.which("vitrail") else os.path.relpath(sys.argv[0])
    tell("\nNext:")
    tell(f"  {vitrail} train YOUR-PICTURES --model vit-s16     a folder with a folder for each class")
    tell(f"  {vitrail} compare YOUR-PICTURES --models vit-s16 resnet50     which is better, how surely")
    tell(f"  {vitrail} evaluate {vit}          every metric with its interval")
    tell(f"  {vitrail} show {vit}              what the model is made of")
