"""`vitrail models`."""

from collections.abc import Sequence
from dataclasses import dataclass

from vitrail.backbones.names import list_models
from vitrail.cli.parse import Common, parse
from vitrail.cli.say import emit, show_table, tell

ABOUT = "List the models there are: Vitrail's own Transformers, and every classifier of timm."
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
    cells = [(row.name, row.source, row.parameters_text, row.licence or "") for row in rows]
    show_table("", ("model", "from", "parameters", "licence of the weights"), cells, right=(2,))
    found = "1 model" if len(rows) == 1 else f"{len(rows):,} models"
    tell(f"\n{found}. Any of these names can follow --model.")
