"""The queue of long measurements: every recipe, then every ablation, several seeds, resumable. `make bench`.

Each finished run becomes a line of `results/{accuracy,ablation,segmented}.jsonl`; the tables
beside them are made anew from all lines. A run that was cut off goes on where it was. `--minutes` limits the
time.
"""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command line does, before torch is imported

import argparse
import base64
import datetime
import hashlib
import json
import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

import ablation
import record
import segmented
import vitrail
from vitrail.run.folder import Run
from vitrail.run.launch import compose, resume_run, run_recipe
from vitrail.run.progress import reporter
from vitrail.run.recipe import read_recipe

ROOT = Path(__file__).parent.parent
TABLE = record.RESULTS / "accuracy.md"
SEEDS = (0, 1, 2)
KEPT = ["key", "split", "label", "answer"]


@dataclass(frozen=True)
class Entry:
    """One run of the queue: a recipe, under a name, in the table that it belongs to."""

    table: str
    name: str
    recipe: dict[str, Any]
    seed: int

    @property
    def digest(self) -> str:
        """What identifies a recipe: another recipe is another measurement."""
        return hashlib.sha256(json.dumps(self.recipe, sort_keys=True).encode()).hexdigest()[:12]

    @property
    def lines(self) -> Path:
        return record.RESULTS / f"{self.table}.jsonl"

    @property
    def done(self) -> bool:
        wanted = (self.name, self.seed, self.digest)
        return any((line["recipe"], line["seed"], line["digest"]) == wanted for line in read(self.lines))


def read(lines: Path) -> list[dict]:
    return [json.loads(line) for line in lines.read_text().splitlines()] if lines.exists() else []


def entries() -> list[Entry]:
    """Return the whole queue: every first seed before any second one."""
    recipes = [(path.stem, read_recipe(path)) for path in sorted((ROOT / "recipes").glob("*.json"))]
    known = [("accuracy", name, recipe) for name, recipe in recipes]
    known += [("segmented", name, recipe) for name, recipe in segmented.recipes().items()]
    known += [("ablation", name, recipe) for name, recipe in ablation.recipes().items()]
    return [Entry(*each, seed) for seed in SEEDS for each in known]


def measure(entry: Entry, scratch: Path) -> dict:
    """Carry one run out, or on, and return its line."""
    name = "".join(letter if letter.isalnum() else "-" for letter in entry.name)
    folder = scratch / f"{name}-{entry.digest}-{entry.seed}"
    if entry.table == "segmented":
        segmented.prepare(entry.recipe)
    started = time.process_time()
    if (folder / "recipe.json").exists():
        run = resume_run(folder, progress=reporter())
    else:
        draft = scratch / f"{name}.json"
        draft.parent.mkdir(parents=True, exist_ok=True)
        draft.write_text(json.dumps(entry.recipe))
        run = run_recipe(compose(None, None, draft, {"seed": entry.seed}), out=folder, progress=reporter())
    result = Run(run.path).result
    line = {
        "recipe": entry.name,
        "seed": entry.seed,
        "digest": entry.digest,
        "date": datetime.date.today().isoformat(),
        "hardware": record.machine(),
        "versions": f"vitrail {vitrail.__version__}, {record.versions('torch', 'timm')}",
        "train_seconds": round(result["train_seconds"]),
        "core_seconds": round(time.process_time() - started),
        "parameters": result["parameters"],
        "test": result["test"]["metrics"],
    }
    if entry.table == "ablation":
        line["right"] = right(run.path)
    if entry.table == "segmented":
        line["parts"] = segmented.parts(run.path, entry.recipe)
    return line


def right(folder: Path) -> str:
    """Return which test pictures were answered rightly, a bit each, so that runs can be compared in pairs."""
    rows = [
        row
        for row in pq.read_table(folder / "predictions.parquet", columns=KEPT).to_pylist()
        if row["split"] == "test"
    ]
    hits = [row["answer"] == row["label"] for row in sorted(rows, key=lambda row: row["key"])]
    return base64.b64encode(np.packbits(hits).tobytes()).decode()


def middle(lines: list[dict], name: str) -> str:
    return f"{statistics.median(line[name] for line in lines):.0f}"


def write_tables() -> None:
    """Make all tables anew."""
    write_table()
    ablation.write_table()
    queue = [entry for entry in entries() if entry.table == "segmented"]
    segmented.write_table({entry.name: entry.digest for entry in queue}, len(SEEDS))


def write_table() -> None:
    """Make the table anew: a row a recipe, the mean over its seeds, its intervals, and how many there are."""
    queue = [entry for entry in entries() if entry.table == "accuracy"]
    current = {entry.name: entry.digest for entry in queue}
    lines = [line for line in read(queue[0].lines) if current.get(line["recipe"]) == line["digest"]]
    rows = []
    for name in sorted(current):
        mine = [line for line in lines if line["recipe"] == name]
        if not mine:
            rows.append(f"| {name} | queued | | | 0 of {len(SEEDS)} | | |")
            continue
        values = [100 * line["test"]["accuracy"]["value"] for line in mine]
        pictures = [
            100 * (line["test"]["accuracy"]["high"] - line["test"]["accuracy"]["low"]) / 2 for line in mine
        ]
        spread = f"{min(values):.2f} to {max(values):.2f}" if len(values) > 1 else "one seed"
        rows.append(
            f"| {name} | {statistics.mean(values):.2f} | ±{statistics.mean(pictures):.2f} | {spread} "
            f"| {len(mine)} of {len(SEEDS)} "
            f"| {middle(mine, 'train_seconds')} | {middle(mine, 'core_seconds')} |"
        )
    head = (
        "# Accuracy of the committed recipes\n\n"
        "Test accuracy in per cent: the mean over seeds, the 95 % interval over pictures of one run, the\n"
        "range over seeds. Made by `make bench`, which goes on where it stopped; each run is a line of\n"
        "`accuracy.jsonl`, with its date, hardware and versions.\n\n"
        "| recipe | accuracy | interval over pictures | range over seeds | seeds | training seconds "
        "| core-seconds in all |\n"
        "| --- | --- | --- | --- | --- | --- | --- |\n"
    )
    TABLE.write_text(head + "\n".join(rows) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=60, help="start no run after this many minutes")
    parser.add_argument("--only", default="", help="only runs whose table or name contains this")
    parser.add_argument("--scratch", type=Path, default=ROOT / ".data" / "bench")
    arguments = parser.parse_args()
    record.RESULTS.mkdir(exist_ok=True)
    started = time.monotonic()
    for entry in entries():
        asked = arguments.only in entry.table or arguments.only in entry.name
        if entry.done or not asked or time.monotonic() - started > 60 * arguments.minutes:
            continue
        line = measure(entry, arguments.scratch)
        with entry.lines.open("a") as file:
            file.write(json.dumps(line) + "\n")
        write_tables()
    write_tables()
    for entry in entries():
        if not entry.done:
            print(f"still queued: {entry.table} {entry.name} seed {entry.seed}")


if __name__ == "__main__":
    main()
