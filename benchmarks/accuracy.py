"""The queue of long measurements: every recipe, several seeds, resumable. `make bench`.

Each finished run becomes a line of `results/accuracy.jsonl`; the table `results/accuracy.md` is made anew
from all lines. A run that was cut off goes on where it was. `--minutes` limits the time.
"""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command line does, before torch is imported

import argparse
import datetime
import hashlib
import json
import statistics
import time
from pathlib import Path

import record
import vitrail
from vitrail.run.folder import Run
from vitrail.run.launch import compose, resume_run, run_recipe
from vitrail.run.progress import reporter
from vitrail.run.recipe import read_recipe

ROOT = Path(__file__).parent.parent
LINES = record.RESULTS / "accuracy.jsonl"
TABLE = record.RESULTS / "accuracy.md"
SEEDS = (0, 1, 2)


def digest(path: Path) -> str:
    """Return what identifies a recipe: another recipe is another measurement."""
    return hashlib.sha256(json.dumps(read_recipe(path), sort_keys=True).encode()).hexdigest()[:12]


def finished() -> list[dict]:
    return [json.loads(line) for line in LINES.read_text().splitlines()] if LINES.exists() else []


def waiting() -> list[tuple[Path, int]]:
    done = {(line["recipe"], line["seed"], line["digest"]) for line in finished()}
    recipes = sorted((ROOT / "recipes").glob("*.json"))
    return [(path, seed) for seed in SEEDS for path in recipes if (path.stem, seed, digest(path)) not in done]


def measure(path: Path, seed: int, scratch: Path) -> dict:
    """Carry one run out, or on, and return its line."""
    folder = scratch / f"{path.stem}-{digest(path)}-{seed}"
    started = time.process_time()
    if (folder / "recipe.json").exists():
        run = resume_run(folder, progress=reporter())
    else:
        recipe = compose(None, None, path, {"seed": seed})
        run = run_recipe(recipe, out=folder, progress=reporter())
    result = Run(run.path).result
    return {
        "recipe": path.stem,
        "seed": seed,
        "digest": digest(path),
        "date": datetime.date.today().isoformat(),
        "hardware": record.machine(),
        "versions": f"vitrail {vitrail.__version__}, {record.versions('torch', 'timm')}",
        "train_seconds": round(result["train_seconds"]),
        "core_seconds": round(time.process_time() - started),
        "parameters": result["parameters"],
        "test": result["test"]["metrics"],
    }


def middle(lines: list[dict], name: str) -> str:
    return f"{statistics.median(line[name] for line in lines):.0f}"


def write_table() -> None:
    """Make the table anew: a row a recipe, the mean over its seeds, its intervals, and how many there are."""
    current = {path.stem: digest(path) for path in (ROOT / "recipes").glob("*.json")}
    lines = [line for line in finished() if current.get(line["recipe"]) == line["digest"]]
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
    parser.add_argument("--only", default="", help="only recipes whose name contains this")
    parser.add_argument("--scratch", type=Path, default=ROOT / ".data" / "bench")
    arguments = parser.parse_args()
    record.RESULTS.mkdir(exist_ok=True)
    started = time.monotonic()
    for path, seed in waiting():
        if arguments.only in path.stem and time.monotonic() - started < 60 * arguments.minutes:
            line = measure(path, seed, arguments.scratch)
            with LINES.open("a") as file:
                file.write(json.dumps(line) + "\n")
            write_table()
    write_table()
    for path, seed in waiting():
        print(f"still queued: {path.stem} seed {seed}")


if __name__ == "__main__":
    main()
