"""One function from a source to what a model sees, and a frame that finds the way back."""

import io
import json
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_sample_image

from vitrail.data.faults import Unreadable
from vitrail.data.preprocess import RESAMPLE, Preprocess
from vitrail.errors import UsageError

FITS = ("crop", "squash", "pad")


@pytest.fixture(scope="module")
def photograph():
    return load_sample_image("flower.jpg")


def jpeg(pixels, **options):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", **({"quality": 95} | options))
    return file.getvalue()


def to_canvas(frame, x, y):
    a, b, c, d, e, f = frame.matrix
    return a * x + b * y + c, d * x + e * y + f


# -------------------------------------------------------------------------------- geometry


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("size", [(480, 640), (641, 479), (100, 30), (33, 57), (1, 1), (1000, 1), (2, 3000)])
@pytest.mark.parametrize("pct", [1.0, 0.875])
def test_every_size_becomes_the_canvas(fit, size, pct):
    preprocess = Preprocess(size=(56, 48), fit=fit, crop_pct=pct)
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    for source in (pixels, jpeg(pixels)):
        loaded = preprocess.load(source)
        canvas, frame = preprocess.canvas(loaded)
        assert canvas.shape == (56, 48, 3)
        assert canvas.dtype == np.uint8
        assert frame.size == loaded.size == size


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("size", [(224, 224), (32, 48)])
@pytest.mark.parametrize("original", [(427, 640), (640, 427), (250, 250), (20, 31), (300, 1000)])
@pytest.mark.parametrize("form", ["array", "jpeg"])
def test_the_frame_finds_corners(fit, size, original, form):
    height, width = original
    preprocess = Preprocess(size=size, fit=fit)
    pixels = np.zeros((*original, 3), np.uint8)
    loaded = preprocess.load(pixels if form == "array" else jpeg(pixels))
    frame = preprocess.canvas(loaded)[1]
    left, top = to_canvas(frame, 0, 0)
    right, bottom = to_canvas(frame, width, height)
    if fit == "squash":
        wanted = 0, 0, size[1], size[0]
    else:
        choose = max if fit == "crop" else min
        scale = choose(size[0] / height, size[1] / width)
        wanted = (size[1] - width * scale) / 2, (size[0] - height * scale) / 2
        wanted = *wanted, size[1] - wanted[0], size[0] - wanted[1]
    # A cut and a padded border lie on whole pixels; a scaled JPEG's last block covers a little more.
    assert (left, top, right, bottom) == pytest.approx(wanted, abs=1.01)
    if fit == "squash" and form == "array":
        assert (left, top, right, bottom) == pytest.approx(wanted)


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("form", ["array", "jpeg", "turned"])
@pytest.mark.parametrize(
    ("original", "spot"), [((431, 643), (200, 330)), ((643, 431), (330, 200)), ((90, 130), (40, 66))]
)
def test_the_frame_finds_a_spot(fit, form, original, spot):
    """A white square in the picture is, on the canvas, where the frame says it is."""
    pixels = np.zeros((*original, 3), np.uint8)
    (y, x), half = spot, max(original) // 24
    pixels[y - half : y + half, x - half : x + half] = 255
    source = pixels
    if form == "jpeg":
        source = jpeg(pixels, subsampling=0)
    if form == "turned":
        exif = Image.Exif()
        exif[0x0112] = 6
        source = jpeg(np.ascontiguousarray(np.rot90(pixels)), subsampling=0, exif=exif)
    canvas, frame = Preprocess(size=(96, 96), fit=fit, mean=(0, 0, 0))(source)
    assert frame.size == original
    light = np.maximum(canvas[0] * 0.5, 0)
    rows, columns = light.sum(1), light.sum(0)
    seen = (np.arange(96) + 0.5) @ columns / columns.sum(), (np.arange(96) + 0.5) @ rows / rows.sum()
    assert seen == pytest.approx(to_canvas(frame, x, y), abs=0.3)


