"""One rule for each way of storing a picture, and a name for each way of spoiling one."""

import io
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile, ImageOps, features
from sklearn.datasets import load_sample_image

from vitrail.data.decode import dct_scale, decode, decode_upright
from vitrail.data.faults import KINDS, Unreadable
from vitrail.data.preprocess import Preprocess

RAMP = np.arange(256, dtype=np.uint8).reshape(16, 16)


@pytest.fixture(scope="module")
def photograph():
    return Image.fromarray(load_sample_image("china.jpg")).resize((320, 213), Image.Resampling.LANCZOS)


def saved(image, form, **options):
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def kind(source, **options):
    with pytest.raises(Unreadable) as caught:
        decode(source, **options)
    assert caught.value.kind in KINDS
    return caught.value.kind


# -------------------------------------------------------------------------------- modes


STORED = ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "LAB")  # by TIFF; other modes by plugins alone
BETWEEN = {"LA": "RGBA", "La": "LA", "RGBa": "RGBA", "PA": "P"}
LOST = {"P": 40, "PA": 40, "LAB": 12, "YCbCr": 3}  # mean difference that the mode itself makes


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("mode", [*STORED, "La", "RGBa", "PA", "HSV", "RGBX"])
def test_every_mode_keeps_the_picture(photograph, mode, channels, tmp_path, monkeypatch):
    source = photograph.convert("L" if mode in ("1", "L", "LA", "La") else "RGB")
    stored = source.convert(BETWEEN.get(mode, source.mode)).convert(mode, dither=Image.Dither.NONE)
    if mode in STORED:
        stored.save(tmp_path / "stored.tif")
        with Image.open(tmp_path / "stored.tif") as again:
            assert again.mode == mode
    else:
        source.save(tmp_path / "stored.tif")
        monkeypatch.setattr("vitrail.data.decode.identify", lambda file: stored)
    got = decode(str(tmp_path / "stored.tif"), channels)[0]
    assert got.dtype == np.uint8
    assert got.shape == (213, 320, channels)
    wanted = np.asarray(source.convert("L" if channels == 1 else "RGB")).reshape(got.shape)
    if mode == "1":
        wanted = np.where(wanted >= 128, 255, 0)
    assert np.abs(got.astype(int) - wanted).mean() <= LOST.get(mode, 1)


@pytest.mark.parametrize("channels", [1, 3])
def test_inverted_inks_are_understood(photograph, channels):
    """JPEG stores CMYK upside down; the transform byte of Adobe's marker says that it is stored as YCCK."""
    inks = photograph.convert("CMYK")
    layers = Image.merge("RGB", inks.split()[:3]).convert("YCbCr").split()
    ycck = Image.merge(
        "CMYK", [*(Image.fromarray(255 - np.asarray(band)) for band in layers), inks.split()[3]]
    )
    plain, file = (saved(image, "JPEG", quality=100, subsampling=0) for image in (inks, ycck))
    transform = file.index(b"Adobe") + 11
    assert file[transform] == 0
    file = file[:transform] + b"\x02" + file[transform + 1 :]
    wanted = np.asarray(photograph.convert("L" if channels == 1 else "RGB")).squeeze().astype(int)
    for stored in (plain, file):
        assert np.abs(decode(stored, channels)[0].squeeze() - wanted).mean() < 3


def test_transparency_is_laid_on_white():
    picture = np.zeros((2, 2, 4), np.uint8)
    picture[0, 0] = 255, 0, 0, 255
    picture[0, 1] = 255, 0, 0, 128
    picture[1, 0] = 9, 9, 9, 0
    wanted = [[[255, 0, 0], [255, 127, 127]], [[255, 255, 255], [255, 255, 255]]]
    assert decode(picture)[0].tolist() == wanted
    assert decode(saved(Image.fromarray(picture), "PNG"))[0].tolist() == wanted
    grey = np.array([[[0, 255], [0, 0]]], np.uint8)
    assert decode(grey, channels=1)[0].tolist() == [[[0], [255]]]
    assert decode(saved(Image.fromarray(grey, "LA"), "PNG"), channels=1)[0].tolist() == [[[0], [255]]]


