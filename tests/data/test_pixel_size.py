"""How large a pixel is: what files say credibly, what people type, how areas are told."""

import io

import numpy as np
import pytest
import tifffile
from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from vitrail.data.decode import decode_upright
from vitrail.data.pixel_size import area_unit, in_area, parse_pixel_size, uneven_sides
from vitrail.data.preprocess import Preprocess
from vitrail.errors import UsageError

UM, INCH, CM = 1e-6, 2, 3


def tiff(size=(30, 20), **tags):
    """Return a TIFF with tags by name."""
    numbers = {
        "description": (270, 2),
        "x": (282, 5),
        "y": (283, 5),
        "unit": (296, 3),
        "scale": (33550, 12),
        "keys": (34735, 3),
        "orientation": (274, 3),
    }
    info = ImageFileDirectory_v2()
    for name, value in tags.items():
        number, kind = numbers[name]
        info.tagtype[number] = kind
        info[number] = value.encode() if isinstance(value, str) else value  # Pillow's own is ASCII
    file = io.BytesIO()
    Image.new("L", size).save(file, "TIFF", tiffinfo=info)
    return file.getvalue()


def read(data):
    return decode_upright(data).pixel_size


def resolution(per, unit, y=None):
    return {"x": per, "y": per if y is None else y, "unit": unit}


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        (resolution(20_000, CM), 0.5 * UM),
        (resolution(50_800, INCH), 0.5 * UM),
        (resolution(40_000 / 3, CM), 0.75 * UM),
        (resolution(20_000, CM, 20_100), 0.4988 * UM),
        (resolution(20_000, CM, 20_400), None),
        (resolution(20_000, 1), None),
        *((resolution(dpi, INCH), None) for dpi in (0, 1, 72, 96, 100, 150, 200, 300, 600)),
        *((resolution(round(dpi / 2.54, 2), CM), None) for dpi in (72, 96, 150, 300, 600)),
        (resolution(1, CM), None),
        ({}, None),
        ({"x": 20_000, "y": 20_000}, 25.4e-3 / 20_000),  # inches, where no unit is named
    ],
)
def test_resolution(tags, expected):
    assert read(tiff(**tags)) == (None if expected is None else pytest.approx(expected, rel=1e-3))


@pytest.mark.parametrize(
    ("unit", "per", "expected"),
    [
        ("um", 4, 0.25 * UM),
        ("\\u00B5m", 4, 0.25 * UM),
        ("\u00b5m", 4, 0.25 * UM),
        ("micron", 1, 1 * UM),
        ("nm", 0.1, 10e-9),
        ("mm", 100, 0.01e-3),
        ("cm", 20_000, 0.5 * UM),
        ("cm", 118.11, None),  # 300 dpi
        ("inch", 300, None),
        ("pixel", 1, None),
        ("sec", 4, None),
    ],
)
def test_imagej(unit, per, expected):
    description = f"ImageJ=1.54f\nimages=1\nunit={unit}\nmin=0.0\n"
    found = read(tiff(description=description, **resolution(per, 1)))
    assert found == (None if expected is None else pytest.approx(expected, rel=1e-4))


OME = '<?xml version="1.0"?><OME xmlns="x"><Image ID="0"><Pixels ID="0" SizeX="30" {}/></Image></OME>'


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ('PhysicalSizeX="0.325" PhysicalSizeY="0.325"', 0.325 * UM),
        ('PhysicalSizeX="325" PhysicalSizeXUnit="nm" PhysicalSizeY="0.325"', 0.325 * UM),
        ('PhysicalSizeX="325" PhysicalSizeXUnit="nm" PhysicalSizeY="325" PhysicalSizeYUnit="nm"', 0.325 * UM),
        ('PhysicalSizeX="0.3" PhysicalSizeXUnit="\u00b5m" PhysicalSizeY="0.3"', 0.3 * UM),
        ('PhysicalSizeX="0.3" PhysicalSizeXUnit="&#181;m" PhysicalSizeY="0.3"', 0.3 * UM),
        ("PhysicalSizeX='2' PhysicalSizeXUnit='mm' PhysicalSizeY='2' PhysicalSizeYUnit='mm'", 2e-3),
        ('PhysicalSizeX="1" PhysicalSizeXUnit="pixel" PhysicalSizeY="1" PhysicalSizeYUnit="pixel"', None),
        ('PhysicalSizeX="0.325" PhysicalSizeY="0.65"', None),
        ('PhysicalSizeX="0" PhysicalSizeY="0"', None),
        ('PhysicalSizeX="many" PhysicalSizeY="few"', None),
        ("", None),
    ],
)
def test_ome(attributes, expected):
    found = read(tiff(description=OME.format(attributes)))
    assert found == (None if expected is None else pytest.approx(expected))


def test_aperio():
    description = "Aperio Image Library v11\r\n46000x32914 JPEG/RGB Q=30|AppMag = 20|MPP = 0.4990|Left = 25.6"
    assert read(tiff(description=description)) == pytest.approx(0.499 * UM)


