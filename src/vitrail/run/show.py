"""What a run or a bare model is made of."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vitrail.backbones import configure
from vitrail.errors import UsageError
from vitrail.models.anatomy import Anatomy, anatomy
from vitrail.run.contract import FILE, load_model, read_contract

NATIVE = (224, 224)
"""What most models were designed for."""


@dataclass(frozen=True, kw_only=True)
class Shown:
    """A model taken apart, and what is known about it."""

    anatomy: Anatomy
    facts: dict[str, Any]


def show(
    what: str,
    *,
    image_size: Sequence[int] | None = None,
    channels: int | None = None,
    depth: int = 2,
    offline: bool = False,
) -> Shown:
    """Take a run's model, or the backbone that a name means, apart for one picture."""
    if image_size is not None and len(image_size) not in (1, 2):
        raise UsageError("--image-size is a height and a width, or one number for both.")
    folder = Path(what)
    if (folder / FILE).exists():
        contract = read_contract(folder)
        size = contract.preprocess.size if image_size is None else (image_size[0], image_size[-1])
        channels = channels or contract.preprocess.channels
        model: Any = load_model(folder, contract)
        facts: dict[str, Any] = {
            "model": contract.recipe.model.name,
            "task": contract.recipe.task.name,
            "classes": list(contract.classes),
            "data": contract.recipe.where,
        }
    else:
        config = configure(what, offline=offline).untrained().suited(NATIVE)
        size = config.suitable_size(NATIVE) if image_size is None else (image_size[0], image_size[-1])
        channels = channels or 3
        model = config.build(size, channels)
        facts = {"model": config.name}
    found = anatomy(model, size, channels, depth)
    facts |= {
        "picture": f"{size[0]}x{size[1]}x{channels}",
        "parameters": found.parameters,
        "flops": found.flops,
        "weights": f"{found.memory / 2**20:.1f} MiB",
    }
    return Shown(anatomy=found, facts=facts)
