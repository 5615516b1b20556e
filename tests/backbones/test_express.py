"""Our ViT as a network of timm or transformers: equal answers there and back, or a line with the cure."""

import importlib.util
import json
import re
from dataclasses import fields, replace
from pathlib import Path

import pytest
import timm
import torch
import torch.nn.functional as F
import transformers
from safetensors.torch import save_file

from vitrail.backbones.checkpoints import read_pretrained
from vitrail.backbones.checkpoints.express import as_timm, as_transformers
from vitrail.backbones.vit import ViTConfig
from vitrail.errors import UsageError

ROOT = Path(__file__).resolve().parents[2]
specification = importlib.util.spec_from_file_location("parity", ROOT / "scripts" / "parity.py")
parity = importlib.util.module_from_spec(specification)
specification.loader.exec_module(parity)

SMALL = ViTConfig(size="pico", depth=2, patch=4)
SWITCHES = {
    "nothing": ({}, "ViT", "vit_base_patch16_224"),
    "no class token": ({"pool": "mean"}, "Siglip", "vit_base_patch16_224"),
    "distilled": ({"pool": "class+distilled"}, "DeiT", "deit_base_distilled_patch16_224"),
    "registers": ({"registers": 2}, "Dinov2WithRegisters", "vit_base_patch16_224"),
    "layer scale": ({"layer_scale": 1e-5}, "Dinov2", "vit_base_patch16_224"),
    "gates": ({"feed": "swiglu"}, "Dinov2", "vit_giant_patch14_dinov2"),
    "gates, registers": (
        {"feed": "swiglu", "registers": 3, "width": 96, "mlp": 256},
        "Dinov2WithRegisters",
        "vit_giant",
    ),
    "no query bias": ({"bias": "not-qkv"}, "ViT", "vit_base_patch16_224"),
    "eps": ({"eps": 1e-5, "activation": "quick_gelu"}, "ViT", "vit_base_patch16_clip_224"),
    "tanh": ({"activation": "gelu_tanh"}, "ViT", "vit_base_patch16_224"),
    "relu": ({"activation": "relu"}, "ViT", "vit_base_patch16_224"),
    "odd width": ({"mlp": 100}, "ViT", "vit_base_patch16_224"),
    "class and mean": ({"pool": "class+mean"}, "Dinov2", UsageError),
    "class, mean, gates": (
        {"pool": "class+mean", "feed": "swiglu", "width": 96, "mlp": 256},
        "Dinov2",
        UsageError,
    ),
    "norm after the mean": ({"pool": "mean", "final_norm": "summary"}, UsageError, "vit_base_patch16_224"),
    "norm after the class token": ({"final_norm": "summary"}, UsageError, "vit_base_patch16_224"),
    "attention pooling": ({"pool": "attention"}, UsageError, "vit_base_patch16_224"),
    "RMSNorm": ({"norm": "rms"}, UsageError, "vit_base_patch16_224"),
    "no biases, gates": ({"norm": "rms", "bias": "none", "feed": "swiglu"}, UsageError, "vit_giant"),
    "query-key norm": ({"qk_norm": True}, UsageError, "vit_base_patch16_224"),
    "norm at the entrance": ({"enter_norm": True, "patch_bias": False}, UsageError, "vit_base_patch16_224"),
    "no positions": ({"positions": "none", "registers": 2}, UsageError, "vit_base_patch16_224"),
    "entrance with bias": ({"enter_norm": True}, UsageError, UsageError),
    "LayerNorm without bias": ({"bias": "none"}, UsageError, UsageError),
    "distilled, gates": ({"pool": "class+distilled", "feed": "swiglu"}, UsageError, UsageError),
    "distilled, eps": ({"pool": "class+distilled", "eps": 1e-5}, "DeiT", UsageError),
    "conv stem": ({"stem": "conv"}, UsageError, UsageError),
    "sine": ({"positions": "sine"}, UsageError, UsageError),
    "rotary": ({"positions": "rotary"}, UsageError, UsageError),
    "post-norm": ({"norm_place": "post"}, UsageError, UsageError),
    "experts": ({"experts": 2}, UsageError, UsageError),
    "gates, attention pooling": ({"pool": "attention", "feed": "swiglu"}, UsageError, UsageError),
}


def trained(config, size=(8, 8)):
    torch.manual_seed(0)
    vit = parity.randomise(config.build(size, 3))
    return vit, (torch.randn(5, vit.width) * vit.width**-0.5, torch.randn(5))


