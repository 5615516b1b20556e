"""The classifier of the weights that a run starts from: when it is kept, and what is said of it."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file

import vitrail
from vitrail.cli import main
from vitrail.errors import VitrailError
from vitrail.run.compose import compose
from vitrail.run.experiment import prepare
from vitrail.run.launch import run_recipe

WORDS = {"epochs": 1, "data.workers": 1}


@pytest.fixture(scope="module", params=[("vit-pico4", 12), ("test_resnet", 32)], ids=["vit", "timm"])
def run(request, pictures, tmp_path_factory):
    model, size = request.param
    folder = tmp_path_factory.mktemp("runs") / "first"
    return run_recipe(compose(pictures, model, None, WORDS | {"image_size": size}), out=folder).path


def notes_of(experiment):
    return [
        note for note in experiment.notes if "its body is kept" in note or "its classifier is kept" in note
    ]


def gone_on(run, data, **words):
    return prepare(compose(data, str(run), None, {name.replace("__", "."): v for name, v in words.items()}))


def renamed(run, folder, names):
    """Return a copy of a run whose classes stand in another order than the alphabet's."""
    shutil.copytree(run, folder)
    contract = json.loads((folder / "vitrail.json").read_text())
    contract["classes"] = names
    (folder / "vitrail.json").write_text(json.dumps(contract))
    return folder


def test_a_run_goes_on_with_its_own_classifier(run, pictures):
    experiment = gone_on(run, pictures)
    assert notes_of(experiment) == [f"{run} knows these 3 classes: its classifier is kept."]
    pixels = torch.randn(4, experiment.preprocess.channels, *experiment.preprocess.size)
    ours, theirs = experiment.model().eval(), vitrail.load(run).model.eval()
    with torch.no_grad():
        mine, before = (model.head.layers(model.backbone(pixels).summary) for model in (ours, theirs))
    torch.testing.assert_close(mine, before)


def test_its_classes_are_matched_by_name(run, pictures, tmp_path):
    names = ["stripes", "dots", "plain"]
    copy = renamed(run, tmp_path / "copy", names)
    head, tensors = gone_on(copy, pictures).model().head, load_file(copy / "model.safetensors")
    order = [names.index(name) for name in head.names]
    assert torch.equal(head.layers[-1].weight, tensors["head.layers.1.weight"][order])
    assert torch.equal(head.layers[-1].bias, tensors["head.layers.1.bias"][order])


def test_a_head_that_is_kept_has_not_all_to_learn(run, pictures, tmp_path):
    assert gone_on(run, pictures, tune__mode="full").recipe.tune.head_lr == 1
    assert gone_on(run, pictures, tune__mode="full", tune__head_lr=3.0).recipe.tune.head_lr == 3
    others = tmp_path / "others"
    shutil.copytree(pictures / "dots", others / "dots")
    shutil.copytree(pictures / "plain", others / "plain")
    experiment = gone_on(run, others, tune__mode="full")
    assert experiment.recipe.tune.head_lr == 10
    assert notes_of(experiment) == [
        f"{run} knows 3 other classes: its body is kept, and the head for the 2 of the data is new."
    ]
    assert experiment.model().head.layers[-1].bias.eq(0).all()


def test_what_cannot_be_kept_is_not_said_to_be(run, pictures, tmp_path):
    experiment = gone_on(run, pictures, head__hidden=(16,), tune__mode="full")
    (note,) = notes_of(experiment)
    assert note.endswith(
        "but --head.hidden puts layers before the last: its body is kept, and the head is new."
    )
    assert experiment.recipe.tune.head_lr == 10
    table = tmp_path / "table.csv"
    rows = [f"{file},{file.parent.name};dots" for file in sorted(pictures.rglob("*.png"))]
    table.write_text("\n".join(["image,labels", *rows]))
    (note,) = notes_of(gone_on(run, table))
    assert "it gives one label a picture, and the data has any number: its body is kept" in note


def test_a_classifier_of_many_labels_is_for_such_alone(run, pictures, tmp_path):
    copy = renamed(run, tmp_path / "copy", ["dots", "plain", "stripes"])
    contract = json.loads((copy / "vitrail.json").read_text())
    contract["task"]["multi"] = True
    (copy / "vitrail.json").write_text(json.dumps(contract))
    (note,) = notes_of(gone_on(copy, pictures))
    assert "it gives any number of labels a picture, and the data has one" in note
    table = tmp_path / "table.csv"
    rows = [f"{file},{file.parent.name};dots" for file in sorted(pictures.rglob("*.png"))]
    table.write_text("\n".join(["image,labels", *rows]))
    (note,) = notes_of(gone_on(copy, table))
    assert "its classifier is kept" in note


def test_another_summary_wants_a_new_head(pictures, tmp_path):
    words = WORDS | {"image_size": 12, "model.pool": "class+mean", "model.depth": 2}
    first = run_recipe(compose(pictures, "vit-pico4", None, words), out=tmp_path / "first").path
    (note,) = notes_of(gone_on(first, pictures))
    assert "its classifier is kept" in note
    experiment = gone_on(first, pictures, model__pool="class")
    (note,) = notes_of(experiment)
    assert "another summary than --model.pool class makes: its body is kept, and the head is new" in note
    experiment.model()


def test_a_head_of_several_layers_is_left_behind(pictures, tmp_path, capsys):
    words = ["--image-size", "12", "--epochs", "1", "--model.depth", "2"]
    first = ["train", str(pictures), "--model", "vit-pico4", "--head.hidden", "8", *words]
    assert main([*first, "--out", str(tmp_path / "first")]) == 0
    capsys.readouterr()
    again = ["train", str(pictures), "--model", str(tmp_path / "first"), "--epochs", "1"]
    assert main([*again, "--out", str(tmp_path / "next")]) == 0
    said = capsys.readouterr().err
    assert "first has a head that is more than one layer: its body is kept, and the head is new." in said


def test_a_contract_without_classes_is_damaged(run, pictures, tmp_path):
    with pytest.raises(VitrailError, match=r"vitrail\.json: has no 'classes'"):
        gone_on(renamed(run, tmp_path / "copy", None), pictures)
    with pytest.raises(VitrailError, match="its head and its classes are not as many"):
        gone_on(renamed(run, tmp_path / "other", ["dots", "plain"]), pictures)
