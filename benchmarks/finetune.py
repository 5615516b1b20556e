"""What trained weights are worth, by each way of tuning them.

`python benchmarks/finetune.py`. A `vit-pico4` learns half of Fashion-MNIST's classes from all their pictures.
Then it is tuned to the other half, of which few pictures are to be had, beside the same network from scratch.
"""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command line does, before torch is imported

import argparse
import gzip
import statistics
import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import record
import vitrail
from vitrail.run.folder import Run

FASHION = Path(".data/fashion-mnist")
NAMES = ["t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot"]
SOURCE, TARGET = (0, 2, 3, 5, 8), (1, 4, 6, 7, 9)
HELD_OUT = 30  # a class, for choosing the best epoch; the test pictures are Fashion-MNIST's own
WAYS = ("scratch", "probe", "last", "lora", "full")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--source", type=Path, help="the run to start from (default: it is trained first)")
    parser.add_argument("--epochs", type=int, default=4, help="of the run to start from")
    parser.add_argument("--pictures", type=int, nargs="+", default=[10, 40], help="a class, to tune to")
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        source = arguments.source or pretrain(home, arguments.epochs)
        rows = [
            row
            for count in arguments.pictures
            for row in compare(home, source, count, range(arguments.seeds))
        ]
    body = (
        f"`vit-pico4` (width 64) after {learned(source)}; {arguments.seeds} seeds. Five other classes: so "
        f"many pictures of each to learn from, {HELD_OUT} to choose the epoch by, 200 to test. All else is "
        "the default recipe's for the way that is named.\n\n"
        "| pictures a class | way | peak rate | epochs | accuracy | by seed | log loss | seconds |\n"
        "| --- | --- | --- | --- | --- | --- | --- | --- |\n" + "\n".join(rows)
    )
    print(body)
    record.write_result("finetune", "Tuning trained weights to few pictures", body, "vitrail")


def pretrain(home: Path, epochs: int) -> Path:
    """Train on the first half of the classes and return the run."""
    data = write(home / "source", SOURCE, slice(0, 6000 - HELD_OUT))
    return vitrail.train(data, model="vit-pico4", epochs=epochs, options=WORDS, out=home / "first").path


WORDS = {"augment.flip": True, "device": "cpu"}


def compare(home: Path, source: Path, count: int, seeds: range) -> list[str]:
    """Return a line a way of tuning to ``count`` pictures a class."""
    data = write(home / f"target{count}", TARGET, slice(0, count))
    rows = []
    for way in WAYS:
        model, words = ("vit-pico4", {}) if way == "scratch" else (str(source), {"tune.mode": way})
        runs = [
            vitrail.train(
                data, model=model, seed=seed, options=WORDS | words, out=home / f"{count}-{way}-{seed}"
            )
            for seed in seeds
        ]
        measured = [run.result["test"]["metrics"] for run in runs]
        accuracies = [100 * each["accuracy"]["value"] for each in measured]
        recipe = runs[0].recipe()
        numbers = " ".join(f"{each:.1f}" for each in accuracies)
        rows.append(
            f"| {count} | {way} | {recipe.train.lr:.2g} | {recipe.epochs} "
            f"| {statistics.mean(accuracies):.1f} % | {numbers} "
            f"| {statistics.mean(each['log_loss']['value'] for each in measured):.3f} "
            f"| {statistics.mean(run.result['train_seconds'] for run in runs):.0f} |"
        )
        print(rows[-1], flush=True)
    return rows


def learned(run: Path) -> str:
    """Say what a run has learned that the others start from."""
    finished = Run(run)
    accuracy = 100 * finished.result["test"]["metrics"]["accuracy"]["value"]
    return f"{finished.recipe().epochs} epochs of five classes ({accuracy:.1f} % there)"


def write(folder: Path, classes: tuple[int, ...], chosen: slice) -> Path:
    """Write the pictures of some classes as a data set: those ``chosen`` of each to learn from."""
    pictures, labels = read("train-images-idx3", 16), read("train-labels-idx1", 8)
    tests, answers = read("t10k-images-idx3", 16), read("t10k-labels-idx1", 8)
    parts = {
        "train": (pictures, labels, chosen),
        "val": (pictures, labels, slice(-HELD_OUT, None)),
        "test": (tests, answers, slice(0, 200)),
    }
    for part, (images, kinds, taken) in parts.items():
        for kind in classes:
            home = folder / part / NAMES[kind]
            home.mkdir(parents=True)
            for index in np.flatnonzero(kinds == kind)[taken]:
                Image.fromarray(images[index]).save(home / f"{index}.png")
    return folder


def read(name: str, header: int) -> np.ndarray:
    """Read one of the data set's files: pictures or labels."""
    values = np.frombuffer(
        gzip.decompress((FASHION / f"{name}-ubyte.gz").read_bytes()), np.uint8, offset=header
    )
    return values.reshape(-1, 28, 28) if header == 16 else values


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
