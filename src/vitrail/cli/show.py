"""`vitrail show`."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import tyro

from vitrail.cli.parse import Common, parse
from vitrail.cli.say import emit, show_table, tell
from vitrail.errors import UsageError
from vitrail.models.anatomy import Layer, fold, walk
from vitrail.run.show import show

ABOUT = "Show what a run or a model is made of: layers with output shapes, parameters, FLOPs and memory."
EXAMPLES = """\
vitrail show vit-l16
vitrail show resnet50 --image-size 96
vitrail show run --depth 4 --json"""

LINES = 40
"""What fits on a screen."""


@dataclass(frozen=True, kw_only=True)
class ShowWords(Common):
    """Show a run or a model."""

    run: str = tyro.MISSING
    """A run folder, a model's name, or its folder."""
    depth: int | None = None
    """How many modules within modules are listed (default: what fits on a screen)."""
    image_size: tuple[int, ...] | None = None
    """Height and width of the picture (default: the run's, or what the model was designed for)."""
    channels: int | None = None
    """1 grey, 3 colour (default: the run's, or 3)."""
    offline: bool = False
    """Never touch the network."""


def run(argv: Sequence[str]) -> None:
    """Print the table, or the same as JSON."""
    words = parse(ShowWords(), argv, verb="show", about=ABOUT, examples=EXAMPLES)
    if words.depth is not None and words.depth < 1:
        raise UsageError(f"--depth is 1 or more, not {words.depth}.")
    shown = show(words.run, image_size=words.image_size, channels=words.channels, offline=words.offline)
    if words.json:
        layers = [_plain(*each) for each in walk(shown.anatomy.layers)]
        deepest = words.depth or max((layer["depth"] for layer in layers), default=0) + 1
        emit(shown.facts | {"layers": [layer for layer in layers if layer["depth"] < deepest]})
        return
    rows = list(walk(fold(shown.anatomy.layers)))
    deepest = words.depth or _fitting([depth for _, depth, _ in rows])
    columns = ("layer", "kind", "output", "parameters", "MFLOPs", "memory KiB")
    cells = [_cells(depth, layer) for _, depth, layer in rows if depth < deepest]
    show_table(words.run, columns, cells, right=(3, 4, 5))
    tell()
    _tell_facts(shown.facts)
    tell("\nNumbers are for one picture; of layers that are alike, for one of them. A multiplication and an")
    tell("addition are two FLOPs. Memory (activations): what training keeps for its way back, in float32.")


def _fitting(depths: Sequence[int]) -> int:
    """Return how many levels of layers fit on a screen: two at least."""
    levels = range(2, max(depths, default=0) + 2)
    return max((level for level in levels if sum(depth < level for depth in depths) <= LINES), default=2)


def _plain(name: str, depth: int, layer: Layer) -> dict[str, Any]:
    plain = asdict(layer)
    del plain["parts"], plain["times"]
    return plain | {"name": name, "depth": depth}


def _cells(depth: int, layer: Layer) -> tuple[str, ...]:
    return (
        "  " * depth + layer.name,
        layer.kind if layer.times == 1 else f"{layer.times} x {layer.kind}",
        "x".join(map(str, layer.shape or ())),
        f"{layer.parameters:,}",
        f"{layer.flops / 1e6:,.2f}" if layer.flops else "",
        f"{layer.memory / 1024:,.0f}" if layer.memory else "",
    )


def _tell_facts(facts: Mapping[str, Any]) -> None:
    for name, value in facts.items():
        if name in ("weights", "activations"):
            text = f"{value / 2**20:,.1f} MiB"
        elif isinstance(value, int):
            text = f"{value:,}"
        else:
            text = ", ".join(map(str, value)) if isinstance(value, list) else value
        tell(f"{name:<12} {text}")