def in_timm(found, folder):
    (folder / "config.json").write_text(
        json.dumps({"architecture": found.architecture, "num_classes": 5, "model_args": found.arguments,
                    "pretrained_cfg": {"input_size": [3, *found.arguments["img_size"]]}})
    )  # fmt: skip
    save_file(dict(found.tensors), folder / "model.safetensors")
    return timm.create_model(f"local-dir:{folder}", pretrained=True).eval()


def in_transformers(found, folder):
    labels = {str(index): f"class {index}" for index in range(5)}
    (folder / "config.json").write_text(json.dumps({**found.arguments, "id2label": labels}))
    save_file(dict(found.tensors), folder / "model.safetensors", metadata={"format": "pt"})
    net, left = transformers.AutoModelForImageClassification.from_pretrained(folder, output_loading_info=True)
    assert not any(left.values()), left
    assert type(net).__name__ == found.architecture
    net.eval()
    return lambda pixels: net(pixels).logits


LIBRARIES = {"transformers": (as_transformers, in_transformers), "timm": (as_timm, in_timm)}


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("title", SWITCHES)
def test_equal_answers_or_the_switch_and_its_cure(title, library, tmp_path):
    changes, *expected = SWITCHES[title]
    wanted = expected[library == "timm"]
    express, load = LIBRARIES[library]
    config = replace(SMALL, **changes)
    vit, head = trained(config)
    if wanted is UsageError:
        with pytest.raises(
            UsageError, match=rf"^{library}('s? \w+)? has no --model\.[\w-]+.*: a run with --model\."
        ) as said:
            express(config, (8, 8), vit.state_dict(), head)
        named = re.search(r"has no --model\.(?:no-)?([\w-]+)", str(said.value))[1].replace("-", "_")
        assert getattr(config, named) != getattr(SMALL, named) or named == "patch_bias", (
            "it names a switch of this run"
        )
        return
    found = express(config, (8, 8), vit.state_dict(), head)
    assert found.architecture.startswith(wanted)
    theirs = load(found, tmp_path)
    again = read_pretrained(tmp_path)
    ours = again.config.build((8, 8), 3).eval()
    ours.load_state_dict(dict(again.tensors))
    pixels = torch.randn(4, 3, 8, 8)
    with torch.no_grad():
        answers = F.linear(vit(pixels).summary, *head)
        assert answers.std() > 0.3
        torch.testing.assert_close(theirs(pixels), answers, atol=1e-5, rtol=0)
        torch.testing.assert_close(F.linear(ours(pixels).summary, *again.head), answers, atol=1e-5, rtol=0)


@pytest.mark.parametrize("title", ["nothing", "distilled", "registers", "no class token"])
def test_pictures_that_are_no_squares(title, tmp_path):
    config = replace(SMALL, **SWITCHES[title][0])
    vit, head = trained(config, (8, 12))
    pixels = torch.randn(2, 3, 8, 12)
    with torch.no_grad():
        answers = F.linear(vit(pixels).summary, *head)
        free = in_timm(as_timm(config, (8, 12), vit.state_dict(), head), tmp_path)
        torch.testing.assert_close(free(pixels), answers, atol=1e-5, rtol=0)
        if title in ("registers", "no class token"):
            with pytest.raises(UsageError, match="takes squares only"):
                as_transformers(config, (8, 12), vit.state_dict(), head)
            return
        found = as_transformers(config, (8, 12), vit.state_dict(), head)
        torch.testing.assert_close(in_transformers(found, tmp_path)(pixels), answers, atol=1e-5, rtol=0)


def test_a_hidden_width_that_dinov2_cannot_have():
    config = replace(SMALL, registers=1, mlp=100)
    vit, head = trained(config)
    with pytest.raises(UsageError, match=r"DINOv2 has no --model.mlp 100: a run with --model.mlp 128"):
        as_transformers(config, (8, 8), vit.state_dict(), head)


def test_every_switch_of_ours_is_thought_of():
    """A switch that changes what is computed is either expressed or refused; a new one must be put here."""
    computed = {key for changes, *_ in SWITCHES.values() for key in changes} | {
        "tubelet",
        "patch",
        "heads",
        "depth",
    }
    learning = {"init", "drop_path", "dropout", "patch_drop", "experts_top", "experts_capacity"}
    other = {"family", "size", "weights", "antialias"}  # positions are written for the size that they are of
    assert {field.name for field in fields(ViTConfig)} == computed | learning | other
