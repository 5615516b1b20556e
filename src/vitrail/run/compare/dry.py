"""What a comparison would do: which runs of what, and what they would cost, before any of it is done."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from vitrail.models.anatomy import anatomy
from vitrail.run.compare.budget import epochs_within, flops_of_epoch, parse_budget
from vitrail.run.compare.plan import Comparison, contestants, searched_epochs, told
from vitrail.run.compare.race import prepared_for
from vitrail.run.content import amount
from vitrail.run.contract import contract_of


@dataclass(frozen=True, kw_only=True)
class Planned:
    """One model's part: its recipe in a line, its runs, and the arithmetic of all of them."""

    name: str
    head: str
    settings: str
    canvas: tuple[int, ...]
    epochs: int
    runs: int
    tries: int
    parameters: int
    flops: float


@dataclass(frozen=True, kw_only=True)
class DryRun:
    """What would be trained."""

    comparison: Comparison
    pictures: dict[str, int]
    planned: Sequence[Planned]
    masked: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "plan": self.comparison.to_dict(),
            "pictures": self.pictures,
            "models": [asdict(each) for each in self.planned],
        }

    def show(self, show_table: Callable[..., None], tell: Callable[[str], None]) -> None:
        """Print it for people."""
        rows = [
            (
                each.name,
                *([each.head] if self.masked else []),
                each.settings,
                "×".join(map(str, each.canvas)),
                each.tries,
                each.runs,
                amount(each.parameters),
                amount(each.flops, "FLOP"),
            )
            for each in self.planned
        ]
        head = ["head"] if self.masked else []
        columns = ("model", *head, "begins with", "canvas", "tries", "runs", "parameters", "arithmetic")
        counts = ", ".join(f"{count:,} {part}" for part, count in self.pictures.items())
        show_table(
            f"{self.comparison.where}: {counts}", columns, rows, right=range(len(columns) - 4, len(columns))
        )
        tell("Nothing was trained: leave --dry-run out to begin.")


def dry_run(comparison: Comparison, *, offline: bool = False) -> DryRun:
    """Return what a comparison would do: data, models and recipes are read, and nothing is trained.

    A budget in minutes is measured for it, a few steps of each model. Raises what the comparison would.
    """
    given = {each.name: each for each in contestants(comparison, offline=offline)}
    experiments = prepared_for(given, offline=offline)
    budget = parse_budget(comparison.budget) if comparison.budget else None
    epochs = epochs_within(budget, experiments)
    planned = []
    for name, each in experiments.items():
        tries = comparison.tries if comparison.tries > 1 else 0
        in_all = sum(comparison.fractions) * comparison.seeds * epochs[name]
        in_all += tries * searched_epochs(epochs[name])
        shape = anatomy(contract_of(each).build(), each.preprocess.size, each.preprocess.channels)
        planned.append(
            Planned(
                name=name,
                head=each.recipe.head.name,
                settings=told(each.recipe).rsplit(",", 1)[0] + f", {epochs[name]} epochs",
                canvas=each.preprocess.size,
                epochs=epochs[name],
                runs=comparison.seeds * len(comparison.fractions),
                tries=tries,
                parameters=shape.parameters,
                flops=in_all * flops_of_epoch(each),
            )
        )
    splits = next(iter(experiments.values())).splits
    pictures = {"train": len(splits.train), "val": len(splits.val), "test": len(splits.test)}
    masked = splits.train.masked
    return DryRun(comparison=comparison, pictures=pictures, planned=planned, masked=masked)
