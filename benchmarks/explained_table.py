"""What `explained.py` has kept: its lines, the tables that are made anew of them, and what they recommend."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from scipy import stats

import record
from vitrail.run.explain.choice import PREFERRED

LINES, TABLE = record.RESULTS / "explained.jsonl", record.RESULTS / "explained.md"
BASELINES = ("random", "edge")
BESIDE = {"random": "random map", "edge": "edges of the picture"}
MANY = ("smoothgrad", "integrated-gradients", "occlusion")
"""Methods that ask a model dozens of times: too slow to be what is done unless another is named."""
KINDS = {
    "attention": "Transformers of ours, whose attention can be read",
    "transformer": "Transformers of others",
    "convolutional": "convolutional networks",
}
ABOUT = """# Which explanation finds the object

Made by `make bench` (`python benchmarks/explained.py`): one of six kinds of drawing, a tenth of the area on
average, on a photograph of 96 x 96 pixels. Each network learned from scratch on 4,000 of them. Behind the
pictures that are explained are other photographs, and on them drawings that it has learned, drawings that it
has not, or the characters in another style. Each picture's own answer is explained, right or wrong.

`inside` is the share of the heat that lies on the object over the object's share of the picture: 1 is what
chance gives. `points` is how often the hottest place is on the object, in per cent. ROAD, insertion, deletion
and `shuffled` (how alike the maps of a network with shuffled weights are) are those of `vitrail explain
--benchmark`; ms are milliseconds a picture, on a machine that did other work as well. Means over seeds with
95 % intervals over pictures and seeds (with one seed over pictures alone: too narrow). In bold: what explains
unless another method is named. Each network that was measured is a line of `explained.jsonl`.
"""
Line = Mapping[str, Any]


def read() -> list[dict[str, Any]]:
    """Return what is kept: a line for each network and seed."""
    return [json.loads(line) for line in LINES.read_text().splitlines()] if LINES.exists() else []


def keep(line: dict[str, Any], order: Sequence[str]) -> None:
    """Keep a line in place of an older one of the same network and seed, and make the tables anew."""
    same = ("network", "seed")
    lines = [each for each in read() if any(each[key] != line[key] for key in same)] + [line]
    lines.sort(key=lambda each: (order.index(each["network"]), each["seed"]))
    LINES.write_text("".join(json.dumps(each, separators=(",", ":")) + "\n" for each in lines))
    write()


def merit(lines: Iterable[Line]) -> dict[str, float]:
    """Return how good each method is that needs few answers and that all of these networks allow.

    Of each network the heat inside counts half and ROAD half, both as shares of what the best method has.
    """
    found: list[dict[str, float]] = []
    for line in lines:
        rows = line["parts"]["learned"]["methods"]
        rows = {name: row for name, row in rows.items() if name not in (*BASELINES, *MANY)}
        best = {key: max(row[key]["value"] for row in rows.values()) for key in ("inside", "road")}
        found.append(
            {
                name: float(np.mean([row[key]["value"] / best[key] for key in best]))
                for name, row in rows.items()
            }
        )
    return {
        name: float(np.mean([each[name] for each in found]))
        for name in (found[0] if found else {})
        if all(name in each for each in found)
    }


def recommended(lines: Iterable[Line]) -> dict[str, list[str]]:
    """Return the methods for each kind of backbone, the best first."""
    lines = list(lines)
    kinds = dict.fromkeys(line["kind"] for line in lines)
    merits = {kind: merit(line for line in lines if line["kind"] == kind) for kind in kinds}
    return {kind: sorted(each, key=lambda name: -each[name]) for kind, each in merits.items()}


def write() -> None:
    """Make the tables anew."""
    lines = read()
    networks: dict[str, list[Line]] = {}
    for line in lines:
        networks.setdefault(line["network"], []).append(line)
    parts = [ABOUT, summary(networks), *choice(lines)]
    for name, runs in networks.items():
        parts += [heading(name, runs), methods(runs), depth(runs)]
    TABLE.write_text("\n".join(parts), encoding="utf-8")


def default(runs: Sequence[Line]) -> str:
    """Return what explains a network unless another method is named."""
    return PREFERRED[runs[0]["kind"]][0]


def summary(networks: Mapping[str, Sequence[Line]]) -> str:
    """Return a row a network: what explains it unless another method is named, and how well that does."""
    header = ["network", "method", "inside", "drawings not seen", "another style", "points", "ROAD"]
    rows = []
    for name, runs in networks.items():
        method = default(runs)
        inside = [number(runs, part, method, "inside") for part in ("learned", "unseen", "style")]
        others = [number(runs, "learned", method, "points", percent), number(runs, "learned", method, "road")]
        rows.append([name, method, *inside, *others])
    return "## What explains unless another method is named\n\n" + table(header, rows)


def choice(lines: Sequence[Line]) -> list[str]:
    """Say how the methods of each kind of backbone compare."""
    told = [
        "How it is chosen: among methods that need a few answers and that all networks of a kind allow, by "
        "the heat inside and\nby ROAD, each as a share of the best method's, half and half, on drawings that "
        "were learned. 1 is the best by both.\n"
    ]
    for kind, names in recommended(lines).items():
        each = merit(line for line in lines if line["kind"] == kind)
        listed = ", ".join(f"{name} {each[name]:.2f}" for name in names)
        told.append(f"* {KINDS.get(kind, kind)}: {listed}.")
    return [*told, ""]


def heading(name: str, runs: Sequence[Line]) -> str:
    first = runs[0]
    minutes = sum(line["train_seconds"] for line in runs) / len(runs) / 60
    right = "; ".join(
        f"{words} {spread([line['parts'][part]['accuracy'] for line in runs], percent)}"
        for part, words in (
            ("learned", "learned drawings"),
            ("unseen", "not seen"),
            ("style", "another style"),
        )
    )
    return (
        f"## {name}\n\n`{first['model']}`, {first['parameters']:,} parameters, trained in "
        f"{minutes:.0f} minutes. Seeds: {len(runs)}. Accuracy in per cent: {right}.\n"
        f"{first['date']}; {first['hardware']}; {first['versions']}.\n"
    )


def methods(runs: Sequence[Line]) -> str:
    """Return the table of all methods of one network, the most heat inside first."""
    rows = runs[0]["parts"]["learned"]["methods"]
    ordered = sorted(rows, key=lambda name: (name in BASELINES, -rows[name]["inside"]["value"]))
    header = [
        *("method", "inside", "drawings not seen", "another style", "points", "ROAD"),
        *("insertion", "deletion", "shuffled", "ms"),
    ]
    found = []
    for name in ordered:
        shown = f"**{name}**" if name == default(runs) else BESIDE.get(name, name)
        cells = [number(runs, part, name, "inside") for part in ("learned", "unseen", "style")]
        cells.append(number(runs, "learned", name, "points", percent))
        cells += [number(runs, "learned", name, mark) for mark in ("road", "insertion", "deletion")]
        cells += [plain(runs, name, "alike", 1, 2), plain(runs, name, "seconds", 1000, 0)]
        found.append([shown, *cells])
    return table(header, found)


def depth(runs: Sequence[Line]) -> str:
    """Return how methods that look at a layer do at each."""
    first = runs[0]
    names = dict.fromkeys(key.split()[0] for key in first["layers"] if key not in BASELINES)
    header = ["layer", "cells", *(f"{name}, {word}" for name in names for word in ("inside", "ROAD"))]
    rows = []
    for layer, grid in first["grids"].items():
        cells = [
            spread([line["layers"][f"{name} {layer}"][mark] for line in runs])
            for name in names
            for mark in ("inside", "road")
        ]
        shown = f"**{layer}**" if layer == first["found"] else layer
        rows.append([shown, " x ".join(map(str, grid)), *cells])
    return "By layer, first to last; in bold the one that is taken unless another is named.\n\n" + table(
        header, rows
    )


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def number(
    runs: Sequence[Line], part: str, method: str, mark: str, show: Callable[[float], str] | None = None
) -> str:
    rows = [line["parts"][part]["methods"].get(method, {}) for line in runs]
    return spread([row[mark] for row in rows], show) if all(mark in row for row in rows) else ""


def plain(runs: Sequence[Line], method: str, mark: str, times: float, digits: int) -> str:
    values = [line["parts"]["learned"]["methods"][method][mark] for line in runs]
    return "" if None in values else f"{times * np.mean(values):.{digits}f}"


def spread(values: Sequence[Mapping[str, float]], show: Callable[[float], str] | None = None) -> str:
    """Return the mean over seeds with its interval: over pictures, which all seeds share, and over seeds."""
    middles = np.array([value["value"] for value in values])
    ends = np.array([[value["value"] - value["low"], value["high"] - value["value"]] for value in values])
    over_seeds, seeds = 0.0, len(values)
    if seeds > 1:
        over_seeds = stats.t.ppf(0.975, seeds - 1) * middles.std(ddof=1) / seeds**0.5
    below, above = np.hypot(ends.mean(axis=0), over_seeds)
    show = show or "{:.2f}".format
    return f"{show(middles.mean())} ({show(middles.mean() - below)} to {show(middles.mean() + above)})"


def percent(share: float) -> str:
    return f"{100 * min(1.0, max(0.0, share)):.0f}"
