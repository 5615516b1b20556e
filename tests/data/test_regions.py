"""Rows of large TIFFs: the same bits as of the picture decoded whole, and no more of it than was wanted."""

from dataclasses import replace

import numpy as np
import pytest
import tifffile
from PIL import Image
from sklearn.datasets import load_sample_image

from vitrail.data import regions
from vitrail.data.faults import Unreadable
from vitrail.data.preprocess import Preprocess
from vitrail.data.regions import Regions, open_regions
from vitrail.data.windows import look, windows_of

PICTURE = np.ascontiguousarray(load_sample_image("china.jpg")[100:303, 200:517])
GREY = PICTURE[:, :, 1]
TILE = Preprocess(size=(64, 96), fit="tile")
PLACES = ((0, 64), (32, 96), (64, 128), (100, 203), (10, 11))


@pytest.fixture(autouse=True)
def small_is_large(monkeypatch):
    monkeypatch.setattr(regions, "LARGE", 1000)


def agree(source, channels=3):
    preprocess = Preprocess(size=(64, 64), fit="tile", channels=channels)
    whole, found = preprocess.load(source).picture, open_regions(source, preprocess)
    assert found is not None
    for top, bottom in PLACES:
        part = found.rows(top, bottom)
        left, first, right, end = part.covers
        assert (left, right) == (0, 317)
        assert first <= top < bottom <= end
        assert part.size == (203, 317)
        assert np.array_equal(part.picture, whole[first:end])


KINDS = {
    "rgb": PICTURE,
    "rgba": np.dstack([PICTURE, GREY]),
    "grey": GREY,
    "16-bit": GREY.astype(np.uint16) * 200 + 7,
    "16-bit colour": PICTURE.astype(np.uint16) * 200,
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("layout", [{"tile": (64, 48)}, {"rowsperstrip": 24}])
def test_tiles_and_strips(tmp_path, kind, compression, layout):
    pixels, path = KINDS[kind], str(tmp_path / "picture.tif")
    words = layout | {"compression": compression, "photometric": "rgb" if pixels.ndim == 3 else "minisblack"}
    if kind == "rgba":
        words["extrasamples"] = ["unassalpha"]
    if compression:
        words["predictor"] = True
    for order in {"<", "<" if compression else ">"}:
        tifffile.imwrite(path, pixels, byteorder=order, bigtiff=order == "<", **words)
        agree(path)
    agree(path, channels=1)
    if pixels.ndim == 3:
        planes = np.ascontiguousarray(pixels.transpose(2, 0, 1))
        tifffile.imwrite(path, planes, planarconfig="separate", **words)
        agree(path)


COMPRESSIONS = ["raw", "tiff_lzw", "packbits", "tiff_adobe_deflate"]
WRITTEN = [(mode, each) for mode in ("RGB", "L", "P", "CMYK", "LA", "1") for each in COMPRESSIONS]


@pytest.mark.parametrize(
    ("mode", "compression"), [*WRITTEN, *((mode, "jpeg") for mode in ("RGB", "L", "CMYK"))]
)
def test_what_pillow_writes(tmp_path, compression, mode):
    path = tmp_path / "picture.tif"
    Image.fromarray(PICTURE).convert(mode).save(path, compression=compression, strip_size=317 * 3 * 16)
    agree(path.read_bytes())


@pytest.mark.parametrize("kind", ["16-bit", "16-bit colour"])
def test_a_range_is_that_of_the_whole(tmp_path, kind):
    path, pixels = str(tmp_path / "picture.tif"), KINDS[kind]
    tifffile.imwrite(path, pixels, tile=(64, 48), photometric="rgb" if pixels.ndim == 3 else "minisblack")
    ranged = replace(TILE, range=(2000.0, 30000.0))
    found = open_regions(path, ranged)
    whole = ranged.load(path).picture
    assert not np.array_equal(whole, TILE.load(path).picture)
    for top, bottom in PLACES:
        part = found.rows(top, bottom)
        assert np.array_equal(part.picture, whole[part.covers[1] : part.covers[3]])


def test_each_part_is_decoded_once_and_few_at_a_time(tmp_path, monkeypatch):
    path, sizes = str(tmp_path / "picture.tif"), []
    pixels = np.tile(PICTURE, (4, 1, 1))
    tifffile.imwrite(path, pixels, tile=(32, 48), photometric="rgb")
    read = Regions._read

    def watched(self, top, bottom):
        sizes.append(bottom - top)
        return read(self, top, bottom)

    monkeypatch.setattr(Regions, "_read", watched)
    seen, whole = look(TILE, path), windows_of(TILE, TILE.load(path))
    assert len(seen) == len(whole) > 50
    assert seen.read
    for (pixels, frame), (wanted, place) in zip(seen, whole, strict=True):
        assert np.array_equal(pixels, wanted)
        assert frame == place
    assert sum(sizes) == 4 * 203
    assert max(sizes) <= 64 + 32


def test_others_are_decoded_whole(tmp_path):
    paths = [str(tmp_path / f"{number}.tif") for number in range(6)]
    tifffile.imwrite(paths[0], GREY.astype(np.float32), tile=(32, 48))  # scaled by its least and greatest
    tifffile.imwrite(paths[1], PICTURE[:10, :10], tile=(16, 16), photometric="rgb")
    Image.fromarray(PICTURE).save(paths[2], tiffinfo={274: 6})
    Image.fromarray(PICTURE).save(paths[3], format="PNG")
    (tmp_path / "4.tif").write_bytes(b"II*\0nothing")
    for source in [*paths[:5], PICTURE, Image.fromarray(PICTURE)]:
        assert open_regions(source, TILE) is None
    frames = [Image.fromarray(PICTURE)] * 2
    frames[0].save(paths[5], save_all=True, append_images=frames[1:])
    assert open_regions(paths[5], TILE) is not None
    assert open_regions(paths[5], Preprocess(size=(64, 64), fit="tile", frames="error")) is None


def test_what_is_wrong_is_named(tmp_path):
    path = tmp_path / "picture.tif"
    tifffile.imwrite(path, PICTURE, tile=(32, 48), photometric="rgb", compression="zlib")
    with pytest.raises(Unreadable, match=r"picture\.tif: too large: 317 x 203 pixels, the limit is 8,000"):
        open_regions(str(path), Preprocess(size=(64, 64), fit="tile", max_pixels=1000))
    found = open_regions(str(path), TILE)
    data = bytearray(path.read_bytes())
    offset, length = found.places[-1]
    data[offset + 20 : offset + length] = bytes(length - 20)
    path.write_bytes(data)
    assert np.array_equal(found.rows(0, 64).picture, PICTURE[:64])
    with pytest.raises(Unreadable, match=r"picture\.tif: damaged"):
        found.rows(180, 203)
    path.write_bytes(path.read_bytes()[: offset + 10])
    with pytest.raises(Unreadable, match=r"picture\.tif: cut off"):
        found.rows(180, 203)


def test_channels_that_are_pages_are_read_together(tmp_path):
    path = str(tmp_path / "stack.tif")
    stack = np.stack([PICTURE[:, :, 0], PICTURE[:, :, 1], PICTURE[:, :, 2], PICTURE[:, :, 0], GREY])
    tifffile.imwrite(path, stack, imagej=True, metadata={"axes": "CYX"})
    five = Preprocess(size=(64, 64), fit="tile", channels=5)
    assert open_regions(path, five) is None
    seen = look(five, path)
    assert next(iter(seen))[0].shape == (64, 64, 5)
