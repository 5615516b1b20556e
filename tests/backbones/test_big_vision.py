"""The `.npz` of vit_jax and big_vision into our ViT; timm reads the same files by its own function."""

import importlib.util
import logging
from pathlib import Path

import numpy as np
import pytest
import torch

from vitrail.backbones import configure
from vitrail.backbones.checkpoints import read_pretrained
from vitrail.backbones.vit import ViTConfig
from vitrail.errors import UsageError, VitrailError

ROOT = Path(__file__).resolve().parents[2]
specification = importlib.util.spec_from_file_location("parity", ROOT / "scripts" / "parity.py")
parity = importlib.util.module_from_spec(specification)
specification.loader.exec_module(parity)

SWITCHES = {"positions": "learned", "pool": "class", "registers": 0, "activation": "gelu_tanh", "eps": 1e-6}


def write(file, **options):
    arrays = parity.big_vision_arrays(np.random.default_rng(0), **options)
    np.savez(file, **arrays)
    return arrays


@pytest.mark.parametrize("title", parity.NPZ)
def test_answers_are_those_of_timm_with_the_same_file(title, tmp_path):
    row = parity.compare(parity.CASES[f"npz/{title}"], tmp_path)
    assert row.equal, row.differences
    assert len(row.differences) == 2


@pytest.mark.parametrize(
    ("options", "switches"),
    [
        ({"old": True, "token": True}, {}),
        ({"stacked": True, "at": "params/"}, {"pool": "mean"}),
        ({"waves": True}, {"pool": "mean", "positions": "sine"}),
        ({"pooled": True, "at": "params/img/"}, {"pool": "attention"}),
        ({"pooled": True, "token": True}, {"pool": "attention", "registers": 1}),
    ],
)
def test_which_network_it_is_comes_from_shapes(options, switches, tmp_path):
    write(tmp_path / "weights.npz", **options)
    found = read_pretrained(tmp_path / "weights.npz")
    config = found.config
    assert {name: getattr(config, name) for name in SWITCHES} == SWITCHES | switches
    assert (config.width, config.depth, config.heads, config.mlp, config.patch) == (96, 2, None, 384, 16)
    assert ViTConfig(size=config.size).heads is None
    size = (224, 224) if "waves" in options else (64, 64)
    half = (0.5, 0.5, 0.5)
    stated = {"size": size, "channels": 3, "fit": "squash", "crop_pct": 1.0, "resample": "bilinear"}
    assert found.preprocessing == stated | {"mean": half, "std": half}
    assert found.classes is None
    assert found.head is not None
    shapes = read_pretrained(tmp_path / "weights.npz", values=False)
    assert shapes.config == config
    assert {name: part.shape for name, part in shapes.tensors.items()} == {
        name: part.shape for name, part in found.tensors.items()
    }
    assert all(part.is_meta for part in shapes.tensors.values())


def test_a_classifier_behind_another_layer_is_no_classifier_of_the_summary(tmp_path):
    write(tmp_path / "weights.npz", old=True, token=True, before=True)
    assert read_pretrained(tmp_path / "weights.npz").head is None


def test_as_a_model_and_as_its_weights(tmp_path):
    file = tmp_path / "weights.npz"
    write(file, token=True)
    config = configure(str(file), offline=True)
    assert config.weights == str(file)
    assert config.preprocessing()["std"] == (0.5, 0.5, 0.5)
    pixels = torch.randn(2, 3, 48, 80)
    with torch.no_grad():
        summary = config.build((48, 80), 3).eval()(pixels).summary
        named = ViTConfig(
            size="pico", width=96, depth=2, mlp=384, patch=16, activation="gelu_tanh", weights=str(file)
        )
        torch.testing.assert_close(named.build((48, 80), 3).eval()(pixels).summary, summary)
    with pytest.raises(UsageError, match="looks like a ViT of big_vision"):
        ViTConfig(size="s", weights=str(file)).build((48, 80), 3)


def test_numbers_of_sixteen_bits(tmp_path):
    arrays = write(tmp_path / "whole.npz", token=True)
    halves = {name: torch.from_numpy(part).bfloat16() for name, part in arrays.items()}
    stored = {name: part.view(torch.int16).numpy().view("V2") for name, part in halves.items()}
    np.savez(tmp_path / "halves.npz", **stored)
    found = read_pretrained(tmp_path / "halves.npz")
    torch.testing.assert_close(found.tensors["embed.bias"], halves["embedding/bias"].float())
    assert {part.dtype for part in found.tensors.values()} == {torch.float32}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda arrays: arrays.pop("embedding/kernel"), "no embedding/kernel, so it is no ViT"),
        (
            lambda arrays: arrays.pop("Transformer/encoderblock_1/LayerNorm_0/bias"),
            "lacks Transformer/encoderblock_1",
        ),
        (lambda arrays: arrays.update({"Transformer/extra": np.ones(2)}), "holds Transformer/extra"),
        (lambda arrays: arrays.update(pos_embedding=np.ones((1, 15, 96))), "15 positions are of no square"),
        (
            lambda arrays: arrays.update({"embedding/kernel": np.ones((8, 16, 3, 96))}),
            "patches of 8x16 pixels",
        ),
        (lambda arrays: arrays.update({"embedding/kernel": np.ones((768, 96))}), "not the tensors of a ViT"),
        (lambda arrays: arrays.update(cls=np.array([{}], dtype=object)), "Object arrays cannot be loaded"),
    ],
)
def test_another_file_is_named_with_what_is_wrong(change, said, tmp_path):
    arrays = parity.big_vision_arrays(np.random.default_rng(0), token=True)
    change(arrays)
    np.savez(tmp_path / "weights.npz", **arrays)
    with pytest.raises(VitrailError, match=said) as caught:
        read_pretrained(tmp_path / "weights.npz")
    assert "weights.npz" in str(caught.value)
    assert len(str(caught.value).splitlines()) <= 2


def test_a_broken_file(tmp_path, caplog):
    caplog.set_level(logging.WARNING)
    file = tmp_path / "weights.npz"
    write(file)
    file.write_bytes(file.read_bytes()[:5000])
    with pytest.raises(VitrailError, match=r"weights.npz: broken, cannot be read as .npz"):
        read_pretrained(file)
    with pytest.raises(UsageError, match="there are no weights here"):
        read_pretrained(tmp_path / "none.npz")
