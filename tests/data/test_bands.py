"""Pictures of many channels and of 16 bits: what is read of each file, and on what range bits are spent."""

import io
import sys

import numpy as np
import pytest
import tifffile
from PIL import Image

from vitrail.data import bands
from vitrail.data.augment import Augment
from vitrail.data.corrupt import CORRUPTIONS, corrupt
from vitrail.data.decode import decode
from vitrail.data.faults import Unreadable
from vitrail.data.preprocess import Preprocess
from vitrail.data.probe import probe
from vitrail.data.readers import open_data
from vitrail.data.readers.listing import find_pictures
from vitrail.data.spread import measure
from vitrail.draw.bands import shown
from vitrail.errors import UsageError

FIVE = np.random.default_rng(0).integers(0, 1500, (40, 30, 5)).astype(np.uint16)
PLANES = np.ascontiguousarray(FIVE.transpose(2, 0, 1))
SPAN = (100.0, 1100.0)
BYTES = np.rint((FIVE.clip(100, 1100) - 100.0) * 0.255).astype(np.uint8)


def tiff(values, **options):
    file = io.BytesIO()
    tifffile.imwrite(file, values, **options)
    return file.getvalue()


def npy(values):
    file = io.BytesIO()
    np.save(file, values)
    return file.getvalue()


CHUNKY = {"photometric": "minisblack", "planarconfig": "contig"}
FILES = {
    "array": FIVE,
    "npy": npy(FIVE),
    "chunky": tiff(FIVE, **CHUNKY),
    "planar": tiff(PLANES, photometric="minisblack", planarconfig="separate"),
    "pages": tiff(PLANES),
    "pages without a word": tiff(PLANES, metadata=None),
    "rows as pages": tiff(FIVE),
    "imagej": tiff(PLANES, imagej=True, metadata={"axes": "CYX"}),
    "ome": tiff(PLANES, ome=True, metadata={"axes": "CYX"}),
    "first of several in depth": tiff(np.stack([PLANES, PLANES * 0], 1), ome=True, metadata={"axes": "CZYX"}),
    "first of several in time": tiff(np.stack([PLANES, PLANES * 0]), imagej=True, metadata={"axes": "TCYX"}),
    "tiles": tiff(FIVE, **CHUNKY, tile=(16, 16), compression="lzw", predictor=True),
    "large": tiff(FIVE, **CHUNKY, bigtiff=True),
    "turned": tiff(np.rot90(FIVE), **CHUNKY, extratags=[(274, "H", 1, 6, True)]),
}


@pytest.mark.parametrize("kind", FILES)
def test_five_channels_by_whatever_layout(kind):
    pixels, size = decode(FILES[kind], 5, span=SPAN)
    assert size == (40, 30)
    assert (pixels == BYTES).all()


def test_each_channel_has_a_range_of_its_own():
    span = tuple(float(end) for channel in range(5) for end in (100 * channel, 1000 + 100 * channel))
    for source in (FILES["chunky"], FIVE.astype(np.float32), FIVE.astype(np.int32)):
        pixels = decode(source, 5, span=span)[0]
        for channel in range(5):
            one = decode(FIVE[:, :, channel], 1, span=span[2 * channel : 2 * channel + 2])[0]
            assert (pixels[:, :, channel] == one[:, :, 0]).all()


