"""Names of models, as the ecosystem writes them; timm is asked only about what is not ours."""

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from vitrail.errors import UsageError, nearest


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """How large a Transformer is: ``mlp`` is the hidden width of its feed-forward part."""

    width: int
    depth: int
    heads: int
    mlp: int


SIZES = {
    "pico": Shape(width=64, depth=6, heads=4, mlp=128),  # tests, and pictures of some 30 pixels
    "ti": Shape(width=192, depth=12, heads=3, mlp=768),
    "s": Shape(width=384, depth=12, heads=6, mlp=1536),
    "b": Shape(width=768, depth=12, heads=12, mlp=3072),
    "l": Shape(width=1024, depth=24, heads=16, mlp=4096),
    "h": Shape(width=1280, depth=32, heads=16, mlp=5120),
    "g": Shape(width=1408, depth=40, heads=16, mlp=6144),
}
"""Ti to H of Dosovitskiy et al. 2020 and Touvron et al. 2020 (DeiT), g of Zhai et al. 2021; pico is ours."""

PATCHES = (4, 8, 14, 16, 32)
"""The patch sizes that `vitrail models` lists; any other may be named as well."""

# In the papers ViT-g/14 and ViT-G/14 are two networks, so their letters keep their case.
_OURS = re.compile(rf"vit-({'|'.join(SIZES)})([1-9]\d*|)")
_PAPERS = re.compile(r"(?:ViT|vit)-([Tt]i|[SsBbLlHh]|g)/([1-9]\d*)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Name:
    """A model's name, understood: ``text`` is how its source calls it; ``size`` and ``patch`` are of ours.

    A ``patch`` of 0 is left to be chosen by the pictures.
    """

    source: Literal["path", "vitrail", "timm", "hub"]
    text: str
    size: str = ""
    patch: int = 0


def parse(text: str) -> Name:
    """Understand a model's name: a path that exists, else ours, else timm's, else, with a ``/``, a Hub id.

    Nothing is fetched. Raises UsageError for an unknown name, with the nearest known ones.
    """
    if text and Path(text).exists():
        return Name(source="path", text=text)
    if ours := _OURS.fullmatch(text) or _PAPERS.fullmatch(text):
        size, patch = ours[1].lower(), int(ours[2] or 0)
        return Name(source="vitrail", text=f"vit-{size}{patch or ''}", size=size, patch=patch)
    if "/" not in text and text in _timm_names() | _timm_tagged():
        return Name(source="timm", text=text)
    if re.fullmatch(r"[\w.-]+/[\w.-]+", text):
        return Name(source="hub", text=text)
    raise UsageError(f"there is no model called {text!r}.{_suggest(text)} `vitrail models` lists them all.")


def our_names() -> list[str]:
    """Return the names of ours that are listed."""
    return [f"vit-{size}{patch}" for size in SIZES for patch in PATCHES]


def _suggest(text: str) -> str:
    return nearest(text, [*our_names(), *sorted(_timm_names())])


@cache
def _timm_names() -> frozenset[str]:
    import timm

    return frozenset(timm.list_models())


@cache
def _timm_tagged() -> frozenset[str]:
    import timm

    return frozenset(timm.list_pretrained())
