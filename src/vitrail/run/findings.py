"""What was found out about a model, as parts of its report; a part without data is None."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image

from vitrail.draw.explained import heat_over
from vitrail.draw.html import Html, element, join
from vitrail.draw.page import (
    Cell,
    Row,
    Section,
    Shown,
    beside,
    figure,
    gallery,
    paragraph,
    range_bar,
    table,
)
from vitrail.draw.plots import Bin, confusion_matrix, reliability_plot, share_table, survival
from vitrail.draw.sheet import resize
from vitrail.measure.classify import Quality
from vitrail.run.content import (
    COLUMNS,
    PERCENT,
    WORDS,
    Explained,
    ReportContent,
    digits_of,
    interval,
    percent,
    title_of,
    written,
)
from vitrail.values import Estimate, Frame

WIDE = 900
"""How wide pictures are shown that have truth, answer and error beside them."""
CURVES, GAP = 8, 6
"""So many classes have a curve; pixels between what was seen, answered and looked at."""
PAIRS = 10
"""How many of the most frequent confusions are listed."""
NARROW = 12
"""So few classes, with names so short, leave room for a table beside their confusion matrix."""


def metric_cell(name: str, value: Estimate) -> Cell:
    """Return a metric as a table's cell."""
    return Cell(shown=written(name, value.value, digits_of(value)), order=value.value)


def results(content: ReportContent) -> Section:
    """Return the metrics with their intervals and what they mean."""
    quality = content.quality
    rows: list[Row] = [
        [
            title_of(name),
            metric_cell(name, value),
            Cell(shown=interval(name, value), order=value.low),
            element("span", WORDS[name][1] if name in WORDS else "", class_="quiet"),
        ]
        for name, value in quality.metrics.items()
    ]
    notes = [f"Intervals are 95 % bootstrap intervals over {content.drawn}."]
    if quality.absent:
        names = ", ".join(quality.absent[:10]) + (" …" if len(quality.absent) > 10 else "")
        notes.append(f"The {content.split} part has no picture of {names}: left out of means over classes.")
    header = ["Metric", "Value", "95 % interval", "What it is"]
    return Section(
        title="Results",
        lead=f"Measured when the run was finished, on the {content.split} part, which chose neither weights "
        "nor settings.",
        content=[table("Metrics", header, rows, sortable=False), paragraph(" ".join(notes), tone="quiet")],
    )


def confusions(content: ReportContent) -> Section | None:
    """Return the confusion matrix and the most frequent confusions."""
    counts = content.quality.confusion
    if counts is None or not counts.sum():
        return None
    classes = list(content.classes)
    wrong = counts * (1 - np.eye(len(classes), dtype=counts.dtype))
    order = np.argsort(-wrong, axis=None, kind="stable")[:PAIRS]
    rows: list[Row] = []
    for truth, answer in zip(*np.unravel_index(order, wrong.shape), strict=True):
        times = int(wrong[truth, answer])
        share = times / max(int(counts[truth].sum()), 1)
        cells = Cell(shown=f"{times:,}", order=times), Cell(shown=percent(share), order=share)
        rows += [[classes[truth], classes[answer], *cells]] if times else []
    parts = [figure(confusion_matrix(counts, classes))]
    if rows:
        unit = "Pixels" if content.dense else "Pictures"
        header = ["True class", "Answer", unit, "Share"]
        parts.append(table("The most frequent confusions", header, rows))
    if len(classes) <= NARROW and max(map(len, classes)) <= NARROW:
        parts = [beside(*parts)]
    unit = "pixels" if content.dense else "pictures"
    lead = f"Rows are true classes, columns answers; the share is of the true class's {unit}."
    return Section(title="What is taken for what", lead=lead, content=parts)


def pictures(content: ReportContent) -> Section | None:
    """Return the most confident mistakes, the hardest and the surest pictures."""
    groups: tuple[tuple[str, str, Sequence[Shown]], ...] = (
        (
            "Most confident mistakes",
            "Wrong, and sure of it: labels to check, or something still to learn.",
            content.mistakes,
        ),
        ("Hardest", "The lowest probability for what is true.", content.worst),
        ("Surest", "The highest probability for what is true.", content.best),
    )
    if content.dense:
        groups = (
            ("Worst", "The lowest mean IoU.", content.worst),
            ("Best", "The highest mean IoU.", content.best),
        )
    parts = [
        part
        for title, lead, shown in groups
        if shown
        for part in (
            element("h3", title),
            paragraph(lead, tone="quiet"),
            gallery(shown, side=WIDE, alone=True) if content.dense else gallery(shown),
        )
    ]
    return Section(title="Pictures", content=parts) if parts else None


