"""Training, validation and test: as given, and what is missing is held out of the training part.

What is held out depends on a seed and on the samples' keys, not on the order of files on a disk or on the
folder they lie in: rows are ordered by class and, inside a class, by a hash of seed and key; then every
tenth or so is taken along that order. So each class gets its share within one sample, and rare ones are not
all rounded away. Groups are dealt out whole, in the manner of iterative stratification (Sechidis, Tsoumakas,
Vlahavas 2011).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from vitrail.data.names import few
from vitrail.data.samples import Samples, Table
from vitrail.data.stamps import digest
from vitrail.errors import UsageError, VitrailError

VAL, TEST = 0.1, 0.2
"""Fractions that are held out where the data name no validation or no test part."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Splits:
    """The three parts of a data set, the names of its classes, and in plain words what is worth knowing."""

    train: Samples
    val: Samples
    test: Samples
    classes: tuple[str, ...]
    notes: tuple[str, ...] = ()

    @property
    def fingerprint(self) -> str:
        """A SHA-256 of all three parts: the same data, split the same way, wherever it lies."""
        parts = (self.train.fingerprint, self.val.fingerprint, self.test.fingerprint)
        return hashlib.sha256("".join(parts).encode()).hexdigest()

    def thinned(self, fraction: float, seed: int) -> Splits:
        """Return the same validation and test parts with a fraction of the training part."""
        return self if fraction == 1 else replace(self, train=thin(self.train, fraction, seed))


def complete(
    table: Table, *, seed: int, val: float = VAL, test: float = TEST, allow_shared_groups: bool = False
) -> Splits:
    """Return train, val and test: those that the files name, the others held out of train (or of everything).

    ``val`` and ``test`` are fractions of what they are taken from. Splits are stratified by class (by set of
    classes for multi-label data) and keep groups whole. Every class is trained on: one with a single picture
    is not tested, and a note says so. Raises VitrailError for a class without a training picture (with masks
    that is a note: a class may be listed and never drawn), for parts that would be empty, and for a group in
    two given splits unless ``allow_shared_groups``.
    """
    given = table.splits()
    train = given.get("train") or given.get("all")
    if train is None or not len(train):
        raise VitrailError(f"{table.home} has no training split, only {few(list(given))}.")
    notes = list(table.notes)
    _check_groups(given, allowed=allow_shared_groups, notes=notes)
    wanted = {name: share for name, share in (("test", test), ("val", val)) if name not in given}
    held = _hold_out(train, wanted, seed)
    parts = {name: train.take(held == code + 1, name) for code, name in enumerate(wanted)}
    parts["train"] = train.take(held == 0, "train")
    parts |= {name: given[name] for name in ("val", "test") if name in given}
    _check_classes(table, parts, notes)
    notes += [
        f"{name}: {len(parts[name])} of {len(train)} pictures, held out by seed {seed}." for name in wanted
    ]
    return Splits(
        train=parts["train"], val=parts["val"], test=parts["test"], classes=table.classes, notes=tuple(notes)
    )


def thin(samples: Samples, fraction: float, seed: int) -> Samples:
    """Return a fraction of samples, of each class (or set of classes) alike, and at least one of each class.

    Fractions are nested: what a small one holds is in every larger one. Which these are depends on the seed
    and the keys alone.
    """
    order, stratum, first = _stratified(samples, seed)
    kinds, start, size = np.unique(stratum[order], return_index=True, return_counts=True)
    rank = np.arange(len(order)) - np.repeat(start, size)
    # Each stratum is entered at a place of its own: rare sets of classes are not all rounded the same way.
    entry = np.array([(digest(b"%d" % seed, b"%d" % kind) >> 11) / 2**53 for kind in kinds.tolist()])
    kept = (rank + np.repeat(entry, size)) / np.repeat(size, size) < fraction
    rows = np.union1d(order[kept], first)
    return samples.take(rows)


