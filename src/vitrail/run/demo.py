"""The main job on digits that come with the installation: train two models, measure both, report."""

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vitrail.errors import UsageError
from vitrail.run.content import Cost
from vitrail.run.files import first_free
from vitrail.run.folder import REPORT, Run
from vitrail.run.launch import train
from vitrail.run.overview import OverviewRow, write_overview
from vitrail.run.progress import Progress, Silent
from vitrail.values import Estimate

MODELS: dict[str, dict[str, Any]] = {
    "vit": {"model": "vit-pico2", "epochs": 40},
    "cnn": {"model": "test_resnet", "epochs": 20, "image_size": 32},
}
"""A small Transformer and a small convolutional network, each with its family's own recipe."""


@dataclass(frozen=True, kw_only=True)
class Demo:
    """What the demo made: the runs by name, and the page that compares them."""

    folder: Path
    runs: dict[str, Run]
    seconds: float

    @property
    def page(self) -> Path:
        """The page to open first."""
        return self.folder / REPORT


def demonstrate(out: str | Path | None = None, *, seed: int = 0, progress: Progress | None = None) -> Demo:
    """Train a small ViT and a small CNN on scikit-learn's digits, measure and report, without a network."""
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
    demo = Demo(folder=folder, runs=runs, seconds=time.monotonic() - started)
    first = next(iter(runs.values())).path
    write_overview(
        demo.page,
        [_row(folder, run) for run in runs.values()],
        title="Two models on handwritten digits",
        data="1,797 handwritten digits of 8 × 8 pixels, from scikit-learn",
        drawn=f"{runs['vit'].result['test']['pictures']} pictures",
        notes=[
            "One seed each: a difference within the intervals is none. A model's name leads to its report."
        ],
        following={
            "Train on your own pictures": "vitrail train YOUR-FOLDER --model vit-s16 --out run",
            "Measure again": f"vitrail evaluate {first}",
            "See what a model is made of": f"vitrail show {first}",
        },
    )
    return demo


def _row(folder: Path, run: Run) -> OverviewRow:
    result = run.result
    return OverviewRow(
        name=result["model"],
        report=os.path.relpath(run.report, folder),
        metrics={name: Estimate.from_dict(value) for name, value in result["test"]["metrics"].items()},
        cost=Cost(
            parameters=result["parameters"],
            train_seconds=result["train_seconds"],
            answer_rate=result["answer_rate"],
        ),
    )
