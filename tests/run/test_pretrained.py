"""A classifier that others trained answers pictures as the library does that wrote it."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import load_file

import vitrail
from vitrail.cli import main
from vitrail.errors import UsageError, VitrailError
from vitrail.run.compose import compose
from vitrail.run.experiment import prepare
from vitrail.run.pretrained import load_pretrained

NAMES = ["cat", "dog", "owl"]
LITE0 = Path(__file__).parents[2] / ".data" / "efficientnet-lite0"


@pytest.fixture(scope="module")
def picture(tmp_path_factory):
    """Return a picture of the very size that the models take: resizing is another test's matter."""
    path = tmp_path_factory.mktemp("pictures") / "one.png"
    Image.fromarray((np.random.default_rng(0).random((32, 32, 3)) * 255).astype("uint8")).save(path)
    return path


@pytest.fixture(scope="module")
def of_transformers(tmp_path_factory):
    import transformers

    torch.manual_seed(0)
    config = transformers.ViTConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64,
        image_size=32, patch_size=8, id2label=dict(enumerate(NAMES)),
    )  # fmt: skip
    model = transformers.ViTForImageClassification(config).eval()
    folder = tmp_path_factory.mktemp("transformers")
    model.save_pretrained(folder)
    transformers.ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder, model


@pytest.fixture(scope="module")
def resnet_of_transformers(tmp_path_factory):
    import transformers

    torch.manual_seed(0)
    config = transformers.ResNetConfig(
        layer_type="basic", depths=[2, 2, 2, 2], hidden_sizes=[64, 128, 256, 512],
        id2label=dict(enumerate(NAMES)),
    )  # fmt: skip
    model = transformers.ResNetForImageClassification(config).eval()
    folder = tmp_path_factory.mktemp("resnet")
    model.save_pretrained(folder)
    transformers.ConvNextImageProcessor(size={"shortest_edge": 32}, crop_pct=1.0).save_pretrained(folder)
    return folder, model


@pytest.fixture(scope="module", params=["test_resnet", "test_vit"])
def of_timm(request, tmp_path_factory):
    torch.manual_seed(0)
    model = timm.create_model(request.param, num_classes=3).eval()
    folder = tmp_path_factory.mktemp(request.param)
    model_config = {"label_names": NAMES, "pretrained_cfg": {"input_size": (3, 32, 32), "crop_pct": 1.0}}
    timm.models.save_for_hf(model, folder, model_config=model_config, safe_serialization=True)
    return folder, model


def probabilities(model, picture, mean, std):
    pixels = torch.from_numpy(np.array(Image.open(picture))).permute(2, 0, 1)[None] / 255
    pixels = (pixels - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]
    with torch.inference_mode():
        output = model(pixels)
    return getattr(output, "logits", output).softmax(1)[0].numpy()


def test_transformers_answers(of_transformers, picture, capsys):
    folder, model = of_transformers
    expected = probabilities(model, picture, [0.5] * 3, [0.5] * 3)
    (answer,) = vitrail.load(folder)(picture)
    assert list(answer.names) == NAMES
    np.testing.assert_allclose(answer.scores, expected, atol=1e-6)
    assert main(["predict", str(folder), str(picture), "--json"]) == 0
    (printed,) = json.loads(capsys.readouterr().out)["answers"]
    assert printed["label"] == NAMES[expected.argmax()]


def test_a_resnet_of_transformers_answers(resnet_of_transformers, picture):
    folder, model = resnet_of_transformers
    (answer,) = vitrail.load(folder)(picture)
    assert list(answer.names) == NAMES
    np.testing.assert_allclose(answer.scores, probabilities(model, picture, [0.5] * 3, [0.5] * 3), atol=1e-6)


def test_timm_answers(of_timm, picture):
    folder, model = of_timm
    stated = model.pretrained_cfg
    (answer,) = vitrail.load(folder)(picture)
    assert list(answer.names) == NAMES
    expected = probabilities(model, picture, stated["mean"], stated["std"])
    np.testing.assert_allclose(answer.scores, expected, atol=1e-6)


def test_a_thousand_classes_without_names_are_those_of_imagenet(tmp_path, picture, caplog):
    torch.manual_seed(0)
    timm.models.save_for_hf(
        timm.create_model("test_resnet", num_classes=1000), tmp_path, safe_serialization=True
    )
    (answer,) = vitrail.load(tmp_path)(picture)
    assert answer.names[1] == "goldfish, Carassius auratus"
    assert len(set(answer.names)) == 1000
    assert "taken to be those of imagenet-1k" in caplog.text


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("vit-s16", "has no trained weights, so it cannot answer"),
        ("nowhere", "nowhere: no such run folder, and no model of this name"),
        ("someone/model", "--offline forbids the Hub"),
        ("gone/model.safetensors", "gone/model.safetensors: no such file or folder"),
    ],
)
def test_what_cannot_answer_says_why(name, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=message):
        vitrail.load(name, offline=True)