def _hold_out(samples: Samples, shares: dict[str, float], seed: int) -> np.ndarray:
    """Return for each row 0 (it stays) or 1, 2, ... (it goes to the first, second, ... of ``shares``)."""
    if not shares:
        return np.zeros(len(samples), np.int8)
    if not all(share > 0 for share in shares.values()) or sum(shares.values()) >= 1:
        raise UsageError(f"The fractions to hold out must be above 0 and sum to less than 1, not {shares}.")
    fractions = np.array(list(shares.values()))
    if samples.groups is None:
        return _by_row(samples, fractions, seed)
    return _by_group(samples, samples.groups, fractions, seed)


def _by_row(samples: Samples, shares: np.ndarray, seed: int) -> np.ndarray:
    """Hold out single rows, evenly along the order of classes; the first row of each class stays."""
    order, _, first = _stratified(samples, seed)
    pool = order[~np.isin(order, first)]
    counts = np.minimum(shares * len(samples), len(pool) * shares / shares.sum()).round().astype(int).clip(1)
    if counts.sum() > len(pool):
        raise VitrailError(
            f"{samples.home} has too few pictures to hold some out: "
            f"{len(samples)} for {len(samples.classes)} classes."
        )
    held = np.zeros(len(samples), np.int8)
    start = (digest(b"%d" % seed) >> 11) / 2**53
    for part, count in enumerate(counts.tolist(), 1):
        chosen = ((np.arange(count) + start) * len(pool) / count).astype(int)
        held[pool[chosen]] = part
        pool = np.delete(pool, chosen)
    return held


