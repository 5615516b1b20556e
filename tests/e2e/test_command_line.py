"""The command line from a folder of photographs to answers, broken files among them."""

import csv
import io
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from vitrail.cli import main


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """Crops of real photographs and textures in four classes, with broken files among them."""
    import skimage.data
    from sklearn.datasets import load_sample_image

    folder = tmp_path_factory.mktemp("photographs")
    sources = {
        "brick wall": skimage.data.brick(),
        "gravel": skimage.data.gravel(),
        "tissue": skimage.data.immunohistochemistry(),
        "flower": load_sample_image("flower.jpg"),
    }
    draw = np.random.default_rng(0)
    for name, pixels in sources.items():
        (folder / name).mkdir()
        for number in range(24):
            top, left = (int(draw.integers(0, side - 96)) for side in pixels.shape[:2])
            Image.fromarray(pixels[top : top + 96, left : left + 96]).save(
                folder / name / f"{number:02d}.jpg"
            )
    good = (folder / "flower" / "00.jpg").read_bytes()
    (folder / "flower" / "empty.jpg").write_bytes(b"")
    (folder / "flower" / "text.jpg").write_text("not a picture")
    (folder / "gravel" / "cut.jpg").write_bytes(good[: len(good) // 2])
    (folder / "gravel" / "dangling.jpg").symlink_to("nowhere.jpg")
    (folder / "tissue" / "folder.jpg").mkdir()
    return folder


@pytest.fixture(scope="module")
def run(photographs, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "run"
    words = ["train", str(photographs), "--model", "vit-pico16", "--image-size", "96", "--epochs", "12"]
    before = {path: path.read_bytes() for path in photographs.rglob("*") if path.is_file()}
    assert main([*words, "--out", str(out), "--train.batch", "16", "--json"]) == 0
    assert before == {path: path.read_bytes() for path in photographs.rglob("*") if path.is_file()}
    return out


def test_a_folder_of_photographs_is_learned_and_broken_files_are_named(run):
    result = json.loads((run / "result.json").read_text())
    assert result["test"]["metrics"]["accuracy"]["value"] > 0.7
    broken = result["broken"]
    for name in (
        "flower/empty.jpg",
        "flower/text.jpg",
        "gravel/cut.jpg",
        "gravel/dangling.jpg",
        "tissue/folder.jpg",
    ):
        assert any(key.endswith(name) for key in broken), (name, broken)
    assert len(broken) == 5
    page = (run / "report.html").read_text()
    assert "gravel/cut.jpg" in page


def test_predict_json_lines_csv_and_hf(run, photographs, tmp_path, capsys):
    capsys.readouterr()
    assert main(["predict", str(run), str(photographs / "tissue")]) == 0
    shown = capsys.readouterr()
    lines = [json.loads(line) for line in shown.out.splitlines()]
    assert len(lines) == 24
    assert lines[0]["label"] in ("brick wall", "gravel", "tissue", "flower")
    assert sum(line["label"] == "tissue" for line in lines) > 15
    assert abs(sum(lines[0]["scores"].values()) - 1) < 1e-5

    assert main(["predict", str(run), str(photographs / "*" / "0*.jpg"), "--format", "csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert len(rows) == 40
    assert set(rows[0]) >= {"file", "label", "score", "gravel"}

    assert (
        main(["predict", str(run), str(photographs / "flower" / "03.jpg"), "--format", "hf", "--top", "2"])
        == 0
    )
    answer = json.loads(capsys.readouterr().out)
    assert [sorted(entry) for entry in answer] == [["label", "score"]] * 2

    assert main(["predict", str(run), str(photographs / "gravel"), "--out", str(tmp_path / "answers")]) == 0
    shown = capsys.readouterr()
    assert "cut.jpg" in shown.err
    assert shown.out == ""
    assert len((tmp_path / "answers" / "answers.jsonl").read_text().splitlines()) == 24


def test_evaluate_repeats_what_training_measured(run, photographs, capsys):
    capsys.readouterr()
    assert main(["evaluate", str(run), "--json"]) == 0
    again = json.loads(capsys.readouterr().out)["metrics"]
    once = json.loads((run / "result.json").read_text())["test"]["metrics"]
    assert again == once
    assert main(["evaluate", str(run), str(photographs), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["pictures"] == 96


def test_evaluate_matches_classes_by_name(run, photographs, tmp_path, capsys):
    import shutil

    few = tmp_path / "few"
    shutil.copytree(photographs / "tissue", few / "tissue", symlinks=True)
    shutil.copytree(photographs / "flower", few / "flower", symlinks=True)
    assert main(["evaluate", str(run), str(few), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["metrics"]["accuracy"]["value"] > 0.7
    assert set(found["absent"]) == {"brick wall", "gravel"}
    shutil.copytree(photographs / "flower", few / "unknown", symlinks=True)
    assert main(["evaluate", str(run), str(few)]) == 1
    said = capsys.readouterr().err
    assert "unknown" in said
    assert "brick wall" in said


def test_show_and_models(run, capsys):
    assert main(["show", str(run), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["parameters"] > 10_000
    assert main(["show", "vit-ti16"]) == 0
    assert "ConvStem" in capsys.readouterr().out
    assert main(["models", "swin", "--json"]) == 0
    names = [row["name"] for row in json.loads(capsys.readouterr().out)["models"]]
    assert "swin_tiny_patch4_window7_224" in names


def test_a_run_that_is_damaged_says_so(run, tmp_path, capsys):
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    content = (copy / "model.safetensors").read_bytes()
    (copy / "model.safetensors").write_bytes(content[: len(content) // 2])
    assert main(["predict", str(copy), str(run / "x.jpg")]) == 1
    said = capsys.readouterr().err
    assert "model.safetensors" in said
    assert len(said.strip().splitlines()) <= 2
    (copy / "vitrail.json").write_text("{")
    assert main(["evaluate", str(copy)]) == 1
    assert "vitrail.json" in capsys.readouterr().err


def test_ctrl_c_ends_training_without_a_traceback(photographs, tmp_path):
    number = signal.SIGINT
    words = ["train", str(photographs), "--model", "vit-pico16", "--image-size", "96", "--epochs", "500"]
    command = [sys.executable, "-m", "vitrail", *words, "--out", str(tmp_path / "run")]
    child = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    log = tmp_path / "run" / "metrics.jsonl"
    deadline = time.monotonic() + 100
    while time.monotonic() < deadline and not (log.exists() and log.stat().st_size):
        time.sleep(0.05)
    os.kill(child.pid, number)
    _, said = child.communicate(timeout=20)
    assert child.returncode == 1
    assert f"{signal.Signals(number).name}: stopped after step" in said
    assert "--resume" in said
    assert "Traceback" not in said
    assert list((tmp_path / "run" / "checkpoints").glob("*.safetensors"))
