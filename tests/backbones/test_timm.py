import functools
import json

import pytest
import safetensors.torch
import timm
import torch

from vitrail.backbones import configure
from vitrail.backbones.published import timm_preprocessing
from vitrail.backbones.timm import TimmConfig
from vitrail.errors import UsageError, VitrailError


@functools.cache
def built(name, size, channels=3):
    torch.manual_seed(0)
    return TimmConfig(name=name).build(size, channels).eval()


def test_padding_does_not_reach_the_levels():
    backbone = built("test_vit", (48, 48))
    pixels = torch.randn(1, 3, 50, 64)
    padded = torch.nn.functional.pad(pixels, (0, 0, 0, 14))
    with torch.no_grad():
        torch.testing.assert_close(backbone(pixels).summary, backbone(padded).summary)
        torch.testing.assert_close(backbone(pixels).levels[0], backbone(padded).levels[0])


def test_other_channels():
    assert built("resnet10t", (32, 32), channels=1)(torch.randn(2, 1, 32, 32)).summary.shape == (2, 512)


def test_drop_path_or_a_word_that_there_is_none():
    net = TimmConfig(name="convnext_atto", drop_path=0.1).build((32, 32), 3).net
    assert max(getattr(module, "drop_prob", 0) for module in net.modules()) == pytest.approx(0.1)
    with pytest.raises(UsageError, match="inception_v3 has no residual paths to drop"):
        TimmConfig(name="inception_v3", drop_path=0.1).build((96, 96), 3)
    with pytest.raises(UsageError, match="drop_path is a chance"):
        TimmConfig(name="resnet10t", drop_path=1.0)


@pytest.fixture(scope="module")
def trained():
    torch.manual_seed(1)
    return timm.create_model("resnet10t", num_classes=7).eval()


@pytest.fixture
def folder(trained, tmp_path):
    timm.models.save_for_hf(trained, tmp_path / "model", safe_serialization=True)
    return tmp_path / "model"


def test_a_folder_in_timms_layout(folder, trained):
    config = configure(str(folder), offline=True)
    assert config == TimmConfig(name="resnet10t", weights=str(folder))
    backbone = config.build((64, 64), 3).eval()
    pixels = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(trained.fc(backbone(pixels).summary), trained(pixels))
    assert config.preprocessing() == timm_preprocessing("resnet10t")
    assert set(config.untrained().build((64, 64), 3).state_dict()) == set(backbone.state_dict())


def test_a_single_file_and_grey_pictures(folder, trained):
    file = folder / "model.safetensors"
    backbone = TimmConfig(name="resnet10t", weights=str(file)).build((64, 64), 1).eval()
    grey = torch.randn(2, 1, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(
            trained.fc(backbone(grey).summary), trained(grey.expand(-1, 3, -1, -1)), atol=1e-4, rtol=1e-4
        )
    assert configure(str(file)) == TimmConfig(name="resnet10t", weights=str(file)), "its config is beside it"
    with pytest.raises(UsageError, match="name a model's folder"):
        configure(str(file.rename(folder.parent / "alone.safetensors")))


def test_broken_and_foreign_weights_are_refused(folder, tmp_path):
    def build(weights, name="resnet10t"):
        return TimmConfig(name=name, weights=str(weights)).build((64, 64), 3)

    file = folder / "model.safetensors"
    with pytest.raises(VitrailError, match=r"not the weights of resnet18: .*[Mm]issing key"):
        build(folder, "resnet18")
    tensors = safetensors.torch.load_file(file)
    del tensors["layer1.0.conv1.weight"]
    safetensors.torch.save_file(tensors, tmp_path / "less.safetensors")
    with pytest.raises(VitrailError, match=r"Missing key.*layer1.0.conv1.weight"):
        build(tmp_path / "less.safetensors")
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(VitrailError, match=r"model.safetensors: broken"):
        build(folder)
    file.unlink()
    with pytest.raises(UsageError, match="there are no weights here"):
        build(folder)
    (folder / "pytorch_model.bin").write_bytes(b"cos\nsystem\n")
    with pytest.raises(VitrailError, match=r"pytorch_model.bin: a pickle can run any code"):
        build(folder)
    with pytest.raises(VitrailError, match="a pickle can run any code"):
        build(folder / "pytorch_model.bin")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no config.json, so this is no model folder"),
        ("{", "config.json: cannot be read"),
        (json.dumps({"model_type": "swin"}), 'looks like transformers\' "swin"'),
        ("{}", "written by something else"),
        ("[]", "holds no JSON object"),
    ],
)
def test_a_folder_that_is_not_timms(tmp_path, content, message):
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    with pytest.raises(VitrailError, match=message):
        configure(str(tmp_path))


