"""The format of masks: a folder of pictures beside a folder of masks.

``root/images/1.jpg`` and ``root/masks/1.png``; with splits ``root/images/train/1.jpg`` or
``root/train/images/1.jpg``; or ``1.jpg`` and ``1_mask.png`` in one folder.
`vitrail.data.readers.layout` knows what the folders may be called, `vitrail.data.readers.named` how the
classes get names, `vitrail.data.readers.meaning` what values mean.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np

from vitrail.data.masks import Masks
from vitrail.data.names import check_classes, few, storable
from vitrail.data.readers.layout import find_places
from vitrail.data.readers.looks import look_at_all
from vitrail.data.readers.maskfile import Look, look_at, read_raw, turn
from vitrail.data.readers.meaning import Meaning, decide, nearest_colour
from vitrail.data.readers.named import find_named, show
from vitrail.data.readers.options import ReaderOptions
from vitrail.data.readers.pairing import Pairs, match, number_groups, number_splits
from vitrail.data.samples import Files, Table
from vitrail.data.stamps import digest
from vitrail.errors import UsageError, VitrailError
from vitrail.values import IGNORED


class MaskFiles(Masks):
    """Masks in files of their own; ``turns`` is the EXIF orientation by which each is to be turned.

    ``contents`` are hashes of the files, as they were when the data were opened.
    """

    def __init__(self, files: Files, contents: np.ndarray, turns: np.ndarray, meaning: Meaning) -> None:
        self.files, self.contents, self.turns, self.meaning = files, contents, turns, meaning

    def __len__(self) -> int:
        return len(self.files)

    def decode(self, row: int) -> np.ndarray:
        """Return one mask uint8 ``h w``; raises VitrailError when its file is not what it was."""
        raw = read_raw(self.files[row], int(self.contents[row]))
        mask = self.meaning.translate(self.meaning.values(raw))
        return turn(mask, int(self.turns[row]))


def read_masks(where: str, options: ReaderOptions) -> Table:
    """Return the pictures below ``where`` that have a mask, labelled with the classes that occur in it.

    All masks are looked at once. Those that cannot be read, and pictures or masks without a partner, are left
    out with a note. Raises VitrailError for masks that are JPEG files, of another size than their picture, or
    with values that mean nothing.
    """
    if options.group not in (None, "folder"):
        raise UsageError(
            f"{where} is a folder of masks and has no column {options.group!r}. "
            "Its only grouping is --data.group folder: by the folders below those of the pictures."
        )
    root = os.path.realpath(where)
    places = find_places(root)
    if not places:
        raise UsageError(f"{where} has no folder of pictures (images) beside a folder of masks (masks).")
    pairs = match(root, places)
    pictures, masks = pairs.files()
    looks = _looks(root, pairs, rescan=options.rescan)
    _check(pictures, masks, looks)
    notes = [*pairs.notes(), *_broken(masks, looks)]
    kept = np.array([row for row, look in enumerate(looks) if not look.fault], np.int64)
    looks = [looks[row] for row in kept.tolist()]
    pairs = pairs.take(kept)
    named = find_named(root, options.classes, [place.pictures for place in places])
    meaning = decide(root, options.masks, named, looks)
    check_classes(meaning.classes, named.path if named else root)
    files = pairs.files()[1]
    labels = _labels(files, looks, meaning)
    split, splits_named = number_splits(pairs.splits)
    group, group_names = number_groups(pairs) if options.group else (None, ())
    keys, sizes, _ = pairs.pictures.columns()
    keys = keys.take(pairs.rows[:, 0])
    about = repr((meaning.kind, sorted(meaning.keys.items()))).encode()
    extents = zip(sizes[pairs.rows[:, 0]].tolist(), looks, strict=True)
    return Table(
        home=root,
        classes=meaning.classes,
        keys=keys,
        pictures=Files(root, keys),
        contents=np.array(
            [digest(b"%d,%d" % (size, look.content), about) for size, look in extents], np.uint64
        ),
        stamps=np.array(pairs.stamps(), np.uint64),
        targets={"labels": labels},
        split=split,
        splits_named=splits_named,
        group=group,
        group_names=group_names,
        notes=tuple(map(storable, (*notes, *meaning.notes))),
        masks=MaskFiles(
            files,
            np.array([look.content for look in looks], np.uint64),
            np.array([look.turn for look in looks], np.uint8),
            meaning,
        ),
    )


def _looks(root: str, pairs: Pairs, *, rescan: bool) -> list[Look]:
    pictures, masks = pairs.files()
    return look_at_all(root, pairs.stamps(), lambda row: look_at(pictures[row], masks[row]), rescan=rescan)


def _check(pictures: Files, masks: Files, looks: Sequence[Look]) -> None:
    """Raise VitrailError for masks that cannot be meant, or when there is none that can be read."""
    if lossy := [row for row, look in enumerate(looks) if look.mode == "jpeg"]:
        raise VitrailError(
            f"{storable(masks[lossy[0]])} is a mask in a JPEG file{_more(lossy)}: compression noise changes "
            "class numbers along every edge. Save masks as PNG, from where they were drawn."
        )
    if unfit := [row for row, look in enumerate(looks) if not look.fault and not look.fits]:
        mask, picture = looks[unfit[0]].size, looks[unfit[0]].upright or (0, 0)
        raise VitrailError(
            f"{storable(masks[unfit[0]])} is {mask[0]} high and {mask[1]} wide, but its picture "
            f"{storable(pictures.names[unfit[0]])} is {picture[0]} high and {picture[1]} wide{_more(unfit)}. "
            "Save the mask at the size of its picture."
        )
    if all(look.fault for look in looks):
        raise VitrailError(f"{storable(masks[0])}: {looks[0].fault}. No mask can be read{_more(looks)}.")


def _broken(masks: Files, looks: Sequence[Look]) -> list[str]:
    faults = [f"{masks.names[row]}: {look.fault}" for row, look in enumerate(looks) if look.fault]
    what = (
        f"{len(faults)} masks cannot be read and are" if len(faults) > 1 else "1 mask cannot be read and is"
    )
    return [f"{what} left out with the picture ({few(faults)})."] if faults else []


def _more(rows: Sequence[object]) -> str:
    return f" (and {len(rows) - 1} more like it)" if len(rows) > 1 else ""


def _labels(masks: Files, looks: Sequence[Look], meaning: Meaning) -> np.ndarray:
    """Return which classes occur in each mask, uint8 ``n c``; raises VitrailError for unknown values."""
    labels = np.zeros((len(looks), len(meaning.classes)), np.uint8)
    for row, look in enumerate(looks):
        for value in meaning.found(look):
            index = meaning.known(value)
            if index is None:
                raise _unknown(masks[row], value, meaning)
            if index != IGNORED:
                labels[row, index] = 1
    return labels


def _unknown(path: str, value: int, meaning: Meaning) -> VitrailError:
    """Say which value of a mask means nothing, where it is, and what to do."""
    y, x = np.argwhere(meaning.values(read_raw(path)) == value)[0].tolist()
    what = show(value) if meaning.kind == "colours" else str(value)
    place = (
        f"{storable(path)}: the {'colour' if meaning.kind == 'colours' else 'value'} {what} at (y {y}, x {x})"
    )
    if meaning.kind == "colours":
        near = nearest_colour(value, meaning.keys)
        index = meaning.keys[near]
        name = "ignored" if index == IGNORED else meaning.classes[index]
        return VitrailError(
            f"{place} is not in the table of colours; the nearest is {show(near)} ({name}).\n"
            "Add it to the table, or save the masks without smoothed edges and lossy compression."
        )
    if meaning.kind == "binary":
        return VitrailError(
            f"{place} is neither 0 nor 1 or 255. Say --data.masks index if values are numbers of classes."
        )
    return VitrailError(
        f"{place} is the number of none of the {len(meaning.classes)} classes ({few(meaning.classes, 5)}).\n"
        "Add its name to the list of classes; 255 is for pixels to ignore. If objects are numbered, "
        "say --data.masks instances."
    )
