"""Where a model comes from, as parts of its report; a part without data is None."""

from __future__ import annotations

import json

from vitrail.draw.chart import Point
from vitrail.draw.html import element
from vitrail.draw.page import (
    Cell,
    Row,
    Section,
    beside,
    code,
    commands,
    facts,
    figure,
    folded,
    gallery,
    paragraph,
    table,
)
from vitrail.draw.plots import curves
from vitrail.run.content import ReportContent, costs, is_share, title_of

LISTED = 500
"""How many broken files are listed."""


def training(content: ReportContent) -> Section | None:
    """Return the curves over epochs."""

    def line(name: str) -> list[Point]:
        rows = [row for row in content.history if row.get(name) is not None]
        return [(float(row["epoch"]), float(row[name])) for row in rows]

    logged = [name for name in (content.history or [{}])[-1] if name.startswith("val_")]
    shares = [name for name in logged if is_share(name[4:]) and name != "val_ece"]
    losses = {"Training loss": line("loss"), "Validation log loss": line("val_log_loss")}
    metrics = {title_of(name[4:]): line(name) for name in shares}
    plots = [
        figure(drawn, title=title)
        for title, lines, percent in (("Loss", losses, False), ("Validation", metrics, True))
        if (drawn := curves(lines, title=title, percent=percent, best=content.best_epoch))
    ]
    parts = [beside(*plots)] if plots else []
    if rate := curves({"Learning rate": line("lr")}, title="Learning rate"):
        parts.append(folded("Learning rate", rate))
    return Section(title="Training", content=parts) if parts else None


def data(content: ReportContent) -> Section | None:
    """Return what there was to learn from, and what could not be read."""
    parts = []
    if content.splits:
        sizes = {name: content.sizes.get(name, sum(counts)) for name, counts in content.splits.items()}
        total = ", ".join(f"{count:,} {name}" for name, count in sizes.items())
        parts.append(paragraph(f"{sum(sizes.values()):,} pictures: {total}."))
    if content.notes:
        parts.append(element("ul", *(element("li", note) for note in content.notes), class_="notes"))
    if content.splits:
        rows: list[Row] = [
            [label, *(Cell(shown=f"{count:,}", order=float(count)) for count in counts)]
            for label, *counts in zip(content.classes, *content.splits.values(), strict=True)
        ]
        parts.append(table("Pictures by class and split", ["Class", *content.splits], rows))
    if content.broken:
        count = len(content.broken)
        files: list[Row] = [[name, reason] for name, reason in list(content.broken.items())[:LISTED]]
        summary = f"{count:,} file{'s' * (count > 1)} could not be read and took no part"
        parts.append(folded(summary, table("Files that could not be read", ["File", "Why"], files)))
    if content.samples:
        parts.append(element("h3", "As the model sees it in training, after augmentation"))
        parts.append(gallery(content.samples))
    return Section(title="Data", content=parts) if parts else None


def cost(content: ReportContent) -> Section | None:
    """Return what the run took."""
    known = costs(content.cost)
    return Section(title="Cost", content=[facts(known)]) if known else None


def making(content: ReportContent) -> Section | None:
    """Return how to repeat the run and to use it."""
    parts = []
    if content.commands:
        parts.append(commands(content.commands))
    if content.recipe:
        recipe = json.dumps(content.recipe, indent=2, ensure_ascii=False)
        parts.append(folded("The recipe, complete", code(recipe)))
    if content.versions:
        versions = ", ".join(f"{name} {version}" for name, version in content.versions.items())
        parts.append(paragraph(f"With {versions}.", tone="quiet"))
    return Section(title="How it was made", content=parts) if parts else None