@pytest.mark.parametrize(
    "config", [TimmConfig(name="resnet10t", pretrained=True), TimmConfig(weights="timm/x")]
)
def test_without_a_network_the_error_says_so(config):
    with pytest.raises(VitrailError, match=r"not in the cache \(.*\), and there is no network") as error:
        config.build((64, 64), 3)
    assert len(str(error.value).splitlines()) <= 2
    with pytest.raises(VitrailError, match="there is no network"):
        configure("timm/resnet50.a1_in1k")


@pytest.fixture
def hub(monkeypatch):
    """Note each call of the Hub's client, and answer that nothing is in the cache."""
    import huggingface_hub
    from huggingface_hub.errors import LocalEntryNotFoundError

    calls = []

    def download(repository, file, local_files_only=False):
        calls.append((repository, local_files_only))
        raise LocalEntryNotFoundError("nothing here")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    return calls


def test_offline_reaches_whoever_would_fetch(hub):
    published, named = TimmConfig(name="resnet10t", pretrained=True), TimmConfig(weights="owner/x")
    for ask in (
        lambda: published.build((64, 64), 3, offline=True),
        lambda: named.build((64, 64), 3, offline=True),
        lambda: published.fetch(offline=True),
        lambda: named.fetch(offline=True),
        lambda: configure("owner/x", offline=True),
        named.preprocessing,
    ):
        with pytest.raises(
            UsageError, match=r"not in the cache \(.*models--\S+--\S+\), and --offline forbids"
        ):
            ask()
    assert published.preprocessing() == timm_preprocessing("resnet10t")
    assert len(hub) == 6
    assert all(local for _, local in hub)
    with pytest.raises(VitrailError, match="there is no network"):
        named.fetch()
    assert hub[-1] == ("owner/x", False)


def test_what_is_in_the_cache_is_used_offline(folder, trained, monkeypatch):
    import huggingface_hub

    def download(repository, file, local_files_only=False):
        assert repository == "owner/x"
        assert local_files_only
        return str(folder / file)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    config = configure("owner/x", offline=True)
    assert config == TimmConfig(name="resnet10t", weights="owner/x")
    assert config.preprocessing() == timm_preprocessing("resnet10t")
    backbone = config.build((64, 64), 3, offline=True).eval()
    pixels = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(trained.fc(backbone(pixels).summary), trained(pixels))


def test_a_path_that_is_not_there_is_no_name_on_the_hub(tmp_path):
    for weights in (str(tmp_path / "model.safetensors"), "a/b/c"):
        with pytest.raises(UsageError, match="no such file or folder, and no name of a model on the Hub"):
            TimmConfig(name="resnet10t", weights=weights).build((64, 64), 3)


def test_what_timm_does_not_publish():
    unpublished = next(name for name in timm.list_models("resnet*") if not timm.is_model_pretrained(name))
    with pytest.raises(
        UsageError, match=f"timm publishes no weights for {unpublished}: leave out pretrained"
    ):
        TimmConfig(name=unpublished, pretrained=True).build((64, 64), 3)
    with pytest.raises(UsageError, match=r"weights of gcvit_xxtiny as a pickle only: \S+\nFetch it"):
        TimmConfig(name="gcvit_xxtiny", pretrained=True).fetch()
    with pytest.raises(UsageError, match=r"timm knows no weights called resnet50\.nonsense"):
        timm_preprocessing("resnet50.nonsense")


def test_preprocessing_comes_as_plain_numbers():
    assert timm_preprocessing("vit_base_patch16_224.augreg_in21k") == {
        "size": (224, 224),
        "channels": 3,
        "fit": "crop",
        "crop_pct": 0.9,
        "resample": "bicubic",
        "mean": (0.5, 0.5, 0.5),
        "std": (0.5, 0.5, 0.5),
    }
    assert timm_preprocessing("resnet50.a1_in1k")["mean"] == (0.485, 0.456, 0.406)
    assert TimmConfig(name="resnet50").preprocessing() == {}
    json.dumps(timm_preprocessing("resnet50"))


@pytest.mark.parametrize(
    ("name", "pictures", "canvas"),
    [
        ("resnet50", (480, 640), (224, 224)),
        ("inception_v3", (480, 640), (299, 299)),
        ("resnet50", (28, 36), (28, 36)),
        ("resnet50", (8, 8), (32, 32)),
        ("resnet50", (8, 12), (32, 48)),
    ],
)
def test_a_suitable_canvas(name, pictures, canvas):
    assert TimmConfig(name=name).suitable_size(pictures) == canvas
