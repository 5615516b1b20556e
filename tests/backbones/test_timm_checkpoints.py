"""timm's ViTs on disk into ours: the same answers, nothing left over, and what is not ours stays timm's."""

import importlib.util
import json
import logging
from dataclasses import replace
from pathlib import Path

import pytest
import safetensors.torch
import timm
import torch

from vitrail.backbones import configure
from vitrail.backbones.checkpoints import read_pretrained
from vitrail.backbones.checkpoints.timm import interpret
from vitrail.backbones.checkpoints.timm_names import TOKENS, layout
from vitrail.backbones.checkpoints.timm_networks import understand
from vitrail.backbones.timm import TimmConfig
from vitrail.backbones.vit import ViTConfig
from vitrail.errors import UsageError, VitrailError

ROOT = Path(__file__).resolve().parents[2]
specification = importlib.util.spec_from_file_location("parity", ROOT / "scripts" / "parity.py")
parity = importlib.util.module_from_spec(specification)
specification.loader.exec_module(parity)

NAMES = ["oak", "ash", "elm", "fir", "yew"]


@pytest.mark.parametrize("title", parity.TIMM)
def test_answers_are_timms_at_both_sizes(title, tmp_path):
    row = parity.compare(parity.CASES[f"timm/{title}"], tmp_path)
    assert row.equal, row.differences
    assert len(row.differences) == 2
    assert all(found.keys() == {"tokens", "summary", "logits"} for found in row.differences.values())


def test_the_table_is_printed_and_a_difference_is_a_failure(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(parity.logging, "disable", lambda level: None)
    monkeypatch.setattr(parity.torch, "set_num_threads", lambda count: None)
    assert parity.main(["no biases"]) == 0
    shown = capsys.readouterr()
    assert shown.out.splitlines()[0].split() == [
        "source", "architecture", *["size", "tokens", "summary", "logits"] * 2, "equal"
    ]  # fmt: skip
    assert "1 of 1 within 1e-05" in shown.err
    monkeypatch.setattr(parity, "LIMIT", -1.0)
    assert parity.main(["no biases", "--markdown", str(tmp_path / "parity.md")]) == 1
    assert "| **no** |" in (tmp_path / "parity.md").read_text()
    with pytest.raises(SystemExit):
        parity.main(["nothing of this name"])


def write(folder, name="vit_tiny_patch16_224", *, label_names=NAMES, **arguments):
    torch.manual_seed(0)
    net = parity.randomise(
        timm.create_model(name, **{"depth": 2, "num_classes": 5, "img_size": 32, **arguments})
    )
    timm.models.save_for_hf(
        net, folder, safe_serialization=True, model_config={"label_names": label_names} if label_names else {}
    )
    return net


def rewrite(folder, change):
    """Change a folder's tensors."""
    file = folder / "model.safetensors"
    tensors = safetensors.torch.load_file(file)
    change(tensors)
    safetensors.torch.save_file(tensors, file)


def test_what_came_with_the_weights_comes_along(tmp_path):
    net = write(tmp_path, "deit3_small_patch16_224", label_names={"0": "oak", "2": "elm", "1": "oak"})
    found = read_pretrained(tmp_path)
    assert found.title == "timm's deit3_small_patch16_224"
    assert found.classes == ("oak (0)", "oak (1)", "elm", "class 3", "class 4")
    assert found.preprocessing == {
        "size": (32, 32), "channels": 3, "fit": "crop", "crop_pct": 0.9, "resample": "bicubic",
        "mean": net.pretrained_cfg["mean"], "std": net.pretrained_cfg["std"],
    }  # fmt: skip
    write(tmp_path, label_names=None)
    assert read_pretrained(tmp_path).classes is None
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"label_names": ["a", "b"]}))
    with pytest.raises(VitrailError, match=r"config.json: names 2 classes, but the classifier has 5\."):
        read_pretrained(tmp_path)


