"""`vitrail models`."""

from collections.abc import Sequence
from dataclasses import dataclass

from vitrail.backbones.catalogue import Row, list_models
from vitrail.cli.parse import Common, parse
from vitrail.cli.say import emit, show_table, tell
from vitrail.errors import nearest

ABOUT = (
    "List the models there are: Vitrail's own Transformers, every network of timm, and what you have cached."
)
EXAMPLES = """\
vitrail models
vitrail models swin
vitrail models resnet --json"""


@dataclass(frozen=True, kw_only=True)
class ModelsWords(Common):
    """List models."""

    word: str = ""
    """Only names that contain this."""


def run(argv: Sequence[str]) -> None:
    """List."""
    words = parse(ModelsWords(), argv, verb="models", about=ABOUT, examples=EXAMPLES)
    rows = list_models(words.word)
    if words.json:
        emit({"models": [row.to_dict() for row in rows]})
        return
    if not rows:
        tell(f"No name contains {words.word!r}.{nearest(words.word, (row.name for row in list_models()))}")
        return
    columns = ("model", "from", "picture", "parameters", "FLOPs", "licences of the weights", "cached")
    show_table("", columns, [_cells(row) for row in rows], right=(2, 3, 4))
    found = "1 model" if len(rows) == 1 else f"{len(rows):,} models"
    tell(f"\n{found}. Any of these names can follow --model; of the weights the first are the default.")
    tell("Parameters are without a classifier; a multiplication and an addition are two FLOPs.")


def _cells(row: Row) -> tuple[str, ...]:
    cached = ", ".join(tag or "yes" for tag in row.cached)
    if row.cost is None:
        return row.name, row.source, "", "", "", ", ".join(row.licences), cached
    parameters, flops = row.cost.parameters / 1e6, row.cost.flops / 1e9
    return (
        row.name,
        row.source,
        "x".join(map(str, row.cost.size)),
        f"{parameters:,.1f} M",
        f"{flops:,.{1 if flops >= 1 else 2}f} G",
        ", ".join(row.licences),
        cached,
    )
