"""Runs as folders of transformers and timm: the same answers there, compared before they are kept."""

import json
from dataclasses import replace

import numpy as np
import pytest
import timm
import torch
import transformers
from PIL import Image

from vitrail.backbones import configure
from vitrail.backbones.checkpoints import read_pretrained
from vitrail.backbones.timm import TimmConfig
from vitrail.data.preprocess import Preprocess
from vitrail.errors import UsageError, VitrailError
from vitrail.run.checkpoint import load_tensors, save_tensors
from vitrail.run.contract import Contract
from vitrail.run.export import export
from vitrail.run.formats import FORMATS, Trained, _preparation, read_by_timm, write_timm
from vitrail.run.launch import compose, train
from vitrail.run.predict import Predictor

TINY = {"epochs": 1, "model.stem": "patch", "model.pool": "class", "model.depth": 2}


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """A tiny ViT of grey pictures with a class token, trained for one epoch on digits."""
    recipe = compose("digits", "vit-pico4", None, {**TINY, "image_size": (8,)})
    return train(recipe=recipe, out=tmp_path_factory.mktemp("runs") / "digits").path


@pytest.fixture(scope="module")
def coloured(pictures, tmp_path_factory):
    """Runs on a folder of pictures, in colour and of several kinds, by name."""
    out = tmp_path_factory.mktemp("runs")
    kinds = {
        "registers": {"model.registers": 2, "model.layer_scale": 0.1, "data.crop_pct": 0.75},
        "squashed": {"data.fit": "squash", "image_size": (8, 16)},
        "mean": {"model.pool": "mean", "model.activation": "gelu_tanh"},
        "conv": {"model.stem": "conv"},
    }
    runs = {}
    for name, options in kinds.items():
        options = {**TINY, "data.channels": 3, "image_size": (12,), **options}
        runs[name] = train(recipe=compose(pictures, "vit-pico4", None, options), out=out / name).path
    options = {"epochs": 1, "data.channels": 3, "image_size": (32,)}
    runs["cnn"] = train(recipe=compose(pictures, "test_resnet", None, options), out=out / "cnn").path
    return runs


def probabilities(logits):
    return torch.as_tensor(logits).softmax(dim=1).detach().numpy()


def some_digits(count=12):
    from sklearn.datasets import load_digits

    return [Image.fromarray((each * 15.9).astype(np.uint8)) for each in load_digits().images[:count]]


def test_digits_in_transformers(digits, tmp_path):
    made = export(digits, "transformers", out=tmp_path / "out")
    assert made.architecture == "ViTForImageClassification"
    assert made.pictures == "16 test pictures"
    assert list(made.differences) == ["Vitrail", f"transformers {transformers.__version__}"]
    assert sorted(path.name for path in made.path.iterdir()) == [
        "config.json", "model.safetensors", "preprocessor_config.json"
    ]  # fmt: skip
    pictures = some_digits()
    answers = Predictor.load(digits)(pictures)
    wanted = np.stack([answer.scores for answer in answers])
    pipe = transformers.pipeline("image-classification", model=str(made.path), device="cpu")
    for picture, answer in zip(pictures, answers, strict=True):
        found = pipe(picture, top_k=3)
        assert [each["label"] for each in found] == [name for name, _ in answer.top(3)]
        np.testing.assert_allclose(
            [each["score"] for each in found], [score for _, score in answer.top(3)], atol=1e-5
        )
    found = read_pretrained(made.path)
    assert found.classes == answers[0].names
    assert (found.preprocessing["fit"], found.preprocessing["size"]) == ("crop", (8, 8))
    net = found.config.build((8, 8), 3).eval()
    net.load_state_dict(dict(found.tensors))
    processor = transformers.AutoImageProcessor.from_pretrained(made.path)
    pixels = processor([picture.convert("RGB") for picture in pictures], return_tensors="pt").pixel_values
    with torch.no_grad():
        logits = torch.nn.functional.linear(net(pixels).summary, *found.head)
    np.testing.assert_allclose(probabilities(logits), wanted, atol=1e-5)


def test_digits_in_timm(digits, tmp_path):
    made = export(digits, "timm", out=tmp_path / "out")
    assert list(made.differences) == ["Vitrail", f"timm {timm.__version__}"]
    pictures = some_digits()
    wanted = np.stack([answer.scores for answer in Predictor.load(digits)(pictures)])
    net = timm.create_model(f"local-dir:{made.path}", pretrained=True).eval()
    data = timm.data.resolve_data_config(model=net)
    assert (data["input_size"], data["crop_pct"], data["crop_mode"]) == ((1, 8, 8), 1.0, "center")
    transform = timm.data.create_transform(**data)
    with torch.no_grad():
        logits = net(torch.stack([transform(picture) for picture in pictures]))
    np.testing.assert_allclose(probabilities(logits), wanted, atol=1e-5)
    assert net.pretrained_cfg["label_names"] == [str(digit) for digit in range(10)]


