"""The comparisons of `recipes/compare` that can run without a Hub: a part of the queue of `make bench`.

    python benchmarks/compare.py [--only NAME] [--seeds N]

Each goes on where it stopped, a seed at a time for all of its models. What came of it is kept in
`results/compare/NAME.json`, and the table of all is made anew.
"""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command line does, before torch is imported

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path

import record
from vitrail.run.compare import carry_out, read_comparison
from vitrail.run.compare.plan import Comparison
from vitrail.run.progress import reporter

ROOT = Path(__file__).parent.parent
RECIPES, KEPT = ROOT / "recipes" / "compare", record.RESULTS / "compare"
TABLE = record.RESULTS / "compare.md"
PARTS = ("ranking", "costs", "curves", "elsewhere", "robustness", "search", "environment", "failed", "epochs")


def comparisons() -> dict[str, Comparison]:
    """Return the comparisons whose data needs no Hub, by name."""
    found = {path.stem: read_comparison(path) for path in sorted(RECIPES.glob("*.json"))}
    return {name: each for name, each in found.items() if not each.where.startswith("hf://")}


def seeds_done(name: str) -> int:
    file = KEPT / f"{name}.json"
    return json.loads(file.read_text())["plan"]["seeds"] if file.exists() else 0


def measure(name: str, comparison: Comparison, scratch: Path) -> None:
    """Carry a comparison out, or on, and keep what came of it."""
    outcome = carry_out(comparison, out=scratch / f"compare-{name}", offline=True, progress=reporter())
    plain = outcome.to_dict()
    for each in plain["ranking"]["standings"]:
        del each["per_class"]
    kept = {"date": plain["made"], "hardware": record.machine(), "plan": plain["plan"]}
    kept |= {part: plain[part] for part in PARTS}
    KEPT.mkdir(exist_ok=True)
    (KEPT / f"{name}.json").write_text(json.dumps(kept, separators=(",", ":")) + "\n")
    write_table()


def write_table() -> None:
    """Make the table anew from all that is kept."""
    parts = [
        "# Models compared\n\nMade by `make bench` from the comparisons in `recipes/compare`, which go on "
        "where they stopped. Test accuracy in per cent,\nthe mean over seeds with a 95 % interval over seeds "
        "and pictures (with one seed over pictures alone: too narrow).\nA difference to the best is paired "
        "over pictures; it is shown when its p value, with Holm's correction for all pairs, is below 0.05.\n"
    ]
    for name, comparison in comparisons().items():
        about = json.loads((RECIPES / f"{name}.json").read_text())["about"]["what"]
        done = seeds_done(name)
        parts.append(f"## {name}\n\n{about}\n\nSeeds: {done} of {comparison.seeds}.\n")
        if done:
            parts.append(section(json.loads((KEPT / f"{name}.json").read_text())))
    TABLE.write_text("\n".join(parts))


def section(kept: dict) -> str:
    ranking = kept["ranking"]
    first, models = ranking["first"], [each["name"] for each in ranking["standings"]]
    *fewer, most = sorted({point["pictures"] for points in kept["curves"].values() for point in points}) or [
        0
    ]
    elsewhere = kept["elsewhere"]
    trained = f", trained on {most:,.0f}" if most else ""
    header = ["model", f"accuracy{trained}", "difference to the best", "shown"]
    header += [f"trained on {count:,.0f}" for count in fewer]
    header += [f"on {each['where']}" for each in elsewhere]
    header += ["noise", "blur", "parameters", "training, s", "pictures/s"]
    lines = ["| " + " | ".join(header) + " |", "|" + " --- |" * len(header)]
    for each in ranking["standings"]:
        name = each["name"]
        pair = next(
            (
                p
                for p in ranking["pairs"]
                if p["metric"] == first and (p["ours"], p["theirs"]) == (models[0], name)
            ),
            None,
        )
        gap = points({key: -value for key, value in pair["difference"].items()}, "+") if pair else ""
        cost = kept["costs"][name]
        cells = [
            name,
            points(each["metrics"][first]),
            gap,
            "" if pair is None else "yes" if pair["shown"] else "no",
        ]
        cells += [points(point) for point in kept["curves"].get(name, ())[:-1]]
        cells += [points(there["values"][name]) for there in elsewhere]
        worse = kept["robustness"]["values"]
        cells += [points(worse[kind][name][-1]) for kind in ("noise", "blur")]
        cells += [f"{cost['parameters']:,}", f"{cost['train_seconds']:.0f}", f"{cost['answer_rate']:,.0f}"]
        lines.append("| " + " | ".join(cells) + " |")
    here = kept["environment"]
    made = (
        f"{kept['date']}; {kept['hardware']}, {here['threads']} threads; vitrail {here['vitrail']}, torch "
        f"{here['torch']}. Budget {kept['plan']['budget']}, {kept['plan']['tries']} tries for each; noise "
        "and blur at the greatest strength; times are those of a machine that did other work as well."
    )
    failed = "".join(f"\n{name} dropped out: {why}\n" for name, why in kept["failed"].items())
    return "\n".join(lines) + f"\n\n{made}\n{failed}"


def points(value: dict, sign: str = "") -> str:
    ends = sorted(100 * value[end] for end in ("low", "high"))
    return f"{100 * value['value']:{sign}.1f} ({ends[0]:{sign}.1f} to {ends[1]:{sign}.1f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="only comparisons whose name contains this")
    parser.add_argument("--seeds", type=int, help="no more seeds than this")
    parser.add_argument("--minutes", type=float, default=60, help="start no seed after this many minutes")
    parser.add_argument("--scratch", type=Path, default=ROOT / ".data" / "bench")
    arguments = parser.parse_args()
    started = time.monotonic()
    for name, comparison in comparisons().items():
        upto = min(comparison.seeds, arguments.seeds or comparison.seeds)
        if arguments.only in name:
            for seeds in range(seeds_done(name) + 1, upto + 1):
                if time.monotonic() - started > 60 * arguments.minutes:
                    break
                measure(name, replace(comparison, seeds=seeds), arguments.scratch)
    write_table()


if __name__ == "__main__":
    main()
