"""The model card: ``README.md`` of a run folder, as model hubs read it and people do."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vitrail.run.content import (
    CLASSIFICATION,
    COLUMNS,
    SEGMENTATION,
    ReportContent,
    costs,
    digits_of,
    interval,
    percent,
    title_of,
    written,
)
from vitrail.run.files import write_atomic
from vitrail.run.folder import CARD

LISTED = 50
"""Up to so many classes are listed one by one."""
HUB_METRICS = {"macro_f1": "f1", "micro_f1": "f1", "auroc": "roc_auc", "map": "mean_average_precision"}
"""What hubs call a metric, where it differs."""
HUB_TASKS = {CLASSIFICATION: "image-classification", SEGMENTATION: "image-segmentation"}
"""What hubs call a task."""


def write_card(run_folder: Path, content: ReportContent) -> Path:
    """Write ``README.md`` into a run's folder and return its path."""
    parts = [
        _front(content),
        _what(content),
        _numbers(content),
        _data(content),
        _limits(content),
        _use(content),
    ]
    path = Path(run_folder) / CARD
    write_atomic(path, "\n\n".join(parts) + "\n")
    return path


def _front(content: ReportContent) -> str:
    """Return the front matter; every value is written as JSON, which is YAML too."""
    results = [
        {"type": HUB_METRICS.get(name, name), "name": title_of(name), "value": round(value.value, 6)}
        for name, value in content.quality.metrics.items()
        if math.isfinite(value.value)
    ]
    dataset = {"name": content.data, "type": content.data.removeprefix("hf://"), "split": content.split}
    kind = HUB_TASKS[content.task]
    task = {"type": kind, "name": kind.replace("-", " ").capitalize()}
    meta: dict[str, Any] = {
        "license": content.licence,
        "library_name": "vitrail",
        "pipeline_tag": kind,
        "tags": ["vitrail", kind, *(["multi-label"] if content.multi else [])],
        "base_model": content.base_model,
        "datasets": [content.data.removeprefix("hf://")] if content.data.startswith("hf://") else None,
        "metrics": sorted({result["type"] for result in results}),
        "model-index": [
            {"name": content.title, "results": [{"task": task, "dataset": dataset, "metrics": results}]}
        ],
    }
    known = {key: json.dumps(value, ensure_ascii=False) for key, value in meta.items() if value is not None}
    return "\n".join(["---", *(f"{key}: {value}" for key, value in known.items()), "---"])


def _what(content: ReportContent) -> str:
    kind = "Answers any number of" if content.multi else "Answers one of"
    what = "each pixel of a picture" if content.dense else "a picture"
    names = ", ".join(map(_plain, content.classes[:LISTED]))
    rest = f" and {len(content.classes) - LISTED:,} more" if len(content.classes) > LISTED else ""
    known = {"Model": content.model, **content.facts, **costs(content.cost)}
    return "\n\n".join(
        [
            f"# {_plain(content.title)}",
            f"{kind} {len(content.classes):,} classes for {what}: {names}{rest}.",
            "\n".join(f"- {_plain(name)}: {_plain(value)}" for name, value in known.items()),
            "## Intended use",
            "Pictures like those it was trained on (see below), of these classes only: a picture of anything "
            "else gets one of these answers too. It does not stand in for an expert where errors do harm.",
        ]
    )


def _numbers(content: ReportContent) -> str:
    quality = content.quality
    rows = [
        [title_of(name), written(name, value.value, digits_of(value)), interval(name, value)]
        for name, value in quality.metrics.items()
    ]
    parts = [
        "## Metrics",
        f"Measured on the {content.split} part ({content.drawn}), which neither trained nor chose the model; "
        f"intervals are 95 % bootstrap intervals over the {'groups' if quality.clusters else 'pictures'}.",
        _table(["Metric", "Value", "95 % interval"], rows),
    ]
    if content.baseline is not None:
        parts.append(f"Always answering the most frequent class would reach {percent(content.baseline)}.")
    if content.temperature is not None:
        parts.append(f"Probabilities are calibrated with a temperature of {content.temperature:.3f}.")
    if len(quality.per_class) <= LISTED:
        chosen = content.by_class
        rows = [
            [
                label,
                f"{quality.support[label]:,}",
                percent(values[chosen].value),
                interval(chosen, values[chosen]),
            ]
            for label, values in quality.per_class.items()
        ]
        parts.append(_table(["Class", "Pictures", COLUMNS[chosen], "95 % interval"], rows))
    return "\n\n".join(parts)


def _data(content: ReportContent) -> str:
    sizes = {name: content.sizes.get(name, sum(counts)) for name, counts in content.splits.items()}
    total = "; ".join(f"{count:,} in {name}" for name, count in sizes.items())
    lines = [f"## Data\n\n{_plain(content.data)}" + (f": {total}." if total else ".")]
    lines += [_plain(note) for note in content.notes]
    if content.broken:
        lines.append(
            f"{len(content.broken):,} files could not be read and took no part; the report names them."
        )
    return "\n\n".join(lines)


def _limits(content: ReportContent) -> str:
    quality = content.quality
    known = {label: values[content.by_class].value for label, values in quality.per_class.items()}
    ranked = sorted((value, label) for label, value in known.items() if math.isfinite(value))
    lines = [
        "## Limits\n",
        "- The numbers hold for pictures drawn as the test part was; elsewhere, measure again.",
    ]
    if len(ranked) > 1:
        worst = ", ".join(f"{_plain(label)} ({percent(value)})" for value, label in ranked[:3])
        lines.append(f"- Weakest classes by {COLUMNS[content.by_class]}: {worst}.")
    if quality.absent:
        lines.append(f"- Never tested: {', '.join(map(_plain, quality.absent))}.")
    small = [_plain(label) for label, count in quality.support.items() if 0 < count < 30]
    if small:
        shown = ", ".join(small[:10]) + (" …" if len(small) > 10 else "")
        lines.append(f"- Tested on fewer than 30 pictures, so hardly known: {shown}.")
    return "\n".join(lines)


def _use(content: ReportContent) -> str:
    commands = "\n".join(f"# {purpose}\n{line}" for purpose, line in content.commands.items())
    again = f"\n\n```sh\n{commands}\n```" if commands else ""
    shown = "areas" if content.dense else "top(3)"
    return (
        "## Use\n\n```python\nimport vitrail\n\n"
        f'predictor = vitrail.load("path/to/this/folder")\nprint(predictor(["picture.jpg"])[0].{shown})\n```'
        f"{again}\n\n`report.html` shows what is behind these numbers; `recipe.json` trains the model again."
    )


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *([_plain(cell) for cell in row] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _plain(text: str) -> str:
    """Return text in which nothing is markup, on one line."""
    line = " ".join(str(text).split()) or " "
    return "".join("\\" + letter if letter in "\\`*_[]<>|#" else letter for letter in line)