@pytest.mark.parametrize("form", ["transformers", "timm"])
def test_what_was_exported_starts_a_new_run(digits, form, tmp_path):
    made = export(digits, form, out=tmp_path / "out")
    config = configure(str(made.path), offline=True)
    assert (config.family, config.weights) == ("vit", str(made.path))
    again = train(
        recipe=compose("digits", str(made.path), None, {"epochs": 1, "tune.mode": "probe"}),
        out=tmp_path / "again",
    )
    once = Predictor.load(digits).model.backbone
    pixels = torch.randn(2, 1, 8, 8)
    with torch.no_grad():
        channels = Predictor.load(again.path).contract.preprocess.channels
        found = Predictor.load(again.path).model.backbone(pixels.expand(-1, channels, -1, -1)).summary
        torch.testing.assert_close(found, once(pixels).summary, atol=1e-5, rtol=1e-5)


def test_the_temperature_is_in_the_classifier(digits, tmp_path):
    contract = json.loads((digits / "vitrail.json").read_text())
    assert contract["temperature"] != 1.0
    made = export(digits, "timm", out=tmp_path / "out")
    model = Predictor.load(digits).model
    weight = model.head.layers[-1].weight.detach()
    torch.testing.assert_close(read_pretrained(made.path).head[0], weight / contract["temperature"])


@pytest.mark.parametrize(
    ("name", "architecture"),
    [
        ("registers", "Dinov2WithRegistersForImageClassification"),
        ("squashed", "ViTForImageClassification"),
        ("mean", "SiglipForImageClassification"),
    ],
)
def test_other_switches_in_both_libraries(coloured, pictures, name, architecture, tmp_path):
    made = {form: export(coloured[name], form, out=tmp_path / form) for form in ("transformers", "timm")}
    assert made["transformers"].architecture == architecture
    files = sorted((pictures / "dots").iterdir())[:6]
    predictor = Predictor.load(coloured[name])
    size = predictor.contract.preprocess.size
    opened = [Image.open(file).convert("RGB") for file in files]
    preprocess = predictor.contract.preprocess
    ours = torch.from_numpy(np.stack([preprocess(picture)[0] for picture in opened]))
    wanted = predictor(opened)[0].names
    processor = transformers.AutoImageProcessor.from_pretrained(made["transformers"].path)
    free = timm.create_model(f"local-dir:{made['timm'].path}", pretrained=True).eval()
    transform = timm.data.create_transform(**timm.data.resolve_data_config(model=free))
    prepared = {
        "transformers": processor(opened, return_tensors="pt").pixel_values,
        "timm": torch.stack([transform(picture) for picture in opened]),
    }
    for library, pixels in prepared.items():
        assert pixels.shape[2:] == size, library
        # Each library rounds in its own way when it resizes; other filters or crops differ by tens of levels.
        off = (pixels - ours).abs() * 255 * torch.tensor(preprocess.std).view(3, 1, 1)
        assert off.mean() < 0.5, library
    net = transformers.AutoModelForImageClassification.from_pretrained(made["transformers"].path).eval()
    with torch.no_grad():
        torch.testing.assert_close(net(ours).logits, free(ours), atol=1e-5, rtol=1e-5)
    assert tuple(net.config.id2label.values()) == tuple(free.pretrained_cfg["label_names"]) == wanted


