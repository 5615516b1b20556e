"""Answers and targets as sums over pictures, from which a classifier's numbers and their resamples follow."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vitrail.measure.intervals import Resampling, Sums
from vitrail.measure.ranking import auroc, average_precision
from vitrail.measure.reliability import BINS, bins_of, calibration_error, ratio

ROWS = 65_536
"""Pictures looked at together where a comparison would need memory for every picture and class."""
FEW = 10
"""Up to so many classes the true one is too often among the first five for that to say anything."""


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Sums by unit (``units k``) and what cannot be summed: how well each class is ranked (``c`` each).

    ``tables``: ``pictures`` and ``loss`` (``k`` = 1), ``bins``, ``confidences``, ``bin_hits`` (15), and by
    class ``hits``, ``chosen``, ``support``, each ranking's influences; unless ``multi``, ``first``, ``top5``.
    """

    tables: Sums
    rankings: Sums
    multi: bool


def read_targets(targets: np.ndarray, classes: int, multi: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return which pictures have a label (bool ``n``), and class indices ``n``, or bool ``n c`` if ``multi``.

    ``targets`` are indices ``n`` (-1: no label) or hot ones ``n c`` (where a row of zeros is none, or with
    ``multi`` a picture of nothing).
    """
    targets = np.asarray(targets)
    if targets.ndim == 2 and multi:
        return np.ones(len(targets), bool), targets > 0.5
    if targets.ndim == 2:
        return np.asarray(targets.any(1)), targets.argmax(1)
    if targets.max(initial=-1) >= classes:
        raise ValueError(f"a target is class {targets.max()} of {classes}")
    indices = targets.astype(np.int64)
    return indices >= 0, np.eye(classes, dtype=bool)[indices] if multi else indices


def count_single(scores: np.ndarray, truth: np.ndarray, again: Resampling) -> Counts:
    """Count probabilities ``n c`` against class indices ``n``: the most probable class is chosen."""
    classes = scores.shape[1]
    chosen = scores.argmax(1)
    hit = chosen == truth
    confidence = scores[np.arange(len(scores)), chosen]
    given = scores[np.arange(len(scores)), truth]
    bins = bins_of(confidence)
    tables = {
        "pictures": again.sums(np.ones(len(scores)))[:, None],
        "first": again.sums(hit)[:, None],
        "loss": again.sums(surprise(given))[:, None],
        "bins": again.tally(bins, BINS),
        "confidences": again.tally(bins, BINS, confidence),
        "bin_hits": again.tally(bins, BINS, hit),
        "hits": again.tally(truth, classes, hit),
        "chosen": again.tally(chosen, classes),
        "support": again.tally(truth, classes),
    }
    if classes > FEW:
        tables["top5"] = again.sums(places(scores, truth) < 5)[:, None]
    areas, influences = np.empty(classes), np.empty((again.count, classes))
    for k in range(classes):
        areas[k], influence = auroc(scores[:, k], truth == k)
        influences[:, k] = again.sums(influence)
    return Counts(tables=tables | {"auroc": influences}, rankings={"auroc": areas}, multi=False)


def count_multi(scores: np.ndarray, truth: np.ndarray, again: Resampling, threshold: float) -> Counts:
    """Count probabilities ``n c`` against bool ``n c``: every class at ``threshold`` or above is chosen."""
    classes = scores.shape[1]
    by_class = {name: np.empty((again.count, classes)) for name in ("hits", "chosen", "support", *RANKINGS)}
    by_bin = {name: np.zeros((again.count, BINS)) for name in ("bins", "confidences", "bin_hits")}
    rankings = {name: np.empty(classes) for name in RANKINGS}
    loss = np.zeros(again.count)
    for k in range(classes):
        score, positive = scores[:, k], truth[:, k]
        chosen, bins = score >= threshold, bins_of(score)
        for name, column in (("hits", chosen & positive), ("chosen", chosen), ("support", positive)):
            by_class[name][:, k] = again.sums(column)
        for name, weights in (("bins", None), ("confidences", score), ("bin_hits", positive)):
            by_bin[name] += again.tally(bins, BINS, weights)
        for name, rank in RANKINGS.items():
            rankings[name][k], influence = rank(score, positive)
            by_class[name][:, k] = again.sums(influence)
        loss += again.sums(surprise(np.where(positive, score, 1 - score))) / classes
    single = {"pictures": again.sums(np.ones(len(scores)))[:, None], "loss": loss[:, None]}
    return Counts(tables=single | by_bin | by_class, rankings=rankings, multi=True)


RANKINGS = {"auroc": auroc, "average_precision": average_precision}


def figures_by_class(sums: Sums, counts: Counts) -> dict[str, np.ndarray]:
    """Return precision, recall, F1 and the rankings of each class (``... c``) from sums (``... k``).

    Precision is not a number for a class that was never chosen; recall and F1 for one without a picture.
    """
    hits, chosen, support = sums["hits"], sums["chosen"], sums["support"]
    f1 = np.where(support > 0, ratio(2 * hits, chosen + support), np.nan)
    figures = {"precision": ratio(hits, chosen), "recall": ratio(hits, support), "f1": f1}
    return figures | {name: value + sums[name] for name, value in counts.rankings.items()}


def figures(sums: Sums, counts: Counts) -> dict[str, np.ndarray]:
    """Return the metrics (``...``) from sums (``... k``)."""
    by_class = figures_by_class(sums, counts)
    pictures = sums["pictures"][..., 0]
    averages = {"macro_f1": mean(by_class["f1"]), "auroc": mean(by_class["auroc"])}
    losses = {
        "log_loss": ratio(sums["loss"][..., 0], pictures),
        "ece": calibration_error(sums["bins"], sums["confidences"], sums["bin_hits"]),
    }
    if counts.multi:
        together = ratio(2 * sums["hits"].sum(-1), (sums["chosen"] + sums["support"]).sum(-1))
        return {"map": mean(by_class["average_precision"]), "micro_f1": together} | averages | losses
    firsts = {
        "accuracy": ratio(sums["first"][..., 0], pictures),
        "balanced_accuracy": mean(by_class["recall"]),
    }
    top5 = {"top5_accuracy": ratio(sums["top5"][..., 0], pictures)} if "top5" in sums else {}
    return firsts | averages | top5 | losses


def bases(counts: Counts) -> dict[str, np.ndarray]:
    """Return how many units each figure of each class (``c``) rests on."""
    tables = counts.tables
    holders = np.count_nonzero(tables["support"], axis=0)
    others = np.count_nonzero(tables["pictures"] - tables["support"], axis=0)
    return {
        "precision": np.count_nonzero(tables["chosen"], axis=0),
        "recall": holders,
        "f1": holders,
        "auroc": np.minimum(holders, others),
        "average_precision": holders,
    }


def confusion(scores: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Return how often each class (rows) was taken for each (columns), int64 ``c c``."""
    classes = scores.shape[1]
    return np.bincount(truth * classes + scores.argmax(1), minlength=classes**2).reshape(classes, classes)


def places(scores: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Return the place of the true class among all (``n``, 0 is first); of equals the first class leads."""
    found = np.empty(len(scores), np.int64)
    columns = np.arange(scores.shape[1])
    for start in range(0, len(scores), ROWS):
        rows = slice(start, start + ROWS)
        own = np.take_along_axis(scores[rows], truth[rows, None], 1)
        ahead = (scores[rows] > own) | ((scores[rows] == own) & (columns < truth[rows, None]))
        found[rows] = ahead.sum(1)
    return found


def surprise(probability: np.ndarray) -> np.ndarray:
    """Return the log loss of each probability (``n``), which is clipped at the smallest step of its type."""
    step = np.finfo(probability.dtype).eps
    losses: np.ndarray = -np.log(np.clip(probability, step, 1 - step).astype(np.float64))
    return losses


def mean(values: np.ndarray) -> np.ndarray:
    """Return the mean over the last axis of the values that are numbers."""
    there = np.isfinite(values)
    return ratio(np.where(there, values, 0).sum(-1), there.sum(-1))
