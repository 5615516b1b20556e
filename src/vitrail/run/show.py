"""What a run or a bare model is made of."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from vitrail.backbones import configure
from vitrail.errors import UsageError
from vitrail.models.anatomy import Anatomy, anatomy
from vitrail.run.contract import FILE, load_model, read_contract

NATIVE = (224, 224)
"""What most models were designed for."""


@dataclass(frozen=True, kw_only=True)
class Shown:
    """A model taken apart, and what is known about it; ``weights`` and ``activations`` are bytes."""

    anatomy: Anatomy
    facts: dict[str, Any]


def show(
    what: str,
    *,
    image_size: Sequence[int] | None = None,
    channels: int | None = None,
    offline: bool = False,
) -> Shown:
    """Take a run's model, or the backbone that a name or a folder means, apart for one picture."""
    if image_size is not None and (len(image_size) not in (1, 2) or min(image_size) < 1):
        raise UsageError("--image-size is a height and a width, or one number for both.")
    if channels is not None and channels < 1:
        raise UsageError(f"--channels is 1 or more, not {channels}.")
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
        config = configure(what, offline=offline).suited(NATIVE)
        design = config.preprocessing()
        native = design.get("size") or config.suitable_size(NATIVE)
        size = native if image_size is None else (image_size[0], image_size[-1])
        channels = channels or design.get("channels", 3)
        with torch.device("meta"):  # shapes are enough
            model = config.untrained().build(size, channels)
        facts = {"model": config.name}
    found = anatomy(model, size, channels)
    facts |= {
        "picture": f"{size[0]}x{size[1]}x{channels}",
        "parameters": found.parameters,
        "flops": found.flops,
        "weights": found.weights,
        "activations": found.activations,
    }
    return Shown(anatomy=found, facts=facts)
