"""ResNets that transformers wrote, as timm's: equal answers, nothing left over, what does not fit is said."""

import importlib.util
import json
import shutil
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

from vitrail.backbones import configure
from vitrail.backbones.checkpoints import read_pretrained
from vitrail.backbones.checkpoints.resnet import NAMES, layout
from vitrail.backbones.classifier import classifier_of
from vitrail.backbones.convert import convert
from vitrail.backbones.timm import TimmConfig
from vitrail.backbones.vit import ViTConfig
from vitrail.errors import UsageError, VitrailError

ROOT = Path(__file__).resolve().parents[2]
specification = importlib.util.spec_from_file_location("parity", ROOT / "scripts" / "parity.py")
parity = importlib.util.module_from_spec(specification)
specification.loader.exec_module(parity)

BIRDS = {0: "crane", 1: "heron", 2: "crane"}
MEAN, STD = [0.4, 0.5, 0.6], [0.2, 0.3, 0.4]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Return a folder that transformers wrote, and its network of eighteen layers."""
    import transformers

    transformers.utils.logging.disable_progress_bar()
    torch.manual_seed(0)
    config = transformers.ResNetConfig(**parity.RESNETS["ResNet, 18 layers"], id2label=BIRDS)
    net = transformers.ResNetForImageClassification(config).train()
    with torch.no_grad():
        for _ in range(3):
            net(2 * torch.randn(4, 3, 32, 32) + 1)
    folder = tmp_path_factory.mktemp("resnet")
    net.eval().save_pretrained(folder)
    prepared = {"size": {"shortest_edge": 64}, "crop_pct": 0.8, "image_mean": MEAN, "image_std": STD}
    transformers.ConvNextImageProcessor(**prepared).save_pretrained(folder)
    return folder, net


@pytest.fixture
def changed(made, tmp_path):
    """Return who writes the folder with other tensors or another config."""

    def change(tensors=None, **stated):
        folder = tmp_path / "changed"
        shutil.copytree(made[0], folder)
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | stated))
        if tensors:
            save_file(tensors(load_file(folder / "model.safetensors")), folder / "model.safetensors")
        return folder

    return change


@pytest.mark.parametrize("title", parity.RESNETS)
def test_answers_are_those_of_transformers_at_both_sizes(title, tmp_path):
    row = parity.compare(parity.CASES[f"transformers/{title}"], tmp_path)
    assert row.equal, row.differences
    assert all(found.keys() == {"tokens", "summary", "logits"} for found in row.differences.values())
    assert list(row.differences) == [(64, 64), (96, 64)]


@pytest.mark.parametrize("place", [".", "model.safetensors"])
def test_a_name_is_all_that_it_takes(place, made):
    folder, theirs = made
    named = str(folder / place)
    config = configure(named, offline=True)
    assert config == TimmConfig(name="resnet18", weights=named)
    assert config.preprocessing() == {
        "size": (64, 64), "channels": 3, "fit": "crop", "crop_pct": 0.8, "resample": "bicubic",
        "mean": tuple(MEAN), "std": tuple(STD),
    }  # fmt: skip
    backbone, classifier = config.build((64, 64), 3).eval(), classifier_of(config)
    assert classifier.classes == ("crane (0)", "heron", "crane (2)")
    for size in ((64, 64), (96, 33)):
        pixels = torch.randn(2, 3, *size)
        with torch.no_grad():
            logits = F.linear(backbone(pixels).summary, classifier.weight, classifier.bias)
            torch.testing.assert_close(logits, theirs(pixels).logits, rtol=0, atol=1e-5)


def test_grey_pictures_meet_the_sum(made):
    folder, theirs = made
    grey, backbone = torch.randn(2, 1, 64, 64), TimmConfig(weights=str(folder)).build((64, 64), 1).eval()
    with torch.no_grad():
        expected = theirs.resnet(grey.expand(-1, 3, -1, -1)).pooler_output.flatten(1)
        torch.testing.assert_close(backbone(grey).summary, expected, rtol=1e-4, atol=1e-4)


def test_a_trunk_alone_has_no_classifier(made, changed):
    def strip(tensors):
        return {name.removeprefix("resnet."): each for name, each in tensors.items() if "resnet" in name}

    found = read_pretrained(changed(strip))
    assert (found.head, found.classes) == (None, None)
    torch.testing.assert_close(found.tensors, read_pretrained(made[0]).tensors, rtol=0, atol=0)


def test_shapes_are_known_without_values(made):
    found = read_pretrained(made[0], values=False)
    assert found.config == TimmConfig(name="resnet18")
    assert all(tensor.is_meta for tensor in found.tensors.values())


def test_the_layout_writes_what_it_reads(made):
    theirs = load_file(made[0] / "model.safetensors")
    found = read_pretrained(made[0])
    assert found.tensors["bn1.num_batches_tracked"].dtype == torch.int64
    tensors = dict(found.tensors) | dict(zip(("head.weight", "head.bias"), found.head, strict=True))
    back = layout("basic", (2, 2, 2, 2), at="resnet.", head=True).write(tensors)
    torch.testing.assert_close(back, theirs, rtol=0, atol=0)


def test_every_name_has_timms_tensors():
    import timm

    for (kind, depths), name in NAMES.items():
        with torch.device("meta"):
            wanted = timm.create_model(name, num_classes=0).state_dict().keys()
        assert {ours for rule in layout(kind, depths).rules for ours in rule.ours} == wanted


@pytest.mark.parametrize(
    ("stated", "reason"),
    [
        ({"depths": [1, 2, 2, 2]}, "layers and depths are basic 1 2 2 2, and it has basic 2 2 2 2, basic 3 "),
        ({"layer_type": "wide"}, "layers and depths are wide 2 2 2 2"),
        ({"hidden_sizes": [32, 64, 128, 256]}, r"hidden_sizes is \[32, 64, 128, 256\], and \[64, 128, "),
        ({"embedding_size": 32}, "embedding_size is 32, and 64 in timm's resnet18"),
        ({"hidden_act": "gelu"}, "hidden_act is 'gelu', and 'relu' in timm's resnet18"),
        ({"downsample_in_first_stage": True}, "downsample_in_first_stage is True, and False in timm's"),
        ({"num_channels": 5}, "num_channels is 5, and 3 in timm's resnet18"),
        (
            {
                "layer_type": "bottleneck",
                "downsample_in_bottleneck": True,
                "hidden_sizes": [256, 512, 1024, 2048],
            },
            "downsample_in_bottleneck is True, and False in timm's resnet26",
        ),
        ({"depths": None}, "not iterable"),
    ],
)
def test_what_timm_cannot_express_is_refused(stated, reason, changed):
    with pytest.raises(VitrailError, match=f"config.json: no network of timm is the same: .*{reason}"):
        configure(str(changed(**stated)))


def test_a_switch_that_nothing_reads_changes_nothing(changed):
    """Without bottlenecks nothing is halved in them."""
    assert configure(str(changed(downsample_in_bottleneck=True))).name == "resnet18"


def test_tensors_that_are_missing_unknown_or_of_another_shape_are_named(changed, tmp_path):
    def swap(tensors):
        tensors["resnet.stranger"] = tensors.pop("resnet.embedder.embedder.normalization.running_mean")
        return tensors

    message = r"lacks resnet\.embedder\.embedder\.normalization\.running_mean, and holds resnet\.stranger"
    with pytest.raises(VitrailError, match=message):
        configure(str(changed(swap)))
    shutil.rmtree(tmp_path / "changed")

    def shorten(tensors):
        name = "resnet.encoder.stages.1.layers.0.shortcut.convolution.weight"
        return tensors | {name: tensors[name][:5].clone()}

    with pytest.raises(
        VitrailError, match=r"would make layer2.0.downsample.0.weight 5x64x1x1, not 128x64x1x1"
    ):
        configure(str(changed(shorten)))
    shutil.rmtree(tmp_path / "changed")
    with pytest.raises(VitrailError, match="names 2 classes, but the classifier has 3"):
        classifier_of(configure(str(changed(id2label={0: "a", 1: "b"}))))


def test_another_network_than_asked_for(made):
    folder = made[0]
    says = "looks like a ResNet of transformers, resnet18, and not like"
    deeper, transformer = (kind(weights=str(folder)) for kind in (TimmConfig, ViTConfig))
    for config, name in (
        (TimmConfig(name="resnet50", weights=deeper.weights), "resnet50"),
        (transformer, "vit-"),
    ):
        for ask in (config.preprocessing, lambda config=config: config.build((224, 224), 3)):
            with pytest.raises(
                UsageError, match=f"{says} {name}.*\nTake the network that it is: --model {folder}"
            ):
                ask()
    tagged = TimmConfig(name="resnet18.a1_in1k", weights=str(folder))
    assert tagged.preprocessing() == deeper.preprocessing()


def test_pickles_are_refused_and_converted(changed):
    folder = changed()
    weights = folder / "model.safetensors"
    tensors = load_file(weights)
    torch.save(tensors, folder / "pytorch_model.bin")
    weights.unlink()
    with pytest.raises(VitrailError, match=rf"a pickle can run any code(.|\n)*convert {folder}$"):
        configure(str(folder))
    convert(folder)
    torch.testing.assert_close(load_file(weights), tensors, rtol=0, atol=0)
    assert configure(str(folder)).name == "resnet18"
