"""Scenes: every pixel's class is that of the drawing seen there, and no drawing hides too much of another."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

EMOJI = [Path(__file__).resolve().parents[2] / ".data" / style for style in ("emoji", "emoji-twitter")]
COLOURS = [(255, 0, 0), (0, 255, 0), (0, 0, 255)]
GREY = [Image.new("RGB", (90, 70), (120, 120, 120))]


def square(colour):
    image = Image.new("RGBA", (48, 48), (0, 0, 0, 0))
    ImageDraw.Draw(image).rectangle((4, 4, 43, 43), fill=(*colour, 255))
    return image


@pytest.fixture
def scenes(benchmark):
    return benchmark("scenes")


@pytest.fixture
def workshop(scenes):
    drawings = [[square(colour)] for colour in COLOURS]
    return scenes.Workshop(drawings=drawings, backgrounds=GREY, size=96, seed=0)


def test_pixels_are_of_the_class_whose_colour_they_have(scenes, workshop):
    counts = set()
    for number in range(40):
        made = scenes.scene(workshop, number, most=4)
        counts.add(len(made.labels))
        pure = np.stack([(made.picture == colour).all(2) for colour in COLOURS])
        assert (made.mask[pure.any(0)] == pure.argmax(0)[pure.any(0)] + 1).all()
        assert pure.any(0)[made.mask > 0].mean() > 0.8  # the soft rims are of two colours
        assert not (np.ptp(made.picture.astype(int), axis=2) == 0)[made.mask > 0].any()
        assert (made.objects.sum(0) <= 1).all()  # what is hidden is not seen
    assert counts == {1, 2, 3, 4}


def test_drawings_stay_seen(scenes, workshop):
    for number in range(40):
        made = scenes.scene(workshop, number, most=4)
        for each in made.objects:
            rows, columns = (each.any(axis=axis).nonzero()[0] for axis in (1, 0))
            assert each.sum() >= (1 - scenes.HIDDEN) * len(rows) * len(columns) * 0.9


def test_a_number_always_makes_the_same(scenes, workshop):
    one, again, other = (scenes.scene(workshop, number, most=3) for number in (5, 5, 6))
    np.testing.assert_array_equal(one.picture, again.picture)
    np.testing.assert_array_equal(one.mask, again.mask)
    assert not np.array_equal(one.picture, other.picture)


@pytest.mark.data("emoji", "emoji-twitter")
def test_the_folders_are_a_data_set(scenes, tmp_path):
    from vitrail.data.readers import ReaderOptions, open_data

    scenes.write(tmp_path, *EMOJI, pictures=20, size=48, most=3)
    reader = open_data(str(tmp_path / "main"), ReaderOptions())
    assert reader.classes == ("background", *scenes.TEN)
    assert {name: len(part) for name, part in reader.splits().items()} == {"train": 20, "val": 20, "test": 20}
    for folder in ("unseen", "other-style"):
        assert len(open_data(str(tmp_path / folder), ReaderOptions()).splits()["test"]) == 20


@pytest.mark.data("emoji")
def test_every_kind_has_drawings_to_learn_and_others(scenes, benchmark):
    files = benchmark("composites").files
    learned, kept = (files(EMOJI[0], unseen=unseen, kinds=scenes.TEN) for unseen in (False, True))
    assert min(map(len, learned)) >= 14
    assert min(map(len, kept)) >= 3
    every = [file.name for kind in (*learned, *kept) for file in kind]
    assert len(every) == len(set(every))
