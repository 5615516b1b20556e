import numpy as np
import pytest
from PIL import Image

from vitrail.draw.letters import breadth
from vitrail.draw.panel import UNIT, columns_of, panel, panes


@pytest.mark.parametrize(
    ("count", "columns"), [(1, 1), (4, 4), (5, 5), (6, 3), (9, 3), (10, 5), (12, 4), (13, 5)]
)
def test_rows_are_as_full_as_they_can_be(count, columns):
    assert columns_of(count) == columns


def test_no_name_runs_into_its_neighbour():
    slim = Image.new("RGB", (40, 300), "red")
    made = np.asarray(panes({"integrated-gradients": slim, "b": slim}, title="x", notes={"b": "0.52"}))
    starts = np.flatnonzero(np.diff((made == (255, 0, 0)).all(-1).any(0).astype(int)) > 0)
    assert starts[1] - starts[0] > breadth("integrated-gradients", UNIT)


def test_a_title_longer_than_its_picture_is_broken_not_cut():
    small = Image.new("RGB", (100, 100), "red")
    short, long = (panel([small, small], title=title) for title in ("cat", "cat " * 60))
    assert long.width == short.width
    assert long.height > short.height + 100
