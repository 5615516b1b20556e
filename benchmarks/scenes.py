"""Several drawings on a photograph: a mask of classes, and each object's own mask and box, known exactly.

    python benchmarks/scenes.py FOLDER [--pictures 6000] [--size 128] [--most 4]

Writes ``FOLDER/main`` (``train``, ``val`` and ``test``), ``FOLDER/unseen/test`` (drawings that are in no
training picture) and ``FOLDER/other-style/test`` (the characters as others draw them): ``images`` and
``masks`` of class numbers under the same names, and ``classes.txt``. As in `composites.py`, on which this
stands, the left halves of photographs are behind training pictures and the right ones behind all others.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from composites import KINDS, Codes, Workshop, backgrounds, drawings

TEN: dict[str, tuple[str, Codes]] = KINDS | {
    "building": ("Travel & Places", ((0x1F3E0, 0x1F3F0), (0x1F3DA, 0x1F3DB))),
    "clothing": ("Objects", ((0x1F451, 0x1F462), (0x1F97B, 0x1F97F), (0x1FA70, 0x1FA74))),
    "hand": (
        "People & Body",
        ((0x261D, 0x261D), (0x270A, 0x270D), (0x1F446, 0x1F450), (0x1F590, 0x1F596), (0x1F90C, 0x1F91F)),
    ),
    "vehicle": ("Travel & Places", ((0x1F680, 0x1F6A4), (0x1F6F3, 0x1F6FC))),
}
"""The classes."""
SIDES = 0.25, 0.5
"""The longer side of a drawing as a share of the canvas, least and greatest."""
HELD = 200, 500
"""Pictures to choose by, and of each test."""
HIDDEN, TRIES = 0.3, 20
"""No drawing hides more of another one; one that finds no such place is left out."""


@dataclass(frozen=True, kw_only=True)
class Scene:
    """A picture, uint8 ``h w 3``; the classes of its objects, and where each is seen, bool ``n h w``."""

    picture: np.ndarray
    labels: Sequence[int]
    objects: np.ndarray

    @property
    def mask(self) -> np.ndarray:
        """The number of each pixel's class, uint8 ``h w``: 0 is the background, classes count from 1."""
        mask = np.zeros(self.picture.shape[:2], np.uint8)
        for label, where in zip(self.labels, self.objects, strict=True):
            mask[where] = label + 1
        return mask


def scene(workshop: Workshop, number: int, most: int) -> Scene:
    """Return the scene of a number, with 1 to ``most`` drawings of the workshop."""
    chance = np.random.default_rng((workshop.seed, workshop.part, number))
    picture = workshop.background(chance)
    labels: list[int] = []
    objects: list[np.ndarray] = []
    whole: list[int] = []
    for _ in range(int(chance.integers(1, most + 1))):
        label = int(chance.integers(len(workshop.drawings)))
        drawing = workshop.drawing(chance, label, SIDES)
        for x, y in chance.integers(0, workshop.size - drawing.width + 1, (TRIES, 2)).tolist():
            over = workshop.covered(drawing, x, y)
            left = [each & ~over for each in objects]
            if all(each.sum() >= (1 - HIDDEN) * area for each, area in zip(left, whole, strict=True)):
                picture.paste(drawing, (x, y), drawing)
                labels.append(label)
                objects = [*left, over]
                whole.append(int(over.sum()))
                break
    return Scene(picture=np.asarray(picture), labels=labels, objects=np.stack(objects))


def write(
    folder: Path, emoji: Path, other: Path, *, pictures: int, size: int, most: int, seed: int = 0
) -> None:
    """Write all parts: so many training pictures, and fewer to choose by and for each test (see `HELD`)."""
    behind = {training: backgrounds(training=training) for training in (True, False)}
    seen, unseen = (drawings(emoji, unseen=each, kinds=TEN) for each in (False, True))
    parts = {
        "main/train": (seen, True, pictures),
        "main/val": (seen, False, min(HELD[0], pictures)),
        "main/test": (seen, False, min(HELD[1], pictures)),
        "unseen/test": (unseen, False, min(HELD[1], pictures)),
        "other-style/test": (drawings(other, unseen=False, kinds=TEN), False, min(HELD[1], pictures)),
    }
    for place, (part, (objects, training, count)) in enumerate(parts.items()):
        shop = Workshop(drawings=objects, backgrounds=behind[training], size=size, seed=seed, part=place)
        for kind in ("images", "masks"):
            (folder / part / kind).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            made = scene(shop, number, most)
            Image.fromarray(made.picture).save(folder / part / "images" / f"{number:05}.png")
            Image.fromarray(made.mask).save(folder / part / "masks" / f"{number:05}.png")
        names = "\n".join(["background", *TEN])
        (folder / part.split("/")[0] / "classes.txt").write_text(f"{names}\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--pictures", type=int, default=6000)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--most", type=int, default=4, help="drawings on a picture, at most")
    arguments = parser.parse_args()
    data = Path(__file__).parent.parent / ".data"
    write(
        arguments.folder,
        data / "emoji",
        data / "emoji-twitter",
        pictures=arguments.pictures,
        size=arguments.size,
        most=arguments.most,
    )


if __name__ == "__main__":
    main()
