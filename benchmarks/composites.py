"""Drawings with transparency on photographs: pictures whose objects, masks and boxes are known exactly.

    python benchmarks/composites.py FOLDER [--pictures 4000] [--size 96]

Writes ``FOLDER/main`` (``train``, ``val`` and ``test``, a folder a class), ``FOLDER/unseen`` (drawings that
are in no training picture), ``FOLDER/other-style`` (the characters as others draw them) and, beside them,
``FOLDER/masks`` with one black and white picture for each, under the same name. The photographs are those
that scikit-image and scikit-learn bring along: their left halves behind training pictures, their right ones
behind all others. Which drawing lies where, how large, on what, follows from the seed and the number alone.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

Codes = tuple[tuple[int, int], ...]

KINDS: dict[str, tuple[str, Codes]] = {
    "animal": ("Animals & Nature", ((0x1F400, 0x1F43C), (0x1F980, 0x1F9AE))),
    "clock": ("Travel & Places", ((0x1F550, 0x1F567),)),
    "face": (
        "Smileys & Emotion",
        (
            (0x1F600, 0x1F637),
            (0x1F641, 0x1F644),
            (0x1F910, 0x1F92F),
            (0x1F970, 0x1F97A),
            (0x1FAE0, 0x1FAE8),
        ),
    ),
    "flag": ("Flags", ((0x1F1E6, 0x1F1FF),)),
    "fruit": (
        "Food & Drink",
        (
            (0x1F345, 0x1F353),
            (0x1F951, 0x1F952),
            (0x1F954, 0x1F955),
            (0x1F95C, 0x1F95D),
            (0x1F965, 0x1F966),
            (0x1F96C, 0x1F96D),
            (0x1F9C4, 0x1F9C5),
            (0x1FAD0, 0x1FAD2),
        ),
    ),
    "heart": (
        "Smileys & Emotion",
        (
            (0x2764, 0x2764),
            (0x1F493, 0x1F49F),
            (0x1F5A4, 0x1F5A4),
            (0x1F90D, 0x1F90E),
            (0x1F9E1, 0x1F9E1),
            (0x1FA75, 0x1FA77),
        ),
    ),
}
"""The classes: which folder of emoji a kind of drawing lies in, and the ranges of its first code points. They
look unlike each other, so that a small network learns them in minutes, from scratch."""
PHOTOGRAPHS = ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg", "motorcycle_left.png", "ihc.png")
SIDES = 0.3, 0.55
"""The longer side of a drawing as a share of the canvas, least and greatest."""
UNSEEN = 5
"""One drawing in so many is kept from training."""


@dataclass(frozen=True, kw_only=True)
class Composite:
    """A picture, uint8 ``h w 3``, where its object is, bool ``h w``, and which class that is of."""

    picture: np.ndarray
    mask: np.ndarray
    label: int

    @property
    def xyxy(self) -> tuple[int, int, int, int]:
        """The object's box in pixels: left, top, and one beyond right and bottom."""
        (rows,), (columns,) = (self.mask.any(axis=axis).nonzero() for axis in (1, 0))
        return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


@dataclass(frozen=True, kw_only=True)
class Workshop:
    """Makes composites: ``drawings`` are RGBA by class, ``backgrounds`` RGB; ``part`` tells sets apart."""

    drawings: Sequence[Sequence[Image.Image]]
    backgrounds: Sequence[Image.Image]
    size: int
    seed: int
    part: int = 0

    def make(self, number: int) -> Composite:
        """Return the composite of a number; its class follows from the number alone."""
        chance = np.random.default_rng((self.seed, self.part, number))
        label = number % len(self.drawings)
        picture = self.background(chance)  # drawn first: it cannot depend on what is put on it
        drawing = self.drawing(chance, label, SIDES)
        x, y = chance.integers(0, self.size - drawing.width + 1, 2).tolist()
        picture.paste(drawing, (x, y), drawing)
        return Composite(picture=np.asarray(picture), mask=self.covered(drawing, x, y), label=label)

    def drawing(self, chance: np.random.Generator, label: int, sides: tuple[float, float]) -> Image.Image:
        """Return one of a class's drawings, whose side is a share of the canvas between these two."""
        drawing = self.drawings[label][chance.integers(len(self.drawings[label]))]
        side = round(self.size * chance.uniform(*sides))
        return drawing.resize((side, side), Image.Resampling.BICUBIC)

    def covered(self, drawing: Image.Image, x: int, y: int) -> np.ndarray:
        """Return the pixels that a drawing covers with its upper left corner there, bool ``h w``."""
        alpha = np.zeros((self.size, self.size), np.uint8)
        alpha[y : y + drawing.height, x : x + drawing.width] = np.asarray(drawing)[:, :, 3]
        return alpha > 127

    def background(self, chance: np.random.Generator) -> Image.Image:
        """Return a part of a photograph, square, of the canvas' size."""
        photograph = self.backgrounds[chance.integers(len(self.backgrounds))]
        side = int(chance.uniform(0.35, 1.0) * min(photograph.size))
        left, top = (int(chance.integers(0, length - side + 1)) for length in photograph.size)
        cut = photograph.resize(
            (self.size, self.size), Image.Resampling.BICUBIC, (left, top, left + side, top + side)
        )
        return cut.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if chance.random() < 0.5 else cut


