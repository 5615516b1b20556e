"""The page that a run writes about itself: the verdict first, then what it rests on."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path

from vitrail import __version__
from vitrail.draw.html import Html, element, join
from vitrail.draw.page import Section, Shown, brand, facts, page, paragraph, range_bar
from vitrail.run import findings, origins
from vitrail.run.content import (
    Cost,
    Explained,
    Look,
    ReportContent,
    costs,
    digits_of,
    interval,
    percent,
    title_of,
    written,
)
from vitrail.run.files import write_atomic
from vitrail.run.folder import REPORT

__all__ = ["Cost", "Explained", "Look", "ReportContent", "Shown", "write_report"]

PARTS: Sequence[Callable[[ReportContent], Section | None]] = (
    findings.results,
    findings.confusions,
    findings.pictures,
    findings.by_class,
    findings.by_picture,
    findings.confidence,
    findings.explained,
    findings.experts,
    origins.training,
    origins.data,
    origins.cost,
    origins.making,
)
"""The report's sections, in order."""


def write_report(run_folder: Path, content: ReportContent) -> Path:
    """Write ``report.html`` into a run's folder and return its path; one page that needs no network."""
    sections = [section for part in PARTS if (section := part(content)) is not None]
    path = Path(run_folder) / REPORT
    write_atomic(path, page(f"{content.title} · Vitrail", _head(content), sections, foot(content.made)))
    return path


def foot(made: str) -> Html:
    """Return what stands under every page."""
    when = f", {made}" if made else ""
    return paragraph(
        f"Written by Vitrail {__version__}{when}. The page is complete in itself: it loads nothing."
    )


def _head(content: ReportContent) -> Html:
    """Return the verdict and what it is about."""
    known = costs(content.cost)
    told: dict[str, str] = {
        "Task": content.task + (", several labels a picture" if content.multi else ""),
        "Data": content.data,
        "Model": content.model,
        "Classes": f"{len(content.classes):,}",
        **content.facts,
        **{name: known[name] for name in ("Parameters", "Training time") if name in known},
    }
    return join([brand("Report"), element("h1", content.title), _verdict(content), facts(told)])


def _verdict(content: ReportContent) -> Html:
    """Return the metric that stands first, how sure it is, and what it should be compared with."""
    first = content.first
    value = content.quality.metrics[first]
    sure = f"95 % interval {interval(first, value)}, " if math.isfinite(value.low) else ""
    baseline = content.baseline if first == "accuracy" else None
    compared = None
    if baseline is not None:
        words = f"Dotted: always answering the most frequent class, {percent(baseline)}."
        compared = paragraph(words, tone="quiet")
    return element(
        "div",
        element("div", written(first, value.value, digits_of(value)), class_="number"),
        element(
            "div",
            paragraph(title_of(first), tone="name"),
            paragraph(f"{sure}on {content.drawn} that took no part in training or choosing."),
            range_bar(value, mark=baseline),
            compared,
        ),
        class_="verdict",
    )
