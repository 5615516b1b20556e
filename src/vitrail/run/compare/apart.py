"""Where models part, as sections of the page: pictures, classes, worse pictures, confidence, other data."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from vitrail.draw.html import Html, element
from vitrail.draw.page import Cell, Row, Section, figure, gallery, paragraph, table
from vitrail.draw.versus import ranges, robustness
from vitrail.run.compare.examples import AHEAD
from vitrail.run.compare.outcome import Outcome
from vitrail.run.content import interval, is_share, percent, title_of, written
from vitrail.run.findings import WIDE, metric_cell

if TYPE_CHECKING:
    from vitrail.run.compare.page import Looks

FEW = 40
"""Classes that are listed beside each other; of more, those on which the two best models differ most."""


def elsewhere(outcome: Outcome, looks: Looks) -> Section | None:
    """Return how the models do on other data."""
    if not outcome.elsewhere:
        return None
    parts: list[Html] = []
    for each in outcome.elsewhere:
        rows = sorted(each.values.items(), key=lambda pair: -pair[1].value)
        drawing = ranges(
            [(name, value, ()) for name, value in rows],
            title=f"{title_of(each.metric)} on {each.where}",
            percent=is_share(each.metric),
            tones=looks.tones,
        )
        shown = [name for name, p in each.p_adjusted.items() if p < 0.05]
        level = [name for name, p in each.p_adjusted.items() if not p < 0.05]
        best = next(name for name in each.values if name not in each.behind)
        said = f"Of {each.pictures:,} pictures of {each.where} ({each.split}), {best} answers best."
        if shown:
            said += f" It is better than {', '.join(shown)}."
        if level:
            said += f" No difference to {', '.join(level)} is shown."
        link = None if parts else looks.link("other-data")
        parts += [figure(drawing, title=each.where, link=link), paragraph(said)]
    return Section(
        title="On other data",
        lead="The same runs, measured on data that they were neither trained nor chosen on.",
        content=parts,
    )


def examples(outcome: Outcome, looks: Looks) -> Section | None:
    """Return how often models agree, and pictures that one gets right and the other wrong."""
    if not outcome.agreement and not outcome.partings:
        return None
    names = [each.name for each in outcome.ranking.standings]
    body: list[Row] = [
        [
            name,
            *(
                Cell(shown=percent(share), order=share)
                for other in names
                for share in [outcome.agreement[name][other]]
            ),
        ]
        for name in names
        if name in outcome.agreement
    ]
    masked = outcome.masked
    parts: list[Html] = []
    for side in outcome.partings:
        said = f"{side.ours} ahead of {side.theirs}" if masked else f"{side.ours} right, {side.theirs} wrong"
        parts.append(element("h3", f"{said}: {side.count:,} pictures"))
        if side.explained:
            parts.append(
                paragraph(f"Beside each picture, where {' and '.join(side.explained)} looked.", tone="quiet")
            )
        drawn = gallery(side.shown, side=WIDE if masked else 320, wide=not masked, alone=masked)
        parts.append(drawn if side.shown else paragraph("None to show."))
    if body:
        parts += [
            element("h3", f"How often two {'say the same of a pixel' if masked else 'give the same answer'}"),
            table("Agreement", ["", *names], body, sortable=False),
            paragraph(
                "A model beside itself: how often two of its own seeds agree. ",
                looks.link("agreement"),
                tone="quiet",
            ),
        ]
    lead = "The two best models, on pictures that most seeds of one get right and most of the other wrong."
    if masked:
        lead = (
            f"The two best models, on pictures where one is ahead by {100 * AHEAD:.0f} points of mean IoU or "
            "more over its seeds. Masks are those of the first seed."
        )
    return Section(title="Where they differ", lead=lead, content=parts)


def classes(outcome: Outcome, looks: Looks) -> Section | None:
    """Return every class for every model, and on which classes the two best are shown to differ."""
    ranking = outcome.ranking
    metric = ranking.per_class
    pair_of = {pair.metric: pair for pair in ranking.classes}
    labels = list(ranking.standings[0].per_class)
    if len(labels) > FEW and pair_of:
        labels = sorted(pair_of, key=lambda label: -_size(pair_of[label].found.value))[:FEW]
    body: list[Row] = []
    for label in labels:
        row: list[Html | str | Cell] = [label]
        row += [metric_cell(metric, each.per_class[label]) for each in ranking.standings]
        if label in pair_of:
            pair = pair_of[label]
            ends = pair.found.estimate
            words = f"{100 * pair.found.value:+.1f} ({100 * ends.low:+.1f} to {100 * ends.high:+.1f})"
            row.append(Cell(shown=words, order=pair.found.value))
            row.append("shown" if pair.shown else "")
        body.append(row)
    header = ["Class", *(each.name for each in ranking.standings)]
    if pair_of:
        best, second = ranking.standings[0].name, ranking.standings[1].name
        header += [f"{best} − {second}, points", "All classes counted"]
    return Section(
        title="Class by class",
        lead=f"{title_of(metric)}, mean over seeds"
        + (
            f"; the {FEW} classes of {len(outcome.classes):,} that differ most"
            if len(labels) < len(outcome.classes)
            else ""
        )
        + ".",
        content=[table("Classes", header, body), paragraph(looks.link("classes"))],
    )


def robust(outcome: Outcome, looks: Looks) -> Section | None:
    """Return what is left of each model on worse pictures."""
    found = outcome.robustness
    if found is None:
        return None
    drawing = robustness(
        found.values, y_title=title_of(found.metric), percent=is_share(found.metric), tones=looks.tones
    )
    names = [each.name for each in outcome.ranking.standings]
    body: list[Row] = []
    for kind, models in found.values.items():
        row: list[Html | str | Cell] = [kind]
        for name in names:
            worst = models[name][-1]
            words = f"{written(found.metric, worst.value)} ({interval(found.metric, worst)})"
            row.append(Cell(shown=words, order=worst.value))
        body.append(row)
    shown = f" (of larger ones the middle, {found.part} pixels a side)" if found.part else ""
    return Section(
        title="On worse pictures",
        lead=f"{found.pictures:,} test pictures, made worse on purpose at three strengths (0: as they are), "
        f"in the same way for all models{shown}; {found.seeds} "
        + ("seed" if found.seeds == 1 else "seeds")
        + " each. None was trained for it beyond its own recipe.",
        content=[
            figure(drawing, link=looks.link("robustness")),
            table("At the greatest strength", ["Corruption", *names], body),
        ],
    )


def calibrated(outcome: Outcome, looks: Looks) -> Section | None:
    """Return whether confidence is deserved, before and after the temperature."""
    if not outcome.calibration:
        return None
    body: list[Row] = []
    for each in outcome.ranking.standings:
        found = outcome.calibration[each.name]
        row: list[Html | str | Cell] = [each.name]
        if found.temperature is not None:
            row.append(Cell(shown=f"{found.temperature:.2f}", order=found.temperature))
        for metric in found.after:
            for values in (found.before, found.after):
                if metric in values:
                    value = values[metric]
                    words = f"{written(metric, value.value)} ({interval(metric, value)})"
                    row.append(Cell(shown=words, order=value.value))
        body.append(row)
    one = next(iter(outcome.calibration.values()))
    if one.temperature is None:
        header = ["Model", *map(title_of, one.after)]
        lead = "How far the confidence of pixels is from the share that is right; lower is better."
    else:
        header = ["Model", "Temperature"]
        for metric in one.after:
            header += [f"{title_of(metric)} before", "after"]
        lead = (
            "Each model's probabilities as it was trained, and after one temperature that was fitted on "
            "validation pictures. Lower is better."
        )
    return Section(
        title="Is confidence deserved?",
        lead=lead,
        content=[table("Calibration", header, body), paragraph(looks.link("calibration"))],
    )


def _size(value: float) -> float:
    return abs(value) if math.isfinite(value) else 0.0