def _stratified(samples: Samples, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return rows ordered by stratum and, inside one, by a hash; each row's stratum; a row of each class.

    A stratum is a class, or a set of classes for multi-label data.
    """
    hashes = np.array([digest(b"%d" % seed, samples.keys.raw(i)) for i in range(len(samples))], np.uint64)
    hot = samples.targets.get("labels")
    if hot is None:
        stratum = samples.targets["label"]
        order = np.lexsort((hashes, stratum))
        _, first = np.unique(stratum[order], return_index=True)
    else:
        _, stratum = np.unique(np.packbits(hot, axis=1), axis=0, return_inverse=True)
        stratum = stratum.ravel()
        order = np.lexsort((hashes, stratum))
        first = hot[order].argmax(axis=0)
    return order, stratum, order[first]


def _by_group(samples: Samples, groups: np.ndarray, shares: np.ndarray, seed: int) -> np.ndarray:
    """Hold out whole groups: the largest first, each goes to the part that lacks most of what it has.

    Then training gets the smallest group of each class that it lacks, and a part that got none the smallest
    group that training can spare.
    """
    codes, group = np.unique(groups, return_inverse=True)
    names = [samples.table.group_names[code] for code in codes.tolist()]
    hashes = np.array([digest(b"%d" % seed, os.fsencode(name)) for name in names], np.uint64)
    starts, column, count = _tally(samples, group)
    contents = [(column[i:j], count[i:j]) for i, j in pairwise(starts.tolist())]
    totals = np.bincount(column, weights=count)
    wanted = np.array([1 - shares.sum(), *shares])[:, None] * totals
    had = np.zeros_like(wanted)
    dealt = np.full(len(names), -1, np.int8)

    def deal(g: int, part: int) -> None:
        has, much = contents[g]
        if dealt[g] >= 0:
            had[dealt[g], has] -= much
        had[part, has] += much
        dealt[g] = part

    largest_first = np.lexsort((hashes, -np.bincount(group))).tolist()
    for g in largest_first:
        has, much = contents[g]
        deal(g, int(((wanted[:, has] - had[:, has]) * (much / totals[has])).sum(1).argmax()))
    for lacked in np.flatnonzero((had[0] == 0) & (totals > 0)).tolist():
        if had[0, lacked] == 0:
            deal(next(g for g in reversed(largest_first) if lacked in contents[g][0]), 0)
    for part in range(1, len(wanted)):
        if not (dealt == part).any():
            train = [g for g in reversed(largest_first) if dealt[g] == 0]
            spare = next((g for g in train if (had[0, contents[g][0]] > contents[g][1]).all()), None)
            if spare is None:
                raise VitrailError(f"{samples.home} has too few groups to hold any out: {few(names, 10)}.")
            deal(spare, part)
    held: np.ndarray = dealt[group]
    return held


def _tally(samples: Samples, group: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return how many of which class each group has, as sparse rows; one more column counts all its samples.

    Entries ``starts[g]`` to ``starts[g + 1]`` of the columns' numbers and of the counts are those of group
    ``g``.
    """
    width = len(samples.classes) + 1
    hot = samples.targets.get("labels")
    row, label = (np.arange(len(samples)), samples.targets["label"]) if hot is None else hot.nonzero()
    cells = np.concatenate([group[row] * width + label, group * width + width - 1])
    cell, count = np.unique(cells, return_counts=True)
    starts = np.searchsorted(cell, np.arange(group.max() + 2) * width)
    return starts, cell % width, count


def _check_groups(given: Mapping[str, Samples], *, allowed: bool, notes: list[str]) -> None:
    """Raise VitrailError for groups in two given splits, whose scores would be too good."""
    splits = list(given.items())
    for i, (one, samples) in enumerate(splits):
        for other, more in splits[i + 1 :]:
            if samples.groups is None or more.groups is None:
                continue
            shared = np.intersect1d(samples.groups, more.groups)
            if not len(shared):
                continue
            names = few([samples.table.group_names[code] for code in shared.tolist()])
            pictures = int(np.isin(more.groups, shared).sum())
            what = (
                f"{len(shared)} groups are in {one} and in {other} ({names}; {pictures} pictures of {other})"
            )
            if not allowed:
                raise VitrailError(
                    f"{samples.home}: {what}. Move each into one of them, or allow it: --data.shared-groups."
                )
            notes.append(f"{what}: scores on {other} are likely to be too good.")


def _counts(samples: Samples) -> np.ndarray:
    """Return how many pictures of each class there are."""
    hot = samples.targets.get("labels")
    if hot is not None:
        return np.asarray(hot.sum(0, dtype=np.int64))
    return np.bincount(samples.targets["label"], minlength=len(samples.classes))


def _check_classes(table: Table, parts: Mapping[str, Samples], notes: list[str]) -> None:
    """Raise VitrailError for an empty part or an untrained class; note what cannot be scored."""
    counts = {}
    for name, samples in parts.items():
        if not len(samples):
            raise VitrailError(f"{table.home}: {name} has no pictures.")
        counts[name] = _counts(samples)
    untrained = [table.classes[i] for i in np.flatnonzero(counts["train"] == 0)]
    nowhere = [table.classes[i] for i in np.flatnonzero(sum(counts.values()) == 0)]
    if table.masks is not None:
        if nowhere:
            notes.append(f"No mask has any of: {few(nowhere, 10)}.")
        if unseen := [name for name in untrained if name not in nowhere]:
            notes.append(f"No training mask has any of: {few(unseen, 10)}. They cannot be learnt.")
    elif untrained:
        raise VitrailError(
            f"{table.home}: no training picture of {few(untrained, 10)}. "
            "Add some, or take the class (folder, label, column) out."
        )
    single = [table.classes[i] for i in np.flatnonzero(sum(counts.values()) == 1)]
    if single:
        notes.append(f"Classes with a single picture, which is trained on and not tested: {few(single, 10)}.")
    for name in ("val", "test"):
        absent = [
            table.classes[i]
            for i in np.flatnonzero(counts[name] == 0)
            if table.classes[i] not in (*single, *nowhere)
        ]
        if absent:
            notes.append(f"No picture in {name} of: {few(absent, 10)}.")