def geo(**keys):
    numbers = {"model": 1024, "code": 3072, "method": 3075, "units": 3076}
    entries = sorted((numbers[name], 0, 1, value) for name, value in keys.items())
    return (1, 1, 0, len(entries), *(number for entry in entries for number in entry))


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"model": 1, "code": 25832, "units": 9001}, 0.2),
        ({"model": 1, "code": 32633}, 0.2),  # UTM, which is in metres whether or not it says so
        ({"model": 1, "code": 2263}, None),  # feet
        ({"model": 1, "code": 2263, "units": 9003}, None),
        ({"model": 1, "code": 3857, "units": 9001}, None),  # no metres of the ground
        ({"model": 1, "code": 32767, "units": 9001, "method": 7}, None),
        ({"model": 2, "units": 9001}, None),
    ],
)
def test_maps(keys, expected):
    data = tiff(scale=(0.2, 0.2, 0.0), keys=geo(**keys), **resolution(20_000, CM))
    assert read(data) == (None if expected is None else pytest.approx(expected))


def test_other_files_are_not_believed():
    for kind in ("JPEG", "PNG"):
        file = io.BytesIO()
        Image.new("RGB", (8, 8)).save(file, kind, dpi=(50_800, 50_800))
        assert read(file.getvalue()) is None
    assert read(np.zeros((4, 4), np.uint8)) is None


def test_broken_tags_are_nothing():
    assert read(tiff(keys=(1, 1, 0, 40, 1024, 0, 1, 1), scale=(0.2, 0.2, 0.0))) is None
    assert read(tiff(description="ImageJ=1\nunit=um\n")) is None


def test_a_later_page_is_not_asked(tmp_path):
    path = tmp_path / "pages.tif"
    first, second = Image.new("L", (30, 20)), Image.new("L", (6, 4))
    first.save(path, save_all=True, append_images=[second], resolution=20_000, resolution_unit="cm")
    with Image.open(path) as image:
        assert decode_upright(image).pixel_size == pytest.approx(0.5 * UM)
    with Image.open(path) as image:
        image.seek(1)
        assert decode_upright(image).pixel_size is None


@pytest.mark.parametrize("fit", ["crop", "squash", "pad", "tile"])
def test_it_is_that_of_the_original_however_it_is_seen(fit):
    data = tiff((300, 200), orientation=6, **resolution(20_000, CM))
    frame = Preprocess(size=(32, 32), fit=fit)(data)[1]
    assert frame.size == (300, 200)
    assert frame.pixel_size == pytest.approx(0.5 * UM)


def test_pixels_that_are_no_squares_are_known(tmp_path):
    path = tmp_path / "a.tif"
    path.write_bytes(tiff(**resolution(20_000, CM, 10_000)))
    assert uneven_sides(str(path)) == pytest.approx((0.5 * UM, 1 * UM))
    path.write_bytes(tiff(**resolution(20_000, CM)))
    assert uneven_sides(str(path)) is None
    assert uneven_sides(str(tmp_path / "none.tif")) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0.5um", 0.5 * UM),
        ("0.5 \u00b5m", 0.5 * UM),
        ("0.5\u03bcm", 0.5 * UM),
        ("250nm", 0.25 * UM),
        ("2 mm", 2e-3),
        ("1.5cm", 0.015),
        ("0.2m", 0.2),
        ("5e-7m", 0.5 * UM),
    ],
)
def test_typed(text, expected):
    assert parse_pixel_size(text) == pytest.approx(expected)


@pytest.mark.parametrize("text", ["0.5", "um", "0um", "-1um", "0.5px", "0.5.1um", "nan m", "", "1e9m"])
def test_typed_badly(text):
    with pytest.raises(UsageError, match=r"0\.5um"):
        parse_pixel_size(text)


@pytest.mark.parametrize(
    ("area", "shown"),
    [
        (0, "0 nm\u00b2"),
        (3.456e-16, "346 nm\u00b2"),
        (1e-12, "1 \u00b5m\u00b2"),
        (4.5678e-8, "45,700 \u00b5m\u00b2"),
        (2.5e-6, "2.5 mm\u00b2"),
        (1234.5, "1,230 m\u00b2"),
        (7.5e6, "7.5 km\u00b2"),
    ],
)
def test_areas_are_told_in_units_that_suit(area, shown):
    assert in_area(area) == shown
    assert area_unit([0.0, area])[0] == shown.split()[1]


def test_bands_bring_their_pixel_size(tmp_path):
    path = str(tmp_path / "bands.tif")
    pixels = np.zeros((20, 30, 5), np.uint16)
    words = {"photometric": "minisblack", "planarconfig": "contig", "resolution": (20000, 20000)}
    tifffile.imwrite(path, pixels, resolutionunit="CENTIMETER", **words)
    assert decode_upright(path, 5).pixel_size == pytest.approx(0.5e-6)
    loaded = Preprocess(size=(16, 16), channels=5, fit="tile").load(path)
    assert loaded.pixel_size == pytest.approx(0.5e-6)
