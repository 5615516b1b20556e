"""`vitrail show`."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import tyro

from vitrail.cli.parse import Common, parse
from vitrail.cli.say import emit, show_table, tell
from vitrail.run.show import show

ABOUT = "Show what a run or a model is made of: layers with output shapes, parameters, FLOPs and memory."
EXAMPLES = """\
vitrail show vit-s16
vitrail show resnet50 --image-size 96
vitrail show run --depth 4 --json"""


@dataclass(frozen=True, kw_only=True)
class ShowWords(Common):
    """Show a run or a model."""

    run: str = tyro.MISSING
    """A run folder, or a model's name."""
    depth: int = 2
    """How many modules within modules are listed."""
    image_size: tuple[int, ...] | None = None
    """Height and width of the picture (default: the run's, or what the model was designed for)."""
    channels: int | None = None
    """1 grey, 3 colour (default: the run's, or 3)."""
    offline: bool = False
    """Never touch the network."""


def run(argv: Sequence[str]) -> None:
    """Print the table, or the same as JSON."""
    words = parse(ShowWords(), argv, verb="show", about=ABOUT, examples=EXAMPLES)
    shown = show(
        words.run,
        image_size=words.image_size,
        channels=words.channels,
        depth=words.depth,
        offline=words.offline,
    )
    if words.json:
        emit(shown.facts | {"layers": [asdict(layer) for layer in shown.anatomy.layers]})
        return
    rows = [
        (
            "  " * layer.depth + layer.name.rpartition(".")[2] if layer.depth else layer.name,
            layer.kind,
            "x".join(map(str, layer.shape)) if layer.shape else "",
            f"{layer.parameters:,}",
            _amount(layer.flops),
            f"{layer.memory / 1024:,.0f}",
        )
        for layer in shown.anatomy.layers
    ]
    columns = ("layer", "kind", "output", "parameters", "MFLOPs", "output KiB")
    show_table(words.run, columns, rows, right=(3, 4, 5))
    tell()
    for name, value in shown.facts.items():
        if isinstance(value, dict | list):
            value = ", ".join(map(str, value)) if isinstance(value, list) else value
        tell(f"{name:<12} {value:,}" if isinstance(value, int) else f"{name:<12} {value}")
    tell("\nFLOPs count a multiplication and an addition as two, for one picture.")


def _amount(flops: int) -> str:
    return f"{flops / 1e6:,.2f}" if flops else ""