@pytest.mark.parametrize("transparency", [0, bytes([0, 255, 128])])
@pytest.mark.parametrize("form", ["PNG", "GIF"])
def test_a_palette_with_transparency_is_laid_on_white(transparency, form):
    if form == "GIF" and isinstance(transparency, bytes):
        transparency = 0
    image = Image.new("P", (3, 1))
    image.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
    image.putdata([0, 1, 2])
    pixels = decode(saved(image, form, transparency=transparency))[0][0].tolist()
    assert pixels[:2] == [[255, 255, 255], [40, 50, 60]]
    assert pixels[2] == ([162, 167, 172] if isinstance(transparency, bytes) else [70, 80, 90])


@pytest.mark.parametrize(("mode", "value"), [("L", 7), ("RGB", (1, 2, 3)), ("1", 1)])
def test_a_transparent_colour_is_laid_on_white(mode, value):
    image = Image.new(mode, (2, 1), 0)
    image.putpixel((1, 0), value)
    file = saved(image, "PNG", transparency=value)
    assert decode(file)[0][0].tolist() == [[0, 0, 0], [255, 255, 255]]


@pytest.mark.parametrize("order", ["<u2", ">u2"])
@pytest.mark.parametrize("form", ["PNG", "TIFF", "PPM", "array"])
def test_sixteen_bits_are_scaled_not_clipped(order, form):
    ramp = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    if form == "array":
        source = ramp.astype(order)
    elif form == "TIFF":
        source = _tiff(ramp.astype(order))
    else:
        source = saved(Image.fromarray(ramp), form)
    for channels in (1, 3):
        got = decode(source, channels)[0]
        assert np.array_equal(got[:, :, 0], np.rint(ramp / 257).astype(np.uint8))
    assert len(np.unique(got)) == 256


def _tiff(values, photometric=1, bits=None):
    """Write an uncompressed grey TIFF in either byte order, with the tags of its type."""
    order = ">" if values.dtype.byteorder == ">" else "<"
    height, width = values.shape
    sample = {"u": 1, "i": 2, "f": 3}[values.dtype.kind]
    data = values.tobytes()
    tags = [
        (256, width),
        (257, height),
        (258, bits or values.dtype.itemsize * 8),
        (259, 1),
        (262, photometric),
    ]
    tags += [(273, 8), (277, 1), (278, height), (279, len(data)), (339, sample)]
    head = (b"MM" if order == ">" else b"II") + struct.pack(order + "HI", 42, 8 + len(data))
    entries = b"".join(struct.pack(order + "HHII", tag, 4, 1, value) for tag, value in tags)
    return head + data + struct.pack(order + "H", len(tags)) + entries + b"\0" * 4


def test_twelve_bits_have_a_range_of_their_own():
    values = np.array([[0, 4095, 2048, 1024]], np.uint16)
    packed = bytearray()
    for one, two in values.reshape(-1, 2).tolist():
        packed += bytes([one >> 4, (one & 15) << 4 | two >> 8, two & 255])
    file = _tiff(np.frombuffer(bytes(packed), np.uint8)[None], bits=12)
    file = file.replace(struct.pack("<HHII", 256, 4, 1, 6), struct.pack("<HHII", 256, 4, 1, 4))
    assert decode(file, 1)[0].ravel().tolist() == [0, 255, 128, 64]


def test_white_may_be_zero():
    values = np.array([[0, 65535, 32768]], np.uint16)
    assert decode(_tiff(values, photometric=0), 1)[0].ravel().tolist() == [255, 0, 127]


@pytest.mark.parametrize("dtype", ["<i4", ">i4", "<f4", ">f4"])
@pytest.mark.parametrize("how", ["file", "array"])
def test_numbers_without_a_range_get_the_pictures_own(dtype, how):
    values = np.array([[-1000, 0, 3000]]).astype(dtype)
    source = _tiff(values) if how == "file" else values
    assert decode(source, 1)[0].ravel().tolist() == [0, 64, 255]
    assert decode(np.full((2, 2), 1e6).astype(dtype), 1)[0].ravel().tolist() == [0] * 4
    assert decode(RAMP.astype(dtype), 1)[0].ravel().tolist() == RAMP.ravel().tolist()


