"""Whoever asks gets the same answer: training's measurement, `evaluate`, `predict`, and Python."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

import vitrail
from vitrail.cli import main
from vitrail.cli.evaluate import _cell
from vitrail.data.readers import ReaderOptions
from vitrail.errors import UsageError, VitrailError
from vitrail.run.asked import find_pictures
from vitrail.run.content import interval
from vitrail.run.engine import answering_engine
from vitrail.run.evaluate import evaluate
from vitrail.run.launch import compose, train
from vitrail.run.predict import Predictor
from vitrail.run.progress import Silent
from vitrail.values import Estimate


class Listening(Silent):
    """Keeps what is said."""

    def __init__(self):
        self.lines = []

    def say(self, line):
        self.lines.append(line)


@pytest.fixture(scope="module")
def trained(pictures, tmp_path_factory):
    """Two finished runs by name, both trained in bf16, in which they must not be measured."""
    out = tmp_path_factory.mktemp("runs")
    options = {"epochs": 2, "train.precision": "bf16"}
    vit = replace(compose(pictures, "vit-pico4", None, options), image_size=(12,))
    cnn = replace(compose(pictures, "test_resnet", None, options), image_size=(32,))
    return {name: train(recipe=recipe, out=out / name) for name, recipe in (("vit", vit), ("cnn", cnn))}


@pytest.fixture(scope="module")
def vit(trained):
    return trained["vit"].path


def scores_of(run, split):
    """Return probabilities by key as `predictions.parquet` has them."""
    rows = pq.read_table(run / "predictions.parquet").to_pylist()
    return {
        row["key"]: [value for name, value in row.items() if name.startswith("score:")]
        for row in rows
        if row["split"] == split
    }


# ---------------------------------------------------------------- one engine


@pytest.mark.parametrize("name", ["vit", "cnn"])
def test_predict_and_evaluate_give_the_scores_that_training_measured(trained, pictures, name):
    run = trained[name].path
    measured = scores_of(run, "test")
    predictor = Predictor.load(run, batch=5)
    answers = predictor([pictures / key for key in measured])
    found = evaluate(run)
    assert found.answers.keys == list(measured)
    for answer, again, scores in zip(answers, found.answers.answers, measured.values(), strict=True):
        np.testing.assert_allclose(answer.scores, scores, rtol=0, atol=1e-6)
        np.testing.assert_allclose(again.scores, scores, rtol=0, atol=1e-6)
    once = trained[name].result["test"]["metrics"]
    assert found.to_dict()["metrics"] == once


@pytest.mark.parametrize(("name", "channels_last"), [("vit", False), ("cnn", True)])
def test_one_engine_answers_whatever_the_model_was_trained_in(trained, name, channels_last):
    recipe = trained[name].recipe()
    assert recipe.environment.precision == "bf16"
    engine = answering_engine(recipe, torch.device("cpu"))
    assert (engine.bf16, engine.compile, engine.channels_last) == (False, False, channels_last)
    assert Predictor.load(trained[name].path, device="cpu").engine == engine


# ---------------------------------------------------------------- merged tokens


def test_merged_tokens_answer_alike_wherever_they_are_asked_for(vit, pictures, capsys):
    files = [str(pictures / key) for key in scores_of(vit, "test")]
    whole = [answer.scores for answer in Predictor.load(vit)(files)]
    merged = [answer.scores for answer in vitrail.load(vit, merge=2)(files)]
    assert not np.allclose(whole, merged, atol=1e-6)
    found = evaluate(vit, merge=2)
    np.testing.assert_allclose([answer.scores for answer in found.answers.answers], merged, rtol=0, atol=1e-6)
    assert found.to_dict()["merge"] == 2
    assert "merge" not in evaluate(vit).to_dict()
    assert main(["predict", str(vit), *files, "--merge", "2", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)["answers"]
    for answer, scores in zip(said, merged, strict=True):
        np.testing.assert_allclose(list(answer["scores"].values()), scores, rtol=0, atol=1e-6)
    assert main(["evaluate", str(vit), "--merge", "2"]) == 0
    assert "2 tokens merged in each layer" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("verb", [["evaluate"], ["predict", "a.png"]])
@pytest.mark.parametrize(
    ("name", "merge", "said"),
    [("cnn", "2", "--merge 2: only a Vision Transformer of ours"), ("vit", "-2", "are 0 or more")],
)
def test_what_cannot_merge_says_so(trained, verb, name, merge, said, capsys):
    words = [verb[0], str(trained[name].path), *verb[1:], f"--merge={merge}"]
    assert main(words) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert said in shown.err
    assert len(shown.err.strip().splitlines()) == 1


# ---------------------------------------------------------------- what can be asked about


def test_a_pillow_picture_is_answered_as_its_file(vit, tmp_path):
    rng = np.random.default_rng(3)
    smooth = Image.fromarray(rng.integers(0, 256, (3, 4, 3), dtype=np.uint8)).resize((40, 30))
    turned = Image.Exif()
    turned[0x0112] = 6
    smooth.save(tmp_path / "turned.png", exif=turned)
    smooth.quantize(16).save(tmp_path / "palette.png")
    smooth.convert("CMYK").save(tmp_path / "ink.tif")
    predictor = Predictor.load(vit)
    for path in sorted(tmp_path.iterdir()):
        with Image.open(path) as image:
            (asked,), (file,), (several,) = predictor(image), predictor(path), predictor([image])
        np.testing.assert_array_equal(asked.scores, file.scores, err_msg=path.name)
        np.testing.assert_array_equal(several.scores, file.scores, err_msg=path.name)


def test_what_is_no_picture_is_refused(vit):
    predictor = Predictor.load(vit)
    with pytest.raises(UsageError, match="not a int"):
        predictor([3])
    with pytest.raises(UsageError, match="not a mapping"):
        predictor({"a": "b"})


def test_folders_are_searched_as_those_of_training(tmp_path):
    for name in ("b.JPG", "a.jfif", "deep/c.dib", ".hidden/d.png", "__MACOSX/e.png", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "gone.png").symlink_to("nowhere")
    found = find_pictures([str(tmp_path)])
    assert [os.path.relpath(path, tmp_path) for path in found] == [
        "a.jfif",
        "b.JPG",
        "deep/c.dib",
        "gone.png",
    ]
    twice = [str(tmp_path / "a.jfif")] * 2
    assert find_pictures([*twice, str(tmp_path / "*.JPG")]) == [*twice, str(tmp_path / "b.JPG")]
    (tmp_path / "deep" / "deeper").mkdir()
    assert find_pictures([str(tmp_path / "deep" / "**")]) == [str(tmp_path / "deep" / "c.dib")]
    (tmp_path / "empty").mkdir()
    for words, said in (["empty", "no pictures"], ["none*.png", "no such file"]):
        with pytest.raises(UsageError, match=said):
            find_pictures([str(tmp_path / words)])


# ---------------------------------------------------------------- other data


@pytest.fixture
def other(pictures, tmp_path):
    """Other pictures of two of the classes, and a function that puts them into parts."""

    def make(**parts):
        for part, count in parts.items():
            for kind in ("dots", "plain", "stripes"):
                folder = tmp_path / "other" / part / kind
                folder.mkdir(parents=True)
                for number in range(count):
                    shutil.copy(pictures / kind / f"{number:03d}.png", folder)
        return tmp_path / "other"

    return make


def test_the_test_part_of_other_data_is_measured(vit, other):
    where = str(other(train=3, test=2))
    found = evaluate(vit, where)
    assert (found.split, found.quality.pictures) == ("test", 6)
    assert evaluate(vit, where, split="train").quality.pictures == 9


def test_data_without_a_test_part_wants_to_be_told(vit, other):
    with pytest.raises(UsageError, match=r"no test part, but train, val.*--split"):
        evaluate(vit, str(other(train=2, val=2)))
    with pytest.raises(UsageError, match="no split 'tset'; there is train, val, test"):
        evaluate(vit, split="tset")


def test_a_part_without_a_picture_is_one_plain_line(vit, other):
    where = str(other(train=2, test=0))
    with pytest.raises(VitrailError, match=r"other: its part 'test' has no picture to measure\.$"):
        evaluate(vit, where)


def test_the_runs_own_data_given_as_other_data_is_warned_of(vit, pictures, other, tmp_path):
    (tmp_path / "link").symlink_to(pictures)
    heard = Listening()
    evaluate(vit, str(tmp_path / "link"), progress=heard)
    assert [line for line in heard.lines if "what the run was made from" in line and "'all'" in line]
    heard = Listening()
    evaluate(vit, str(other(test=2)), progress=heard)
    evaluate(vit, progress=heard)
    assert heard.lines == []


def write_table(pictures, folder, name, columns):
    rows = [",".join(columns)]
    for kind in ("dots", "plain", "stripes"):
        rows += [f"{pictures / kind / f'{number:03d}.png'},{kind},p{number}" for number in range(8)]
    (folder / name).write_text("\n".join(rows) + "\n")
    return str(folder / name)


def test_columns_are_those_of_the_data_at_hand(pictures, tmp_path, capsys):
    own = write_table(pictures, tmp_path, "own.csv", ("scan", "kind", "patient"))
    usual = write_table(pictures, tmp_path, "usual.csv", ("file_name", "label", "who"))
    strange = write_table(pictures, tmp_path, "strange.csv", ("scan", "species", "site"))
    words = {"epochs": 1, "data.file": "scan", "data.label": "kind", "data.group": "patient"}
    recipe = replace(compose(own, "vit-pico4", None, words), image_size=(12,))
    run = train(recipe=recipe, out=tmp_path / "run").path
    assert evaluate(run).quality.clusters
    for where in (usual, str(pictures)):  # neither has the run's columns
        assert evaluate(run, where).quality.clusters is None
    with pytest.raises(UsageError):
        evaluate(run, strange)
    found = evaluate(run, strange, options=ReaderOptions(file="scan", label="species", group="site"))
    assert (found.quality.pictures, found.quality.clusters) == (24, 8)
    capsys.readouterr()
    flags = ["--file", "scan", "--label", "species", "--group", "site"]
    assert main(["evaluate", str(run), strange, *flags, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["metrics"] == found.to_dict()["metrics"]
    assert main(["evaluate", str(run), *flags]) == 2
    assert "other data" in capsys.readouterr().err


# ---------------------------------------------------------------- what is written and shown


@pytest.mark.parametrize("metric", ["map", "micro_f1", "top5_accuracy"])
def test_a_metric_that_is_not_computed_cannot_choose(pictures, tmp_path, metric):
    recipe = compose(pictures, "vit-pico4", None, {"epochs": 1, "train.metric": metric})
    with pytest.raises(UsageError, match=f"--train.metric {metric}: not one of accuracy"):
        train(recipe=replace(recipe, image_size=(12,)), out=tmp_path / "run")


def test_starting_to_train_does_not_load_arrow():
    code = "import sys, vitrail.cli.train; print('pyarrow' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_the_numbers_of_a_class_are_shown_with_their_intervals(vit, capsys):
    assert main(["evaluate", str(vit)]) == 0
    shown = capsys.readouterr().out
    assert "nan" not in shown
    assert max(map(len, shown.splitlines())) <= 100
    value = evaluate(vit).quality.per_class["dots"]
    row = next(line for line in shown.splitlines() if line.startswith("dots"))
    for name in ("f1", "auroc"):
        assert f"{value[name].value:.3f} ({value[name].low:.3f}–{value[name].high:.3f})" in row
    nothing = Estimate(value=float("nan"), low=float("nan"), high=float("nan"))
    assert _cell("f1", nothing) == _cell("recall", nothing) == "–"


def test_the_report_is_true_after_a_resume_too_and_knows_every_interval(vit):
    page = (vit / "report.html").read_text(encoding="utf-8")
    assert "Measured when the run was finished" in page
    assert "Measured once" not in page
    quality = evaluate(vit).quality
    classes = page[page.index('id="class-by-class"') :]
    for values in quality.per_class.values():
        for name in ("precision", "recall", "auroc"):
            if np.isfinite(values[name].low):
                assert f'title="{interval(name, values[name])}"' in classes
