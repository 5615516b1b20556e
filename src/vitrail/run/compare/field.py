"""What is compared, on common ground: runs grouped by what they are runs of, and their answers side by side.

Runs are comparable when they answered the same pictures, which none of them was trained on, with the same
classes. All three are checked, the last two by name and by content.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from vitrail.contracts import Samples, Task
from vitrail.data.names import few
from vitrail.data.split import Splits
from vitrail.errors import UsageError, VitrailError
from vitrail.run.answer import Answers
from vitrail.run.compare.race import Entrant
from vitrail.run.contract import Contract, read_contract
from vitrail.run.experiment import open_splits
from vitrail.run.folder import PREDICTIONS, Run
from vitrail.run.predictions import read_predictions
from vitrail.run.recipe import Recipe, differences

SPLIT = "test"


@dataclass(frozen=True, kw_only=True)
class Field:
    """The entrants and, by run folder, what each of their runs answered on the same ``keys`` in this order.

    ``contract`` is the first run's: its task and classes are those of all. ``splits`` is the data that they
    were tested on, or None when it is not there any more. ``notes`` is what is worth knowing.
    """

    entrants: Sequence[Entrant]
    contract: Contract
    keys: Sequence[str]
    answers: Mapping[Path, Answers]
    splits: Splits | None
    notes: Sequence[str] = ()

    @property
    def standing(self) -> list[Entrant]:
        """The entrants that have a run to show."""
        return [each for each in self.entrants if each.whole]


def entrants_of(folders: Sequence[str | Path]) -> list[Entrant]:
    """Group run folders: those whose recipes differ in the seed alone are runs of one model.

    Raises UsageError for fewer than two, for what is no run, and for one that is not finished.
    """
    if len(folders) < 2:
        raise UsageError("one run cannot be compared. Name two or more, or DATA with --models A B.")
    groups: dict[str, tuple[Recipe, list[Run]]] = {}
    for folder in dict.fromkeys(map(Path, folders)):
        run = Run(folder)
        recipe = run.recipe()
        if not run.finished:
            raise UsageError(f"{folder} is not finished: vitrail train --resume {folder}")
        alike = replace(recipe, seed=0, environment=None)
        name = repr(alike)
        groups.setdefault(name, (alike, []))[1].append(run)
    recipes = [recipe for recipe, _ in groups.values()]
    names = _distinct(recipes)
    return [
        Entrant(name=name, runs={recipe.data.fraction: runs})
        for name, (recipe, runs) in zip(names, groups.values(), strict=True)
    ]


def _distinct(recipes: Sequence[Recipe]) -> list[str]:
    """Return the models' names, with what sets them apart where two are of the same model."""
    names = []
    for index, recipe in enumerate(recipes):
        name = recipe.model.name
        rivals = [each for other, each in enumerate(recipes) if other != index and each.model.name == name]
        if rivals:
            plain = recipe.to_dict()
            changed = {line.split(":")[0] for each in rivals for line in differences(each.to_dict(), plain)}
            name = f"{name} ({few([_told(plain, key) for key in _telling(changed)], 3)})"
        names.append(name)
    return names


def _telling(changed: Collection[str]) -> list[str]:
    """Return the keys that say most: what another head, or another part, can be told is not one of them."""
    others = tuple(key.removesuffix("name") for key in changed if key.endswith(".name"))
    return sorted(key for key in changed if key.endswith(".name") or not key.startswith(others))


def _told(plain: Mapping[str, object], key: str) -> str:
    value: object = plain
    for part in key.split("."):
        value = value[part]  # type: ignore[index]
    return f"{key.removesuffix('.name').split('.')[-1]} {value}"


def set_side_by_side(entrants: Sequence[Entrant]) -> Field:
    """Read what the entrants' runs answered on their test parts, all in the same order.

    Raises VitrailError, with the reason, when they are not comparable: another task, other classes, other
    test pictures or labels, or a run that was trained on pictures that another was tested on.
    """
    runs = [run for each in entrants for some in each.runs.values() for run in some]
    if not runs:
        reasons = "; ".join(each.failed for each in entrants if each.failed)
        raise VitrailError(f"there is no finished run to compare. {reasons}")
    contracts = {run.path: read_contract(run.path) for run in runs}
    first = contracts[runs[0].path]
    for run in runs[1:]:
        _same_question(runs[0], first, run, contracts[run.path])
    multi = bool(first.recipe.task.multi)
    found = {
        run.path: read_predictions(run.path / PREDICTIONS, SPLIT, first.classes, multi=multi) for run in runs
    }
    keys, dropped = _common(found)
    parts = _parts(runs)
    lost = [path for path, splits in parts.items() if splits is None]
    _same_pictures({path: splits for path, splits in parts.items() if splits is not None})
    notes = [f"{dropped} test pictures could not be read by every run and are left out."] if dropped else []
    if lost:
        notes.append(
            f"The data of {few([str(path) for path in lost])} is not there any more: whether these runs were "
            "trained on test pictures of others could not be checked."
        )
    answers = {path: _in_order(each, keys) for path, each in found.items()}
    _same_truths(answers, first.task)
    splits = next((splits for splits in parts.values() if splits is not None), None)
    return Field(entrants=entrants, contract=first, keys=keys, answers=answers, splits=splits, notes=notes)


