"""Semantic segmentation from a folder of masks to answers, as a user has it."""

import json

import numpy as np
import pytest
from PIL import Image

import vitrail
from vitrail.cli import main
from vitrail.data.readers import open_data
from vitrail.errors import UsageError
from vitrail.heads.unet import UNetConfig
from vitrail.run import job, train
from vitrail.run.compose import compose
from vitrail.run.predictions import read_predictions
from vitrail.run.shown_masks import _most_wrong
from vitrail.values import IGNORED, Mask

NAMES = ("background", "disc", "bar")
SIZE = (40, 48)


@pytest.fixture(scope="module")
def shapes(tmp_path_factory, shapes_in):
    return shapes_in(tmp_path_factory.mktemp("data") / "shapes", size=SIZE, counts=(24, 4, 6))


OPTIONS = {"train.batch": 8, "train.lr": 3e-3, "train.save_minutes": 0.0, "data.workers": 2}


@pytest.fixture(scope="module")
def run(shapes, tmp_path_factory):
    return vitrail.train(
        shapes,
        task="segment",
        model="vit-pico4",
        epochs=30,
        image_size=32,
        out=tmp_path_factory.mktemp("runs") / "run",
        options=OPTIONS,
    )


def test_it_learns_and_says_how_well(run):
    found = run.result["test"]
    assert run.result["task"] == "segment"
    assert found["metrics"]["mean_iou"]["value"] > 0.8
    assert found["metrics"]["mean_iou"]["low"] > 0.6
    assert found["per_class"].keys() == set(NAMES)
    assert found["per_class"]["bar"]["iou"]["value"] > 0.8
    assert run.result["chosen_by"] == "mean_iou"


def test_what_is_measured_again_is_the_same(run):
    again = vitrail.evaluate(run.path)
    assert again.to_dict()["metrics"] == run.result["test"]["metrics"]
    seams = again.to_dict()["seams"]
    assert seams["pictures"] == 4
    assert 0 < seams["probability"] < 0.2
    metric = again.answers.answers
    kept = read_predictions(run.path / "predictions.parquet", "test", NAMES)
    assert kept.keys == again.answers.keys
    assert all(np.array_equal(one.both, other.both) for one, other in zip(kept.answers, metric, strict=True))


def test_answers_are_masks_of_the_originals(run, shapes):
    predictor = vitrail.load(run.path)
    files = sorted((shapes / "test" / "images").iterdir())
    answers = predictor(files)
    shares = []
    for file, answer in zip(files, answers, strict=True):
        assert isinstance(answer, Mask)
        assert answer.size == SIZE
        assert sum(answer.areas.values()) == SIZE[0] * SIZE[1]
        truth = np.asarray(Image.open(shapes / "test" / "masks" / file.name))
        shares.append((answer.values == truth)[truth != IGNORED].mean())
    assert np.mean(shares) == pytest.approx(
        run.result["test"]["metrics"]["pixel_accuracy"]["value"], abs=1e-6
    )
    alone = predictor(files[0])[0]
    assert np.array_equal(alone.values, answers[0].values)