def test_floating_point_is_safe_with_what_is_no_number():
    values = np.array([[np.nan, -np.inf, np.inf, 0.0, 0.5, 1.0]], np.float32)
    for source in (values, values.astype(np.float64), values.astype(np.float16), _tiff(values)):
        assert decode(source, 1)[0].ravel().tolist() == [0, 0, 255, 0, 128, 255]
    assert not decode(np.full((3, 3, 3), np.nan))[0].any()


def test_arrays_are_pictures():
    assert np.array_equal(decode(RAMP, 1)[0], RAMP[:, :, None])
    assert np.array_equal(decode(RAMP[:, :, None], 3)[0], np.repeat(RAMP[:, :, None], 3, 2))
    assert decode(RAMP > 100, 1)[0].max() == 255
    colour = np.stack([RAMP, RAMP[::-1], RAMP.T], 2)
    assert np.array_equal(decode(colour)[0], colour)
    assert np.array_equal(decode(colour, 1)[0][:, :, 0], np.asarray(Image.fromarray(colour).convert("L")))
    shifted = np.ascontiguousarray(colour[:, ::-1])[:, ::-1]  # no contiguous memory
    assert np.array_equal(decode(shifted)[0], colour)
    for bad in (
        np.zeros((2, 2, 5), np.uint8),
        np.zeros(4, np.uint8),
        np.zeros((2, 2), complex),
        np.array([["a"]]),
    ):
        assert kind(bad) == "not a picture"
    assert kind(np.zeros((0, 4), np.uint8)) == "empty"
    assert kind(RAMP, max_pixels=255) == "too large"


# -------------------------------------------------------------------------------- orientation


