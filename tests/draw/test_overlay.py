import numpy as np
import pytest

from vitrail.draw.overlay import overlay
from vitrail.draw.palette import heat_colours
from vitrail.values import Frame


def spot(rows, columns, row, column):
    values = np.zeros((rows, columns))
    values[row, column] = 1
    return values


def test_every_cell_lies_where_the_model_saw_it():
    picture = np.zeros((60, 90, 3), np.uint8)
    seen = np.asarray(overlay(picture, spot(4, 6, 1, 4), alpha=1, smooth=False))
    assert seen.shape == picture.shape
    hot = (seen == heat_colours()[255]).all(-1)
    expected = np.zeros((60, 90), bool)
    expected[15:30, 60:75] = True
    np.testing.assert_array_equal(hot, expected)


def test_smooth_heat_peaks_in_the_middle_of_its_cell():
    seen = np.asarray(overlay(np.zeros((64, 64), np.uint8), spot(4, 4, 2, 1), alpha=1), np.int64)
    brightest = np.argwhere(seen.sum(-1) == seen.sum(-1).max()).mean(0)
    np.testing.assert_allclose(brightest, [39.5, 23.5])


def test_alpha_mixes_with_the_grey_picture():
    picture = np.full((4, 4, 3), (200, 100, 50), np.uint8)
    grey = round(200 * 0.299 + 100 * 0.587 + 50 * 0.114)
    seen = np.asarray(overlay(picture, np.ones((2, 2)), alpha=0.25))
    np.testing.assert_allclose(seen[0, 0], 0.75 * grey + 0.25 * heat_colours()[255], atol=1)
    assert (np.asarray(overlay(picture, np.ones((2, 2)), alpha=0)) == grey).all()


def test_the_frame_brings_heat_home_to_the_original():
    # 100 x 200, its middle square cut out and reduced to a canvas of 50 x 50.
    frame = Frame(size=(100, 200), matrix=(0.5, 0, -25, 0, 0.5, 0))
    seen = np.asarray(
        overlay(
            np.zeros((100, 200), np.uint8),
            spot(5, 5, 0, 4),
            frame=frame,
            canvas=(50, 50),
            alpha=1,
            smooth=False,
        )
    )
    hot = (seen == heat_colours()[255]).all(-1)
    expected = np.zeros((100, 200), bool)
    expected[:20, 130:150] = True
    np.testing.assert_array_equal(hot, expected)
    assert (seen[:, :50] == 0).all()  # what the model did not see has no colour
    assert (seen[:, 150:] == 0).all()
    assert (seen[50, 60] == heat_colours()[0]).all()


def test_no_heat_at_all_is_dark_not_an_error():
    assert (
        np.asarray(overlay(np.zeros((4, 4), np.uint8), np.zeros((2, 2)), alpha=1)) == heat_colours()[0]
    ).all()


def test_what_does_not_fit_is_refused():
    picture, values = np.zeros((4, 4), np.uint8), np.zeros((2, 2))
    with pytest.raises(ValueError, match="frame needs the canvas"):
        overlay(picture, values, frame=Frame(size=(4, 4)))
    with pytest.raises(ValueError, match=r"of a \(4, 5\) picture"):
        overlay(picture, values, frame=Frame(size=(4, 5)), canvas=(4, 4))
