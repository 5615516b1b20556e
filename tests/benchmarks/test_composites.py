"""Composites: the mask is where the drawing was pasted, and nothing but the drawing tells the class."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

EMOJI = [Path(__file__).resolve().parents[2] / ".data" / style for style in ("emoji", "emoji-twitter")]
SIZE, COUNT = 64, 60


def shape(kind, colour):
    """Return a drawing of one colour, with nothing around it."""
    image = Image.new("RGBA", (48, 48), (0, 0, 0, 0))
    getattr(ImageDraw.Draw(image), kind)((6, 10, 42, 38), fill=(*colour, 255))
    return image


DRAWINGS = [
    [shape("ellipse", (255, 0, 0))],
    [shape("rectangle", (0, 255, 0)), shape("rectangle", (0, 0, 255))],
]
GREY = [Image.new("RGB", (90, 70), (120, 120, 120)), Image.new("RGB", (200, 300), (60, 60, 60))]


@pytest.fixture
def workshop(benchmark):
    def make(**changed):
        words = {"drawings": DRAWINGS, "backgrounds": GREY, "size": SIZE, "seed": 0}
        return benchmark("composites").Workshop(**words | changed)

    return make


@pytest.fixture
def noise():
    chance = np.random.default_rng(0)
    return [Image.fromarray(chance.integers(0, 256, (80, 120, 3), dtype=np.uint8)) for _ in range(3)]


def test_the_mask_is_where_the_drawing_is(workshop):
    for number in range(COUNT):
        made = workshop().make(number)
        away = np.ptp(made.picture.astype(int), axis=2) > 0  # grey has the same red, green and blue
        assert made.picture.shape == (SIZE, SIZE, 3)
        assert away[made.mask].all()
        assert (away & ~made.mask).sum() <= 2 * (away.sum() ** 0.5) * 4  # the soft rim of the drawing
        assert 0.02 < made.mask.mean() < 0.3


def test_the_box_is_that_of_the_mask(workshop):
    for number in range(COUNT):
        made = workshop().make(number)
        left, top, right, bottom = made.xyxy
        assert made.mask[top:bottom, left:right].sum() == made.mask.sum()
        inside = made.mask[top:bottom, left:right]
        assert all(edge.any() for edge in (inside[0], inside[-1], inside[:, 0], inside[:, -1]))


def test_a_number_always_makes_the_same_and_others_differ(workshop, noise):
    one, again, other, elsewhere = (
        [workshop(backgrounds=noise, **words).make(number) for number in range(12)]
        for words in ({}, {}, {"seed": 1}, {"part": 1})
    )
    for first, second in zip(one, again, strict=True):
        np.testing.assert_array_equal(first.picture, second.picture)
        np.testing.assert_array_equal(first.mask, second.mask)
    for others in (other, elsewhere, one[::-1]):
        assert not any(
            np.array_equal(mine.picture, theirs.picture) for mine, theirs in zip(one, others, strict=True)
        )


def test_classes_are_as_many_and_the_background_knows_nothing_of_them(workshop, noise):
    """What lies behind is the same picture, whatever kind of drawing the number asks for."""
    turned = workshop(backgrounds=noise, drawings=DRAWINGS[::-1])
    labels = []
    for number in range(COUNT):
        made, other = workshop(backgrounds=noise).make(number), turned.make(number)
        labels.append(made.label)
        both = made.mask | other.mask
        grown = np.stack(
            [np.roll(both, (down, across), (0, 1)) for down in (-2, 0, 2) for across in (-2, 0, 2)]
        )
        behind = ~grown.any(axis=0)
        assert behind.mean() > 0.3
        np.testing.assert_array_equal(made.picture[behind], other.picture[behind])
    assert np.bincount(labels).tolist() == [COUNT // 2, COUNT // 2]


@pytest.mark.data("emoji", "emoji-twitter")
def test_each_kind_has_drawings_to_learn_and_others_in_both_styles(benchmark):
    composites = benchmark("composites")
    styles = []
    for folder in EMOJI:
        learned, kept, both = (composites.files(folder, unseen=unseen) for unseen in (False, True, None))
        for some, others, every in zip(learned, kept, both, strict=True):
            assert len(some) >= 15
            assert len(others) >= 4
            assert sorted(some + others) == every
        names = [file.name for kind in both for file in kind]
        assert len(names) == len(set(names))  # no drawing is of two kinds
        styles.append([[file.name for file in kind] for kind in learned])
    assert styles[0] == styles[1]


@pytest.mark.data("emoji", "emoji-twitter")
def test_the_folders_are_those_that_a_benchmark_reads(benchmark, tmp_path):
    composites = benchmark("composites")
    composites.write(tmp_path, *EMOJI, pictures=60, size=48)
    count = {
        part: len([*(tmp_path / part).glob("*/*.png")])
        for part in ("main/train", "main/val", "main/test", "unseen", "other-style")
    }
    assert count == {"main/train": 60, "main/val": 6, "main/test": 6, "unseen": 6, "other-style": 6}
    for picture in tmp_path.glob("main/*/*/*.png"):
        mask = np.asarray(Image.open(tmp_path / "masks" / picture.name))
        assert mask.shape == np.asarray(Image.open(picture)).shape[:2]
        assert 0 < mask.mean() < 0.4