@pytest.mark.parametrize("form", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied(photograph, form, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"JPEG": {"quality": 95}, "WEBP": {"lossless": True}}.get(form, {})
    file = saved(photograph, form, exif=exif, **options)
    with Image.open(io.BytesIO(file)) as image:
        wanted = np.asarray(ImageOps.exif_transpose(image))
    got, size = decode(file)
    assert size == wanted.shape[:2] == ((320, 213) if orientation >= 5 else (213, 320))
    assert np.array_equal(got, wanted)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_scaled_jpeg_says_what_it_covers(orientation):
    """A white column and row are found where ``covers`` says that they are."""
    upright = np.zeros((161, 243, 3), np.uint8)
    upright[40:48] = 255
    upright[:, 200:208] = 255
    inverse = {5: 5, 6: 8, 7: 7, 8: 6}.get(orientation, orientation)
    turned = Image.fromarray(upright)
    turned.getexif()[0x0112] = inverse
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = ImageOps.exif_transpose(turned)
    decoded = decode_upright(saved(stored, "JPEG", exif=exif, quality=100, subsampling=0), 3, target=(40, 60))
    assert decoded.size == (161, 243)
    left, top, right, bottom = decoded.covers
    height, width = decoded.pixels.shape[:2]
    assert (right - left, bottom - top) == (4 * width, 4 * height)
    rows, columns = decoded.pixels[:, 5, 0] / 255.0, decoded.pixels[3, :, 0] / 255.0
    assert abs(top + 4 * (np.arange(height) + 0.5) @ rows / rows.sum() - 44) < 0.6
    assert abs(left + 4 * (np.arange(width) + 0.5) @ columns / columns.sum() - 204) < 0.6


def test_broken_exif_does_not_spoil_a_picture(photograph):
    file = saved(photograph, "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\xf0garbage")
    assert decode(file)[1] == (213, 320)


@pytest.mark.parametrize("target", [(480, 640), (241, 100), (240, 320), (100, 100), (60, 60), (7, 7), (1, 1)])
@pytest.mark.parametrize("channels", [1, 3])
def test_the_dct_scale_is_the_smallest_that_suffices(photograph, target, channels):
    file = saved(photograph.resize((641, 479)), "JPEG")
    got, size = decode(file, channels, target=target)
    scale = dct_scale((479, 641), target)
    assert size == (479, 641)
    assert got.shape == (-(-479 // scale), -(-641 // scale), channels)
    assert scale == 8 or min(479 // target[0], 641 // target[1]) < 2 * scale
    whole = decode(file, channels)[0]
    if scale > 1:
        small = np.asarray(Image.fromarray(whole.squeeze()).reduce(scale)).astype(int)
        assert np.abs(small - got.squeeze()[: small.shape[0], : small.shape[1]]).mean() < 2


# -------------------------------------------------------------------------------- frames


@pytest.mark.parametrize("form", ["GIF", "PNG", "WEBP", "TIFF"])
def test_the_first_frame_is_the_picture(form):
    red, blue = Image.new("RGB", (8, 6), (255, 0, 0)), Image.new("RGB", (8, 6), (0, 0, 255))
    options = {"lossless": True} if form == "WEBP" else {}
    file = saved(red, form, save_all=True, append_images=[blue, red], **options)
    got, size = decode(file)
    assert size == (6, 8)
    assert got.shape == (6, 8, 3)
    assert (got == (255, 0, 0)).all()
    assert kind(file, frames="error") == "several frames"
    decode(saved(red, form, **options), frames="error")


def test_a_telephones_second_picture_is_no_second_frame(photograph):
    file = saved(photograph, "MPO", save_all=True, append_images=[photograph.resize((40, 30))])
    assert decode(file, frames="error")[1] == (213, 320)


@pytest.mark.parametrize("form", ["AVIF", "JPEG2000", "BMP", "ICO", "PPM", "PCX", "SGI", "QOI"])
def test_other_formats(photograph, form):
    if form == "AVIF" and not features.check("avif"):
        return
    small = photograph.resize((64, 48))
    got, size = decode(saved(small, form, **({"sizes": [(64, 48)]} if form == "ICO" else {})))
    assert size == (48, 64)
    assert np.abs(got.astype(int) - np.asarray(small)).mean() < 6


# -------------------------------------------------------------------------------- Pillow's own pictures


def kinds_of_pictures(photograph):
    """Return pictures of every kind with a format that keeps all of each."""
    small = photograph.resize((40, 30))
    palette = small.quantize(16)
    palette.info["transparency"] = 3
    deep = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    clear = small.convert("L")
    clear.info["transparency"] = clear.getpixel((0, 0))
    turned = small.copy()
    turned.getexif()[0x0112] = 6
    alpha = Image.merge("LA", [small.convert("L"), small.getchannel(0)])
    return {
        "EXIF 6": (turned, "PNG"),
        "EXIF 6 in a TIFF": (turned, "TIFF"),
        "RGB": (small, "PNG"),
        "P": (small.quantize(16), "PNG"),
        "P with a transparent colour": (palette, "PNG"),
        "L with a transparent colour": (clear, "PNG"),
        "CMYK": (small.convert("CMYK"), "TIFF"),
        "LA": (alpha, "PNG"),
        "RGBA": (Image.merge("RGBA", [*small.split(), small.getchannel(0)]), "PNG"),
        "1": (small.convert("1"), "PNG"),
        "I;16": (Image.fromarray(deep), "PNG"),
        "I": (Image.fromarray(deep.astype(np.int32) - 1000), "TIFF"),
        "F": (Image.fromarray(deep.astype(np.float32) / 65535), "TIFF"),
        "LAB": (small.convert("LAB"), "TIFF"),
    }


@pytest.mark.parametrize("channels", [1, 3])
def test_a_picture_of_pillow_is_what_its_file_is(photograph, channels, tmp_path):
    for name, (image, form) in kinds_of_pictures(photograph).items():
        path = tmp_path / f"picture.{form.lower()}"
        options = {key: image.info[key] for key in ("transparency",) if key in image.info}
        image.save(path, form, exif=image.getexif(), **options)
        wanted, size = decode(str(path), channels)
        before = image.mode, image.size, image.tobytes(), dict(image.getexif())
        with Image.open(path) as opened, Image.open(path) as loaded:
            loaded.load()
            for each in (image, opened, loaded, loaded.copy()):
                got = decode(each, channels)
                assert np.array_equal(got[0], wanted), name
                assert got[1] == size, name
        assert before == (image.mode, image.size, image.tobytes(), dict(image.getexif()))
        assert Preprocess(size=(20, 20), channels=channels)(image)[1].size == size


def test_a_picture_of_pillow_is_decoded_at_full_size(photograph, tmp_path):
    photograph.save(tmp_path / "a.jpg")
    with Image.open(tmp_path / "a.jpg") as image:
        assert decode(image, target=(20, 20))[0].shape == (213, 320, 3)
        assert np.array_equal(decode(image)[0], decode(str(tmp_path / "a.jpg"))[0])


def test_a_picture_of_pillow_that_cannot_be_used_is_named(photograph, tmp_path):
    red, blue = Image.new("RGB", (8, 6), "red"), Image.new("RGB", (8, 6), "blue")
    file = io.BytesIO(saved(red, "GIF", save_all=True, append_images=[blue]))
    with Image.open(file) as film:
        assert kind(film, frames="error") == "several frames"
        film.seek(1)
        assert decode(film)[0][0, 0].tolist() == [0, 0, 255]
    assert kind(photograph, max_pixels=1000) == "too large"
    assert kind(Image.new("L", (0, 4))) == "empty"
    whole = saved(photograph, "JPEG")
    with Image.open(io.BytesIO(whole[: len(whole) // 2])) as image:
        assert kind(image) == "cut off"
    damaged = bytearray(saved(photograph, "PNG"))
    damaged[damaged.index(b"IDAT") + 3000] ^= 1
    with Image.open(io.BytesIO(bytes(damaged))) as image:
        assert kind(image) == "bad checksum"
    photograph.save(tmp_path / "a.png")
    image = Image.open(tmp_path / "a.png")
    image.close()
    assert kind(image) == "not read"


# -------------------------------------------------------------------------------- faults


@pytest.mark.parametrize(
    "form", ["JPEG", "progressive", "PNG", "GIF", "BMP", "WEBP", "TIFF", "packed TIFF", "AVIF"]
)
@pytest.mark.parametrize("part", [0.05, 0.5, 0.95, 0.999])
def test_a_file_that_is_cut_off_is_found(photograph, form, part):
    options = {"progressive": {"progressive": True}, "packed TIFF": {"compression": "tiff_lzw"}}.get(form, {})
    file = saved(photograph, {"progressive": "JPEG", "packed TIFF": "TIFF"}.get(form, form), **options)
    for target in (None, (50, 50)):
        found = kind(file[: int(len(file) * part)], target=target)
        assert found in (("cut off", "damaged") if "TIFF" in form else ("cut off",))


def test_a_wrong_checksum_is_found(photograph):
    file = bytearray(saved(photograph, "PNG"))
    place = file.index(b"IDAT") - 4
    end = place + 8 + int.from_bytes(file[place : place + 4])
    for spoilt in (end + 2, place + 3000, file.index(b"IHDR") + 13 + 4):
        other = bytearray(file)
        other[spoilt] ^= 1
        assert kind(bytes(other)) == "bad checksum"


def test_a_wrong_checksum_of_a_remark_is_no_fault(photograph):
    file = saved(photograph, "PNG")
    remark = struct.pack(">I4s", 3, b"tEXt") + b"a\0b"
    good = file[:-12] + remark + struct.pack(">I", zlib.crc32(remark[4:])) + file[-12:]
    bad = file[:-12] + remark + b"\1\2\3\4" + file[-12:]
    assert np.array_equal(decode(good)[0], decode(bad)[0])


def test_what_is_no_picture(tmp_path, photograph):
    assert kind(b"") == "empty"
    assert kind(b"How to read this folder") == "not a picture"
    assert kind(np.random.default_rng(0).bytes(5000)) == "not a picture"
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "link.jpg").symlink_to(tmp_path / "nowhere.jpg")
    (tmp_path / "loop.jpg").symlink_to(tmp_path / "loop.jpg")
    os.mkfifo(tmp_path / "pipe.jpg")
    names = {
        "empty": "empty",
        "folder": "a folder",
        "link": "dangling link",
        "pipe": "not a file",
        "none": "missing",
    }
    for name, wanted in names.items():
        path = str(tmp_path / f"{name}.jpg")
        with pytest.raises(Unreadable, match=wanted) as caught:
            decode(path)
        assert caught.value.kind == wanted
        assert path in str(caught.value)
        assert "\n" not in str(caught.value)
    assert kind(str(tmp_path / "loop.jpg")) in ("dangling link", "not read")
    assert kind("a\0b.jpg") == "missing"
    assert kind(str(tmp_path / ("x" * 300))) in ("missing", "not read")
    assert kind(str(tmp_path / "empty.jpg" / "below.jpg")) == "missing"
    named_wrongly = tmp_path / "png.jpg"
    named_wrongly.write_bytes(saved(photograph, "PNG"))
    assert np.array_equal(decode(str(named_wrongly))[0], np.asarray(photograph))


def test_a_file_that_may_not_be_read(photograph):
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    path = folder / "closed.jpg"
    path.write_bytes(saved(photograph, "JPEG"))
    path.chmod(0)
    root = os.geteuid() == 0  # whom no permission stops
    try:
        if root:
            os.seteuid(65534)
        assert kind(str(path)) == "no permission"
    finally:
        if root:
            os.seteuid(0)
        shutil.rmtree(folder)


def _claims(width, height):
    """A small PNG whose header claims to be large."""

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    rows = zlib.compress(bytes(height * ((width + 7) // 8 + 1)), 1) if width * height < 1e9 else b"x"
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def test_a_decompression_bomb_is_refused_by_its_header():
    limit = Image.MAX_IMAGE_PIXELS
    with pytest.raises(Unreadable, match="60000 x 60000 pixels, the limit is 500,000,000"):
        decode(_claims(60_000, 60_000))
    assert kind(_claims(10_000, 10_001), max_pixels=100_000_000) == "too large"
    assert limit == Image.MAX_IMAGE_PIXELS


def test_large_is_allowed_below_the_limit():
    """More than Pillow itself would open (179 megapixels), and no remark of Pillow's about it."""
    got, size = decode(_claims(18_000, 10_000), 1)
    assert size == (10_000, 18_000)
    assert not got[::999, ::999].any()


def test_pillow_stays_silent_and_strict(photograph):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(Unreadable):
            decode(saved(photograph, "TIFF")[:-40])
        decode(_claims(10_000, 10_000), 1)  # beyond Pillow's first limit, which warns
    assert not ImageFile.LOAD_TRUNCATED_IMAGES


def test_names_need_not_be_text(tmp_path):
    path = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.jpg")
    with pytest.raises(Unreadable) as caught:
        decode(path)
    assert r"caf\xe9.jpg" in str(caught.value)
    str(caught.value).encode()


def test_it_runs_without_torch(tmp_path, photograph):
    photograph.save(tmp_path / "a.png")
    program = f"""
import sys
for name in ("torch", "torchvision", "timm", "pyarrow", "sklearn", "scipy", "matplotlib"):
    sys.modules[name] = None
from vitrail.data.preprocess import Preprocess
pixels, frame = Preprocess(size=(32, 32), channels=3)({str(tmp_path / "a.png")!r})
print(pixels.shape, pixels.dtype, frame.size)
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True)
    assert done.stdout == "(3, 32, 32) float32 (213, 320)\n", done.stderr


@pytest.mark.parametrize("mode", ["1", "L", "LA", "RGB", "RGBA", "P", "CMYK", "YCbCr", "I;16", "F"])
@pytest.mark.parametrize("channels", [1, 3])
def test_strips_of_a_large_picture_are_as_the_whole(mode, channels, monkeypatch):
    chance = np.random.default_rng(0)
    if mode in ("I;16", "F"):
        image = Image.fromarray((chance.random((41, 53)) * 60000).astype("u2" if mode == "I;16" else "f4"))
    else:
        image = Image.fromarray(chance.integers(0, 255, (41, 53, 4), np.uint8)).convert("RGB").convert(mode)
    if mode == "P":
        image.info["transparency"] = 3
    whole = decode(image, channels)[0]
    monkeypatch.setattr("vitrail.data.decode.STRIP", 53 * 6)
    assert np.array_equal(decode(image, channels)[0], whole)
