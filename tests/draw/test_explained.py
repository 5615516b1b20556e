import numpy as np
import pytest
from PIL import Image

from vitrail.draw.explained import LEAST, explained, explained_sheet, heat_over
from vitrail.draw.overlay import overlay
from vitrail.values import Frame

SIZE = (60, 90)
WHOLE = Frame(size=SIZE, matrix=(1.0, 0, 0, 0, 1.0, 0))


def spot(rows, columns, row, column):
    values = np.zeros((rows, columns))
    values[row, column] = 1
    return values


def test_the_original_stands_beside_its_heat_at_full_resolution():
    picture = np.random.default_rng(0).integers(0, 256, (400, 600, 3), dtype=np.uint8)
    frame = Frame(size=(400, 600), matrix=(0.5, 0, -50, 0, 0.5, 0))
    made = np.asarray(explained(picture, spot(7, 7, 3, 3), frame, (200, 200), title="cat (90 %)"))
    hot = np.asarray(heat_over(picture, spot(7, 7, 3, 3), frame, (200, 200)))
    places = [
        (top, left)
        for top in range(40)
        for left in range(made.shape[1] - 600)
        if (made[top, left : left + 600] == picture[0]).all()
    ]
    assert len(places) == 1
    top, left = places[0]
    np.testing.assert_array_equal(made[top : top + 400, left : left + 600], picture)
    right = 2 * left + 600
    np.testing.assert_array_equal(made[top : top + 400, right : right + 600], hot)


def test_small_pictures_are_enlarged_pixel_by_pixel_and_the_heat_with_them():
    picture = np.arange(12 * 12, dtype=np.uint8).reshape(12, 12)
    made = explained(picture, spot(3, 3, 0, 2), Frame(size=(12, 12)), (12, 12), title="a", lines=["b"])
    assert made.width > 2 * LEAST
    hot = np.asarray(made.convert("L"), int)[:LEAST, made.width // 2 :]
    assert hot[60, LEAST - 120 : LEAST - 40].mean() > hot[LEAST - 60, LEAST - 120 : LEAST - 40].mean() + 30


def test_cells_are_ruled_where_they_are_large_and_on_what_the_model_saw_only():
    picture, values = np.full(SIZE, 90, np.uint8), np.ones((3, 3))
    frame = Frame(size=SIZE, matrix=(1.0, 0, -15, 0, 1.0, 0))  # a square cut out of the middle
    plain, ruled = (
        overlay(picture, values, frame=frame, canvas=(60, 60)),
        heat_over(picture, values, frame, (60, 60)),
    )
    drawn = np.argwhere((np.asarray(plain) != np.asarray(ruled)).any(-1))
    assert {0, 20, 40, 59} <= {int(row) for row, _ in drawn}
    assert drawn[:, 1].min() == 15
    assert drawn[:, 1].max() == 75
    fine = np.ones((30, 30))
    np.testing.assert_array_equal(
        overlay(picture, fine, frame=frame, canvas=(60, 60)), heat_over(picture, fine, frame, (60, 60))
    )


def test_single_pixels_do_not_leave_the_rest_dark():
    values = np.full((100, 100), 1.0)
    values[0, 0] = 1000
    seen = np.asarray(heat_over(np.zeros((100, 100), np.uint8), values, Frame(size=(100, 100)), (100, 100)))
    assert (seen[50, 50] == seen[0, 1]).all()
    assert seen[50, 50].sum() > 300


def test_contours_run_along_equal_heat_and_not_around_what_the_model_saw():
    picture = np.full((80, 120, 3), 128, np.uint8)
    frame = Frame(size=(80, 120), matrix=(1.0, 0, -20, 0, 1.0, 0))
    even = np.asarray(heat_over(picture, np.ones((40, 40)), frame, (80, 80), contours=True))
    np.testing.assert_array_equal(even, picture)
    values = np.zeros((40, 40))
    values[15:25, 15:25] = 1
    seen = np.asarray(heat_over(picture, values, frame, (80, 80), contours=True))
    drawn = np.argwhere((seen != picture).any(-1))
    assert 25 <= drawn[:, 0].min() <= 32
    assert 45 <= drawn[:, 1].min() <= 52
    assert (seen[40, 60] == 128).all()  # inside the line the picture shows as it is


def test_contours_of_fine_maps_are_those_of_means():
    fine = np.random.default_rng(0).random((224, 224))
    fine[80:140, 80:140] += 3
    picture = np.full((224, 224), 128, np.uint8)
    seen = np.asarray(heat_over(picture, fine, Frame(size=(224, 224)), (224, 224), contours=True))
    changed = (seen != 128).any(-1)
    assert 0 < changed.mean() < 0.08  # outlines of single pixels would cover most of it
    assert not changed[:60].any()


def test_every_contour_stands_out_from_dark_and_from_light():
    values = np.linspace(0, 1, 20)[None].repeat(20, 0)
    for shade in (0, 255):
        picture = np.full((200, 200), shade, np.uint8)
        seen = np.asarray(heat_over(picture, values, Frame(size=(200, 200)), (200, 200), contours=True), int)
        apart = np.abs(seen[100] - shade).max(-1)
        for level in (0.25, 0.5, 0.75):
            assert apart[round(200 * level) - 12 : round(200 * level) + 12].max() > 100


def test_lines_between_cells_are_seen_on_large_pictures_too():
    picture = np.zeros((1600, 2400), np.uint8)
    ruled = np.asarray(heat_over(picture, np.zeros((4, 4)), Frame(size=(1600, 2400)), (1600, 2400)))
    line = ruled[200, :, 0] > ruled[200, 300, 0]
    assert 2 <= line[590:611].sum() <= 4


def test_the_bar_has_the_colours_of_the_heat_over_dark_and_over_light():
    picture = np.zeros((400, 400), np.uint8)
    picture[:, 200:] = 255
    made = np.asarray(explained(picture, np.ones((1, 1)), Frame(size=(400, 400)), (400, 400), title="x"), int)
    gap = int(np.flatnonzero((made[:400] != 255).any((0, 2)))[0])
    hot = made[gap + 200, 2 * gap + 400 : 2 * gap + 800]
    bar = made[gap + 2, 2 * gap + 800 + gap // 2 :]
    for colour in (hot[100], hot[300]):
        assert np.abs(bar - colour).sum(-1).min() < 12


@pytest.mark.parametrize("size", [(40, 300), (300, 40), (224, 224)])
def test_sheets_of_every_shape(size):
    picture = Image.new("RGB", size[::-1], "red")
    heats = {name: spot(4, 4, 1, 1) for name in ("grad-cam", "occlusion", "saliency", "a", "b")}
    made = explained_sheet(
        picture, heats, Frame(size=size), size, title="cat " * 40, lines=["about"], notes={"a": "0.5"}
    )
    assert made.mode == "RGB"
    assert made.width >= 4 * min(100, size[1])
