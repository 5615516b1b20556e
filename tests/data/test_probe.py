"""A look at headers agrees with what decoding makes of the pictures, and stumbles over nothing."""

import io
import os
import warnings

import numpy as np
import pytest
from PIL import Image

from vitrail.data.decode import decode
from vitrail.data.probe import Probe, probe
from vitrail.data.samples import Files, Texts


def saved(image, form, **options):
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def turned(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


@pytest.mark.parametrize("form", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_sizes_are_those_of_the_upright_pictures(form, orientation, samples_of):
    file = saved(Image.new("RGB", (40, 30), "red"), form, exif=turned(orientation))
    assert probe(samples_of([file])) == Probe(size=decode(file)[1], grey=False)


def test_an_orientation_that_is_no_number_is_none(samples_of):
    text = saved(Image.new("L", (40, 30)), "TIFF", tiffinfo={0x010E: "6"})
    text = text.replace(b"\x0e\x01\x02\x00", b"\x12\x01\x02\x00")
    jpeg = saved(Image.new("L", (40, 30)), "JPEG", exif=b"Exif\0\0" + text)
    with Image.open(io.BytesIO(jpeg)) as image:
        assert image.getexif()[0x0112] == "6"
    assert probe(samples_of([jpeg])) == Probe(size=(30, 40), grey=True)
    assert decode(jpeg)[1] == (30, 40)


def test_a_pipe_and_what_else_is_no_picture_is_passed_over(tmp_path, samples_of):
    os.mkfifo(tmp_path / "a.jpg")
    (tmp_path / "b.jpg").write_bytes(b"nothing")
    (tmp_path / "c.jpg").mkdir()
    Image.new("L", (5, 7)).save(tmp_path / "d.jpg")
    names = ["a.jpg", "b.jpg", "c.jpg", "d.jpg", "e.jpg"]
    assert probe(samples_of(Files(str(tmp_path), Texts.of(names)))) == Probe(size=(7, 5), grey=True)
    assert probe(samples_of(Files(str(tmp_path), Texts.of(names[:3])))) is None


def test_pixels_in_memory(samples_of):
    shapes = {(4, 6): True, (4, 6, 1): True, (4, 6, 2): True, (4, 6, 3): False, (4, 6, 4): False}
    for shape, grey in shapes.items():
        assert probe(samples_of([np.zeros(shape, np.uint8)])) == Probe(size=(4, 6), grey=grey)
    assert probe(samples_of([np.zeros(4), np.zeros((2, 2, 2, 5)), np.zeros((0, 3))])) is None


def test_pillow_stays_silent(tmp_path, samples_of):
    Image.new("1", (10_000, 9_000)).save(tmp_path / "large.png")  # beyond Pillow's first limit, which warns
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        files = Files(str(tmp_path), Texts.of(["large.png"]))
        assert probe(samples_of(files)) == Probe(size=(9_000, 10_000), grey=True)
