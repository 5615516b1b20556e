"""What `vitrail explain` prints for people."""

from collections.abc import Mapping, Sequence
from typing import Any

from vitrail.cli.say import show_table, tell
from vitrail.explain.faithfulness import BASELINES, HEAT, MEASURES
from vitrail.run.explain.benchmark import Benchmark
from vitrail.run.explain.keep import BESIDE, TITLES
from vitrail.run.explain.page import number, verdict
from vitrail.values import areas_in_words

LINES = 20
"""Rows of the table: more are in the file."""


def tell_explanations(kept: Sequence[Mapping[str, Any]], *, file: str, trust: bool, many: bool) -> None:
    """Print a short table; all of it is in ``file``."""
    other = any(line["about"] != line["answer"].get("label") for line in kept)
    columns = ["picture", "answer", *(["about"] if other else []), *(["method"] if many else [])]
    texts = len(columns)
    if trust:
        columns += [f"{TITLES[name]} (random, edges)" for name in MEASURES]
    rows = []
    for line in kept[:LINES]:
        answer = line["answer"]
        row = [line["file"], _in_words(answer)]
        row += [line["about"]] if other else []
        row += [line["method"]] if many else []
        if trust:
            marks = line["trust"]
            numbers = {name: [_short(marks[each][name]) for each in (HEAT, *BASELINES)] for name in MEASURES}
            row += [f"{ours} ({random}, {edge})" for ours, random, edge in numbers.values()]
        rows.append(row)
    show_table("", columns, rows, right=range(texts, len(columns)))
    if len(kept) > LINES:
        tell(f"and {len(kept) - LINES:,} more in {file}")


def _in_words(answer: Mapping[str, Any]) -> str:
    """Return an answer as it was written down, in a few words."""
    if "areas" in answer:
        return areas_in_words(answer["areas"], answer["size"])
    label = answer["label"]
    return f"{', '.join(label) if isinstance(label, list) else label} {answer['score']:.1%}"


def _short(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def tell_benchmark(found: Benchmark) -> None:
    """Print a table of methods, and which to take."""
    known = any(each.inside is not None for each in found.standings)
    columns = ["method", *(TITLES[name] for name in MEASURES), *(["inside", "points"] if known else [])]
    columns += ["shuffled", "s/picture"]
    rows = []
    for each in found.standings:
        row = [BESIDE.get(each.method, each.method)]
        row += [
            number(each.marks[name]) + (" *" if each.method not in BASELINES and each.better(name) else "")
            for name in MEASURES
        ]
        row += [number(each.inside), number(each.points)] if known else []
        row += [_short(each.alike), "–" if each.seconds is None else f"{each.seconds:.3f}"]
        rows.append(row)
    title = f"{found.pictures:,} pictures of {found.data}, means (95 % interval)"
    show_table(title, columns, rows, right=range(1, len(columns)))
    tell("* better than a map at random. Insertion and ROAD: more is better; deletion: less is better.")
    tell(verdict(found))