def test_a_folder_of_before_2023_has_its_config_on_one_level(tmp_path):
    write(tmp_path)
    old = {
        "architecture": "vit_tiny_patch16_224",
        "num_classes": 5,
        "labels": NAMES,
        "input_size": [3, 32, 32],
    }
    old |= {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6], "crop_pct": 0.8, "interpolation": "bilinear"}
    (tmp_path / "config.json").write_text(json.dumps(old))
    rewrite(tmp_path, lambda tensors: [tensors.pop(name) for name in list(tensors) if "blocks.1." in name])
    found = read_pretrained(tmp_path)  # the depth is that of the tensors, whatever the architecture's
    assert (found.config.depth, found.classes) == (1, tuple(NAMES))
    assert (found.preprocessing["mean"], found.preprocessing["crop_pct"]) == ((0.1, 0.2, 0.3), 0.8)


def test_a_folder_or_a_file_beside_its_config_is_our_vit_with_its_weights(tmp_path):
    net = write(tmp_path)
    pixels = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        wanted = net.forward_head(net.forward_features(pixels), pre_logits=True)
        for weights in (tmp_path, tmp_path / "model.safetensors"):
            config = configure(str(weights), offline=True)
            assert config == ViTConfig(size="ti", depth=2, weights=str(weights))
            torch.testing.assert_close(config.build((32, 32), 3).eval()(pixels).summary, wanted)
        grey = config.build((32, 32), 1).eval()
        colour = config.build((32, 32), 3).eval()(pixels[:, :1].expand(-1, 3, -1, -1))
        torch.testing.assert_close(grey(pixels[:, :1]).summary, colour.summary, atol=1e-5, rtol=1e-5)
        larger = config.build((48, 64), 3).eval()
        free = timm.create_model(f"local-dir:{tmp_path}", pretrained=True, dynamic_img_size=True).eval()
        large = torch.randn(1, 3, 48, 64)
        wanted = free.forward_head(free.forward_features(large), pre_logits=True)
        torch.testing.assert_close(larger(large).summary, wanted)
    assert config.preprocessing()["size"] == (32, 32)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("resnet10t", {}),
        ("vit_relpos_small_patch16_224", {}),
        ("vit_base_patch16_rpn_224", {}),
        ("vit_small_patch16_rope_mixed_224", {}),
        ("vit_small_patch16_rope_ape_224", {}),
        ("beit3_base_patch16_224", {}),
        ("aimv2_large_patch14_224", {}),
        ("test_vit3", {}),
    ],
)
def test_what_no_vit_of_ours_computes_stays_timms(name, arguments, tmp_path):
    config = {"architecture": name, "num_classes": 5, "model_args": arguments, "pretrained_cfg": {}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "model.safetensors").touch()
    assert configure(str(tmp_path), offline=True) == TimmConfig(name=name, weights=str(tmp_path))


@pytest.mark.parametrize(
    "arguments",
    [
        {"global_pool": "max"},
        {"final_norm": False},
        {"proj_bias": False},
        {"global_pool": "avg", "pool_include_prefix": True},
    ],
)
def test_a_variant_that_only_its_arguments_tell_is_refused_rather_than_wrong(arguments, tmp_path):
    config = {"architecture": "vit_tiny_patch16_224", "model_args": arguments, "pretrained_cfg": {}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(VitrailError, match=r"was built with .*such variants are not read"):
        configure(str(tmp_path), offline=True)


def test_timms_own_name_stays_timms():
    assert configure("vit_tiny_patch16_224") == TimmConfig(name="vit_tiny_patch16_224")


def test_a_file_alone_is_what_was_asked_for(tmp_path, caplog):
    net = write(tmp_path, "vit_medium_patch16_clip_224", act_layer="quick_gelu")
    alone = (tmp_path / "model.safetensors").rename(tmp_path.parent / "alone.safetensors")
    with pytest.raises(UsageError, match=r"alone.safetensors: .* name the model|name a model"):
        configure(str(alone))
    with pytest.raises(UsageError, match="no file tells its heads"):
        read_pretrained(alone)
    asked = ViTConfig(size="s", width=512, depth=2, heads=8, mlp=2048, eps=1e-5, activation="quick_gelu")
    asked = replace(asked, enter_norm=True, patch_bias=False, weights=str(alone))
    caplog.set_level(logging.WARNING)
    assert asked.preprocessing()["mean"] == (0.5, 0.5, 0.5)
    assert "pictures are prepared as for timm's vit_base_patch16_224" in caplog.text
    pixels = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        wanted = net.forward_head(net.forward_features(pixels), pre_logits=True)
        torch.testing.assert_close(asked.build((32, 32), 3).eval()(pixels).summary, wanted)
    with pytest.raises(UsageError, match=r"looks like a ViT of timm, .*depth 2, not 12"):
        ViTConfig(size="s", weights=str(alone)).build((32, 32), 3)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda tensors: tensors.pop("blocks.1.norm1.bias"), r"lacks blocks.1.norm1.bias"),
        (lambda tensors: tensors.update(extra=torch.zeros(1)), r"holds extra"),
        (
            lambda tensors: tensors.update(cls_token=torch.zeros(1, 1, 3)),
            r"cls_token 1x1x3, pos_embed 1x5x192",
        ),
        (
            lambda tensors: tensors.update(pos_embed=torch.zeros(1, 4 + 4, 192)),
            r"8 positions are of no square",
        ),
        (lambda tensors: tensors.pop("patch_embed.proj.weight"), r"not the tensors of a ViT of timm"),
        (
            lambda tensors: tensors.update({"head.weight": torch.zeros(5, 9)}),
            r"classifier takes 9 features, not 192",
        ),
    ],
)
def test_other_tensors_than_the_configs_are_named(change, said, tmp_path):
    write(tmp_path)
    rewrite(tmp_path, change)
    for values in (True, False):
        with pytest.raises(VitrailError, match=said) as caught:
            read_pretrained(tmp_path, values=values)
        assert str(tmp_path) in str(caught.value)
        assert len(str(caught.value).splitlines()) <= 2


