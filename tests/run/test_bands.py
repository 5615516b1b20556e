"""Microscopes' and satellites' pictures, from their files to answers, as a user has them."""

import json
from dataclasses import replace

import numpy as np
import tifffile
from PIL import Image

import vitrail
from vitrail.cli import main
from vitrail.data.loader import Loader
from vitrail.data.readers import open_data

OPTIONS = {"train.batch": 8, "train.lr": 3e-3, "data.workers": 0}


def cell(random, channels, low=200, high=1500):
    """Return numbers of a 12-bit camera with a bright disc, uint16 ``h w c``, and what each pixel is."""
    rows, across = np.mgrid[:32, :40]
    y, x = random.integers(8, 24), random.integers(8, 32)
    mask = ((rows - y) ** 2 + (across - x) ** 2 < 49).astype(np.uint8)
    bright = low + float(high - low) * mask[:, :, None] * np.linspace(1, 0.3, channels)
    return np.clip(bright + random.normal(0, 30, (32, 40, channels)), 0, 4095).astype(np.uint16), mask


def write(folder, channels, suffix):
    random = np.random.default_rng(0)
    for split, count in (("train", 16), ("val", 4), ("test", 4)):
        for side in ("images", "masks"):
            (folder / split / side).mkdir(parents=True)
        for number in range(count):
            values, mask = cell(random, channels)
            path = folder / split / "images" / f"{number}.{suffix}"
            if suffix == "npy":
                np.save(path, values)
            elif channels > 1:
                tifffile.imwrite(path, values, photometric="minisblack", planarconfig="contig")
            else:
                Image.fromarray(values[:, :, 0]).save(path)
            Image.fromarray(mask).save(folder / split / "masks" / f"{number}.png")
    return folder


def test_five_channels_are_segmented(tmp_path, capsys):
    data = write(tmp_path / "data", 5, "tif")
    run = vitrail.train(
        data, task="segment", model="vit-pico4", epochs=1, image_size=32, out=tmp_path / "run",
        options=OPTIONS | {"augment.policy": "trivial", "augment.jitter": 0.2, "augment.erase": 0.5},
    )  # fmt: skip
    contract = json.loads((tmp_path / "run/vitrail.json").read_text())["preprocess"]
    assert contract["channels"] == 5
    assert len(contract["range"]) == 10
    assert run.recipe().data.range == tuple(contract["range"])
    assert "becomes black to white, a range for each channel" in run.report.read_text()
    files = sorted(map(str, (data / "test/images").iterdir()))
    assert main(["predict", str(run.path), *files, "--out", str(tmp_path / "answers")]) == 0
    capsys.readouterr()
    assert np.asarray(Image.open(tmp_path / "answers/0.mask.png")).shape == (32, 40)
    assert np.asarray(Image.open(tmp_path / "answers/0.overlay.png")).shape == (32, 40, 3)
    ask = vitrail.load(run.path)
    (one,), (other,) = ask([files[0]]), ask([tifffile.imread(files[0])])
    assert (one.values == other.values).all()
    main(["predict", str(run.path), files[0], str(data / "test/masks/0.png")])
    assert "other channels: 1 of them, 5 are wanted" in capsys.readouterr().err


def test_five_channels_are_classified(tmp_path):
    random = np.random.default_rng(0)
    for split, count in (("train", 8), ("val", 2), ("test", 2)):
        for name, order in (("up", 1), ("down", -1)):
            (tmp_path / "data" / split / name).mkdir(parents=True)
            for number in range(count):
                values = cell(random, 5)[0][:, :, ::order]
                np.save(tmp_path / "data" / split / name / f"{number}.npy", values)
    run = vitrail.train(
        tmp_path / "data", model="test_resnet", epochs=1, image_size=32, out=tmp_path / "run", options=OPTIONS
    )
    assert run.recipe().data.channels == 5
    assert run.report.exists()
    (answer,) = vitrail.load(run.path)([str(tmp_path / "data/test/up/0.npy")])
    assert answer.names == ("down", "up")


def test_a_camera_of_twelve_bits_is_learned_and_served_by_one_range(tmp_path, recipe, pictures):
    """The same pictures in numbers from 200 to 1500, of which the range of the type leaves six shades."""
    for path in pictures.rglob("*.png"):
        to = tmp_path / "data" / path.relative_to(pictures)
        to.parent.mkdir(parents=True, exist_ok=True)
        with Image.open(path) as image:
            Image.fromarray((200 + np.asarray(image) * 6.2).astype(np.uint16)).save(to)
    where = replace(recipe, where=str(tmp_path / "data"), epochs=8)
    run = vitrail.train(recipe=where, out=tmp_path / "run")
    assert run.result["test"]["metrics"]["accuracy"]["value"] > 0.6
    predictor = vitrail.load(run.path)
    preprocess = predictor.contract.preprocess
    low, high = preprocess.range
    assert 200 <= low <= 210
    assert 1400 <= high <= 1502
    assert run.recipe().data.range == preprocess.range
    assert "becomes black to white: 99.8 %" in run.report.read_text()
    file = next((tmp_path / "data/dots").iterdir())
    with Image.open(file) as image:
        values = np.asarray(image)
    assert len(np.unique(preprocess.load(str(file)).picture)) > 40
    by_file, by_numbers = predictor([str(file), values])
    assert (by_file.scores == by_numbers.scores).all()
    trained = Loader(
        open_data(tmp_path / "data").splits()["all"], preprocess, batch=60, seed=0, collate=lambda rows: {}
    )
    (batch,) = trained.epoch(0)
    place = batch.keys.index(f"dots/{file.name}")
    assert (
        batch.pixels["image"][place].numpy() == preprocess.canvas(preprocess.load(values))[0][:, :, 0]
    ).all()


def test_a_range_that_is_said_is_taken(tmp_path, capsys):
    data = write(tmp_path / "data", 1, "tif")
    words = ["train", str(data), "--task", "segment", "--model", "vit-pico4", "--epochs", "1"]
    words += ["--image-size", "32", "--train.batch", "8", "--out", str(tmp_path / "run")]
    assert main([*words, "--data.range", "0", "4000"]) == 0
    assert vitrail.load(tmp_path / "run").contract.preprocess.range == (0, 4000)
    assert "becomes black" not in capsys.readouterr().err
    assert main([*words[:-1], str(tmp_path / "other"), "--data.range", "9", "3"]) == 2
    assert "A range is a low and a higher number, not 9.0 3.0" in capsys.readouterr().err
