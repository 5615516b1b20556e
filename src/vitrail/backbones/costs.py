"""What a network costs for one picture: counted without memory or arithmetic, or known from a table."""

import csv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vitrail.values import Size

if TYPE_CHECKING:
    from torch import nn

TABLE = Path(__file__).with_name("costs.csv")
"""Ours and timm's networks, as `scripts/measure_costs.py` counted them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """``parameters`` without a classifier, and ``flops`` of one picture of ``size`` (height, width).

    A multiplication and an addition are two FLOPs.
    """

    parameters: int
    flops: int
    size: Size


def count_cost(make: "Callable[[], nn.Module]", size: Size, channels: int = 3) -> Cost:
    """Return what the network that ``make()`` returns costs for a picture of this size.

    Convolutions, matrix products and attention count as arithmetic. Pictures and weights have shapes only.
    """
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    counter = FlopCounterMode(display=False)
    with torch.no_grad(), torch.device("meta"):
        net = make().eval().requires_grad_(False)  # else the counter follows gradients, in vain
        with counter:
            net(torch.empty(1, channels, *size))
    parameters = sum(parameter.numel() for parameter in net.parameters())
    return Cost(parameters=parameters, flops=counter.get_total_flops(), size=size)


def read_costs(path: Path = TABLE) -> dict[str, Cost]:
    """Return the table of costs by name; networks of timm that are newer than the table are not in it."""
    with path.open(encoding="utf-8", newline="") as lines:
        rows = csv.DictReader(line for line in lines if not line.startswith("#"))
        return {
            row["name"]: Cost(
                parameters=int(row["parameters"]),
                flops=int(row["flops"]),
                size=(int(row["height"]), int(row["width"])),
            )
            for row in rows
        }


def write_costs(costs: dict[str, Cost], made_by: str, path: Path = TABLE) -> None:
    """Write a table of costs, whose first line says how it was ``made_by``."""
    lines = [f"# {made_by}", "name,parameters,flops,height,width"]
    for name, cost in sorted(costs.items()):
        lines.append(f"{name},{cost.parameters},{cost.flops},{cost.size[0]},{cost.size[1]}")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
