"""How often the intervals of comparisons hold the truth, in experiments whose truth is known.

    python benchmarks/coverage.py [--trials 3000]

The experiments are those of `tests/measure/test_paired.py`, with other random numbers. Wanted: 93 to 97 of
100, and at most 5 false alarms when two models are equal.
"""

import argparse
import importlib.util
from pathlib import Path

import record

TESTS = Path(__file__).parent.parent / "tests" / "measure" / "test_paired.py"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=3000)
    arguments = parser.parse_args()
    specification = importlib.util.spec_from_file_location("experiments", TESTS)
    assert specification is not None
    assert specification.loader is not None
    experiments = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(experiments)
    lines = [
        f"{arguments.trials:,} experiments a row, 300 test pictures, two models. Luck is the standard "
        "deviation of a seed's skill,",
        "of which a picture's difficulty has 1. The standard error of a share is about 0.004.",
        "",
        "| seeds | luck | mean | difference | difference of equal models | false alarms |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for seeds in (3, 5):
        for luck in (0.0, 0.1, 0.15, 0.3, 0.5):
            start = 1000 * seeds + round(100 * luck)
            given = {"trials": arguments.trials}
            mean, gap, _ = experiments.simulate(seeds, luck, start=start, **given)
            _, equal, alarms = experiments.simulate(
                seeds, luck, skills=(1.0, 1.0), start=77_000 + start, **given
            )
            lines.append(f"| {seeds} | {luck} | {mean:.3f} | {gap:.3f} | {equal:.3f} | {alarms:.3f} |")
    record.write_result(
        "coverage", "How often intervals of comparisons hold the truth", "\n".join(lines), "vitrail"
    )


if __name__ == "__main__":
    main()
