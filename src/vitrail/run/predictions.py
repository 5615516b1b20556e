"""Every held-out answer of a run, in its folder: what other pages and comparisons are made of."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vitrail.errors import VitrailError
from vitrail.measure.segment import columns, from_columns, reordered
from vitrail.run.answer import Answers
from vitrail.run.files import replacing
from vitrail.values import Label

SCORE = "score:"
"""How the columns of probabilities begin, before a class's name."""
CLASSES, OURS = "classes", ("key", "split", "group")
"""Where the classes' names stand beside counts, and the columns that are no counts."""


def write_predictions(path: Path, parts: Mapping[str, Answers], classes: Sequence[str]) -> None:
    """Write every held-out answer: key, split, group if any, and what is measured of it.

    Of labels that is truth, answer and a probability a class; of masks the counts of a `Tally`, a number or
    a list each, with the classes' names beside them.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    data: dict[str, Any] = {"key": [], "split": []}
    groups: list[int | None] = []
    for split, found in parts.items():
        groups += [None] * len(found.keys) if found.groups is None else found.groups.tolist()
        data["key"] += found.keys
        data["split"] += [split] * len(found.keys)
    answers = [answer for found in parts.values() for answer in found.answers]
    if isinstance(answers[0], Label):
        truths = [found.targets for found in parts.values() if found.targets is not None]
        data |= _labels(answers, np.concatenate(truths), classes)
    else:
        data |= {name: list(column) for name, column in columns(answers).items()}
    if any(group is not None for group in groups):
        data["group"] = groups
    table = pa.table(data).replace_schema_metadata({CLASSES: json.dumps(list(classes))})
    with replacing(path, table.nbytes) as draft:
        pq.write_table(table, draft)


def _labels(answers: Sequence[Label], truths: np.ndarray, classes: Sequence[str]) -> dict[str, Any]:
    scores = np.stack([answer.scores for answer in answers]).astype(np.float32)
    return {
        "label": [[classes[i] for i in np.flatnonzero(truth > 0.5).tolist()] for truth in truths],
        "answer": [list(answer.chosen) for answer in answers],
    } | {f"{SCORE}{name}": scores[:, i] for i, name in enumerate(classes)}


def read_predictions(path: Path, split: str, classes: Sequence[str], *, multi: bool = False) -> Answers:
    """Return what `write_predictions` wrote of one part, its targets ``n c`` in the order of ``classes``.

    Raises VitrailError for a file that is missing or damaged, or that is about other classes.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path, filters=[("split", "==", split)])
    except (OSError, pa.ArrowException) as error:
        reason = str(error).splitlines()[0]
        raise VitrailError(f"{path}: cannot be read ({reason}). A finished run has it.") from None
    groups = table["group"] if "group" in table.column_names else None
    groups = None if groups is None or groups.null_count else groups.to_numpy()
    keys = table["key"].to_pylist()
    if "label" not in table.column_names:
        named = json.loads((table.schema.metadata or {}).get(CLASSES.encode(), b"[]"))
        if set(named) != set(classes):
            raise VitrailError(f"{path}: about the classes {', '.join(named)}, not {', '.join(classes)}.")
        stored = {name: table[name].to_pylist() for name in table.column_names if name not in OURS}
        kept = from_columns({name: np.array(column) for name, column in stored.items()})
        order = [named.index(name) for name in classes]
        if order != sorted(order):
            kept = [reordered(each, order) for each in kept]
        return Answers(keys=keys, answers=kept, groups=groups)
    names = [name.removeprefix(SCORE) for name in table.column_names if name.startswith(SCORE)]
    if set(names) != set(classes):
        raise VitrailError(f"{path}: about the classes {', '.join(names)}, not {', '.join(classes)}.")
    scores = np.stack([table[f"{SCORE}{name}"].to_numpy() for name in classes], axis=1)
    place = {name: index for index, name in enumerate(classes)}
    targets = np.zeros(scores.shape, np.float32)
    for row, labels in enumerate(table["label"].to_pylist()):
        targets[row, [place[label] for label in labels]] = 1
    return Answers(
        keys=keys,
        answers=[
            Label(names=tuple(classes), scores=row, source=index, multi=multi)
            for index, row in enumerate(scores)
        ],
        targets=targets,
        groups=groups,
    )
