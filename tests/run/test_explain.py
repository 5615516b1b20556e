"""Answers are explained in Python and on the command line, whatever the network; bad words are told so."""

import csv
import json
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from PIL import Image

import vitrail
from vitrail.cli import main
from vitrail.data.faults import Unreadable
from vitrail.errors import UsageError, VitrailError
from vitrail.explain import EXPLAINERS, Versus, layers_of
from vitrail.explain.faithfulness import Judge
from vitrail.run.explain.benchmark import benchmark, choose_sources
from vitrail.run.explain.choice import default_method, explainer_of, find_class
from vitrail.run.explain.explanation import Explanation
from vitrail.run.explain.keep import draw, evenness
from vitrail.run.explain.objects import on_canvas
from vitrail.run.explain.page import verdict, write_benchmark
from vitrail.run.launch import compose, train
from vitrail.run.predict import Predictor
from vitrail.values import Frame, Heat, Label

LITE0 = Path(__file__).parents[2] / ".data" / "efficientnet-lite0"


@dataclass(frozen=True, kw_only=True)
class Middle:
    """Says that the middle matters, whatever the model is."""

    name: ClassVar[str] = "middle"
    class_specific: ClassVar[bool] = True

    def __call__(self, model, batch, about=None):
        values = np.zeros((3, 3))
        values[1, 1] = 1
        return [Heat(values=values, about=about, method="middle", source=i) for i in range(len(batch))]


@dataclass(frozen=True, kw_only=True)
class Refusing:
    """Is for no model."""

    def __call__(self, model, batch, about=None):
        raise UsageError("this network will not be explained so.")


@pytest.fixture(scope="module")
def trained(pictures, tmp_path_factory):
    """Return a Transformer of ours and a network of timm, each trained for a moment."""
    out = tmp_path_factory.mktemp("runs")
    vit = replace(compose(pictures, "vit-pico4", None, {"epochs": 2, "model.depth": 2}), image_size=(12,))
    cnn = replace(compose(pictures, "test_resnet", None, {"epochs": 1}), image_size=(32,))
    return {name: train(recipe=recipe, out=out / name).path for name, recipe in (("vit", vit), ("cnn", cnn))}


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """Return a folder with two photographs, one of them turned, and a file that is none."""
    from skimage import data

    folder = tmp_path_factory.mktemp("photographs")
    Image.fromarray(data.chelsea()[::3, ::3]).save(folder / "cat.png")
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.fromarray(data.coffee()[::4, ::4]).save(folder / "cup.jpg", exif=turned)
    (folder / "broken.png").write_text("no picture")
    return folder


def lines_of(folder):
    return [json.loads(line) for line in (folder / "explanations.jsonl").read_text().splitlines()]


# ---------------------------------------------------------------- Python


def test_an_explanation_comes_home_onto_the_original(trained, photographs):
    predictor = vitrail.load(trained["vit"])
    (answer,) = predictor(photographs / "cup.jpg")
    (found,) = predictor.explain(photographs / "cup.jpg")
    np.testing.assert_array_equal(found.answer.scores, answer.scores)
    assert (found.about, found.method, found.trust) == (answer.name, default_method(predictor.model), None)
    assert found.heat.values.shape == (3, 3)
    assert found.canvas.shape == (12, 12, 1)
    assert found.frame.size == (150, 100)  # upright
    upright = Image.open(photographs / "cup.jpg").transpose(Image.Transpose.ROTATE_270)
    assert found.overlay(upright).size == (100, 150)
    assert found.overlay().size == (12, 12)
    assert json.loads(json.dumps(found.to_dict()))["frame"]["size"] == [150, 100]


