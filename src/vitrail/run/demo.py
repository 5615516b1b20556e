"""The main job on digits that come with the installation: train two models, compare and explain, report."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vitrail.errors import UsageError
from vitrail.run.compare import Outcome, compare_runs
from vitrail.run.files import first_free
from vitrail.run.folder import REPORT, Run
from vitrail.run.launch import train
from vitrail.run.progress import Progress, Silent

MODELS: dict[str, dict[str, Any]] = {
    "vit": {"model": "vit-pico2", "epochs": 40},
    "cnn": {"model": "test_resnet", "epochs": 20, "image_size": 32},
}
"""A small Transformer and a small convolutional network, each with its family's own recipe."""


@dataclass(frozen=True, kw_only=True)
class Demo:
    """What the demo made: the runs by name, and what their comparison came to."""

    folder: Path
    runs: dict[str, Run]
    outcome: Outcome
    seconds: float

    @property
    def page(self) -> Path:
        """The page to open first."""
        return self.folder / REPORT


def demonstrate(out: str | Path | None = None, *, seed: int = 0, progress: Progress | None = None) -> Demo:
    """Train a small ViT and a small CNN on scikit-learn's digits and compare them, without a network."""
    progress = progress or Silent()
    folder = (
        Path(out)
        if out
        else first_free(lambda number: Path(f"vitrail-demo{'' if number == 1 else f'-{number}'}"))
    )
    if folder.exists() and any(folder.iterdir()):
        raise UsageError(f"{folder} exists. Choose another --out.")
    started = time.monotonic()
    runs = {
        name: train("digits", seed=seed, out=folder / name, offline=True, progress=progress, **chosen)
        for name, chosen in MODELS.items()
    }
    outcome = compare_runs([run.path for run in runs.values()], out=folder, offline=True, progress=progress)
    return Demo(folder=folder, runs=runs, outcome=outcome, seconds=time.monotonic() - started)