@pytest.mark.parametrize(
    "config",
    [
        {"architecture": "vit_of_nobody"},
        {"architecture": "vit_tiny_patch16_224", "model_args": {"colour": "blue"}, "pretrained_cfg": {}},
        {
            "architecture": "vit_tiny_patch16_224",
            "model_args": {"checkpoint_path": "x.pth"},
            "pretrained_cfg": {},
        },
    ],
)
def test_a_config_that_timm_does_not_understand(config, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(VitrailError, match=r"config.json: timm builds no network of it: .+"):
        configure(str(tmp_path))


@pytest.mark.parametrize("title", ["DINOv2 giant's SwiGLU", "axial rotary positions", "DeiT, distilled"])
def test_what_was_read_is_written_back(title, tmp_path):
    parity.CASES[f"timm/{title}"].make(tmp_path)
    theirs = safetensors.torch.load_file(tmp_path / "model.safetensors")
    tokens = [name for name in TOKENS if name in theirs]
    found = read_pretrained(tmp_path)
    grid = found.tensors["positions.values"].shape[:2] if "positions.values" in found.tensors else (4, 4)
    beside = 2 if "distilled" in title else 1
    exchanged = found.config.positions == "rotary"
    table = layout(found.config, tuple(grid), tokens, beside=beside, head=True, exchanged=exchanged)
    again = table.write({**found.tensors, "head.weight": found.head[0], "head.bias": found.head[1]})
    read = table.read(again, "again")
    for name, tensor in found.tensors.items():
        torch.testing.assert_close(read[name], tensor, rtol=0, atol=0)
    for name in theirs.keys() - {"cls_token", "dist_token", "pos_embed", "head.bias", "head_dist.bias"}:
        torch.testing.assert_close(again[name], theirs[name])


@pytest.mark.slow
def test_every_vit_of_timm_that_is_ours_has_our_tensors():
    known = 0
    for name in timm.list_models(["*vit*", "*deit*", "eva*", "test_vit*"]):
        with torch.device("meta"):
            net = timm.create_model(name, num_classes=2)
        try:
            untold = understand(net)
        except ValueError:
            continue
        config, size, tensors, _ = interpret(net.state_dict(), untold, name)
        assert size == (untold.size[0] // config.patch * config.patch,) * 2
        body = sum(part.numel() for part in net.parameters()) - sum(
            part.numel() for part_name, part in net.named_parameters() if part_name.startswith("head")
        )
        positions = net.pos_embed.shape[1] if net.pos_embed is not None else 0
        places = tensors["positions.values"].shape[:2].numel() if positions else 0
        width = tensors["embed.weight"].shape[0]
        assert sum(part.numel() for part in tensors.values()) == body - (positions - places) * width, name
        known += 1
    assert known >= 140