def test_the_range_of_numbers_of_each_kind():
    values = np.array([[-300, 0, 10, 51, 32767]], np.int16)
    assert decode(values, 1, span=(0, 51))[0].ravel().tolist() == [0, 0, 50, 255, 255]
    assert decode(tiff(values), 1, span=(0, 51))[0].ravel().tolist() == [0, 0, 50, 255, 255]
    real = np.array([[np.nan, -np.inf, 0.25, np.inf]], np.float32)
    assert decode(real, 1, span=(0, 0.5))[0].ravel().tolist() == [0, 0, 128, 255]
    eight = np.array([[0, 7, 200]], np.uint8)
    assert decode(eight, 1, span=(0, 10))[0].ravel().tolist() == [0, 7, 200]
    grey = Image.fromarray(FIVE[:, :, 0])
    for form in ("PNG", "TIFF"):
        file = io.BytesIO()
        grey.save(file, form)
        assert (decode(file.getvalue(), 1, span=SPAN)[0] == BYTES[:, :, :1]).all()
        assert (decode(file.getvalue(), 3, span=SPAN)[0] == BYTES[:, :, :1]).all()
    assert (decode(grey, 1, span=SPAN)[0] == BYTES[:, :, :1]).all()


def test_colours_of_sixteen_bits():
    colour = tiff(FIVE[:, :, :3], photometric="rgb")
    assert (decode(colour)[0] == FIVE[:, :, :3] >> 8).all()
    assert (decode(colour, span=SPAN)[0] == BYTES[:, :, :3]).all()
    more = tiff(FIVE[:, :, :4], photometric="rgb", extrasamples=["unspecified"])
    assert (decode(more, 4, span=SPAN)[0] == BYTES[:, :, :4]).all()
    assert (decode(more, 3, span=SPAN)[0] == BYTES[:, :, :3]).all()
    clear = np.dstack([FIVE[:, :, :3], np.full((40, 30), 65535, np.uint16)])
    opaque = tiff(clear, photometric="rgb", extrasamples=["unassalpha"])
    assert (decode(opaque, 3, span=SPAN)[0] == BYTES[:, :, :3]).all()
    assert (decode(clear, 3, span=SPAN)[0] == BYTES[:, :, :3]).all()
    assert (decode(tiff(FIVE[:, :, :3], **CHUNKY), span=SPAN)[0] == BYTES[:, :, :3]).all()


def test_opacity_is_a_channel_where_four_are_asked_for():
    values = FIVE[:, :, :4].astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(values).save(file, "PNG")
    assert (decode(file.getvalue(), 4)[0] == values).all()


@pytest.mark.parametrize(
    ("source", "channels", "says"),
    [
        (npy(FIVE), 3, "not a picture: pictures are h w, h w 1"),
        (npy(FIVE), 4, "other channels|not a picture"),
        (npy(PLANES), 5, r"its shape \(5, 40, 30\) is c h w. Save it as h w c: array.transpose\(1, 2, 0\)"),
        (npy(FIVE)[:-9], 5, "cut off"),
        (npy(np.zeros((4, 4, 4, 5))), 5, "pictures are h w or h w c"),
        (npy(np.array([["a"]])), 1, "pictures are h w or h w c"),
        (b"\x93NUMPY\x01", 1, "damaged|cut off|not a picture"),
        (FILES["chunky"], 3, "not a picture: pictures are h w, h w 1"),
        (FILES["pages"], 4, "other channels: 1 of them, 4 are wanted"),
        (FILES["chunky"][:-100], 5, "damaged|cut off"),
    ],
)
def test_what_is_no_such_picture_is_named(source, channels, says, tmp_path):
    path = tmp_path / "odd"
    path.write_bytes(source)
    with pytest.raises(Unreadable, match=f"odd: .*({says})"):
        decode(str(path), channels)


def test_objects_in_a_numpy_file_are_not_built(tmp_path):
    file = io.BytesIO()
    np.lib.format.write_array(file, np.array([[{}]], object))
    with pytest.raises(Unreadable, match="type object"):
        decode(file.getvalue(), 1)


def test_limits_hold_before_anything_is_decoded():
    for kind in ("npy", "chunky", "planar", "imagej"):
        with pytest.raises(Unreadable, match="too large"):
            decode(FILES[kind], 5, max_pixels=1000)
    with pytest.raises(Unreadable, match="several frames"):
        decode(FILES["first of several in time"], 5, frames="error")
    assert decode(FILES["imagej"], 5, frames="error")[1] == (40, 30)


