"""What a user may say about how a data set is to be read."""

from dataclasses import dataclass
from typing import Literal

MaskKind = Literal["auto", "index", "colours", "instances", "binary"]


@dataclass(frozen=True, kw_only=True)
class ReaderOptions:
    """How to read a data set. Nothing here is random: the same files and options give the same rows.

    Columns are those of a table; a folder has one column, ``group folder``, which makes one group of the
    pictures in folders of the same name below the classes (patients, slides, cameras).
    """

    file: str | None = None
    """Column with the picture: a path or an encoded file (default: file_name, image, path or the like)."""
    label: str | None = None
    """Column with the one class of each picture (default: label)."""
    labels: tuple[str, ...] = ()
    """Column with all classes of each picture, by | or ; (default: labels), or a 0/1 column a class."""
    split: str | None = None
    """Column with train, val or test (default: split, if there is one)."""
    group: str | None = None
    """Column that names what must stay in one split, such as a patient (default: group, if there is one)."""
    shared_groups: bool = False
    """Allow a group in two of the splits that the data name; scores will be too good."""
    masks: MaskKind = "auto"
    """What the values of masks mean: class numbers, colours, objects, or background and object."""
    classes: str | None = None
    """File with the names of masks' classes (default: classes.txt, .json, .csv or labelmap.txt, if any)."""
    overlap: bool = False
    """Let objects of COCO and GeoJSON overlap: a pixel has any number of classes, without a background."""
    offline: bool = False
    """Read hf:// data from the cache only, and never ask the network."""
    rescan: bool = False
    """Look at every file again, whatever the index of a large folder says."""


AS_FOUND = ReaderOptions()
"""No wishes: columns by their usual names."""
