"""A run folder: what is in it, and under which names."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vitrail.errors import UsageError
from vitrail.run.files import read_json
from vitrail.run.log import read_history
from vitrail.run.recipe import Recipe, from_dict, read_recipe

RECIPE, RESULT, REPORT, CARD, PREDICTIONS = (
    "recipe.json",
    "result.json",
    "report.html",
    "README.md",
    "predictions.parquet",
)


@dataclass(frozen=True)
class Run:
    """A run folder and what can be read from it."""

    path: Path

    def recipe(self) -> Recipe:
        """Return everything that made the run."""
        file = self.path / RECIPE
        if not file.exists():
            what = "is not a run folder (no recipe.json)" if self.path.exists() else "does not exist"
            raise UsageError(f"{self.path} {what}. Name the --out folder of a `vitrail train`.")
        return from_dict(read_recipe(file), str(file))

    @property
    def history(self) -> list[dict[str, Any]]:
        """One record an epoch."""
        return read_history(self.path)

    @property
    def result(self) -> Mapping[str, Any]:
        """The numbers on the held-out parts, once the run is finished."""
        result: Mapping[str, Any] = read_json(
            self.path / RESULT, "a finished run has it; see `vitrail train --resume`"
        )
        return result

    @property
    def begun(self) -> bool:
        """Whether this is a run folder at all."""
        return (self.path / RECIPE).exists()

    @property
    def finished(self) -> bool:
        """Whether the run was trained, measured and reported to its end."""
        return (self.path / RESULT).exists()

    @property
    def report(self) -> Path:
        """The page to open."""
        return self.path / REPORT