def test_a_path_into_a_folder_that_is_there_is_no_model_of_the_hub(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    with pytest.raises(UsageError, match="runs/first: no such run folder"):
        vitrail.load("runs/first")


def test_weights_without_a_classifier_cannot_answer(tmp_path):
    timm.models.save_for_hf(
        timm.create_model("test_resnet", num_classes=0), tmp_path, safe_serialization=True
    )
    with pytest.raises(UsageError, match="no classifier to answer with"):
        vitrail.load(tmp_path)


@pytest.mark.data("efficientnet-lite0")
def test_real_weights_know_a_cat_and_a_coffee():
    import skimage

    pictures = Path(skimage.__file__).parent / "data"
    cat, coffee = vitrail.load(LITE0)([pictures / "chelsea.png", pictures / "coffee.png"])
    named = dict(zip(cat.names, cat.scores, strict=True))
    assert sum(named[name] for name in ("tabby, tabby cat", "tiger cat", "Egyptian cat")) > 0.8
    assert coffee.names[coffee.scores.argmax()] == "espresso"


@pytest.mark.data("efficientnet-lite0")
def test_real_weights_are_where_training_starts(tmp_path):
    data = folder_of(["ant", "bee"], tmp_path / "data")
    experiment = prepare(compose(data, str(LITE0), None, {}))
    assert any("knows 1000 other classes: its body is kept" in note for note in experiment.notes)
    theirs = load_file(LITE0 / "model.safetensors")
    made = experiment.model().backbone.net.state_dict()
    assert made.keys() == {name for name in theirs if not name.startswith("classifier")}
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in made.items())


def folder_of(names, root):
    """Write a few pictures of each class."""
    chance = np.random.default_rng(0)
    for name in names:
        (root / name).mkdir(parents=True)
        for number in range(8):
            pixels = (chance.random((32, 48, 3)) * 255).astype("uint8")
            Image.fromarray(pixels).save(root / name / f"{number}.png")
    return root


def test_a_classifier_of_the_same_classes_is_kept_by_name(
    of_transformers, resnet_of_transformers, of_timm, tmp_path
):
    for folder, _ in (of_transformers, resnet_of_transformers, of_timm):
        check_kept(folder, tmp_path / folder.name)


def check_kept(folder, tmp_path):
    data = folder_of(reversed(NAMES), tmp_path / "data")
    experiment = prepare(compose(data, str(folder), None, {}))
    assert any("its classifier is kept" in note for note in experiment.notes)
    head = experiment.model().head
    theirs = load_pretrained(str(folder))[1].head
    assert list(head.names) == sorted(NAMES)
    for row, name in enumerate(head.names):
        there = theirs.names.index(name)
        assert torch.equal(head.layers[-1].weight[row], theirs.layers[-1].weight[there])
        assert torch.equal(head.layers[-1].bias[row], theirs.layers[-1].bias[there])


def test_other_classes_get_a_new_head_and_the_checkpoints_preparation(of_transformers, tmp_path):
    folder, model = of_transformers
    data = folder_of(["ant", "bee"], tmp_path / "data")
    experiment = prepare(compose(data, str(folder), None, {}))
    assert any(
        "knows 3 other classes: its body is kept, and the head for the 2" in note for note in experiment.notes
    )
    assert (experiment.preprocess.fit, experiment.preprocess.resample) == ("squash", "bilinear")
    made = experiment.model()
    assert made.head.names == ("ant", "bee")
    patches = model.vit.embeddings.patch_embeddings.projection.weight
    torch.testing.assert_close(made.backbone.embed.weight, patches, rtol=0, atol=0)


def change_config(folder, **changes):
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def test_a_timm_folder_may_name_its_classes_by_number(of_timm, tmp_path, picture):
    folder = tmp_path / "copy"
    shutil.copytree(of_timm[0], folder)
    change_config(folder, label_names={"2": "owl", "0": "cat", "1": "dog"})
    assert list(vitrail.load(folder)(picture)[0].names) == NAMES
    change_config(folder, label_names=["cat", "dog"])
    with pytest.raises(VitrailError, match="names 2 classes, but the classifier has 3"):
        vitrail.load(folder)


def test_a_timm_network_of_another_build_is_refused_rather_than_wrong(tmp_path):
    model = timm.create_model("test_resnet", num_classes=3, act_layer="silu")
    timm.models.save_for_hf(
        model, tmp_path, model_config={"model_args": {"act_layer": "silu"}}, safe_serialization=True
    )
    with pytest.raises(VitrailError, match="test_resnet that was built with act_layer"):
        vitrail.load(tmp_path)
