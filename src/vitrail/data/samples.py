"""Samples as columns: a million files cost some tens of megabytes, not a million objects.

`Table` holds the whole data set, a row a sample, and `Samples` is a view of some of its rows. Names lie side
by side in one buffer (the layout of an Arrow column, so that `vitrail.data.index` can memory-map them), and
targets, sizes and stamps are NumPy columns.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence, Sized
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, overload

import numpy as np

from vitrail.data.masks import Renumbered
from vitrail.data.names import few
from vitrail.errors import VitrailError
from vitrail.values import Sample, Source

BLOCK = 1 << 16
"""Rows that are gathered at a time where a whole column would cost memory."""


class Blobs(Sequence[bytes]):
    """Byte strings side by side: string ``i`` is ``data[offsets[i]:offsets[i + 1]]``.

    ``offsets`` are int64, one more than there are strings; ``data`` is uint8, in memory or memory-mapped.
    """

    def __init__(self, offsets: np.ndarray, data: np.ndarray) -> None:
        self.offsets, self.data = offsets, data

    @classmethod
    def of(cls, strings: Iterable[bytes]) -> Blobs:
        """Pack byte strings one after the other."""
        data, ends = bytearray(), [0]
        for string in strings:
            data += string
            ends.append(len(data))
        return cls(np.array(ends, np.int64), np.frombuffer(data, np.uint8))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @overload
    def __getitem__(self, index: int) -> bytes: ...
    @overload
    def __getitem__(self, index: slice) -> list[bytes]: ...
    def __getitem__(self, index: int | slice) -> bytes | list[bytes]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        row = range(len(self))[index]
        return self.data[self.offsets[row] : self.offsets[row + 1]].tobytes()


class Texts(Sequence[str]):
    """Names packed in one buffer, or a view of some ``rows`` of them.

    They are kept as the bytes that the file system gave. One that is not UTF-8 reads with ``\\xe9`` in place
    of its stray bytes, so that it can be printed and stored; `raw` opens the file all the same.
    """

    def __init__(self, blobs: Blobs, rows: np.ndarray | None = None) -> None:
        self.blobs, self.rows = blobs, rows

    @classmethod
    def of(cls, names: Iterable[str]) -> Texts:
        """Pack names."""
        return cls(Blobs.of(map(os.fsencode, names)))

    def raw(self, index: int) -> bytes:
        """Return the bytes of one name."""
        return self.blobs[index if self.rows is None else int(self.rows[index])]

    def take(self, rows: np.ndarray) -> Texts:
        """Return a view of some rows."""
        return Texts(self.blobs, rows if self.rows is None else self.rows[rows])

    def __len__(self) -> int:
        return len(self.blobs) if self.rows is None else len(self.rows)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        return self.raw(index).decode("utf-8", "backslashreplace")


class Files(Sequence[str]):
    """Paths of pictures, made when asked for: ``root`` joined with a name (or the name, if absolute)."""

    def __init__(self, root: str, names: Texts) -> None:
        self.root, self.names = root, names

    def __len__(self) -> int:
        return len(self.names)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        return os.path.join(self.root, os.fsdecode(self.names.raw(index)))  # noqa: PTH118, a Path costs ten times as much


@dataclass(frozen=True, eq=False, kw_only=True)
class Table:
    """A whole data set, a row a sample; what every reader returns (a `vitrail.contracts.Reader`).

    ``home`` names the data set (a real path, or a word); ``pictures`` gives a path, an encoded file or pixels
    by row. ``contents`` (uint64) are the files' sizes, or hashes of pictures in memory: with keys and targets
    they identify the data wherever it lies. ``stamps`` (uint64) also hold the time of the last change, for
    caches. ``targets`` are ``label``, int32 ``n`` (an index into ``classes``), or ``labels``, uint8 ``n c``.
    ``split`` (int8) is an index into ``splits_named``; ``group`` (int32) one into ``group_names``. ``notes``
    say in plain words what the reader passed over. ``masks`` decodes the mask of a row when asked for it, as
    `vitrail.data.masks` says; ``labels`` are then the classes that occur in it, and ``contents`` and
    ``stamps`` cover its file too.
    """

    home: str
    classes: tuple[str, ...]
    keys: Texts
    pictures: Sequence[Source] | np.ndarray
    contents: np.ndarray
    stamps: np.ndarray
    targets: Mapping[str, np.ndarray]
    split: np.ndarray
    splits_named: tuple[str, ...] = ("all",)
    group: np.ndarray | None = None
    group_names: Sequence[str] = ()
    notes: tuple[str, ...] = ()
    masks: Sequence[np.ndarray] | None = None

    def __post_init__(self) -> None:
        columns: dict[str, Sized] = {**self.targets, "pictures": self.pictures, "contents": self.contents}
        columns |= {"stamps": self.stamps, "split": self.split}
        if self.group is not None:
            columns["group"] = self.group
        if self.masks is not None:
            columns["masks"] = self.masks
        for name, column in columns.items():
            if len(column) != len(self):
                raise ValueError(f"{len(column)} rows of {name} with {len(self)} keys")

    def __len__(self) -> int:
        return len(self.keys)

    def splits(self) -> dict[str, Samples]:
        """Return the samples of each split that the files name, or all of them under ``all``."""
        return {
            name: Samples(self, np.flatnonzero(self.split == code), name)
            for code, name in enumerate(self.splits_named)
        }

    def matched(self, classes: Sequence[str]) -> Table:
        """Return the same data with its targets numbered as in ``classes``, matched by name.

        Classes of ``classes`` that the data lacks are allowed; raises VitrailError with both lists when the
        data has one more.
        """
        classes = tuple(classes)
        if classes == self.classes:
            return self
        if more := [name for name in self.classes if name not in set(classes)]:
            raise VitrailError(
                f"{self.home} has classes that the model does not know: {few(more, 10)}.\n"
                f"The data: {few(self.classes, 20)}. The model: {few(classes, 20)}."
            )
        place = np.array([classes.index(name) for name in self.classes], np.int64)
        targets = dict(self.targets)
        if (label := targets.get("label")) is not None:
            targets["label"] = np.where(label < 0, -1, place[label]).astype(np.int32)
        if (labels := targets.get("labels")) is not None:
            targets["labels"] = np.zeros((len(labels), len(classes)), np.uint8)
            targets["labels"][:, place] = labels
        masks = None if self.masks is None else Renumbered(self.masks, place, len(classes))
        return replace(self, classes=classes, targets=targets, masks=masks)


@dataclass(frozen=True, eq=False)
class Samples:
    """Some rows of a table, in an order of their own: a view that costs eight bytes a row."""

    table: Table = field(repr=False)
    rows: np.ndarray
    split: str | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Sample:
        row = int(self.rows[index])
        table = self.table
        return Sample(
            key=table.keys[row],
            pictures={"image": table.pictures[row]},
            targets={name: column[row] for name, column in table.targets.items()},
            group=None if table.group is None else table.group_names[table.group[row]],
            split=self.split,
        )

    @property
    def keys(self) -> Texts:
        """The name of each row: a path below the data set's root (with slashes), or a number."""
        return self.table.keys.take(self.rows)

    @cached_property
    def targets(self) -> Mapping[str, np.ndarray]:
        """``label`` int32 ``n``, or ``labels`` uint8 ``n c``."""
        return {name: column[self.rows] for name, column in self.table.targets.items()}

    @cached_property
    def groups(self) -> np.ndarray | None:
        """The group of each row, int32, or None; ``table.group_names`` says what the numbers mean."""
        return None if self.table.group is None else self.table.group[self.rows]

    @cached_property
    def stamps(self) -> np.ndarray:
        """A hash of each picture's path, size and time of change (or of its content), uint64."""
        return np.asarray(self.table.stamps[self.rows])

    @property
    def classes(self) -> tuple[str, ...]:
        """The names that targets are indices of."""
        return self.table.classes

    @property
    def home(self) -> str:
        """The identity of the whole table: a real path, or a name."""
        return self.table.home

    def source(self, index: int, role: str = "image") -> Source:
        """Return a path, an encoded file or pixels (``h w`` or ``h w c``); the only role is ``image``."""
        if role != "image":
            raise VitrailError(
                f"{self.home} has one picture a sample, under 'image', and none under {role!r}."
            )
        source: Source = self.table.pictures[int(self.rows[index])]
        return source

    @property
    def masked(self) -> bool:
        """Whether each picture has a mask."""
        return self.table.masks is not None

    @cached_property
    def many(self) -> bool:
        """Whether a picture, or a pixel where there are masks, may have any number of labels."""
        if self.table.masks is None:
            return "labels" in self.table.targets
        return self.table.masks[0].ndim == 3

    def mask(self, index: int) -> np.ndarray:
        """Return the mask of one picture, decoded now: uint8 ``h w``, or ``c h w`` for many labels a pixel.

        Raises VitrailError when the data has no masks, or this one cannot be read.
        """
        if self.table.masks is None:
            raise VitrailError(f"{self.home} has no masks. Give a folder of masks beside the pictures.")
        return self.table.masks[int(self.rows[index])]

    def take(self, indices: np.ndarray | Sequence[int], split: str | None = None) -> Samples:
        """Return the samples at ``indices`` (integers, or a mask), in that order."""
        return Samples(self.table, self.rows[np.asarray(indices)], split or self.split)

    @cached_property
    def fingerprint(self) -> str:
        """A SHA-256 of keys, sizes or contents, targets and class names, in this order of rows.

        It depends neither on where the data lies nor on when it was copied there.
        """
        heading: dict[str, Any] = {"classes": self.classes, "targets": sorted(self.table.targets)}
        total = hashlib.sha256(json.dumps(heading).encode())
        for start in range(0, len(self), BLOCK):
            rows = self.rows[start : start + BLOCK]
            keys = [self.table.keys.raw(row) for row in rows.tolist()]
            total.update(np.array([len(key) for key in keys], "<i8").tobytes())
            total.update(b"".join(keys))
            total.update(self.table.contents[rows].astype("<u8").tobytes())
            for name in heading["targets"]:
                column = self.table.targets[name][rows]
                total.update(column.astype(column.dtype.newbyteorder("<")).tobytes())
        return total.hexdigest()
