"""What is compared: the words of a comparison, and the recipe that each model starts from."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec

from vitrail.data.chance import uniform
from vitrail.errors import UsageError, VitrailError
from vitrail.run.compare.budget import parse_budget
from vitrail.run.compose import compose
from vitrail.run.limits import check_limits
from vitrail.run.recipe import Recipe

TRIES, SEEDS = 6, 5
SEARCH = 0.25
"""The share of a run's epochs that each try of the search trains for."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Everything that decides on the outcome of a comparison: what `compare.json` begins with."""

    where: str
    """The data: a folder, a table, `digits`, or hf://owner/name."""
    models: tuple[str, ...]
    """The models, by whatever names they have."""
    recipes: tuple[str, ...] = ()
    """A recipe for all, or one for each: a name or a file (default: each family's own)."""
    heads: tuple[str, ...] = ()
    """A head for all, or one for each; of a single model each (default: the task's)."""
    seeds: int = SEEDS
    """Runs of each model, with the seeds 0, 1, ..."""
    budget: str | None = None
    """What each run may spend (default: the most epochs that one of the recipes asks for)."""
    fractions: tuple[float, ...] = (1.0,)
    """Shares of the training pictures, for curves of learning."""
    tries: int = TRIES
    """Settings of learning rate, weight decay and optimizer to try for each model (1: its recipe's alone)."""
    also: tuple[str, ...] = ()
    """Other data that every model is measured on as well."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Keys of every recipe, by dotted name."""

    def __post_init__(self) -> None:
        check_limits(self, "", {"seeds": (1, None), "tries": (1, None)})
        if len(self.models) < 1:
            raise UsageError("which models? Name them: vitrail compare DATA --models A B")
        for flag, given in (("recipes", self.recipes), ("head", self.heads)):
            if len(given) not in (0, 1, self.count):
                raise UsageError(
                    f"--{flag}: {len(given)} for {self.count} models. Name one for all, or one for each."
                )
        if not self.fractions or not all(0 < share <= 1 for share in self.fractions):
            raise UsageError(
                f"--fractions {' '.join(map(str, self.fractions))}: shares are above 0 and up to 1."
            )
        if self.budget is not None:
            parse_budget(self.budget)

    @property
    def count(self) -> int:
        """How many are compared: the models, or as many as there are heads of the only one."""
        return len(self.heads) if len(self.models) == 1 and self.heads else len(self.models)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        plain: dict[str, Any] = msgspec.to_builtins(asdict(self))
        return plain


@dataclass(frozen=True, kw_only=True)
class Contestant:
    """A model in a comparison: its name on the page, and the recipe that it starts from."""

    name: str
    recipe: Recipe

    @property
    def slug(self) -> str:
        """Its name as a part of a folder's name."""
        return re.sub(r"[^\w.-]+", "-", self.name).strip("-")


def read_comparison(path: Path) -> Comparison:
    """Read a comparison from a file: the plan of a `compare.json`, or what stands under ``compare``.

    Raises UsageError when there is none, and VitrailError for one that is broken.
    """
    try:
        plain = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(f"{path}: no such file.") from None
    except (OSError, ValueError) as error:
        raise VitrailError(f"{path}: cannot be read as a comparison ({error}).") from None
    found = plain.get("plan", plain.get("compare")) if isinstance(plain, dict) else None
    if not isinstance(found, dict):
        raise UsageError(f"{path}: no comparison: it has neither a plan nor what to compare.")
    unknown = found.keys() - Comparison.__dataclass_fields__.keys()
    if unknown:
        raise UsageError(f"{path}: unknown key {min(unknown)!r}.")
    try:
        return msgspec.convert(found, Comparison)
    except msgspec.ValidationError as error:
        raise VitrailError(f"{path}: {error}.") from None


def contestants(comparison: Comparison, *, offline: bool = False) -> list[Contestant]:
    """Return each model with its recipe, all on the same split and the same pictures."""
    options = {"data.split_seed": 0, **comparison.options, "seed": 0}
    found = []
    models, recipes, heads = (
        _each(given, comparison.count) for given in (comparison.models, comparison.recipes, comparison.heads)
    )
    for model, which, head in zip(models, recipes, heads, strict=True):
        own = options | ({"head.name": head} if head else {})
        recipe = compose(comparison.where, model, which, own, offline=offline)
        several, alone = models.count(model) > 1, len(comparison.models) == 1
        apart = [Path(which).stem] if which and several and len(set(recipes)) > 1 else []
        apart += [head] if head and (alone or (several and len(set(heads)) > 1)) else []
        name = f"{model} ({', '.join(apart)})" if apart else str(model)
        found.append(Contestant(name=name, recipe=recipe))
    names = [each.slug for each in found]
    for each in found:
        if names.count(each.slug) > 1:
            raise UsageError(
                f"{each.name} is named twice with the same recipe and head. Take one of them out."
            )
    return found


def _each(given: Sequence[str], count: int) -> list[str | None]:
    """Return what is given for each of so many: one for all, one for each, or nothing."""
    return [given[index % len(given)] if given else None for index in range(count)]


def candidates(settled: Recipe, tries: int) -> list[tuple[str, Recipe]]:
    """Return settings to try, in words and as recipes: the recipe's own first, then others around it.

    First come a third and three times the learning rate, another optimizer, and a tenth and three times the
    weight decay; further ones are drawn at random around the recipe's own, the same for every model. The
    recipe ``settled`` leaves nothing open.
    """
    train = settled.train
    assert train.lr is not None, "a settled recipe has a learning rate"
    own, decay = train.lr, train.weight_decay
    other = "sgd" if train.optimizer == "adamw" else "adamw"
    rival = {
        "optimizer": other,
        "lr": None,
        "weight_decay": 5e-4 if other == "sgd" else 0.05,
        "betas": (0.9, 0.999),
    }
    changes: list[tuple[str, dict[str, Any]]] = [
        ("as published", {}),
        ("a third of the learning rate", {"lr": own / 3}),
        ("3 times the learning rate", {"lr": own * 3}),
        (f"{NAMES[other]} instead of {NAMES[train.optimizer]}", rival),
        ("a tenth of the weight decay", {"weight_decay": decay / 10}),
        ("3 times the weight decay", {"weight_decay": decay * 3}),
    ]
    for number in range(len(changes), tries):
        fast, heavy = (float(10 ** (2 * draw - 1)) for draw in uniform(0, 0, [number], "candidates", 2)[0])
        words = f"{fast:.2g} times the learning rate, {heavy:.2g} times the weight decay"
        changes.append((words, {"lr": own * fast, "weight_decay": decay * heavy}))
    return [(words, replace(settled, train=replace(train, **change))) for words, change in changes[:tries]]


NAMES = {"adamw": "AdamW", "sgd": "SGD", "muon": "Muon"}


def told(settled: Recipe) -> str:
    """Return a recipe's settings of learning in one line."""
    train = settled.train
    return (
        f"{NAMES[train.optimizer]}, rate {train.lr:.2g}, weight decay {train.weight_decay:.2g}, "
        f"batch {train.batch}, {settled.epochs} epochs"
    )


def searched_epochs(epochs: int) -> int:
    """Return how many epochs a try of the search trains for."""
    return max(1, round(SEARCH * epochs))
