from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vitrail.run.launch import compose


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
