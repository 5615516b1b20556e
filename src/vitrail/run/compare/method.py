"""How a comparison was done, as sections of its page: with which care for each model, and with what."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from vitrail.draw.html import Html, element
from vitrail.draw.page import Cell, Row, Section, code, commands, folded, paragraph, table
from vitrail.run.compare.outcome import Outcome
from vitrail.run.compare.plan import SEARCH, told
from vitrail.run.content import duration, title_of, written

if TYPE_CHECKING:
    from vitrail.run.compare.page import Looks

BOOTSTRAP = (
    "Over pictures, intervals come from 1,000 bootstrap resamples, the same for all models, so that "
    "differences are paired. Over seeds, from the variance between runs less what the pictures explain of "
    "it, with Student's quantiles; both parts add up. Differences count as shown when their p value, with "
    "Holm's correction for all pairs, is below 0.05."
)
MCNEMAR = " With one run a model, McNemar's exact test stands beside them."


def care(outcome: Outcome, looks: Looks) -> Section:
    """Return what was done for each model: its recipe, the search, the budget."""
    parts: list[Html] = []
    comparison = outcome.comparison
    body: list[Row] = []
    header = ["Model", *(["Head"] if outcome.masked else []), "Learned with", "Canvas", "Tuning", "Runs"]
    for each in outcome.entrants:
        if each.whole:
            recipe = each.whole[0].recipe()
            size = " × ".join(map(str, recipe.image_size or ()))
            head = [recipe.head.name] if outcome.masked else []
            body.append(
                [each.name, *head, told(recipe), size, recipe.tune.mode or "full", f"{len(each.whole)}"]
            )
    parts.append(table("Settings", header, body, sortable=False))
    if comparison is not None:
        spent = comparison.budget or "as many epochs as the recipe that asks for most"
        parts.append(
            paragraph(
                f"Budget of each run: {spent}. All models learned from the same pictures, in the same order "
                "where their batches are alike, and each began from its own family's recipe."
            )
        )
    tried: list[Row] = [
        [
            each.name,
            one.words,
            one.settings,
            Cell(shown=written(outcome.ranking.first, one.value, 2), order=one.value),
            "taken" if one.taken else "",
        ]
        for each in outcome.entrants
        for one in each.tries
    ]
    if tried:
        metric = title_of(outcome.ranking.first)
        parts += [
            element("h3", "The search"),
            paragraph(
                f"As many tries for each model, each for {100 * SEARCH:g} % of the epochs; the validation "
                "part chose, and the test part took no part in it."
            ),
            table("Tries", ["Model", "Tried", "Settings", f"{metric}, validation", ""], tried),
            paragraph(looks.link("search")),
        ]
    failed = [f"{each.name}: {each.failed}" for each in outcome.entrants if each.failed]
    if failed:
        parts += [element("h3", "What failed"), *(paragraph(line) for line in failed)]
    return Section(
        title="The same care for each",
        lead="What a comparison is worth depends on this more than on its last digit.",
        content=parts,
    )


def making(outcome: Outcome, looks: Looks) -> Section:  # noqa: ARG001
    """Return how numbers were made, on what, and how to make them again."""
    here = outcome.environment
    spent = outcome.seconds
    lines = [
        BOOTSTRAP + ("" if outcome.masked else MCNEMAR),
        f"Made with Vitrail {here.get('vitrail')}, torch {here.get('torch')}, Python {here.get('python')} on "
        f"{here.get('processor')}, {here.get('threads')} threads, {here.get('precision')}. The training runs "
        f"took {duration(spent.get('training', 0.0))}, what compares them "
        f"{duration(spent.get('comparing', 0.0))}.",
        *outcome.notes,
    ]
    parts: list[Html] = [paragraph(line) for line in lines]
    if outcome.comparison is not None:
        parts += [
            commands({"Go on, or make it again": f"vitrail compare --resume {outcome.folder}"}),
            folded("The plan", code(json.dumps(outcome.comparison.to_dict(), indent=1))),
        ]
    else:
        runs = [str(run.path) for each in outcome.entrants for run in each.whole]
        parts.append(commands({"Make it again": f"vitrail compare {' '.join(runs)}"}))
    return Section(title="How it was done", content=parts)