def test_the_missing_package_is_named(monkeypatch, samples_of):
    monkeypatch.setitem(sys.modules, "tifffile", None)
    with pytest.raises(UsageError, match=r'pip install "vitrail\[microscopy\]"'):
        decode(FILES["chunky"], 5)
    with pytest.raises(UsageError, match="microscopy"):
        measure(samples_of([FILES["chunky"]]), 5, max_pixels=10**6)
    look = probe(samples_of([tiff(FIVE[:, :, :3], photometric="rgb")]))
    assert look is not None
    assert not look.deep  # Pillow's upper eight bits: no range helps them
    assert not bands.has_tifffile()


# ---------------------------------------------------------------------------------- what the data are


def test_a_look_tells_channels_and_depth(samples_of):
    for kind in ("array", "npy", "chunky", "planar", "imagej", "ome"):
        look = probe(samples_of([FILES[kind]]))
        assert look is not None
        assert (look.size, look.channels, look.deep, look.grey) == ((40, 30), 5, True, False)
    for source, expected in [
        (FIVE[:, :, 0], (None, True, True)),
        (tiff(FIVE[:, :, 0]), (None, True, True)),
        (FILES["pages"], (None, True, True)),  # pages are frames, until somebody says more
        (tiff(FIVE[:, :, :3], photometric="rgb"), (None, True, False)),
        (npy(BYTES), (5, False, False)),
        (npy(BYTES[:, :, :4]), (4, False, False)),
        (npy(BYTES[:, :, :3]), (None, False, False)),
        (tiff(BYTES[:, :, :3], photometric="rgb"), (None, False, False)),
        (tiff(BYTES[:, :, 0]), (None, False, True)),
    ]:
        look = probe(samples_of([source]))
        assert look is not None
        assert (look.channels, look.deep, look.grey) == expected


def test_the_range_is_that_of_most_numbers(samples_of):
    random = np.random.default_rng(0)
    pictures = [random.uniform(200, 1500, (200, 200)).astype(np.uint16) for _ in range(4)]
    pictures[0][0, :3] = 65535  # hot pixels
    found = measure(samples_of([*pictures, np.zeros((4, 4), np.uint8)]), 1, max_pixels=10**6)
    assert found is not None
    low, high = found.range
    assert 198 <= low <= 205
    assert 1495 <= high <= 1500
    assert found.pictures == 4
    shades = [len(np.unique(decode(pictures[1], 1, span=span)[0])) for span in (None, found.range)]
    assert shades[0] <= 7
    assert shades[1] == 256
    assert measure(samples_of([np.zeros((4, 4), np.uint8)]), 1, max_pixels=10**6) is None
    flat = measure(samples_of([np.full((4, 4), 7, np.uint16)]), 1, max_pixels=10**6)
    assert flat is not None
    assert flat.range == (7, 8)


def test_each_channel_is_measured(samples_of):
    wide = FIVE * np.array([1, 2, 4, 8, 16], np.uint16)
    found = measure(samples_of([npy(wide), npy(wide)]), 5, max_pixels=10**6)
    assert found is not None
    assert np.allclose(found.range[1::2], wide.max((0, 1)), rtol=0.01)
    seen = decode(wide, 5, span=found.range)[0] / 255
    assert np.allclose(found.mean, seen.mean((0, 1)), atol=1e-3)
    assert np.allclose(found.std, seen.std((0, 1)), atol=1e-3)
    given = measure(samples_of([npy(wide)]), 5, max_pixels=10**6, span=(0, 24000))
    assert given is not None
    assert given.range == (0, 24000)


# ---------------------------------------------------------------------------------- on the way


