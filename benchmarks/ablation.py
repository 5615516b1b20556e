"""What each switch of the Transformer is worth: one base recipe, one change at a time, compared in pairs.

The runs are part of the queue of `accuracy.py` (`make bench`); this file makes the table of them.
"""

import base64
import copy
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

import record

RECIPE = Path(__file__).parent.parent / "recipes" / "ablation" / "switches.json"
LINES, TABLE = record.RESULTS / "ablation.jsonl", record.RESULTS / "ablation.md"
BASE = "base"


def recipes() -> dict[str, dict[str, Any]]:
    """Return each variant's whole recipe by its name, the base first."""
    plain = json.loads(RECIPE.read_text())
    return {BASE: plain["base"]} | {
        name: merged(plain["base"], change) for name, change in plain["variants"].items()
    }


def merged(base: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    result = copy.deepcopy(dict(base))
    for key, value in change.items():
        result[key] = merged(result.get(key, {}), value) if isinstance(value, Mapping) else value
    return result


def hits(line: Mapping[str, Any]) -> np.ndarray:
    """Return 1 for each test picture that was answered rightly, else 0."""
    return np.unpackbits(np.frombuffer(base64.b64decode(line["right"]), dtype=np.uint8)).astype(float)


def difference(ours: Sequence[np.ndarray], base: Sequence[np.ndarray]) -> tuple[float, float]:
    """Return the mean difference in points and half its 95 % interval, over pictures and over seeds.

    Both runs of a seed answered the same pictures, so pictures are compared in pairs. The variance of the
    mean over pictures and that over seeds add up; with one seed, only pictures can be counted.
    """
    per_seed = 100 * (np.stack(ours) - np.stack(base))
    count = per_seed.shape[1]
    over_pictures = 1.96 * per_seed.mean(axis=0).std(ddof=1) / count**0.5
    over_seeds = 0.0
    if (seeds := len(per_seed)) > 1:
        over_seeds = stats.t.ppf(0.975, seeds - 1) * per_seed.mean(axis=1).std(ddof=1) / seeds**0.5
    return float(per_seed.mean()), float(np.hypot(over_pictures, over_seeds))


def write_table() -> None:
    """Make the table anew from all finished runs."""
    wanted = {
        name: hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()[:12]
        for name, recipe in recipes().items()
    }
    known = [json.loads(line) for line in LINES.read_text().splitlines()] if LINES.exists() else []
    runs = {
        name: {line["seed"]: line for line in known if (line["recipe"], line["digest"]) == (name, digest)}
        for name, digest in wanted.items()
    }
    plain = json.loads(RECIPE.read_text())
    rows = [row(name, runs[name], runs[BASE], plain["variants"].get(name)) for name in runs]
    first = next((line for line in known if line["recipe"] == BASE), None)
    took = f"{first['hardware']}; {first['versions']}; {first['date']}" if first else "nothing measured yet"
    head = (
        "# What each switch is worth\n\n"
        f"{plain['about']['what']}\n\n"
        f"The base is `{json.dumps(plain['base'])}`.\nTest accuracy in per cent, the mean over seeds. The "
        "difference to the base is paired: the same seeds, the same\npictures; its 95 % interval counts both "
        "(with one seed, pictures only, so that it is too narrow). Made by `make bench`,\nwhich goes on "
        f"where it stopped; each run is a line of `ablation.jsonl`. Measured on: {took}.\n\n"
        "| switch | keys | parameters | accuracy | difference to the base | range over seeds | seeds |\n"
        "| --- | --- | --- | --- | --- | --- | --- |\n"
    )
    TABLE.write_text(head + "\n".join(rows) + "\n")


def row(name: str, mine: Mapping[int, Any], base: Mapping[int, Any], change: Mapping[str, Any] | None) -> str:
    keys = ", ".join(
        f"`{part}.{key} {value}`" for part, each in (change or {}).items() for key, value in each.items()
    )
    if not mine:
        return f"| {name} | {keys} | | queued | | | 0 of 3 |"
    values = [100 * line["test"]["accuracy"]["value"] for line in mine.values()]
    shared = sorted(mine.keys() & base.keys())
    gain = ""
    if name != BASE and shared:
        mean, half = difference([hits(mine[seed]) for seed in shared], [hits(base[seed]) for seed in shared])
        gain = f"{mean:+.2f} ({mean - half:+.2f} to {mean + half:+.2f})"
    parameters = next(iter(mine.values()))["parameters"]
    spread = f"{min(values):.2f} to {max(values):.2f}" if len(values) > 1 else "one seed"
    return (
        f"| {name} | {keys} | {parameters:,} | {np.mean(values):.2f} | {gain} | {spread} | {len(mine)} of 3 |"
    )
