import subprocess
import sys

import pytest
import torch

from vitrail.backbones import configure
from vitrail.backbones.names import parse
from vitrail.backbones.timm import TimmConfig
from vitrail.backbones.vit import ViTConfig
from vitrail.errors import UsageError


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("vit-s16", "vit-s16"),
        ("vit-pico4", "vit-pico4"),
        ("vit-ti9", "vit-ti9"),
        ("ViT-S/16", "vit-s16"),
        ("ViT-Ti/16", "vit-ti16"),
        ("ViT-L/16", "vit-l16"),
        ("ViT-g/14", "vit-g14"),
    ],
)
def test_our_names_and_the_papers(text, name):
    known = parse(text)
    assert (known.source, known.text) == ("vitrail", name)
    assert f"vit-{known.size}{known.patch}" == name


@pytest.mark.parametrize(
    "text", ["resnet50", "resnet50.a1_in1k", "swin_tiny_patch4_window7_224", "inception_v3"]
)
def test_timms_names(text):
    known = parse(text)
    assert (known.source, known.text) == ("timm", text)


@pytest.mark.parametrize("text", ["google/vit-base-patch16-224-in21k", "timm/resnet50.a1_in1k"])
def test_hub_ids_and_offline(text):
    assert parse(text).source == "hub"
    with pytest.raises(UsageError, match="--offline forbids the Hub"):
        configure(text, offline=True)


def test_a_path_that_exists_wins(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for text in ("vit-s16", "resnet50", "timm/resnet50"):
        (tmp_path / text).mkdir(parents=True)
        known = parse(text)
        assert (known.source, known.text) == ("path", text)


@pytest.mark.parametrize(
    ("text", "suggestion"),
    [
        ("vit-x16", "vit-s16"),
        ("VIT-S16", "vit-s16"),
        ("resnet5O", "resnet50"),
        ("efficientnet_b0x", "efficientnet_b0"),
        ("vit-s0", "vit-s8"),
    ],
)
def test_a_misspelt_name_gets_the_nearest(text, suggestion):
    with pytest.raises(UsageError, match=f"no model called '{text}'. Did you mean .*{suggestion}"):
        parse(text)


@pytest.mark.parametrize("text", ["", "ViT-G/14/x", "resnet50.no_such_tag", "zzz"])
def test_nonsense_is_refused(text):
    with pytest.raises(UsageError, match="there is no model called"):
        parse(text)


def test_the_gigantic_network_of_the_papers_is_not_taken_for_the_giant():
    assert parse("ViT-G/14").source == "hub"


def test_our_own_transformer_needs_torch_alone():
    code = (
        "import sys\n"
        "from vitrail import explain, heads, models, tasks\n"
        "from vitrail.backbones import configure\n"
        "from vitrail.models import anatomy\n"
        "configure('vit-ti4').build((28, 28), 1)\n"
        "assert not {'timm', 'torchvision', 'sklearn', 'scipy', 'matplotlib'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_names_become_configs():
    assert configure("vit-s16") == ViTConfig(size="s", patch=16)
    assert configure("vit-ti4") == ViTConfig(size="ti", patch=4, stem="conv", pool="mean")
    assert configure("vit-pico").patch == 0
    assert configure("resnet10t") == TimmConfig(name="resnet10t")
    for name in ("vit-pico4", "resnet10t"):  # callers pass it for both families
        config = configure(name, offline=True)
        config.fetch(offline=True)
        assert config.build((32, 32), 3, offline=True).width


def test_sizes_are_the_papers():
    parameters = {
        size: sum(p.numel() for p in _on_meta(size).parameters()) / 1e6
        for size in ("ti", "s", "b", "l", "h", "g")
    }
    published = {"ti": 5.5, "s": 21.7, "b": 85.8, "l": 303.3, "h": 630.8, "g": 1011.2}  # without a classifier
    assert parameters == pytest.approx(published, rel=0.01)


def _on_meta(size):
    patch = 14 if size in "hg" else 16
    with torch.device("meta"):
        return ViTConfig(size=size, patch=patch, pool="class", stem="patch").build((224, 224), 3)
