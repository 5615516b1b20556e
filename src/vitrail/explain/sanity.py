"""Whether a heat map follows what the model has learned: does it change when that is taken away?"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vitrail.contracts import Explainer
from vitrail.errors import UsageError
from vitrail.explain.about import ask
from vitrail.explain.places import on_grid
from vitrail.models.vision import Vision
from vitrail.values import Batch


@dataclass(frozen=True, kw_only=True)
class Rung:
    """How alike heat maps still are when a model is shuffled from its head down to ``part``.

    ``share`` is the share of its weights that are shuffled by then; ``alike`` is one rank correlation a
    sample, float64 ``b``: 1 for the same order of places, 0 for none.
    """

    part: str
    share: float
    alike: np.ndarray


def sanity_check(
    model: Vision, explainer: Explainer, batch: Batch, about: Any = None, *, rungs: int = 6, seed: int = 0
) -> list[Rung]:
    """Return the rungs of a cascade from the head down to the pixels: a map of the model loses its likeness.

    Adebayo et al. 2018, "Sanity checks for saliency maps": a method whose maps stay as they were shows the
    picture and not the model. Each tensor keeps its numbers and loses their order, so that a part is as loud
    as before and has forgotten what it knew. A copy of the model is shuffled; the first rung is the head's
    last layer alone, the others are as many modules each. Raises UsageError for less than two rungs.
    """
    if rungs < 2:
        raise UsageError(f"{rungs} rungs: take 2 or more.")
    with torch.no_grad():
        settled = ask(model, batch, about)[1]
    before = [heat.values for heat in explainer(model, batch, settled)]
    forgetful = copy.deepcopy(model)
    parts = in_order(forgetful, batch)[::-1]
    total = sum(parameter.numel() for parameter in forgetful.parameters())
    chance = torch.Generator().manual_seed(seed)
    ends = np.unique(np.round(np.linspace(1, len(parts), rungs)).astype(int)).tolist()
    found, gone, start = [], 0, 0
    for end in ends:
        for _, module in parts[start:end]:
            gone += _shuffle(module, chance)
        start = end
        after = [heat.values for heat in explainer(forgetful, batch, settled)]
        alike = np.array([rank_correlation(*pair) for pair in zip(before, after, strict=True)])
        found.append(Rung(part=parts[end - 1][0], share=gone / total, alike=alike))
    return found


def rank_correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Return Spearman's correlation of two maps (the finer one on the other's grid), 0 where one is flat."""
    from scipy.stats import rankdata

    grid = min(one.shape, other.shape)
    flat = [rankdata(each if each.shape == grid else on_grid(each, grid)) for each in (one, other)]
    if any(np.ptp(each) == 0 for each in flat):
        return 0.0
    return float(np.corrcoef(*flat)[0, 1])


def in_order(model: Vision, batch: Batch) -> list[tuple[str, nn.Module]]:
    """Return the modules with parameters of their own, by name, in the order in which data enters them.

    Those that it never enters come first: what they hold is used by the modules around them.
    """
    own = {module: name for name, module in model.named_modules() if [*module.parameters(recurse=False)]}
    entered: dict[nn.Module, str] = {}

    def enter(module: nn.Module, _: Any) -> None:
        entered.setdefault(module, own[module])

    handles = [module.register_forward_pre_hook(enter) for module in own]
    try:
        with torch.no_grad():
            model.outputs(batch)
    finally:
        for handle in handles:
            handle.remove()
    first = {module: name for module, name in own.items() if module not in entered}
    return [(name, module) for module, name in (*first.items(), *entered.items())]


def _shuffle(module: nn.Module, chance: torch.Generator) -> int:
    """Shuffle a module's own parameters; return how many numbers they are."""
    numbers = 0
    with torch.no_grad():
        for parameter in module.parameters(recurse=False):
            order = torch.randperm(parameter.numel(), generator=chance).to(parameter.device)
            shuffled: Tensor = parameter.flatten()[order]
            parameter.copy_(shuffled.view_as(parameter))
            numbers += parameter.numel()
    return numbers


def summary(rungs: Sequence[Rung]) -> float:
    """Return how alike the maps of a wholly shuffled model are on average: what they owe to the picture."""
    return float(rungs[-1].alike.mean())