def test_the_crop_is_the_central_one(photograph):
    """With the whole working picture resampled, the canvas is its central part, pixel by pixel."""
    preprocess = Preprocess(size=(96, 96), crop_pct=0.75, resample="bicubic")
    loaded = preprocess.load(photograph)
    assert loaded.picture.shape == (128, 192, 3)
    by_hand = np.asarray(Image.fromarray(photograph).resize((192, 128), Image.Resampling.BICUBIC))
    assert np.array_equal(loaded.picture, by_hand)
    canvas, frame = preprocess.canvas(loaded)
    assert np.array_equal(canvas, by_hand[16:112, 48:144])
    assert to_canvas(frame, 320, 213.5) == pytest.approx((48, 48), abs=0.01)


def test_a_picture_of_nearly_the_right_size_is_resampled_once(photograph):
    preprocess = Preprocess(size=(224, 224))
    loaded = preprocess.load(jpeg(photograph[:426]))  # decoded at a half of its size, 213, would be too small
    assert loaded.picture.shape == (224, 337, 3)
    loaded = preprocess.load(jpeg(np.resize(photograph, (480, 640, 3))))
    assert loaded.picture.shape == (240, 320, 3)
    assert loaded.covers == (0, 0, 640, 480)
    canvas, frame = preprocess.canvas(loaded)
    once = Image.fromarray(loaded.picture).resize(
        (224, 224), Image.Resampling.BILINEAR, box=(40, 0, 280, 240)
    )
    assert np.array_equal(canvas, np.asarray(once))
    assert to_canvas(frame, 80, 0) == pytest.approx((0, 0), abs=1e-9)
    assert to_canvas(frame, 560, 480) == pytest.approx((224, 224), abs=1e-9)
    assert preprocess.load(photograph[:281, :281]).picture.shape[:2] == (224, 224)
    assert preprocess.load(photograph[:280, :280]).picture.shape[:2] == (280, 280)


def test_padding_is_the_mean_colour_and_centred():
    preprocess = Preprocess(size=(40, 40), fit="pad", mean=(0.2, 0.4, 0.6))
    canvas, frame = preprocess.canvas(preprocess.load(np.zeros((100, 200, 3), np.uint8)))
    assert (canvas[:10] == (51, 102, 153)).all()
    assert (canvas[30:] == (51, 102, 153)).all()
    assert not canvas[10:30].any()
    assert to_canvas(frame, 0, 0) == pytest.approx((0, 10))
    assert np.abs(preprocess.normalise(canvas.transpose(2, 0, 1))[:, 0]).max() < 0.01


def test_what_fits_is_untouched():
    pixels = np.random.default_rng(1).integers(0, 256, (28, 28), dtype=np.uint8)
    for fit in FITS:
        preprocess = Preprocess(size=(28, 28), channels=1, fit=fit)
        loaded = preprocess.load(pixels)
        assert np.shares_memory(preprocess.canvas(loaded)[0], pixels)
        assert preprocess.canvas(loaded)[1].matrix == (1, 0, 0, 0, 1, 0)


@pytest.mark.parametrize("size", [(20_000, 1), (1, 20_000)])
@pytest.mark.parametrize("fit", FITS)
def test_long_pictures_cost_bounded_memory(size, fit):
    preprocess = Preprocess(size=(224, 224), fit=fit)
    source = jpeg(np.full((*size, 3), 90, np.uint8))
    tracemalloc.start()
    loaded = preprocess.load(source)
    canvas, _ = preprocess.canvas(loaded)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert max(loaded.picture.shape[:2]) <= 3 * 224
    assert abs(int(canvas[111, 111, 0]) - 90) <= 2
    assert peak < 5e6


@pytest.mark.parametrize("resample", RESAMPLE)
def test_small_pictures_are_enlarged(resample):
    corner = np.zeros((4, 4, 1), np.uint8)
    corner[:2, :2] = 200
    canvas = Preprocess(size=(32, 32), channels=1, resample=resample)(corner)[0]
    assert canvas.shape == (1, 32, 32)
    assert (canvas[0, :6, :6] > 0.4).all()
    assert (canvas[0, 20:, 20:] < -0.8).all()


# -------------------------------------------------------------------------------- numbers


