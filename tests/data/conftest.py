import pytest
from PIL import Image

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
