"""What the values of masks mean: class numbers, colours, objects, or background and object."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from vitrail.data.names import few
from vitrail.data.readers.maskfile import Look, Raw
from vitrail.data.readers.named import Named, show
from vitrail.data.readers.options import MaskKind
from vitrail.errors import UsageError, VitrailError
from vitrail.values import IGNORED

BINARY = ("background", "object")
MANY = 32
"""Different values beyond which masks whose every file counts from 0 or 1 without a gap number objects."""
SPARSE = 16
"""The least number beyond which values of which less than a quarter occur are not taken for class numbers."""
GREY = 0x010101
SAY_CLASSES = (
    "Give the names in classes.txt (a name a line, the first is number 0), or as --data.classes FILE."
)


@dataclass(frozen=True, kw_only=True)
class Meaning:
    """How values become classes: ``keys`` (value to index, or ``IGNORED``); with ``rest`` all others too.

    ``kind`` is one of `vitrail.data.readers.options.MaskKind`, never "auto"; ``notes`` say what was assumed.
    """

    kind: MaskKind
    classes: tuple[str, ...]
    keys: Mapping[int, int]
    rest: int | None = None
    notes: tuple[str, ...] = field(default=(), compare=False)

    def known(self, value: int) -> int | None:
        """Return the index of a value, or None when it means nothing."""
        return self.keys.get(value, self.rest)

    def values(self, raw: Raw) -> np.ndarray:
        """Return the values ``h w`` that are looked up, of a mask as it is stored."""
        if self.kind == "colours":
            return raw.coloured()
        return raw.values & 255 if raw.mode == "colour" else raw.values  # a grey one, stored in colour

    def found(self, look: Look) -> list[int]:
        """Return the values that are looked up and occur in a mask."""
        if self.kind == "colours":
            return _colours(look)
        return [value & 255 for value in look.found] if look.mode == "colour" else look.found

    def translate(self, values: np.ndarray) -> np.ndarray:
        """Return uint8 ``h w``; a value that means nothing (look before) becomes ``IGNORED``."""
        if self.rest is not None and self.kind == "instances":
            return np.asarray(values != 0, np.uint8)
        order = sorted(self.keys)
        if values.dtype == np.uint8:
            table = np.full(256, IGNORED, np.uint8)
            table[[key for key in order if key < 256]] = [self.keys[key] for key in order if key < 256]
            return np.asarray(table[values])
        keys = np.array(order, np.int64)
        index = np.array([self.keys[key] for key in order], np.uint8)
        place = np.searchsorted(keys, values).clip(max=len(keys) - 1)
        return np.where(keys[place] == values, index[place], np.uint8(IGNORED)).astype(np.uint8)


def decide(root: str, wanted: MaskKind, named: Named | None, looks: Sequence[Look]) -> Meaning:
    """Return what masks mean: as ``wanted``, or by looking at what all of them hold.

    Raises VitrailError when colours have no table, UsageError when the wish cannot be.
    """
    coloured = [look for look in looks if look.mode == "colour"]
    lively = any(value != (value & 255) * GREY for look in coloured for value in look.found)
    table = named is not None and named.kind == "colour"
    if wanted == "colours" or (wanted == "auto" and (lively or (table and coloured))):
        return _of_colours(root, named, looks)
    if lively:
        raise UsageError(f"{root}: its masks are in colour, so that --data.masks {wanted} cannot be.")
    grey = [[value & 255 for value in look.found] if look.mode == "colour" else look.found for look in looks]
    found = {value for values in grey for value in values}
    if table and wanted == "auto" and named is not None and _shows_colours(named, found, looks):
        return _of_colours(root, named, looks)
    kind = _kind(root, found, grey, looks, named) if wanted == "auto" else wanted
    if kind == "instances":
        return _of_objects(root, named, found, assumed=wanted == "auto")
    if kind == "binary":
        return _binary(root, named, found)
    return _of_numbers(root, named, found)


def _kind(
    root: str, found: set[int], masks: Sequence[Sequence[int]], looks: Sequence[Look], named: Named | None
) -> MaskKind:
    count = len(named.classes) if named is not None and named.kind != "value" else 2
    if named is None or named.kind == "order":
        if found <= {0, 255} and 255 in found and count <= 2:
            return "binary"
        if found <= {0, 1} and count <= 2:
            return "binary"
    two = named is not None and named.kind == "order" and count <= 2
    if two and len(found) > MANY and any(look.deep for look in looks):  # sixteen bits, for two names
        return "instances"
    if named is None:
        if max(found) > IGNORED:
            return "instances"
        _refuse_shades(root, found, looks)
        counted = sum(values[-1] - values[0] + 1 == len(values) and values[0] < 2 for values in masks)
        if len(found) > MANY and counted >= 0.9 * len(looks):
            return "instances"
    return "index"


def _shows_colours(named: Named, found: set[int], looks: Sequence[Look]) -> bool:
    """Whether masks in grey or with a palette show the colours of a table, and not the numbers of its lines.

    Programs that shrink PNG files make palettes of their own, whose indices follow no table.
    """
    table = named.keyed()
    if any(look.mode == "palette" for look in looks):
        return all(
            len(set(colours := _colours(look))) == len(look.found) and table.keys() >= set(colours)
            for look in looks
        )
    return all(value * GREY in table for value in found) and max(found) >= len(named.rows)


def _refuse_shades(root: str, found: set[int], looks: Sequence[Look]) -> None:
    """Raise VitrailError for values that are unlikely to number classes, which nobody has named."""
    most = max(found - {IGNORED}, default=0)
    deep = any(look.deep for look in looks)
    if not deep and IGNORED in found and len(found) > MANY and most > 200:
        what = f"{len(found)} shades up to 255, as smoothed edges have. Save them without smoothing"
    elif not deep and most >= SPARSE and len(found) * 4 < most:
        shown = few(sorted(found), 12)
        what = f"the values {shown}. Say which classes they are in classes.csv (a line name,value)"
    else:
        return
    raise VitrailError(
        f"{root}: its masks hold {what}; or say what they mean: --data.masks index, binary or instances."
    )


def _binary(root: str, named: Named | None, found: set[int]) -> Meaning:
    names = _two(root, named, "binary")
    keys = {0: 0, 1: 1} | {255: IGNORED if 1 in found else 1}
    return Meaning(kind="binary", classes=names, keys=keys)


def _of_objects(root: str, named: Named | None, found: set[int], *, assumed: bool) -> Meaning:
    names = _two(root, named, "instances")
    notes = (
        f"The masks hold {len(found)} different numbers: they are taken to number objects, each of which is "
        f"{names[1]!r}. If they number classes, say --data.masks index.",
    )
    return Meaning(kind="instances", classes=names, keys={0: 0}, rest=1, notes=notes if assumed else ())


def _two(root: str, named: Named | None, kind: str) -> tuple[str, str]:
    """Return the names of background and object."""
    if named is None:
        return BINARY
    if len(named.classes) > 2:
        raise UsageError(
            f"{root}: --data.masks {kind} has two classes, but {named.path} lists {len(named.classes)}."
        )
    first, second = named.classes if len(named.classes) == 2 else (BINARY[0], named.classes[0])
    return first, second


def _of_numbers(root: str, named: Named | None, found: set[int]) -> Meaning:
    if named is not None:
        keys = {IGNORED: IGNORED} | named.keyed(by_order=named.kind != "value")
        return Meaning(kind="index", classes=named.classes, keys=keys, notes=_ignoring(named))
    count = max(found - {IGNORED}, default=0) + 1
    if count > IGNORED:
        raise VitrailError(
            f"{root}: a mask holds the number {count - 1}, but there can be {IGNORED} classes at most. "
            "Say --data.masks instances if the numbers are those of objects."
        )
    if count < 2:
        raise VitrailError(
            f"{root}: its masks hold nothing but {few(sorted(found))}, so that there is one class."
        )
    classes = tuple(f"class {number}" for number in range(count))
    note = f"The {count} classes have no names, and are called {few(classes, 2)}. {SAY_CLASSES}"
    keys = {number: number for number in range(count)} | {IGNORED: IGNORED}
    return Meaning(kind="index", classes=classes, keys=keys, notes=(note,))


def _of_colours(root: str, named: Named | None, looks: Sequence[Look]) -> Meaning:
    if named is None or named.kind != "colour":
        counts = Counter(colour for look in looks for colour in _colours(look))
        shown = few([show(colour) for colour, _ in counts.most_common()], 12)
        lacks = "there is no table of them" if named is None else f"{named.path} gives no colours"
        raise VitrailError(
            f"{root}: its masks are in colour ({shown}), and {lacks}.\n"
            "Write classes.csv beside the folders: a line name,#rrggbb for each colour, as in road,#804080."
        )
    return Meaning(kind="colours", classes=named.classes, keys=named.keyed(), notes=_ignoring(named))


def _ignoring(named: Named) -> tuple[str, ...]:
    if not named.ignored:
        return ()
    return (f"Pixels of {few(named.ignored)} are ignored, and are no class.",)


def _colours(look: Look) -> list[int]:
    if look.mode == "palette":
        return look.palette
    return look.found if look.mode == "colour" else [value * GREY for value in look.found]


def nearest_colour(colour: int, table: Iterable[int]) -> int:
    """Return the colour of a table that is nearest to another, by the squares of the differences."""
    return min(
        table, key=lambda other: sum((a - b) ** 2 for a, b in zip(_rgb(colour), _rgb(other), strict=True))
    )


def _rgb(colour: int) -> tuple[int, int, int]:
    return colour >> 16, colour >> 8 & 255, colour & 255
