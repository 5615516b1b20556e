"""Masks that are drawn when asked for, out of the outlines in files: what COCO and GeoJSON share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from vitrail.data.masks import Masks
from vitrail.data.names import check_classes, few, storable
from vitrail.data.readers.listing import Listing
from vitrail.data.readers.looks import look_at_all
from vitrail.data.readers.maskfile import Look, look_at_picture, turn
from vitrail.data.readers.options import ReaderOptions
from vitrail.data.readers.pairing import number_splits
from vitrail.data.readers.shapes import Shape, paint
from vitrail.data.samples import Files, Table
from vitrail.data.stamps import digest
from vitrail.errors import UsageError, VitrailError
from vitrail.values import Size

BACKGROUND = "background"
OBJECT = "object"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One annotated picture: its name from the root, what is drawn on it, and on a picture of which ``size``.

    ``present`` are the indices of the classes drawn; ``content`` a hash of the drawing; ``drawing`` is
    whatever the reader needs to draw it; ``size`` is None where the annotations do not tell it.
    """

    name: str
    split: str | None
    present: Sequence[int]
    content: int
    drawing: bytes
    size: Size | None = None
    group: str | None = None


class Drawn(Masks):
    """Masks out of drawings; ``turns`` is the EXIF orientation by which each is to be turned."""

    def __init__(
        self,
        rows: Sequence[Row],
        sizes: Sequence[Size],
        turns: Sequence[int],
        draw: Callable[[Row, Size], Sequence[Shape]],
        planes: int | None,
    ) -> None:
        self.rows, self.sizes, self.turns, self.draw, self.planes = rows, sizes, turns, draw, planes

    def __len__(self) -> int:
        return len(self.rows)

    def decode(self, row: int) -> np.ndarray:
        """Return one mask, uint8 ``h w`` or ``c h w``."""
        size = self.sizes[row]
        mask = paint(self.draw(self.rows[row], size), size, self.planes)
        return mask if self.turns[row] == 1 else turn(mask, self.turns[row])


def name_classes(names: Sequence[str], options: ReaderOptions, where: str) -> tuple[str, ...]:
    """Return the classes of drawn masks: the background and the names, or with ``overlap`` the names.

    Raises UsageError for options that are those of mask files.
    """
    if options.classes is not None or options.masks != "auto":
        flag = "--data.masks" if options.classes is None else "--data.classes"
        raise UsageError(f"{where} names its classes itself: leave out {flag}, which is for files of masks.")
    classes = tuple(dict.fromkeys(names))
    if not options.overlap:
        classes = (BACKGROUND, *(name for name in classes if name != BACKGROUND))
        check_classes(classes, where)
    elif not classes:
        raise VitrailError(f"{where}: there are no classes.")
    return classes


def tabulate(
    root: str,
    classes: tuple[str, ...],
    rows: Sequence[Row],
    draw: Callable[[Row, Size], Sequence[Shape]],
    options: ReaderOptions,
    notes: Sequence[str],
) -> Table:
    """Return annotated pictures as a table whose masks are drawn when asked for.

    Raises VitrailError where a picture has another size than its annotations say. A picture of which nobody
    knows the size is left out with a note. Where a pixel has one class only, the background is taken to be
    everywhere.
    """
    listing = Listing(root)
    for row in rows:
        listing.add(row.name)
    keys, extents, stamps = listing.columns()
    files = Files(root, keys)
    looks = look_at_all(
        f"{root}\0drawn", stamps.tolist(), lambda row: _look(files[row]), rescan=options.rescan
    )
    sized = [
        _size(files[index], row, look) for index, (row, look) in enumerate(zip(rows, looks, strict=True))
    ]
    kept = np.array([index for index, found in enumerate(sized) if found is not None], np.int64)
    lost = [row.name for row, found in zip(rows, sized, strict=True) if found is None]
    if lost:
        notes = (*notes, f"Pictures that cannot be read, so that nothing can be drawn on them: {few(lost)}.")
    if not len(kept):
        raise VitrailError(f"{root}: none of its pictures can be read. {few(lost)}.")
    chosen = [rows[index] for index in kept.tolist()]
    fitted = [found for found in sized if found is not None]
    labels = np.zeros((len(chosen), len(classes)), np.uint8)
    for index, row in enumerate(chosen):
        labels[index, list(row.present)] = 1
    if not options.overlap:
        labels[:, 0] = 1
    split, splits_named = number_splits([row.split for row in chosen])
    groups = {name: code for code, name in enumerate(dict.fromkeys(row.group for row in chosen if row.group))}
    content = [row.content for row in chosen]
    keys = keys.take(kept)
    return Table(
        home=root,
        classes=classes,
        keys=keys,
        pictures=Files(root, keys),
        contents=_mixed(extents[kept].tolist(), content),
        stamps=_mixed(stamps[kept].tolist(), content),
        targets={"labels": labels},
        split=split,
        splits_named=splits_named,
        group=np.array([groups[row.group or ""] for row in chosen], np.int32) if groups else None,
        group_names=tuple(groups),
        notes=tuple(map(storable, notes)),
        masks=Drawn(
            chosen,
            [size for size, _ in fitted],
            [turned for _, turned in fitted],
            draw,
            len(classes) if options.overlap else None,
        ),
    )


def _look(path: str) -> Look:
    upright, orientation = look_at_picture(path)
    return Look(upright=upright, orientation=orientation)


def _size(path: str, row: Row, look: Look) -> tuple[Size, int] | None:
    """Return the size to draw on, and the orientation by which to turn the drawing then."""
    if row.size is None or look.upright is None:
        size = row.size or look.upright
        return (size, 1) if size else None
    seen = Look(size=row.size, upright=look.upright, orientation=look.orientation)
    if not seen.fits:
        raise VitrailError(
            f"{storable(path)} is {look.upright[0]} high and {look.upright[1]} wide, but was annotated as "
            f"{row.size[0]} high and {row.size[1]} wide. Annotate the picture at the size that it has."
        )
    return row.size, seen.turn


def _mixed(one: Sequence[int], other: Sequence[int]) -> np.ndarray:
    return np.array([digest(b"%d,%d" % pair) for pair in zip(one, other, strict=True)], np.uint64)