def test_a_network_of_timm_as_timms_and_so_as_transformers(coloured, tmp_path):
    made = export(coloured["cnn"], "timm", out=tmp_path / "out")
    assert made.architecture == "test_resnet"
    pixels = torch.randn(2, 3, 32, 32)
    predictor = Predictor.load(coloured["cnn"], device="cpu")
    head, temperature = predictor.model.head, predictor.contract.temperature
    with torch.no_grad():
        wanted = head.layers(predictor.model.backbone(pixels).summary) / temperature
        net = timm.create_model(f"local-dir:{made.path}", pretrained=True).eval()
        torch.testing.assert_close(net(pixels), wanted, atol=1e-5, rtol=1e-5)
        wrapped = transformers.AutoModelForImageClassification.from_pretrained(made.path).eval()
        torch.testing.assert_close(wrapped(pixels).logits, wanted, atol=1e-5, rtol=1e-5)
    assert set(wrapped.config.id2label.values()) == {"dots", "plain", "stripes"}
    assert configure(str(made.path), offline=True) == TimmConfig(name="test_resnet", weights=str(made.path))
    with pytest.raises(UsageError, match=r"test_resnet is timm's: take --format timm"):
        export(coloured["cnn"], "transformers", out=tmp_path / "other")
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(
    ("name", "side", "said"),
    [
        ("deit_tiny_distilled_patch16_224", 32, None),
        ("efficientnet_lite0", 32, None),
        ("convnext_atto", 28, "takes no pictures of 28x28 but enlarged: a run with --image-size 32 32 can"),
        ("levit_128s", 64, "its classifier is no linear layer but a NormLinear"),
    ],
)
def test_other_networks_of_timm(name, side, said, tmp_path):
    recipe = compose("digits", name, None, {"task.multi": False})
    preprocess = Preprocess(size=(side, side))
    contract = Contract(
        recipe=recipe, classes=("a", "b", "c"), preprocess=preprocess, fingerprint="", temperature=1.7
    )
    trained = Trained(contract=contract, model=contract.build().eval())
    if said:
        with pytest.raises(UsageError, match=said):
            write_timm(trained, tmp_path)
        return
    assert write_timm(trained, tmp_path) == name
    pixels = torch.randn(4, 3, side, side)
    for answer in read_by_timm(trained, tmp_path).values():
        torch.testing.assert_close(answer(pixels), trained(pixels), atol=1e-5, rtol=1e-5)


def test_several_labels_a_picture(tmp_path):
    rng = np.random.default_rng(0)
    rows = ["file_name,red,round"]
    for number in range(40):
        Image.fromarray(rng.integers(0, 255, (8, 8, 3), dtype=np.uint8)).save(tmp_path / f"{number}.png")
        rows.append(f"{number}.png,{number % 2},{number // 2 % 2}")
    (tmp_path / "labels.csv").write_text("\n".join(rows) + "\n")
    recipe = compose(
        tmp_path / "labels.csv",
        "vit-pico4",
        None,
        {**TINY, "data.labels": ("red", "round"), "image_size": (8,)},
    )
    run = train(recipe=recipe, out=tmp_path / "run").path
    made = export(run, "transformers")
    assert made.path == tmp_path / "run-transformers"
    config = json.loads((made.path / "config.json").read_text())
    assert config["problem_type"] == "multi_label_classification"
    (answer,) = Predictor.load(run)([tmp_path / "0.png"])
    found = transformers.pipeline("image-classification", model=str(made.path), device="cpu")(
        str(tmp_path / "0.png")
    )
    assert {each["label"]: pytest.approx(each["score"], abs=1e-5) for each in found} == dict(answer.top())


def test_what_cannot_be_exported(coloured, pictures, tmp_path):
    with pytest.raises(UsageError, match=r"timm has no --model.stem conv: a run with --model.stem patch can"):
        export(coloured["conv"], "timm", out=tmp_path / "out")
    options = {**TINY, "image_size": (12,), "head.hidden": (8,)}
    layers = train(recipe=compose(pictures, "vit-pico4", None, options), out=tmp_path / "layers").path
    with pytest.raises(UsageError, match=r"classifiers have one layer: .* without --head.hidden"):
        export(layers, "timm", out=tmp_path / "out")
    contract = json.loads((coloured["squashed"] / "vitrail.json").read_text())
    for fit, said in (("pad", r"no --data.fit pad"), ("crop", r"no --data.fit crop to 8x16")):
        contract["preprocess"]["fit"] = fit
        with pytest.raises(UsageError, match=rf"transformers has {said}: .* --data.fit squash"):
            _preparation(Preprocess.from_dict(contract["preprocess"]))
    assert not (tmp_path / "out").exists()


def test_pictures_that_are_gone_are_replaced_by_noise(pictures, tmp_path):
    recipe = compose(pictures, "vit-pico4", None, {**TINY, "image_size": (12,)})
    run = train(recipe=recipe, out=tmp_path / "run").path
    plain = json.loads((run / "recipe.json").read_text())
    (run / "recipe.json").write_text(json.dumps(plain | {"where": str(tmp_path / "gone")}))
    assert export(run, "timm").pictures == "random pixels"


def test_a_folder_that_answers_otherwise_is_not_kept(digits, tmp_path, monkeypatch):
    right = FORMATS["timm"]

    def wrong(trained, folder):
        architecture = right.write(trained, folder)
        tensors = load_tensors(folder / "model.safetensors")
        tensors["blocks.1.norm2.bias"] += 0.01
        save_tensors(folder / "model.safetensors", tensors)
        return architecture

    monkeypatch.setitem(FORMATS, "timm", replace(right, write=wrong))
    with pytest.raises(
        VitrailError, match=r"out: not kept: read back by Vitrail, answers to 16 test pictures"
    ):
        export(digits, "timm", out=tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
