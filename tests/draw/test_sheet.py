import numpy as np
import pytest
from PIL import Image

from vitrail.draw.sheet import resize, sheet, to_image


def test_small_pictures_are_enlarged_by_whole_numbers():
    picture = np.arange(8 * 6, dtype=np.uint8).reshape(8, 6)
    image = resize(picture, 100)
    assert image.size == (72, 96)
    np.testing.assert_array_equal(np.asarray(image), np.kron(picture, np.ones((12, 12), np.uint8)))


def test_large_pictures_are_reduced_and_keep_their_shape():
    assert resize(np.zeros((300, 1000, 3), np.uint8), 100).size == (100, 30)
    assert resize(np.zeros((1, 20_000), np.uint8), 100).size == (100, 1)
    assert resize(np.zeros((100, 100), np.uint8), 100).size == (100, 100)


def test_pictures_of_every_kind_are_taken():
    assert to_image(np.zeros((4, 5), np.uint8)).mode == "L"
    assert to_image(np.zeros((4, 5, 1), np.uint8)).mode == "L"
    assert to_image(np.zeros((4, 5, 3), np.uint8)).size == (5, 4)
    clear = to_image(Image.new("RGBA", (2, 2), (255, 0, 0, 0)))
    assert clear.getpixel((0, 0)) == (255, 255, 255)
    with pytest.raises(ValueError, match="uint8"):
        to_image(np.zeros((4, 5), np.float32))


def test_a_sheet_has_every_picture_in_its_cell():
    pictures = [np.full((8, 8), 10 * i, np.uint8) for i in range(1, 8)]
    page = sheet(pictures, columns=4, side=40, gap=8)
    assert page.size == (8 + 4 * 48, 8 + 2 * 48)
    for index in range(7):
        middle = 8 + index % 4 * 48 + 20, 8 + index // 4 * 48 + 20
        assert page.getpixel(middle) == (10 * (index + 1),) * 3
    assert page.getpixel((8 + 3 * 48 + 20, 8 + 48 + 20)) == (255, 255, 255)


def test_captions_are_written_and_cut_to_their_cell():
    pictures = [np.zeros((8, 8), np.uint8)] * 2
    blank = sheet(pictures, ["", ""], side=64)
    short, long = (sheet(pictures, [text, ""], side=64) for text in ("cat", "cat " * 50))
    assert short.size == long.size == blank.size
    changed = np.argwhere((np.asarray(long) != np.asarray(blank)).any(-1))
    assert len(changed)
    assert changed[:, 1].max() < 8 + 64
    assert changed[:, 0].min() > 8 + 64
    assert (np.asarray(short) != np.asarray(long)).any()
    with pytest.raises(ValueError, match="1 captions for 2"):
        sheet(pictures, ["cat"])
