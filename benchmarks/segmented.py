"""How well segmenters do: the recipes of `recipes/segment`, also on drawings that no training picture has.

The runs are part of the queue of `accuracy.py` (`make bench`); this file makes the data and the table.
"""

import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import record
import scenes
import vitrail

ROOT = Path(__file__).parent.parent
LINES, TABLE = record.RESULTS / "segmented.jsonl", record.RESULTS / "segmented.md"
SCENES = ROOT / ".data" / "scenes"
PARTS = {"unseen": "unseen", "other style": "other-style"}
"""Other pictures of the same classes: under which name, in which folder beside the recipe's own data."""
METRICS = ("mean_iou", "mean_dice", "boundary_f")
HEAD = """# Segmenters

Test results in per cent, means over seeds: in brackets the 95 % interval over pictures of one run. Made by
`make bench`, which goes on where it stopped; each run is a line of `segmented.jsonl`, with its date, hardware
and versions. `nuclei` is one fluorescence picture of 512 x 512 pixels: its left half is learned, its right
half is the test. `scenes` are drawings of ten classes on photographs, 128 x 128 pixels: 500 with drawings
that were learned, on other photographs; 500 with drawings of these classes that were not; 500 with the
characters in another style. Core-seconds are those of a training command: 1,800 are 15 minutes of two cores.

| recipe | part | mean IoU | foreground Dice | boundary F | core-seconds | seeds |
| --- | --- | --- | --- | --- | --- | --- |
"""


def recipes() -> dict[str, dict[str, Any]]:
    """Return each recipe by its name."""
    return {path.stem: json.loads(path.read_text()) for path in sorted((ROOT / "recipes/segment").glob("*"))}


def prepare(recipe: Mapping[str, Any]) -> None:
    """Make the scenes if a recipe wants them and they are not there."""
    if ROOT / recipe["where"] == SCENES / "main" and not SCENES.exists():
        fresh = SCENES.with_suffix(".part")  # whole, or not at all
        data = ROOT / ".data"
        scenes.write(fresh, data / "emoji", data / "emoji-twitter", pictures=6000, size=128, most=4)
        fresh.rename(SCENES)


def parts(run: Path, recipe: Mapping[str, Any]) -> dict[str, Any]:
    """Return how a run does on its test pictures, and on other pictures of the same classes."""
    beside = (ROOT / recipe["where"]).parent
    others = {name: beside / folder for name, folder in PARTS.items() if (beside / folder).is_dir()}
    found = {"test": vitrail.evaluate(run)} | {
        name: vitrail.evaluate(run, str(folder)) for name, folder in others.items()
    }
    return {name: brief(each.quality) for name, each in found.items()}


def brief(quality: Any) -> dict[str, Any]:
    """Return the numbers of a table, and each class's IoU."""
    first, *others = quality.per_class
    return {
        **{name: rounded(quality.metrics[name]) for name in METRICS},
        "dice": {name: rounded(quality.per_class[name]["dice"]) for name in others},
        "iou": {name: rounded(quality.per_class[name]["iou"]) for name in (first, *others)},
    }


def rounded(value: Any) -> dict[str, float | None]:
    return {name: None if number is None else round(number, 4) for name, number in value.to_dict().items()}


def write_table(digests: Mapping[str, str], seeds: int) -> None:
    """Make the table anew of all finished runs whose recipe is still the same."""
    known = [json.loads(line) for line in LINES.read_text().splitlines()] if LINES.exists() else []
    rows = []
    for name, digest in digests.items():
        mine = [line for line in known if (line["recipe"], line["digest"]) == (name, digest)]
        if not mine:
            rows.append(f"| {name} | queued | | | | | 0 of {seeds} |")
        for part in mine[0]["parts"] if mine else ():
            each = [line["parts"][part] for line in mine]
            cost = f"{statistics.median(line['core_seconds'] for line in mine):,.0f}"
            rows.append(
                f"| {name} | {part} | {cell([one['mean_iou'] for one in each])} "
                f"| {statistics.mean(100 * foreground(one) for one in each):.1f} "
                f"| {cell([one['boundary_f'] for one in each])} "
                f"| {cost if part == 'test' else ''} | {len(mine)} of {seeds} |"
            )
    TABLE.write_text(HEAD + "\n".join(rows) + "\n", encoding="utf-8")


def foreground(part: Mapping[str, Any]) -> float:
    """Return the mean Dice of the classes but the background."""
    return statistics.mean(each["value"] for each in part["dice"].values() if each["value"] is not None)


def cell(values: Sequence[Mapping[str, float]]) -> str:
    """Return the mean over seeds, and the mean interval over pictures."""
    value, low, high = (
        statistics.mean(100 * each[key] for each in values) for key in ("value", "low", "high")
    )
    return f"{value:.1f} ({low:.1f} to {high:.1f})"
