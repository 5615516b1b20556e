"""Every held-out answer of a run, in its folder: what other pages and comparisons are made of."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vitrail.errors import VitrailError
from vitrail.run.answer import Answers
from vitrail.run.files import replacing
from vitrail.values import Label

SCORE = "score:"
"""How the columns of probabilities begin, before a class's name."""


def write_predictions(path: Path, parts: Mapping[str, Answers], classes: Sequence[str]) -> None:
    """Write every held-out answer: key, split, truth, answer, group if any, and a probability a class."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns: dict[str, list[Any]] = {"key": [], "split": [], "label": [], "answer": []}
    scores: list[np.ndarray] = []
    groups: list[int | None] = []
    for split, found in parts.items():
        assert found.targets is not None
        groups += [None] * len(found.keys) if found.groups is None else found.groups.tolist()
        for key, answer, target in zip(found.keys, found.answers, found.targets, strict=True):
            assert isinstance(answer, Label)
            columns["key"].append(key)
            columns["split"].append(split)
            columns["label"].append([classes[i] for i in np.flatnonzero(target > 0.5).tolist()])
            columns["answer"].append(list(answer.chosen))
            scores.append(answer.scores)
    table = np.stack(scores).astype(np.float32)
    data = columns | {f"{SCORE}{name}": table[:, i] for i, name in enumerate(classes)}
    if any(group is not None for group in groups):
        data["group"] = groups
    with replacing(path, table.nbytes) as draft:
        pq.write_table(pa.table(data), draft)


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
    names = [name.removeprefix(SCORE) for name in table.column_names if name.startswith(SCORE)]
    if set(names) != set(classes):
        raise VitrailError(f"{path}: about the classes {', '.join(names)}, not {', '.join(classes)}.")
    scores = np.stack([table[f"{SCORE}{name}"].to_numpy() for name in classes], axis=1)
    place = {name: index for index, name in enumerate(classes)}
    targets = np.zeros(scores.shape, np.float32)
    for row, labels in enumerate(table["label"].to_pylist()):
        targets[row, [place[label] for label in labels]] = 1
    groups = table["group"] if "group" in table.column_names else None
    return Answers(
        keys=table["key"].to_pylist(),
        answers=[
            Label(names=tuple(classes), scores=row, source=index, multi=multi)
            for index, row in enumerate(scores)
        ],
        targets=targets,
        groups=None if groups is None or groups.null_count else groups.to_numpy(),
    )
