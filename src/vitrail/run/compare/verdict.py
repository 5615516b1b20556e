"""What a comparison comes to, in plain sentences that say no more than was seen."""

from __future__ import annotations

import math
from collections.abc import Sequence

from vitrail.data.names import few
from vitrail.run.compare.statistics import Pair, Ranking
from vitrail.run.content import in_text, is_share


def difference_in_words(pair: Pair, *, pairs: int = 1) -> str:
    """Return one sentence about two models: which is better and by how much, or that no difference is shown.

    ``pairs`` is how many comparisons there are, for which the answer is corrected.
    """
    worse = pair.theirs if pair.better == pair.ours else pair.ours
    value, reach = abs(pair.found.value), pair.found.reach
    if not math.isfinite(value + reach):
        return f"{pair.ours} and {pair.theirs}: nothing can be said about {in_text(pair.metric)}."
    ends = f"{_number(pair, value - reach)} to {_number(pair, value + reach)}"
    unseen = f"with this test set a difference under {_number(pair, reach)} could not have been seen"
    if pair.shown:
        return f"{pair.better} is better than {worse} by {_amount(pair, value)} ({ends}); {unseen}."
    clear = value > reach
    why = f" once all {pairs} comparisons are counted" if clear and pairs > 1 else ""
    return (
        f"No difference between {pair.better} and {worse} is shown{why}: {_amount(pair, value)} ({ends}); "
        f"{unseen}."
    )


def verdict(ranking: Ranking) -> list[str]:
    """Return what is to be said first: the best model against the next, and who may be as good as it."""
    ranked = [each.name for each in ranking.standings]
    if len(ranked) == 1:
        return [f"{ranked[0]} ran alone: there is nothing to compare it with."]
    count = len(ranking.of(ranking.first))
    sentences = [difference_in_words(ranking.between(*ranked[:2]), pairs=count)]
    rest = [(name, ranking.between(ranked[0], name)) for name in ranked[2:]]
    level = [name for name, pair in rest if not pair.shown]
    beaten = [name for name, pair in rest if pair.shown]
    if beaten:
        sentences.append(f"{ranked[0]} is better than {few(beaten, 5)}, too.")
    if level:
        sentences.append(f"No difference to {few(level, 5)} is shown, either.")
    return sentences


def reservations(ranking: Ranking) -> list[str]:
    """Return what a reader has to know to trust the numbers no more than they deserve."""
    seeds = {each.name: len(each.seeds) for each in ranking.standings}
    said = []
    if (least := min(seeds.values())) == 1:
        alone = few([name for name, count in seeds.items() if count == 1], 5)
        said.append(
            f"One seed only ({alone}): the intervals are over pictures and ignore what another seed would "
            "have brought, so they are too narrow. Run more seeds before you rely on a difference."
        )
    elif least < 5:
        said.append(f"{least} seeds are few: with them intervals are wide, and right on average only.")
    return said


def _number(pair: Pair, value: float) -> str:
    return f"{100 * value:.1f}" if is_share(pair.metric) else f"{value:.3f}"


def _amount(pair: Pair, value: float) -> str:
    unit = " points" if is_share(pair.metric) else " nats" if pair.metric == "log_loss" else ""
    of = "" if pair.metric == "accuracy" else f" of {in_text(pair.metric)}"
    return f"{_number(pair, value)}{unit}{of}"


def short(names: Sequence[str]) -> str:
    """Return models' names for a title."""
    return " against ".join(names) if len(names) == 2 else f"{len(names)} models"
