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
    assert len(lines) == 25
    assert [line["file"] for line in lines if "error" in line] == [str(photographs / "tissue" / "folder.jpg")]
    assert lines[0]["label"] in ("brick wall", "gravel", "tissue", "flower")
    assert sum(line.get("label") == "tissue" for line in lines) > 15
    assert abs(sum(lines[0]["scores"].values()) - 1) < 1e-5

    assert main(["predict", str(run), str(photographs / "*" / "0*.jpg"), "--format", "csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert len(rows) == 40
    assert set(rows[0]) == {"file", "label", "score", "brick wall", "flower", "gravel", "tissue"}

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
    assert len((tmp_path / "answers" / "answers.jsonl").read_text().splitlines()) == 26


def test_predict_has_a_line_for_each_input_in_order(run, photographs, capsys):
    good, bad = photographs / "flower" / "03.jpg", photographs / "flower" / "text.jpg"
    words = ["predict", str(run), str(good), str(bad), str(good)]
    capsys.readouterr()

    assert main(words) == 0
    shown = capsys.readouterr()
    assert shown.err.count("not read:") == 1
    first, wrong, second = map(json.loads, shown.out.splitlines())
    assert first == second
    assert wrong == {"file": str(bad), "error": wrong["error"]}
    assert "not a picture" in wrong["error"]

    assert main([*words, "--format", "hf"]) == 0
    first, wrong, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert first == second
    assert wrong is None

    assert main([*words, "--format", "csv"]) == 0
    rows = list(csv.reader(io.StringIO(capsys.readouterr().out)))
    assert rows[0][0] == "file"
    assert rows[0][-1] == "error"
    assert [row[-1] for row in (rows[1], rows[3])] == ["", ""]
    assert rows[2][0] == str(bad)
    assert set(rows[2][1:-1]) == {""}
    assert "not a picture" in rows[2][-1]

    assert main([*words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert len(found["answers"]) == 2
    assert list(found["broken"]) == [str(bad)]
    assert main(["predict", str(run), str(bad), str(bad)]) == 1
    assert "none of 2 pictures" in capsys.readouterr().err


@pytest.mark.parametrize("form", ["jsonl", "csv", "hf"])
def test_predict_answers_files_whose_names_are_not_text(run, photographs, tmp_path, form):
    strange = os.fsencode(tmp_path) + b"/caf\xe9"
    os.mkdir(strange)  # noqa: PTH102, bytes
    for name in (b"a\xff.jpg", b"b.jpg"):
        with open(strange + b"/" + name, "wb") as file:  # noqa: PTH123
            file.write((photographs / "flower" / "03.jpg").read_bytes())
    (tmp_path / "broken").mkdir()
    with open(os.fsencode(tmp_path) + b"/broken/\xe9.jpg", "wb"):  # noqa: PTH123
        pass
    words = ["predict", str(run), os.fsdecode(strange), str(tmp_path / "broken"), "--format", form]
    done = subprocess.run([sys.executable, "-m", "vitrail", *words], capture_output=True)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.decode().splitlines()
    assert len(lines) == (4 if form == "csv" else 3)
    assert form == "hf" or "caf\\xe9/a\\xff.jpg" in lines[-3].replace("\\\\", "\\")
    assert b"broken/\\xe9.jpg: empty" in done.stderr


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
