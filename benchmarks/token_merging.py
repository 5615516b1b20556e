"""What token merging gains in pictures a second and loses in accuracy, on a trained model and real pictures.

`python benchmarks/token_merging.py [--data .data/fashion-mnist]`. The model is a `vit-pico2` (196 tokens of
pictures of 28 pixels, 6 layers), trained once for four epochs with half of the patches dropped, into
`.data/bench/fashion-tokens`; a training that was cut off goes on. Then every batch is answered with 0, 8, 16
... tokens merged in each layer, in turn. A part of the validation pictures chooses the fewest tokens that
make it half as fast again, with a tenth to spare; the test pictures, which chose nothing, say what that is
worth. Of ViT-S/16 at 224 pixels the speed alone is measured.
"""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command line does, before torch is imported

import argparse
import statistics
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import numpy as np
import torch

import record
from vitrail.backbones.vit import ViTConfig
from vitrail.run.compose import compose
from vitrail.run.experiment import Experiment, prepare
from vitrail.run.folder import Run
from vitrail.run.launch import resume_run, run_recipe
from vitrail.run.predict import Predictor
from vitrail.run.progress import reporter

FOLDER = Path(__file__).parent.parent / ".data" / "bench" / "fashion-tokens"
MODEL, OPTIONS = "vit-pico2", {"epochs": 4, "model.patch_drop": 0.5, "augment.flip": True}
MERGES = (0, 8, 16, 24, 32, 40, 48, 64)
FASTER, POINTS, SPARE = 1.5, 0.5, 1.1


def trained(data: str) -> Run:
    """Return the finished run, trained or trained on if need be."""
    if (FOLDER / "result.json").exists():
        return Run(FOLDER)
    if (FOLDER / "recipe.json").exists():
        return resume_run(FOLDER, progress=reporter())
    return run_recipe(compose(data, MODEL, None, OPTIONS), out=FOLDER, progress=reporter())


class Sweep:
    """The answers to one part with each number of merged tokens, and the seconds that each batch took."""

    def __init__(
        self, predictor: Predictor, experiment: Experiment, part: str, batches: int | None = None
    ) -> None:
        self.right: dict[int, list[bool]] = {merge: [] for merge in MERGES}
        self.seconds: dict[int, list[float]] = {merge: [] for merge in MERGES}
        model = predictor.model
        for batch in list(islice(experiment.loader(part).epoch(0), batches)):  # read before any is timed
            ready = predictor.engine.ready(batch, experiment.preprocess)
            truth = batch.targets["label"].argmax(1).tolist()
            if not self.right[0]:
                model.answer(ready)  # to warm up
            for merge in MERGES:
                model.backbone.merge = merge
                started = time.perf_counter()
                answers = model.answer(ready)
                self.seconds[merge].append(time.perf_counter() - started)
                names = [answer.names[target] for answer, target in zip(answers, truth, strict=True)]
                self.right[merge] += [a.name == name for a, name in zip(answers, names, strict=True)]
        self.batch = len(self.right[0]) / len(self.seconds[0])

    def faster(self, merge: int) -> float:
        """Return how many times as fast merging is, by the median of its batches."""
        return statistics.median(self.seconds[0]) / statistics.median(self.seconds[merge])

    def change(self, merge: int) -> tuple[float, float]:
        """Return the change in accuracy, picture by picture, and half of its 95 % interval, in points."""
        change = np.array(self.right[merge], float) - np.array(self.right[0], float)
        return 100 * change.mean(), 100 * 1.96 * change.std() / len(change) ** 0.5

    def rows(self) -> list[str]:
        rows = []
        for merge in MERGES:
            change, half = self.change(merge)
            told = f"{change:+.2f} ± {half:.2f} | {self.faster(merge):.2f}" if merge else "|"
            rate = self.batch / statistics.median(self.seconds[merge])
            rows.append(f"| {merge} | {100 * np.mean(self.right[merge]):.2f} | {told} | {rate:.0f} |")
        return rows


def speeds(merges: tuple[int, ...] = (0, 4, 8, 12, 16), rounds: int = 7) -> list[str]:
    """Return how many times as fast merging makes ViT-S/16, as rows of a table."""
    vit = ViTConfig(size="s", patch=16).build((224, 224), 3).eval()
    pixels = torch.randn(8, 3, 224, 224)

    def forward(merge: int) -> Callable[[], None]:
        def run() -> None:
            vit.merge = merge
            vit(pixels, levels=False)

        return run

    with torch.inference_mode():
        seconds = record.interleave({str(merge): forward(merge) for merge in merges}, rounds)
    return [f"| {merge} | {record.ratio(seconds, '0', str(merge)):.2f} |" for merge in merges]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", default=".data/fashion-mnist")
    arguments = parser.parse_args()
    run = trained(arguments.data)
    predictor, experiment = Predictor.load(run.path, device="cpu"), prepare(run.recipe())
    chosen = Sweep(predictor, experiment, "val", batches=20)
    enough = [merge for merge in MERGES if chosen.faster(merge) >= SPARE * FASTER]
    point = enough[0] if enough else MERGES[-1]
    seen = Sweep(predictor, experiment, "test")
    change, half = seen.change(point)
    lines = [
        f"`{run.recipe().model.name}`, {run.result['epochs']} epochs on `{Path(arguments.data).name}` with "
        f"half of the patches dropped; {len(seen.right[0]):,} test pictures, about {seen.batch:.0f} at a "
        "time, float32.\n",
        f"Chosen on validation pictures as the fewest for {FASTER} times the speed with a tenth to spare: "
        f"{point}. "
        f"On the test part: {seen.faster(point):.2f} times as fast (wanted {FASTER}), "
        f"{change:+.2f} ± {half:.2f} points of accuracy (wanted at least {-POINTS}).\n",
        "| tokens merged in each layer | accuracy, % | change, paired (95 %) | times as fast "
        "| pictures a second |",
        "| --- | --- | --- | --- | --- |",
        *seen.rows(),
        "\nViT-S/16 (12 layers) at 224 pixels, batches of 8, random weights: speed alone.\n",
        "| tokens merged in each layer | times as fast |",
        "| --- | --- |",
        *speeds(),
    ]
    print("\n".join(lines))
    record.write_result("token-merging", "Token merging", "\n".join(lines), "vitrail")


if __name__ == "__main__":
    main()
