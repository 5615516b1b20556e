"""`vitrail export`."""

from collections.abc import Sequence
from dataclasses import dataclass

import tyro

from vitrail.cli.parse import Common, parse
from vitrail.cli.say import emit, tell
from vitrail.run.export import export
from vitrail.run.progress import reporter

ABOUT = "Write a run as a folder that another library loads, compared with the run before it is kept."
EXAMPLES = """\
vitrail export run --format transformers
vitrail export run --format timm --out my-model
vitrail export run --format timm --json"""
NEXT = {
    "transformers": 'transformers.pipeline("image-classification", model="{}")',
    "timm": 'timm.create_model("local-dir:{}", pretrained=True)',
}
"""How a folder of each format is loaded, in Python."""


@dataclass(frozen=True, kw_only=True)
class ExportWords(Common):
    """Write a run for another library."""

    run: str = tyro.MISSING
    """A run folder."""
    format: str = tyro.MISSING
    """transformers or timm."""
    out: str | None = None
    """The folder to make (default: beside the run, RUN-FORMAT)."""
    offline: bool = False
    """Never touch the network."""


def run(argv: Sequence[str]) -> None:
    """Write, and say what was compared."""
    words = parse(ExportWords(), argv, verb="export", about=ABOUT, examples=EXAMPLES)
    made = export(words.run, words.format, out=words.out, offline=words.offline, progress=reporter())
    if words.json:
        emit(made.to_dict())
        return
    tell(f"{made.path}: {made.architecture} of {made.format}, compared on {made.pictures}:")
    for reader, difference in made.differences.items():
        tell(f"  read by {reader}, its answers differ by {difference:.1e} of the largest at most")
    tell(f"load it  {NEXT[made.format].format(made.path)}")
