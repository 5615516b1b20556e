"""What a comparison takes beyond its training runs: three models, three seeds, on digits.

    python benchmarks/compare_overhead.py [--budget 20ep]

Wanted: the whole within 8 minutes on two cores, and less than 10 % beyond the runs themselves.
"""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command line does, before torch is imported

import argparse
import tempfile
import time
from pathlib import Path

import record
from vitrail.run.compare import Comparison, carry_out, race
from vitrail.run.progress import reporter

MODELS = ("vit-pico2", "test_resnet", "test_efficientnet")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--budget", default="20ep")
    arguments = parser.parse_args()
    training, real = [], race.run_recipe

    def timed(*given: object, **named: object) -> object:
        started = time.perf_counter()
        try:
            return real(*given, **named)
        finally:
            training.append(time.perf_counter() - started)

    race.run_recipe = timed
    comparison = Comparison(where="digits", models=MODELS, seeds=3, budget=arguments.budget)
    with tempfile.TemporaryDirectory() as scratch:
        started = time.perf_counter()
        outcome = carry_out(comparison, out=Path(scratch) / "out", offline=True, progress=reporter())
        whole = time.perf_counter() - started
    beyond = whole - sum(training)
    best = outcome.ranking.standings[0]
    lines = [
        f"{', '.join(MODELS)}; 3 seeds, {comparison.tries} tries, {arguments.budget}; 1,258 digits.",
        "",
        "| | seconds | wanted |",
        "| --- | --- | --- |",
        f"| the whole comparison | {whole:.0f} | 480 |",
        f"| its {len(training)} training runs, each measured and reported | {sum(training):.0f} | |",
        f"| all else (reading, choosing, costs, worse pictures, statistics, page) | {beyond:.0f} | |",
        f"| all else as a share of the runs | {beyond / sum(training):.1%} | 10 % |",
        "",
        f"Best: {best.name}, accuracy {best.metrics['accuracy']}.",
    ]
    record.write_result("compare-overhead", "What a comparison takes", "\n".join(lines), "vitrail", "timm")


if __name__ == "__main__":
    main()
