"""Which runs have a classifier to begin with."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

from vitrail.backbones import configure
from vitrail.backbones.classifier import classifier_of


@pytest.mark.parametrize(("layer", "found"), [((2, 64), True), ((2, 64, 1, 1), False)])
def test_a_linear_layer_of_pixels_is_no_classifier_of_pictures(layer, found, tmp_path):
    """Two heads, of two tasks, are called linear."""
    save_file(
        {"head.w.weight": torch.zeros(layer), "head.w.bias": torch.zeros(2)}, tmp_path / "model.safetensors"
    )
    contract = {"classes": ["a", "b"], "task": {}, "head": {"name": "linear"}, "model": {"family": "vit"}}
    (tmp_path / "vitrail.json").write_text(json.dumps(contract), encoding="utf-8")
    config = replace(configure("vit-pico8"), weights=str(tmp_path))
    assert (classifier_of(config) is not None) == found
