"""Bad data on the command line: a status, one or two plain lines that name it, and nothing left behind."""

import shutil

import numpy as np
import pytest
from PIL import Image

from vitrail.cli import main


def write(path, kind=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(kind).integers(0, 255, (12, 12, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def empty(folder):
    return folder


def one_class(folder):
    for number in range(6):
        write(folder / "only" / f"{number}.png", number)
    return folder


def no_pictures(folder):
    for name in ("a", "b"):
        (folder / name).mkdir()
        (folder / name / "notes.txt").write_text("nothing")
    return folder


def all_broken(folder):
    for name in ("a", "b"):
        for number in range(12):
            (folder / name).mkdir(exist_ok=True)
            (folder / name / f"{number}.jpg").write_text("text")
    return folder


def other_classes_in_a_split(folder):
    for split, names in (("train", "ab"), ("val", "ab"), ("test", "ac")):
        for name in names:
            for number in range(4):
                write(folder / split / name / f"{number}.png", number)
    return folder


def missing_files(folder):
    write(folder / "there.png")
    rows = [f"gone{number}.png,cat" for number in range(5)] + ["there.png,dog"]
    (folder / "labels.csv").write_text("file_name,label\n" + "\n".join(rows) + "\n")
    return folder / "labels.csv"


def missing_labels(folder):
    for number in range(6):
        write(folder / f"{number}.png", number)
    rows = [f"{number}.png,{'' if number in (2, 3) else 'cat'}" for number in range(6)]
    (folder / "labels.csv").write_text("file_name,label\n" + "\n".join(rows) + "\n")
    return folder / "labels.csv"


def no_label_column(folder):
    write(folder / "0.png")
    (folder / "labels.csv").write_text("file_name,kind\n0.png,cat\n")
    return folder / "labels.csv"


def not_data(folder):
    (folder / "notes.pdf").write_text("%PDF")
    return folder / "notes.pdf"


CASES = {
    empty: [],
    one_class: ["only"],
    no_pictures: [],
    all_broken: [],
    other_classes_in_a_split: ["b", "c"],
    missing_files: ["5", "gone0.png", "gone1.png", "gone2.png"],
    missing_labels: ["labels.csv"],
    no_label_column: ["label", "kind"],
    not_data: ["notes.pdf"],
}


@pytest.mark.parametrize("make", CASES, ids=lambda make: make.__name__)
def test_bad_data_is_said_in_two_lines_and_leaves_nothing(make, tmp_path, capsys):
    (tmp_path / "data").mkdir()
    where = make(tmp_path / "data")
    before = sorted(str(path) for path in tmp_path.rglob("*"))
    out = tmp_path / "run"
    status = main(["train", str(where), "--model", "vit-pico4", "--epochs", "1", "--out", str(out)])
    said = capsys.readouterr().err.strip().splitlines()
    assert status in (1, 2)
    said = [line for line in said if not line.startswith(("note:", "warning:"))]
    assert len(said) <= 2, said
    assert str(tmp_path) in said[0] or where.name in said[0]
    for word in CASES[make]:
        assert word in "\n".join(said)
    assert "Traceback" not in "\n".join(said)
    assert before == sorted(str(path) for path in tmp_path.rglob("*"))


def test_a_class_with_one_picture_is_trained_and_noted(tmp_path, capsys):
    for name, count in (("many", 20), ("some", 20), ("one", 1)):
        for number in range(count):
            write(tmp_path / "data" / name / f"{number}.png", number)
    words = ["train", str(tmp_path / "data"), "--model", "vit-pico4", "--epochs", "1"]
    assert main([*words, "--out", str(tmp_path / "run")]) == 0
    assert "one" in next(
        line for line in capsys.readouterr().err.splitlines() if "note:" in line and "one" in line
    )


def test_a_run_folder_that_exists_or_cannot_be_made(tmp_path, capsys):
    for number in range(8):
        write(tmp_path / "data" / "ab"[number % 2] / f"{number}.png", number)
    words = ["train", str(tmp_path / "data"), "--model", "vit-pico4", "--epochs", "1", "--out"]
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "mine.txt").write_text("precious")
    assert main([*words, str(tmp_path / "run")]) == 2
    assert "--resume" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["mine.txt"]
    (tmp_path / "file").write_text("")
    assert main([*words, str(tmp_path / "file" / "run")]) == 1
    assert "cannot write" in capsys.readouterr().err


def test_a_picture_that_is_gone_is_named_when_predicting(tmp_path, capsys):
    for number in range(24):
        write(tmp_path / "data" / "ab"[number % 2] / f"{number}.png", number)
    words = ["train", str(tmp_path / "data"), "--model", "vit-pico4", "--epochs", "1"]
    assert main([*words, "--out", str(tmp_path / "run")]) == 0
    capsys.readouterr()
    assert main(["predict", str(tmp_path / "run"), str(tmp_path / "none.jpg")]) == 2
    assert "none.jpg" in capsys.readouterr().err
    (tmp_path / "bad.jpg").write_bytes(b"")
    assert main(["predict", str(tmp_path / "run"), str(tmp_path / "bad.jpg")]) == 1
    assert "bad.jpg" in capsys.readouterr().err
    shutil.rmtree(tmp_path / "data")
    assert main(["evaluate", str(tmp_path / "run")]) in (1, 2)
    assert str(tmp_path / "data") in capsys.readouterr().err