def test_the_command_line_writes_masks(run, shapes, tmp_path, capsys):
    pictures = str(shapes / "test" / "images")
    assert main(["predict", str(run.path), pictures, "--out", str(tmp_path / "out"), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)["answers"]
    assert len(said) == 6
    answer = vitrail.load(run.path)(said[0]["file"])[0]
    assert said[0]["areas"] == answer.areas
    with Image.open(tmp_path / "out" / said[0]["mask"]) as written:
        assert np.array_equal(np.asarray(written), answer.values)
    with Image.open(tmp_path / "out" / said[0]["overlay"]) as written:
        assert written.size == SIZE[::-1]
    assert main(["predict", str(run.path), pictures, "--format", "csv"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "file,background,disc,bar,error"
    assert len(lines) == 7
    assert main(["predict", str(run.path), pictures, "--format", "hf"]) == 2
    assert main(["evaluate", str(run.path), "--json"]) == 0
    assert "mean_iou" in json.loads(capsys.readouterr().out)["metrics"]
    assert main(["evaluate", str(run.path), "--overlap", "16"]) == 0
    said = capsys.readouterr()
    assert "disc" in said.out
    assert "half a step elsewhere" in said.out + said.err
    for verb in (["evaluate", str(run.path)], ["predict", str(run.path), pictures]):
        assert main([*verb, "--overlap", "32"]) == 2
        assert "share 0 to 31" in capsys.readouterr().err


def test_the_command_line_writes_what_others_read(run, shapes, tmp_path, capsys):
    pictures, out = tmp_path / "new", tmp_path / "out"
    (pictures / "b").mkdir(parents=True)
    for number, folder in enumerate((pictures, pictures / "b")):
        with Image.open(shapes / "test" / "images" / f"{number}.png") as image:
            down = 20_000 * (1 + number)
            image.save(folder / "a.tif", x_resolution=20_000, y_resolution=down, resolution_unit="cm")
    words = ["predict", str(run.path), str(pictures), "--out", str(out)]
    assert main([*words, "--write", "geojson", "coco", "--json"]) == 0
    said = capsys.readouterr()
    first, second = json.loads(said.out)["answers"]
    assert {path.name for path in out.iterdir()} == {
        *("a.geojson", "a-2.geojson", "answers.coco.json", "answers.jsonl")
    }
    assert (first["geojson"], second["geojson"]) == ("a.geojson", "a-2.geojson")
    assert "mask" not in first
    assert first["pixel_size"] == pytest.approx(0.5e-6)
    assert first["square_metres"]["disc"] == pytest.approx(first["areas"]["disc"] * 0.25e-12)
    assert "square_metres" not in second
    assert "no squares" in said.err
    assert "areas in 1 pictures: background" in said.err
    coco = json.loads((out / "answers.coco.json").read_text())
    assert [each["file_name"] for each in coco["images"]] == ["a.tif", "b/a.tif"]
    assert {each["id"]: each["name"] for each in coco["categories"]} == {1: "disc", 2: "bar"}
    (out / "answers.coco.json").rename(pictures / "answers.coco.json")
    data = open_data(pictures / "answers.coco.json").splits()["all"]
    answers = vitrail.load(run.path)([pictures / "a.tif", pictures / "b" / "a.tif"])
    assert answers[0].pixel_size == pytest.approx(0.5e-6)
    for row, answer in enumerate(answers):
        assert np.array_equal(data.mask(row), answer.values)
    assert main([*words[:-2], "--format", "csv", "--pixel-size", "2um"]) == 0
    said = capsys.readouterr()
    lines = said.out.splitlines()
    unit = "(\u00b5m\u00b2)"
    assert lines[0] == f"file,background,disc,bar,background {unit},disc {unit},bar {unit},error"
    assert [float(part) for part in lines[1].split(",")[4:7]] == [4 * first["areas"][name] for name in NAMES]
    assert "no squares" not in said.err


def test_words_about_masks_that_do_not_fit_are_refused(run, shapes, tmp_path, capsys):
    picture = tmp_path / "a.png"
    picture.write_bytes((shapes / "test" / "images" / "0.png").read_bytes())
    words = ["predict", str(run.path), str(picture)]
    assert main([*words, "--write", "geojson"]) == 2
    assert "--out" in capsys.readouterr().err
    assert main([*words, "--pixel-size", "0.5"]) == 2
    assert "0.5um" in capsys.readouterr().err
    assert main([*words, "--out", str(tmp_path / "out"), "--write", "svg"]) == 2
    assert "geojson" in capsys.readouterr().err
    (tmp_path / "a.geojson").write_text("drawn by hand")
    assert main([*words, "--out", str(tmp_path), "--write", "geojson"]) == 2
    assert "by hand" in capsys.readouterr().err
    assert (tmp_path / "a.geojson").read_text() == "drawn by hand"


def test_the_report_and_the_card_are_about_pixels(run):
    text = run.report.read_text()
    for word in ("Mean IoU", "Boundary F", "Worst", "IoU", "semantic segmentation", "Pixels"):
        assert word in text
    for section in ("From picture to picture", "Where it looked"):
        assert f"<h2>{section}</h2>" in text
    assert text.count("pictures have") == 3  # a curve for each class, with its median
    assert ", rows " in text  # a part of a picture that is larger than a window
    card = (run.path / "README.md").read_text()
    assert '"image-segmentation"' in card
    assert "each pixel of a picture" in card


@pytest.mark.parametrize("head", ["fcn", "linear", "masks"])
def test_other_heads_train_from_words(shapes, tmp_path, head):
    words = ["--task", "segment", "--head", head, "--model", "vit-pico4", "--epochs", "1"]
    words += ["--image-size", "32", "--train.batch", "8", "--out", str(tmp_path / "run")]
    assert main(["train", str(shapes), *words]) == 0
    recipe = json.loads((tmp_path / "run" / "recipe.json").read_text())
    assert recipe["head"]["name"] == head
    assert recipe["data"]["fit"] == "tile"


class Killed(BaseException):
    pass


def test_a_run_that_was_killed_goes_on_to_the_same_bits(shapes, tmp_path, monkeypatch):
    words = {
        "task": "segment",
        "model": "vit-pico4",
        "image_size": 32,
        "epochs": 3,
        "options": OPTIONS | {"head.name": "linear", "augment.cutmix": 1.0},
    }
    whole = vitrail.train(shapes, out=tmp_path / "whole", **words)
    learn = train.learn

    def until(work, batch):
        if work.state.step == 4:
            job.write_checkpoint(work)
            raise Killed
        return learn(work, batch)

    with monkeypatch.context() as patch:
        patch.setattr(train, "learn", until)
        with pytest.raises(Killed):
            vitrail.train(shapes, out=tmp_path / "part", **words)
    more = vitrail.train(resume=tmp_path / "part")
    weights = [(each.path / "model.safetensors").read_bytes() for each in (whole, more)]
    assert weights[0] == weights[1]
    assert more.result["test"] == whole.result["test"]


def test_recipe_files_may_name_the_task_alone_and_go_with_other_models(tmp_path):
    file = tmp_path / "recipe.json"

    def composed(plain, model=None, **options):
        file.write_text(json.dumps(plain))
        return compose("data", model, file, options)

    words = {"model": "resnet18", "task": "segment"}
    assert composed(words).head == UNetConfig()
    assert composed(words | {"head": {"name": "unet", "up": "unpool"}}).head == UNetConfig(up="unpool")
    full = composed(words | {"head": "fcn"}).to_dict()
    assert composed(full).head.name == "fcn"
    other = composed(full, "vit-pico4")
    assert (other.task.name, other.head.name, other.model.name) == ("segment", "fcn", "vit-pico4")
    again = composed(full, "resnet18", **{"task.name": "classify"})
    assert (again.task.name, again.head.name) == ("classify", "linear")


@pytest.mark.parametrize("fit", ["pad", "squash"])
def test_whole_pictures_too(shapes, tmp_path, fit):
    run = vitrail.train(
        shapes,
        task="segment",
        model="vit-pico4",
        epochs=2,
        image_size=24,
        out=tmp_path / "run",
        options={"data.fit": fit, "train.batch": 8},
    )
    (answer,) = vitrail.load(run.path)(shapes / "test" / "images" / "0.png")
    assert answer.size == SIZE


def test_words_that_do_not_fit_are_refused(shapes, pictures, tmp_path):
    with pytest.raises(UsageError, match="--task segment"):
        vitrail.train(shapes, model="vit-pico4", epochs=1, out=tmp_path / "a")
    with pytest.raises(UsageError, match="has no masks"):
        vitrail.train(pictures, task="segment", model="vit-pico4", epochs=1, out=tmp_path / "b")
    with pytest.raises(UsageError, match="cutmix"):
        vitrail.train(
            shapes, task="segment", model="vit-pico4", out=tmp_path / "c", options={"augment.mixup": 0.2}
        )
    with pytest.raises(UsageError, match="of the task segment"):
        vitrail.train(shapes, task="segment", head="lineal", model="vit-pico4", out=tmp_path / "d")


def test_pixels_are_explained(run, shapes, tmp_path, capsys):
    large = shapes / "test" / "images" / "0.png"
    with Image.open(large) as picture:
        picture.crop((0, 0, 32, 32)).save(tmp_path / "part.png")
    words = ["explain", str(run.path), str(tmp_path / "part.png"), "--out", str(tmp_path / "out")]
    assert main([*words, "--about", "bar", "--method", "saliency"]) == 0
    shown = capsys.readouterr()
    assert "bar" in shown.out
    assert "nan" not in shown.out
    (line,) = [
        json.loads(each) for each in (tmp_path / "out" / "explanations.jsonl").read_text().splitlines()
    ]
    assert line["about"] == "bar"
    assert sum(line["answer"]["areas"].values()) == 32 * 32


@pytest.mark.parametrize("multi", [False, True])
def test_what_is_wrong_most_is_explained_where_it_is_wrong(multi):
    truth, said = np.zeros((8, 8), np.uint8), np.zeros((8, 8), np.uint8)
    truth[:2, :3], said[5:, 5:], truth[4] = 1, 2, IGNORED
    wrong = said == 2
    if multi:
        truth = np.stack([np.where(truth == IGNORED, IGNORED, truth == k) for k in range(3)]).astype(np.uint8)
        said = np.stack([said == k for k in range(3)])
        truth[0], said[0] = 1, True  # a class that is right everywhere
    answer = Mask(names=NAMES, values=said, source=0, multi=multi)
    name, here = _most_wrong(answer, truth)
    assert name == "bar"
    assert np.array_equal(here, wrong)
    right = said.astype(np.uint8)
    assert not _most_wrong(answer, right)[1].any()
