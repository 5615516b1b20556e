from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vitrail.run.launch import compose
from vitrail.values import IGNORED


def write_pictures(folder: Path, each: int = 20, size: int = 12) -> Path:
    """Write a folder of three classes that a small network can tell apart: stripes, dots, and neither."""
    draw = np.random.default_rng(0)
    for kind in ("stripes", "dots", "plain"):
        (folder / kind).mkdir(parents=True)
        for number in range(each):
            pixels = draw.integers(0, 60, (size, size), dtype=np.uint8)
            if kind == "stripes":
                pixels[:, number % 3 :: 3] += 150
            if kind == "dots":
                pixels[number % 3 :: 3, number % 3 :: 3] += 150
            Image.fromarray(pixels).save(folder / kind / f"{number:03d}.png")
    return folder


def write_shapes(folder: Path, size: tuple[int, int], counts: tuple[int, int, int]) -> Path:
    """Write pictures of a bright disc and a dark bar, and their masks, whose first columns are ignored."""
    random, classes = np.random.default_rng(0), ("background", "disc", "bar")
    rows, across = np.mgrid[: size[0], : size[1]]
    for split, count in zip(("train", "val", "test"), counts, strict=True):
        for kind in ("images", "masks"):
            (folder / split / kind).mkdir(parents=True)
        for number in range(count):
            mask = np.zeros(size, np.uint8)
            y, x, top = random.integers(6, 28, 3).tolist()
            mask[(rows - y) ** 2 + (across - x) ** 2 < 45] = 1
            mask[top : top + 5] = 2
            pixels = np.clip(np.array([120, 220, 20])[mask] + random.normal(0, 8, size), 0, 255)
            mask[:, :2] = IGNORED
            Image.fromarray(pixels.astype(np.uint8)).save(folder / split / "images" / f"{number}.png")
            Image.fromarray(mask).save(folder / split / "masks" / f"{number}.png")
    (folder / "classes.txt").write_text("\n".join(classes))
    return folder


@pytest.fixture(scope="session")
def shapes_in():
    """Return what writes a data set of shapes with their masks: ``shapes_in(folder, size, counts)``."""
    return write_shapes


@pytest.fixture(scope="session")
def pictures(tmp_path_factory):
    return write_pictures(tmp_path_factory.mktemp("data") / "pictures")


@pytest.fixture
def recipe(pictures):
    """A recipe that trains in about a second, with everything that has state switched on."""
    options = {
        "epochs": 3,
        "train.batch": 8,
        "train.accumulate": 2,
        "train.ema": 0.9,
        "model.depth": 2,
        "model.drop_path": 0.2,
        "augment.shift": 1,
        "augment.mixup": 0.2,
        "data.workers": 2,
    }
    made = compose(pictures, "vit-pico4", None, options)
    return replace(made, image_size=(12,))