def test_thousands_of_pictures_are_explained_a_few_at_a_time(trained, photographs):
    predictor = Predictor.load(trained["vit"], batch=3)
    asked = []

    def many():
        for number in range(1000):
            asked.append(number)
            yield photographs / ("broken.png" if number == 1 else "cat.png")

    stream = predictor.explain_stream(many(), "saliency")
    first, second, third = (next(stream) for _ in range(3))
    assert len(asked) == 3
    assert isinstance(second[1], Unreadable)
    np.testing.assert_array_equal(first[1].heat.values, third[1].heat.values)
    with pytest.raises(VitrailError, match=r"broken\.png: not a picture"):
        predictor.explain([photographs / "broken.png"])


def resident():
    """Return the megabytes that this process has in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE") / 1e6


@pytest.mark.parametrize("pictures", [100, pytest.param(1000, marks=pytest.mark.slow)])
def test_memory_does_not_grow_with_the_number_of_pictures(tmp_path, pictures):
    """A hundred would take 48 MB, were they kept with what the model saw of them and their heat maps."""
    import timm

    net = timm.create_model("test_resnet").eval()
    timm.models.save_for_hf(net, str(tmp_path), safe_serialization=True)
    predictor = Predictor.load(tmp_path)

    def most(count):
        drawn = (np.random.default_rng(n).integers(0, 255, (320, 320, 3), np.uint8) for n in range(count))
        stream = predictor.explain_stream(drawn, "saliency")
        return max(resident() for _, found in stream if found.heat.values.any())

    assert most(24) + 25 > most(pictures)


def test_another_class_and_one_rather_than_another(trained, photographs):
    predictor = Predictor.load(trained["cnn"])
    one, other, versus = (
        predictor.explain(photographs / "cat.png", "grad-cam", about)[0]
        for about in ("dots", "plain", Versus("dots", "plain"))
    )
    assert (one.about, versus.about) == ("dots", Versus("dots", "plain"))
    assert versus.to_dict()["about"] == "dots rather than plain"
    assert not np.allclose(one.heat.values, other.heat.values)
    with pytest.raises(UsageError, match=r"no class 'dotz'\. Did you mean dots"):
        predictor.explain(photographs / "cat.png", about="dotz")


def test_a_layer_is_chosen_by_name(trained, photographs):
    predictor = Predictor.load(trained["cnn"])
    first = layers_of(predictor.model)[0]
    (fine,) = predictor.explain(photographs / "cat.png", "grad-cam", layer=first)
    (coarse,) = predictor.explain(photographs / "cat.png", "grad-cam")
    assert fine.layer == first
    assert fine.heat.values.size > coarse.heat.values.size


def test_trust_comes_on_request(trained, photographs):
    (found,) = Predictor.load(trained["vit"]).explain(photographs / "cat.png", "saliency", trust=True)
    marks = found.to_dict()["trust"]
    assert set(marks) == {"heat", "random", "edge"}
    assert set(marks["heat"]) == {"insertion", "deletion", "road"}
    assert all(0 <= marks[name]["insertion"] <= 1 for name in marks)


def test_what_explains_a_network_unless_told(trained):
    vit, cnn = (Predictor.load(trained[name]).model for name in ("vit", "cnn"))
    assert default_method(vit) == "relevance"
    assert default_method(cnn) == "layer-cam"
    assert default_method(vitrail.load(trained["vit"]).model) in EXPLAINERS
    assert explainer_of(vit, "attention", "0") == EXPLAINERS["attention"](layer=0)
    with pytest.raises(UsageError, match="for attention it is a number"):
        explainer_of(vit, "attention", "blocks.0")


def test_classes_of_others_are_found_by_any_of_their_names():
    classes = ("tabby, tabby cat", "tiger cat", "lynx, catamount", "Tabby mouse")
    assert find_class("tiger cat", classes) == "tiger cat"
    assert find_class("Tabby Cat", classes) == "tabby, tabby cat"
    assert find_class("catamount", classes) == "lynx, catamount"
    with pytest.raises(UsageError, match=r"no such class\. Did you mean tiger cat"):
        find_class("tiger cats", classes)
    with pytest.raises(UsageError, match="names 2 classes"):
        find_class("crane", ("crane, bird", "crane, machine"))


def test_a_picture_says_that_its_heat_is_nearly_even():
    assert evenness(np.zeros((2, 2))) == 0
    assert evenness(np.array([[1, 2], [3, 4.0]])) == pytest.approx(0.25)
    found = [
        Explanation(
            answer=Label(scores=np.array([1.0]), names=("cat",), source=0),
            about="cat",
            heat=Heat(values=values, about="cat", method="cam", source=0),
            canvas=np.zeros((8, 8, 3), np.uint8),
            frame=Frame(size=(8, 8)),
        )
        for values in (np.full((2, 2), 0.9), np.eye(2))
    ]
    even, uneven = (draw(np.zeros((8, 8, 3), np.uint8), each) for each in found)
    assert even.height > uneven.height


# ---------------------------------------------------------------- benchmark


def test_methods_are_measured_on_the_same_pictures(trained, pictures, tmp_path, monkeypatch):
    predictor = Predictor.load(trained["vit"], batch=3)
    monkeypatch.setitem(EXPLAINERS, "middle", Middle)
    masks = tmp_path / "masks"
    masks.mkdir()
    for file in sorted((pictures / "dots").iterdir()):
        mask = np.zeros((12, 12), np.uint8)
        mask[4:8, 4:8] = 255
        Image.fromarray(mask).save(masks / file.name)
    found = benchmark(
        predictor,
        str(pictures),
        {"saliency": EXPLAINERS["saliency"](), "middle": Middle(), "other": Refusing()},
        pictures=7,
        masks=str(masks),
        judge=Judge(steps=3, cells=3),
    )
    assert found.pictures == 7
    assert [each.method for each in found.standings[2:]] == ["random", "edge"]
    assert found.refused == {"other": "this network will not be explained so."}
    by_name = {each.method: each for each in found.standings}
    middle = by_name["middle"]
    assert middle.inside.value == pytest.approx(9)
    assert middle.points.value == 1
    assert middle.points.low < 1
    assert middle.alike == pytest.approx(1)  # the same map, whatever the weights
    assert middle.seconds > 0
    assert by_name["random"].seconds is None
    assert by_name["random"].over_random["road"].value == 0
    assert all(each.marks["road"].low <= each.marks["road"].value for each in found.standings)
    write_benchmark(found, tmp_path / "out")
    rows = list(csv.DictReader((tmp_path / "out" / "benchmark.csv").read_text().splitlines()))
    assert {row["method"] for row in rows} == {"saliency", "middle", "random", "edge"}
    page = (tmp_path / "out" / "report.html").read_text()
    assert "Without other: this network will not be explained so." in page
    assert verdict(found) in page.replace("&#x27;", "'")
    json.loads((tmp_path / "out" / "benchmark.json").read_text())


def test_a_benchmark_needs_pictures_and_a_method(trained, photographs, tmp_path):
    predictor = Predictor.load(trained["vit"])
    with pytest.raises(VitrailError, match="no method is for this model"):
        benchmark(predictor, "digits", {"other": Refusing()}, pictures=2)
    with pytest.raises(UsageError, match="--pictures 1"):
        benchmark(predictor, "digits", {"middle": Middle()}, pictures=1)
    (tmp_path / "a.png").write_text("no picture")
    with pytest.raises(VitrailError, match="none of 1 pictures could be read"):
        benchmark(predictor, str(tmp_path), {"middle": Middle()}, pictures=2)
    with pytest.raises(UsageError, match="--masks nowhere: no such folder"):
        benchmark(predictor, "digits", {"middle": Middle()}, masks="nowhere")
    assert [Path(name).name for name, _ in choose_sources(str(photographs), 5)] == [
        "broken.png",
        "cat.png",
        "cup.jpg",
    ]
    with pytest.raises(VitrailError, match="There is no data at nowhere"):
        choose_sources("nowhere", 5)


def test_a_mask_lies_on_the_canvas_as_its_picture_does():
    mask = np.zeros((100, 200), bool)
    mask[:20, 130:150] = True
    frame = Frame(size=(100, 200), matrix=(0.5, 0, -25, 0, 0.5, 0))
    expected = np.zeros((50, 50), bool)
    expected[:10, 40:] = True
    np.testing.assert_array_equal(on_canvas(mask, frame, (50, 50)), expected)


# ---------------------------------------------------------------- the command line


@pytest.mark.parametrize("name", ["vit", "cnn"])
def test_pictures_numbers_and_lines_are_written(trained, photographs, tmp_path, name, capsys):
    out = tmp_path / "why"
    assert main(["explain", str(trained[name]), str(photographs), "--out", str(out)]) == 0
    shown = capsys.readouterr()
    assert shown.err.count("not read:") == 1
    assert "2 explanations in" in shown.err
    assert "cat.png" in shown.out
    broken, cat, cup = lines_of(out)
    assert "not a picture" in broken["error"]
    method = {"vit": "relevance", "cnn": "layer-cam"}[name]
    assert (cat["method"], cat["picture"]) == (method, f"cat.{method}.png")
    assert cat["about"] == cat["answer"]["label"]
    assert cat["frame"]["size"] == [100, 151]
    heat = np.load(out / cup["heat"])
    assert list(heat.shape) == cup["grid"]
    assert heat.dtype == np.float32
    with Image.open(out / cat["picture"]) as picture:
        assert picture.width > 2 * 151 * 3
    assert sorted(path.name for path in out.iterdir()) == sorted(
        ["explanations.jsonl", *(line[kind] for line in (cat, cup) for kind in ("picture", "heat"))]
    )


def test_all_methods_make_one_sheet_and_those_that_are_not_for_the_network_are_named(
    trained, photographs, tmp_path, capsys
):
    words = ["explain", str(trained["cnn"]), str(photographs / "cat.png"), "--method", "all", "--trust"]
    assert main([*words, "--out", str(tmp_path), "--json"]) == 0
    shown = capsys.readouterr()
    told = json.loads(shown.out)
    assert set(told["refused"]) == {"attention", "rollout", "relevance", "cam"}
    assert "one cell" in told["refused"]["cam"]
    assert "without attention: this network has no attention" in shown.err
    assert {line["method"] for line in told["explanations"]} == set(EXPLAINERS) - set(told["refused"])
    assert {line["sheet"] for line in told["explanations"]} == {"cat.png"}
    assert all(
        line["trust"]["random"] == told["explanations"][0]["trust"]["random"] for line in lines_of(tmp_path)
    )
    assert (tmp_path / "cat.png").exists()


def test_pictures_of_one_name_do_not_overwrite_each_other(trained, photographs, tmp_path):
    cat = str(photographs / "cat.png")
    words = ["explain", str(trained["vit"]), cat, cat, "--out", str(tmp_path), "--method", "saliency"]
    assert main([*words, "--contours", "--about", "dots", "--rather-than", "plain"]) == 0
    first, second = lines_of(tmp_path)
    assert (first["heat"], second["heat"]) == ("cat.saliency.npy", "cat-2.saliency.npy")
    assert first["about"] == "dots rather than plain"


def test_layers_are_listed(trained, capsys):
    assert main(["explain", str(trained["cnn"]), "--list-layers"]) == 0
    shown = capsys.readouterr()
    assert shown.out.split() == layers_of(Predictor.load(trained["cnn"]).model)
    assert "grad-cam" in shown.err
    assert main(["explain", str(trained["vit"]), "--list-layers", "--json"]) == 0
    assert "blocks.0" in json.loads(capsys.readouterr().out)["layers"]


def test_a_benchmark_on_the_command_line(trained, pictures, tmp_path, capsys):
    words = ["explain", str(trained["vit"]), "--benchmark", str(pictures), "--pictures", "3"]
    assert main([*words, "--method", "saliency", "cam", "--out", str(tmp_path)]) == 0
    shown = capsys.readouterr()
    assert "3 pictures of pictures" in shown.out
    assert "random map" in shown.out
    assert "report" in shown.err
    assert {path.name for path in tmp_path.iterdir()} == {"benchmark.csv", "benchmark.json", "report.html"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--method", "grad-kam"], "--method grad-kam: unknown. Did you mean grad-cam"),
        (
            ["--method", "grad-cam", "--layer", "layer9"],
            "--layer layer9: there is no such layer. Did you mean",
        ),
        (["--method", "saliency", "--layer", "layer4"], "saliency looks at no layer. Those that do: "),
        (["--method", "relevance"], "relevance: this network has no attention"),
        (["--method", "all", "cam"], "--method all: leave the other methods out"),
        (
            ["--about", "dotz"],
            "--about dotz: the model knows no such class. Did you mean dots? The classes are",
        ),
        (
            ["--about", "dots", "--rather-than", "plains"],
            "--rather-than plains: the model knows no such class",
        ),
        (["--about", "dots", "--rather-than", "dots"], "'dots' rather than 'dots': name two that differ"),
        (["--masks", "nowhere"], "--masks are for --benchmark"),
        (["--benchmark", "digits"], "--benchmark measures on its own data"),
        (["--batch", "0"], "--batch 0: it is 1 or more"),
    ],
)
def test_wrong_words_are_two_plain_lines_at_most(trained, photographs, tmp_path, words, said, capsys):
    status = main(
        ["explain", str(trained["cnn"]), str(photographs / "cat.png"), "--out", str(tmp_path / "o"), *words]
    )
    shown = capsys.readouterr()
    assert status == 2
    assert said in shown.err
    assert len(shown.err.strip().splitlines()) <= 2
    assert shown.out == ""
    assert not (tmp_path / "o").exists() or not list((tmp_path / "o").iterdir())


def test_what_cannot_be_explained_is_told(trained, photographs, tmp_path, capsys):
    assert main(["explain", str(tmp_path / "model.onnx"), str(photographs)]) == 2
    shown = capsys.readouterr().err
    assert "no layers or gradients" in shown
    assert len(shown.strip().splitlines()) == 2
    assert main(["explain", str(trained["vit"])]) == 2
    assert "PICTURES is missing" in capsys.readouterr().err
    words = ["explain", str(trained["vit"]), str(photographs / "broken.png"), "--out", str(tmp_path / "o")]
    assert main(words) == 1
    assert "none of 1 pictures could be read" in capsys.readouterr().err
    assert list((tmp_path / "o").iterdir()) == []


def test_a_folder_of_transformers_is_explained(photographs, tmp_path):
    import transformers

    torch.manual_seed(0)
    config = transformers.ViTConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64,
        image_size=32, patch_size=8, id2label=dict(enumerate(("cat", "dog"))),
    )  # fmt: skip
    transformers.ViTForImageClassification(config).eval().save_pretrained(tmp_path / "model")
    transformers.ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(tmp_path / "model")
    out = tmp_path / "out"
    assert main(["explain", str(tmp_path / "model"), str(photographs / "cat.png"), "--out", str(out)]) == 0
    (line,) = lines_of(out)
    assert (line["method"], line["grid"]) == ("relevance", [4, 4])


@pytest.mark.data("efficientnet-lite0")
def test_a_classifier_of_others_points_at_the_cup():
    from skimage import data

    predictor = Predictor.load(LITE0)
    (found,) = predictor.explain(data.coffee(), trust=True)
    assert found.answer.name == "espresso"
    assert found.trust.beats("random") != []
    assert found.trust.heat.marks["road"] > found.trust.random.marks["road"] + 0.2