def _same_question(one: Run, first: Contract, other: Run, second: Contract) -> None:
    if first.recipe.task != second.recipe.task:
        raise VitrailError(
            f"{one.path} answers {first.recipe.task}, {other.path} {second.recipe.task}: "
            "only answers to the same question can be compared."
        )
    if set(first.classes) != set(second.classes):
        raise VitrailError(
            f"{one.path} and {other.path} know different classes, so they cannot be compared.\n"
            f"The one: {few(first.classes, 20)}. The other: {few(second.classes, 20)}."
        )


def _common(found: Mapping[Path, Answers]) -> tuple[list[str], int]:
    """Return the keys that every run answered, in the first one's order, and how many are left out.

    A few pictures that not every run could read are left out; more than that is another test part.
    """
    (first, answers), *others = found.items()
    shared, every = set(answers.keys), set(answers.keys)
    for path, each in others:
        theirs = set(each.keys)
        if len(shared & theirs) < 0.95 * max(len(shared), len(theirs)):
            more, less = sorted(theirs - every), sorted(every - theirs)
            raise VitrailError(
                f"{first} and {path} were tested on different pictures: {len(every & theirs):,} in common, "
                f"{len(less):,} of the first alone ({few(less) or 'none'}), {len(more):,} of the second "
                f"alone ({few(more) or 'none'}).\nTrain both on one split: --data.split-seed 0, or "
                "vitrail compare DATA --models A B."
            )
        shared, every = shared & theirs, every | theirs
    return [key for key in answers.keys if key in shared], len(every) - len(shared)


def _in_order(answers: Answers, keys: Sequence[str]) -> Answers:
    """Return answers in the order of keys."""
    place = {key: index for index, key in enumerate(answers.keys)}
    rows = np.array([place[key] for key in keys])
    return Answers(
        keys=list(keys),
        answers=[answers.answers[row] for row in rows.tolist()],
        targets=None if answers.targets is None else answers.targets[rows],
        groups=None if answers.groups is None else answers.groups[rows],
    )


def _same_truths(answers: Mapping[Path, Answers], task: Task) -> None:
    """Refuse runs that were tested with different labels of the same pictures."""
    (first, known), *others = answers.items()
    truths = task.truths(known.answers, known.targets)
    for path, each in others:
        wrong = np.flatnonzero((truths != task.truths(each.answers, each.targets)).any(axis=1))
        if len(wrong):
            names = few([known.keys[row] for row in wrong[:5].tolist()])
            raise VitrailError(
                f"{first} and {path} were tested with different labels of {len(wrong):,} pictures: {names}."
            )


def _parts(runs: Sequence[Run]) -> dict[Path, Splits | None]:
    """Return the parts of the data that runs were made from, each opened once; None for what is gone."""
    opened: dict[str, Splits | None] = {}
    parts = {}
    for run in runs:
        recipe = run.recipe()
        seed = recipe.seed if recipe.data.split_seed is None else recipe.data.split_seed
        what = repr((recipe.where, recipe.data, seed))
        if what not in opened:
            try:
                opened[what] = open_splits(recipe, offline=True)
            except VitrailError:
                opened[what] = None
        parts[run.path] = opened[what]
    return parts


def _same_pictures(parts: Mapping[Path, Splits]) -> None:
    """Refuse runs of which one was trained on a picture that another was tested on, found by content.

    Within one data set rows tell; between two, the pictures' bytes are compared, of those that are as large.
    """
    distinct = {_identity(splits): (path, splits) for path, splits in parts.items()}
    for one, (path, splits) in distinct.items():
        for other, (rival, theirs) in distinct.items():
            if one == other:
                continue
            held = [splits.train, splits.val]
            if splits.test.home == theirs.test.home:
                shared = sum(len(np.intersect1d(part.rows, theirs.test.rows)) for part in held)
                example = ""
            else:
                shared, example = _copies(held, theirs.test)
            if shared:
                raise VitrailError(
                    f"{path} learned from {shared:,} pictures that {rival} is tested on{example}: "
                    "a comparison would praise it for what it has seen. Train both on one split."
                )


def _identity(splits: Splits) -> str:
    return f"{splits.test.home} {splits.fingerprint}"


def _copies(held: Sequence[Samples], test: Samples) -> tuple[int, str]:
    """Return how many test pictures are among others, and an example."""
    sizes = set(_sizes(test).tolist())
    known = {
        _content(part, index)
        for part in held
        for index in np.flatnonzero(np.isin(_sizes(part), list(sizes))).tolist()
    }
    if not known:
        return 0, ""
    found = [index for index in range(len(test)) if _content(test, index) in known]
    return len(found), f" (such as {test.keys[found[0]]})" if found else ""


def _sizes(samples: Samples) -> np.ndarray:
    """Return a number for each picture that equal pictures share: a file's size, or a hash of its content."""
    table = samples.table  # type: ignore[attr-defined]
    return np.asarray(table.contents[samples.rows])


def _content(samples: Samples, index: int) -> bytes:
    """Return a hash of a picture's encoded bytes, or of its pixels."""
    source = samples.source(index)
    if isinstance(source, np.ndarray):
        return hashlib.sha256(source.tobytes()).digest()
    if isinstance(source, bytes):
        return hashlib.sha256(source).digest()
    try:
        return hashlib.sha256(Path(str(source)).read_bytes()).digest()
    except OSError:
        return f"unreadable {samples.keys[index]}".encode()