def by_class(content: ReportContent) -> Section | None:
    """Return the numbers of each class, the one that stands out with its interval on a common track."""
    found, chosen = content.quality.per_class, content.by_class
    names = list(next(iter(found.values()), ()))
    ends = [value.low for values in found.values() if math.isfinite((value := values[chosen]).low)]
    start = math.floor(10 * min(ends, default=0)) / 10 if min(ends, default=0) < 1 else 0.9
    rows: list[Row] = []
    for label, values in found.items():
        support, value = content.quality.support[label], values[chosen]
        cells = [_with_interval(name, values[name]) for name in names]
        spread = join([range_bar(value, start), Html(" "), element("small", interval(chosen, value))])
        rows.append(
            [
                label,
                Cell(shown=f"{support:,}", order=support),
                *cells,
                Cell(shown=spread, order=value.low, tone="track"),
            ]
        )
    header = ["Class", "Pictures", *(COLUMNS.get(name, name.capitalize()) for name in names)]
    header.append(f"{COLUMNS.get(chosen, chosen)}, {100 * start:.0f} to 100 %")
    lead = "A click on a column's name sorts by it; a number shows its 95 % interval when pointed at."
    return (
        Section(title="Class by class", lead=lead, content=[table("Classes", header, rows)]) if rows else None
    )


def by_picture(content: ReportContent) -> Section | None:
    """Return how each class does from picture to picture: the worst of them where there are many."""
    middles = {name: float(np.mean(each)) for name, each in content.by_picture.items() if len(each)}
    worst = sorted(middles, key=middles.__getitem__)[:CURVES]
    if not worst:
        return None
    chosen = {name: content.by_picture[name] for name in middles if name in worst}
    words = (
        "Each line is a class: the share of the pictures showing it in which its IoU is so much or more. A "
        "line that stays high to the right is a class that is right in nearly every picture; one that falls "
        "at the very left is missed altogether in some. Dots are medians."
    )
    lead = f"The {CURVES} worst of {len(middles):,} classes." if len(middles) > CURVES else ""
    drawn = survival(chosen, x_title="IoU", y_title="share of pictures", unit="pictures")
    return Section(title="From picture to picture", lead=lead, content=[figure(drawn, words)])


def _with_interval(name: str, value: Estimate) -> Cell:
    """Return a number of a class as a table's cell that shows its interval when it is pointed at."""
    return Cell(shown=element("span", percent(value.value), title=interval(name, value)), order=value.value)


def confidence(content: ReportContent) -> Section | None:
    """Return reliability plots, before and after the temperature where there is one."""
    after, before = content.quality, content.uncalibrated
    if not after.reliability.counts.sum():
        return None
    shown = {"": after}
    lead = "Where the dots are on the dashed line, a confidence of 80 % is right in 80 % of cases."
    if before and content.temperature:
        shown = {"Before": before, f"After, temperature {content.temperature:.2f}": after}
        lead += (
            " One temperature, fitted on the validation part alone, divides the logits; no answer changes."
        )
    plots = []
    for title, quality in shown.items():
        error, loss = quality.metrics["ece"], quality.metrics.get("log_loss")
        words = f"Calibration error {written('ece', error.value)}, {interval('ece', error)}. "
        words += f"Log loss {loss.value:.3f}, {interval('log_loss', loss)}." if loss else ""
        plots.append(figure(reliability_plot(_bins(quality), quality.reliability.error), words, title))
    return Section(title="Confidence", lead=lead, content=[beside(*plots)])