def files(
    folder: Path, *, unseen: bool | None = None, kinds: Mapping[str, tuple[str, Codes]] = KINDS
) -> list[list[Path]]:
    """Return the files of each class's drawings: those ``unseen`` in training, or the others, or all.

    Which are unseen goes by their place in the order of names, so that another style agrees.
    """
    found = []
    for inside, codes in kinds.values():
        known = [file for file in sorted((folder / inside).glob("*.png")) if _within(file.stem, codes)]
        found.append(
            [
                file
                for place, file in enumerate(known)
                if unseen is None or (place % UNSEEN == UNSEEN - 1) == unseen
            ]
        )
    return found


def _within(stem: str, codes: Codes) -> bool:
    first = int(stem.split("-")[0], 16)
    return any(low <= first <= high for low, high in codes)


def drawings(
    folder: Path, *, unseen: bool | None = None, kinds: Mapping[str, tuple[str, Codes]] = KINDS
) -> list[list[Image.Image]]:
    """Return each class's drawings, RGBA, of those `files`."""
    found = files(folder, unseen=unseen, kinds=kinds)
    return [[Image.open(file).convert("RGBA") for file in each] for each in found]


def backgrounds(*, training: bool) -> list[Image.Image]:
    """Return one half of each photograph, RGB."""
    import skimage
    from sklearn.datasets import load_sample_images

    folder = Path(skimage.__file__).parent / "data"
    whole = [Image.open(folder / name).convert("RGB") for name in PHOTOGRAPHS]
    whole += [Image.fromarray(pixels) for pixels in load_sample_images().images]
    halves = []
    for each in whole:
        width, height = each.size
        box = (0, 0, width // 2, height) if training else (width - width // 2, 0, width, height)
        halves.append(each.crop(box))
    return halves


def write(folder: Path, emoji: Path, other: Path, *, pictures: int, size: int = 96, seed: int = 0) -> None:
    """Write all parts: so many training pictures, and a tenth of that for each other part."""
    behind = {training: backgrounds(training=training) for training in (True, False)}
    seen, unseen = drawings(emoji, unseen=False), drawings(emoji, unseen=True)
    parts: dict[str, tuple[list[list[Image.Image]], bool, int]] = {
        "main/train": (seen, True, pictures),
        "main/val": (seen, False, pictures // 10),
        "main/test": (seen, False, pictures // 10),
        "unseen": (unseen, False, pictures // 10),
        "other-style": (drawings(other, unseen=False), False, pictures // 10),
    }
    (folder / "masks").mkdir(parents=True, exist_ok=True)
    for place, (part, (objects, training, count)) in enumerate(parts.items()):
        shop = Workshop(drawings=objects, backgrounds=behind[training], size=size, seed=seed, part=place)
        for name in KINDS:
            (folder / part / name).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            made = shop.make(number)
            stem = f"{part.replace('/', '-')}-{number:05}"
            Image.fromarray(made.picture).save(folder / part / [*KINDS][made.label] / f"{stem}.png")
            Image.fromarray(made.mask).save(folder / "masks" / f"{stem}.png")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--pictures", type=int, default=4000)
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    data = Path(__file__).parent.parent / ".data"
    write(
        arguments.folder,
        data / "emoji",
        data / "emoji-twitter",
        pictures=arguments.pictures,
        size=arguments.size,
        seed=arguments.seed,
    )


if __name__ == "__main__":
    main()