def test_numpy_and_torch_normalise_to_the_same_bits(photograph):
    every = np.arange(256, dtype=np.uint8).reshape(1, 16, 16).repeat(3, 0)
    preprocess = Preprocess(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    exact = (every / 255.0 - np.reshape(preprocess.mean, (3, 1, 1))) / np.reshape(preprocess.std, (3, 1, 1))
    for pixels in (every, np.ascontiguousarray(photograph.transpose(2, 0, 1))):
        numbers = preprocess.normalise(pixels)
        assert numbers.dtype == np.float32
        tensor = torch.from_numpy(pixels.copy())
        for layout in (tensor[None], tensor[None].contiguous(memory_format=torch.channels_last)):
            got = preprocess.normalise(layout)
            assert got.dtype == torch.float32
            assert np.array_equal(got[0].numpy().view(np.uint32), numbers.view(np.uint32))
    assert np.abs(preprocess.normalise(every) - exact).max() < 5e-7


@pytest.mark.gpu
def test_the_device_normalises_to_the_same_bits():
    every = np.arange(256, dtype=np.uint8).reshape(1, 16, 16).repeat(3, 0)
    preprocess = Preprocess(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    there = preprocess.normalise(torch.from_numpy(every).cuda()).cpu().numpy()
    assert np.array_equal(there.view(np.uint32), preprocess.normalise(every).view(np.uint32))


def test_every_kind_of_source_gives_the_same_tensor(photograph, tmp_path):
    preprocess = Preprocess(size=(64, 64))
    Image.fromarray(photograph).save(tmp_path / "a.png")
    wanted = preprocess(photograph)[0]
    assert np.array_equal(preprocess(str(tmp_path / "a.png"))[0], wanted)
    assert np.array_equal(preprocess((tmp_path / "a.png").read_bytes())[0], wanted)


# -------------------------------------------------------------------------------- the contract


@pytest.mark.parametrize("form", ["GIF", "TIFF"])
def test_several_frames_can_be_an_error(form):
    file = io.BytesIO()
    red, blue = Image.new("RGB", (8, 6), "red"), Image.new("RGB", (8, 6), "blue")
    red.save(file, form, save_all=True, append_images=[blue])
    pixels = Preprocess(size=(6, 8)).load(file.getvalue()).picture
    assert (pixels == (255, 0, 0)).all()
    strict = Preprocess(size=(6, 8), frames="error")
    assert Preprocess.from_dict(json.loads(json.dumps(strict.to_dict()))) == strict
    for answer in (strict.load, strict):
        with pytest.raises(Unreadable, match="several frames: 2 of them, one is wanted"):
            answer(file.getvalue())


def test_the_contract_survives_json():
    preprocess = Preprocess(
        size=(96, 80), channels=1, fit="pad", resample="lanczos", mean=(0.1307,), std=(0.3081,)
    )
    stored = json.loads(json.dumps(preprocess.to_dict()))
    assert Preprocess.from_dict(stored) == preprocess
    assert hash(Preprocess.from_dict(stored)) == hash(preprocess)
    assert stored["rules"] == 1
    with pytest.raises(UsageError, match="a newer one"):
        Preprocess.from_dict(stored | {"rules": 99})
    with pytest.raises(UsageError, match=r"no 'sise'\. Did you mean size"):
        Preprocess.from_dict(stored | {"sise": 3})


def test_the_working_picture_does_not_depend_on_mean_and_std():
    preprocess = Preprocess()
    assert preprocess.working == replace(preprocess, mean=(0.1, 0.1, 0.1), std=(1, 1, 1)).working
    for changed in ({"size": (96, 96)}, {"crop_pct": 0.9}, {"fit": "pad"}, {"resample": "bicubic"}):
        assert preprocess.working != replace(preprocess, **changed).working
    json.dumps(preprocess.working)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"channels": 0}, "not 0"),
        ({"range": (5, 5)}, "a low and a higher number, or such a pair for each of 3 channels, not 5 5"),
        ({"range": (0, 1, 0, 1)}, "not 0 1 0 1"),
        ({"range": (0, float("nan"))}, "not 0 nan"),
        ({"size": (0, 3)}, "not \\(0, 3\\)"),
        ({"crop_pct": 0.0}, "crop_pct"),
        ({"fit": "corp"}, "Did you mean crop"),
        ({"resample": "cubic"}, "bicubic"),
        ({"mean": (0.5,)}, "mean and std"),
        ({"std": (0.5, 0, 0.5)}, "mean and std"),
        ({"frames": "last"}, "frames is one of first, error"),
    ],
)
def test_wrong_words_are_explained(wrong, said):
    with pytest.raises(UsageError, match=said):
        Preprocess(**wrong)
