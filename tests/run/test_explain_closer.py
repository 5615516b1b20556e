"""The model itself, heads beside each other, and explanations through depth, on the command line."""

import json

import numpy as np
import pytest
from PIL import Image

from vitrail.cli import main
from vitrail.draw.mosaic import filter_grid, map_grid, mosaic


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Return folders of a Transformer and of a CNN that timm wrote, and a photograph."""
    import timm
    import torch
    from skimage import data
    from timm.models import save_for_hf

    home = tmp_path_factory.mktemp("models")
    for name in ("test_vit", "test_resnet"):
        torch.manual_seed(0)
        network = timm.create_model(name, num_classes=3)
        words = {"model_config": {"label_names": ["a", "b", "c"]}, "safe_serialization": True}
        save_for_hf(network, home / name, **words)
    Image.fromarray(data.chelsea()[::2, ::2]).save(home / "cat.png")
    return home


def test_a_model_is_explained_without_pictures(models, tmp_path, capsys):
    assert main(["explain", str(models / "test_vit"), "--inside", "--out", str(tmp_path), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert sorted(told["files"]) == sorted(path.name for path in tmp_path.iterdir())
    positions = np.load(tmp_path / "positions.npy")
    height, width = positions.shape[:2]
    assert positions.shape == (height, width, height, width)
    np.testing.assert_allclose(np.einsum("hwhw->hw", positions), 1, rtol=1e-5)
    assert np.load(tmp_path / "filters.npy").ndim == 4
    assert "How far it looks" not in (tmp_path / "report.html").read_text()


def test_pictures_show_features_and_how_far_heads_look(models, tmp_path, capsys):
    cat = str(models / "cat.png")
    assert main(["explain", str(models / "test_vit"), cat, "--inside", "--out", str(tmp_path / "vit")]) == 0
    page = (tmp_path / "vit" / "report.html").read_text()
    assert all(
        title in page for title in ("Positions", "First filters", "How far it looks", "Features as colours")
    )
    rows = (tmp_path / "vit" / "reach.csv").read_text().splitlines()
    assert rows[0] == "layer,head,pixels"
    assert len(rows) > 6
    broken = tmp_path / "no.png"
    broken.write_bytes(b"no picture")
    words = [
        "explain",
        str(models / "test_resnet"),
        str(broken),
        cat,
        "--inside",
        "--out",
        str(tmp_path / "cnn"),
    ]
    capsys.readouterr()
    assert main(words) == 0
    said = capsys.readouterr().err
    assert "without positions: this network has learned no positions" in said
    assert "no.png" in said
    colours = np.load(tmp_path / "cnn" / "cat.features.npy")
    assert (colours.min(), colours.max(), colours.shape[2]) == (0, 1, 3)


def test_heads_and_depth(models, tmp_path, capsys):
    words = [str(models / "cat.png"), "--animate", "--json"]
    assert main(["explain", str(models / "test_vit"), *words, "--heads", "--out", str(tmp_path / "vit")]) == 0
    (line,) = json.loads(capsys.readouterr().out)["explanations"]
    with Image.open(tmp_path / "vit" / line["animation"]) as moving:
        assert moving.n_frames == 6
    assert (tmp_path / "vit" / line["heads"]).exists()
    assert main(["explain", str(models / "test_resnet"), *words, "--out", str(tmp_path / "cnn")]) == 0
    (line,) = json.loads(capsys.readouterr().out)["explanations"]
    with Image.open(tmp_path / "cnn" / line["animation"]) as moving:
        assert moving.n_frames == 6


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--heads", "cat.png"], "--heads: this network has no attention of ours"),
        ([], "PICTURES is missing; to explain the model itself: --inside."),
    ],
)
def test_words_that_do_not_go_together(models, words, said, capsys):
    words = [str(models / word) if word.endswith(".png") else word for word in words]
    assert main(["explain", str(models / "test_resnet"), *words]) == 2
    assert said in capsys.readouterr().err


def test_mosaics():
    tiles = [np.full((2, 3, 3), value, np.uint8) for value in (0, 100, 200)]
    whole = np.asarray(mosaic(tiles, 2, gap=1))
    factor = 1400 // 6
    assert whole.shape == (2 * (2 * factor + 1) + 1, 2 * (3 * factor + 1) + 1, 3)
    assert whole[2, 2, 0] == 0
    assert whole[2, 3 * factor + 3, 0] == 100
    assert whole[2 * factor + 3, 2, 0] == 200
    assert whole[-1, -2, 0] == 255  # no tile
    likeness = np.random.default_rng(0).random((2, 3, 2, 3))
    assert map_grid(likeness).mode == "RGB"
    shown = np.asarray(filter_grid(np.array([-1.0, 0, 1, 0]).reshape(1, 1, 2, 2)))
    assert {tuple(colour) for colour in shown.reshape(-1, 3).tolist()} >= {(0,) * 3, (128,) * 3, (255,) * 3}
