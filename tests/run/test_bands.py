"""Microscopes' and satellites' pictures, from their files to answers, as a user has them."""

import json

import numpy as np
import pytest
import tifffile
from PIL import Image

import vitrail
from vitrail.cli import main

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
    main(["predict", str(run.path), *files, "--out", str(tmp_path / "answers")])
    capsys.readouterr()
    assert Image.open(tmp_path / "answers/0.mask.png").size == (40, 32)
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
        tmp_path / "data", model="resnet18", epochs=1, image_size=32, out=tmp_path / "run", options=OPTIONS
    )
    assert run.recipe().data.channels == 5
    assert run.report.exists()
    (answer,) = vitrail.load(run.path)([str(tmp_path / "data/test/up/0.npy")])
    assert answer.names == ("down", "up")


@pytest.mark.parametrize("said", [None, (0.0, 4000.0)])
def test_a_camera_of_twelve_bits_is_learned_and_served_by_one_range(tmp_path, said):
    data = write(tmp_path / "data", 1, "tif")
    options = OPTIONS | ({"data.range": list(said)} if said else {})
    run = vitrail.train(
        data, task="segment", model="vit-pico4", epochs=1 if said else 25, image_size=32,
        out=tmp_path / "run", options=options,
    )  # fmt: skip
    predictor = vitrail.load(run.path)
    preprocess = predictor.contract.preprocess
    if said:
        assert preprocess.range == said
        return
    low, high = preprocess.range
    assert 50 < low < 200
    assert 1500 < high < 1700
    assert run.result["test"]["metrics"]["mean_iou"]["value"] > 0.7
    file = str(data / "test/images/0.tif")
    working = preprocess.load(file).picture
    assert len(np.unique(working)) > 60  # 7 shades, were it the range of the type
    served = predictor([np.asarray(Image.open(file))])[0]
    assert (served.values == predictor([file])[0].values).all()
    again = vitrail.train(
        data, recipe=run.path / "recipe.json", epochs=1, out=tmp_path / "again", options={"data.workers": 0}
    )
    assert again.recipe().data.range == preprocess.range