def explained(content: ReportContent) -> Section | None:
    """Return why the model answered what it answered, beside what it saw, and how far that can be trusted."""
    found = content.explained
    if found is None or not found.looks:
        return None
    shown = []
    for look in found.looks:
        picture = resize(look.picture, 224).convert("RGB")
        size = (picture.height, picture.width)
        panes = [picture, heat_over(picture, look.heat, Frame(size=size), size)]
        if look.answer is not None:
            panes.insert(1, resize(look.answer, 224).convert("RGB"))
        step = picture.width + (GAP if look.answer is not None else 0)
        sheet = Image.new("RGB", (step * (len(panes) - 1) + picture.width, picture.height), "white")
        for place, pane in enumerate(panes):
            sheet.paste(pane, (place * step, 0))
        shown.append(Shown(picture=sheet, caption=look.caption, remark=look.remark, tone=look.tone))
    lead = (
        f"What speaks for {'the class that is named' if content.dense else 'the answer'}, by the method "
        f"{found.method}: from dark, nothing, to light, the most. Lines are the cells that it tells apart."
    )
    if content.dense:
        lead += (
            " In the middle is what was answered. Of the worst pictures it is the class that is wrong most, "
            "where it is wrong most; of the best the class of most pixels, where there is most of it."
        )
    parts = [
        gallery(shown, side=3 * 224 + 2 * GAP, wider=True)
        if content.dense
        else gallery(shown, side=448, wide=True)
    ]
    if math.isfinite(found.road):
        parts.append(paragraph(trust(found), tone="quiet"))
    return Section(title="Where it looked", lead=lead, content=parts)


def trust(found: Explained) -> str:
    """Say how far explanations can be trusted, by ROAD on the pictures that are shown."""
    said = (
        "By how much surer the model stays when the least relevant parts are taken away than when the most "
        f"relevant are (ROAD, the mean of these {len(found.looks)} pictures): {found.road:.2f}; "
        f"maps at random have {found.random:.2f}. "
    )
    if found.road <= max(found.random, 0):
        return said + "So these maps do not say what the answers hang on: do not trust them."
    return said + "How the methods compare on many pictures: vitrail explain RUN --benchmark DATA."


def experts(content: ReportContent) -> Section | None:
    """Return which experts each layer chose while the weights that are kept were learned."""
    record = next((each for each in content.history if each["epoch"] == content.best_epoch), {})
    usage: dict[str, list[float]] = {}
    for name, share in record.items():
        match name.split("."):
            case ["train_experts", layer, _]:
                usage.setdefault(layer, []).append(share)
    if not usage:
        return None
    layers, shares = list(usage), np.array(list(usage.values()))
    columns = [str(expert) for expert in range(shares.shape[1])]
    drawn = share_table(shares, rows=layers, columns=columns, row_title="layer", column_title="expert")
    words = (
        "The share of its tokens, in per cent, that each layer sent to each expert in training (epoch "
        f"{content.best_epoch}); both count from 0. {percent(record['train_experts.dropped'])} of the tokens "
        "found their expert full and went past it."
    )
    return Section(title="Experts", lead=balance(shares, layers), content=[figure(drawn, words)])


def balance(shares: np.ndarray, layers: Sequence[str]) -> str:
    """Say whether all experts (columns) of all layers (rows) are used, or which stands out the most.

    More than twice its even share is too much for an expert, less than a quarter too little.
    """
    even = 1 / shares.shape[1]
    fullest, emptiest = (divmod(int(index), shares.shape[1]) for index in (shares.argmax(), shares.argmin()))
    most, least = float(shares.max()), float(shares.min())
    if most > min(2 * even, (1 + even) / 2):
        layer, expert = fullest
        said = f"expert {expert} gets {percent(most, 0)} of the tokens: the balance loss is too weak"
    elif least < even / 4:
        layer, expert = emptiest
        said = f"expert {expert} gets only {percent(least)} of the tokens, too few to learn from"
    else:
        low, high = percent(least, 0).removesuffix(PERCENT), percent(most, 0)
        return f"All experts are used: {low} to {high} of the tokens each, where {percent(even)} is even."
    return f"Layer {layers[layer]}: {said}."


def _bins(quality: Quality) -> list[Bin]:
    found = quality.reliability
    lows, highs = found.intervals
    columns = (found.counts.astype(int), found.confidence, found.frequency, lows, highs)
    return list(zip(*(column.tolist() for column in columns), strict=True))