@pytest.mark.parametrize("fit", ["crop", "squash", "pad", "tile"])
@pytest.mark.parametrize("channels", [2, 4, 5])
def test_a_canvas_is_each_channels_own(fit, channels):
    together = Preprocess(size=(16, 24), channels=channels, fit=fit, range=SPAN)
    alone = Preprocess(size=(16, 24), channels=1, fit=fit, range=SPAN)
    pixels, _ = together(FIVE[:, :, :channels])
    assert pixels.shape == (channels, 16, 24)
    for channel in range(channels):
        assert (pixels[channel] == alone(FIVE[:, :, channel])[0][0]).all()


def test_the_range_is_part_of_the_contract():
    plain = Preprocess(channels=5, range=(0, 1, 0, 2, 0, 3, 0, 4, 0, 5))
    assert Preprocess.from_dict(plain.to_dict()) == plain
    assert plain.working != Preprocess(channels=5, range=SPAN).working
    older = Preprocess().to_dict()
    del older["range"]
    assert Preprocess.from_dict(older) == Preprocess()


@pytest.mark.parametrize("policy", ["none", "trivial", "randaugment"])
def test_augmentation_takes_any_channels(policy):
    preprocess = Preprocess(size=(16, 16), channels=5, range=SPAN)
    augment = Augment(crop_scale=(0.3, 0.9), flip=True, policy=policy, jitter=0.4, erase=0.5, rotate90=True)
    loaded = [preprocess.load(FIVE)] * 12
    varied = augment.pictures(loaded, preprocess, seed=0, epoch=0, indices=np.arange(12))
    assert varied.shape == (12, 5, 16, 16)
    assert len(np.unique(varied.reshape(12, -1), axis=0)) == 12
    alike = [preprocess.load(np.repeat(FIVE[:, :, :1], 5, 2))] * 12
    varied = augment.pictures(alike, preprocess, seed=0, epoch=0, indices=np.arange(12))
    assert (varied == varied[:, :1]).all()  # what is done to one channel is done to all


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_corruptions_take_any_channels(name):
    worse = corrupt(BYTES, name, 2, seed=0, key="a")
    assert worse.shape == BYTES.shape
    assert (worse != BYTES).any((0, 1)).all()


def test_what_people_see_of_many_channels():
    dim = (BYTES // 8).copy()
    assert shown(dim).shape == (40, 30, 3)
    assert shown(dim).max() == 255
    assert shown(dim[:, :, :2]).shape == (40, 30, 1)
    assert (shown(BYTES[:, :, :3]) == BYTES[:, :, :3]).all()


# ---------------------------------------------------------------------------------- files of NumPy


def test_numpy_files_are_pictures_where_there_are_no_others(tmp_path):
    for name in ("a/1", "a/2", "b/1"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        np.save(tmp_path / f"{name}.npy", BYTES)
    table = open_data(tmp_path)
    assert list(table.keys) == ["a/1.npy", "a/2.npy", "b/1.npy"]
    assert len(find_pictures(str(tmp_path))) == 3
    Image.fromarray(BYTES[:, :, :3]).save(tmp_path / "a/3.png")
    Image.fromarray(BYTES[:, :, :3]).save(tmp_path / "b/3.png")
    table = open_data(tmp_path)
    assert list(table.keys) == ["a/3.png", "b/3.png"]
    assert table.notes == ("3 files that are no pictures were passed over (.npy 3).",)


@pytest.mark.parametrize("suffix", ["npy", "tif"])
def test_masks_of_pictures_of_many_channels(tmp_path, suffix):
    for side in ("images", "masks"):
        (tmp_path / side).mkdir()
    (tmp_path / f"images/1.{suffix}").write_bytes(FILES["npy" if suffix == "npy" else "chunky"])
    Image.fromarray((FIVE[:, :, 0] > 700).astype(np.uint8)).save(tmp_path / "masks/1.png")
    table = open_data(tmp_path)
    assert table.classes == ("background", "object")
    assert table.masks[0].shape == (40, 30)
    Image.fromarray(np.zeros((30, 40), np.uint8)).save(tmp_path / "masks/1.png")
    with pytest.raises(Exception, match="30 high and 40 wide"):
        open_data(tmp_path)
