import numpy as np
import pytest
from PIL import Image

from vitrail.data.samples import Table, Texts

SIZE = (6, 8)
"""Height and width of the pictures that readers are tested with."""


def write_picture(path, size=SIZE, orientation=None):
    """Write a grey picture, as a camera that was held so (EXIF) would."""
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    if orientation:
        exif[0x0112] = orientation
    Image.new("RGB", size[::-1], "grey").save(path, exif=exif)


@pytest.fixture(scope="session")
def picture():
    """Return what writes a picture: ``picture(path, size, orientation)``."""
    return write_picture


def make_samples(pictures):
    """Return pictures as samples, all of one class."""
    count = len(pictures)
    return Table(
        home="test",
        classes=("a", "b"),
        keys=Texts.of(map(str, range(count))),
        pictures=pictures,
        contents=np.zeros(count, np.uint64),
        stamps=np.zeros(count, np.uint64),
        targets={"label": np.zeros(count, np.int32)},
        split=np.zeros(count, np.int8),
    ).splits()["all"]


@pytest.fixture(scope="session")
def samples_of():
    """Return what makes samples of pictures: ``samples_of(pictures)``."""
    return make_samples
