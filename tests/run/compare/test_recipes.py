"""Every committed comparison is built: data, networks, recipes; the Hub's from stand-ins of its files."""

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vitrail.run.compare import read_comparison
from vitrail.run.compare.dry import dry_run

ROOT = Path(__file__).parents[3]
RECIPES = sorted((ROOT / "recipes" / "compare").glob("*.json"))


def test_every_comparison_says_what_it_is_for():
    assert {path.stem for path in RECIPES} == {"emoji", "fashion", "food101", "pretrained"}
    for path in RECIPES:
        assert set(json.loads(path.read_text())["about"]) == {"what", "command", "cost", "score"}
        assert len(read_comparison(path).models) >= 2


@pytest.mark.data("emoji")
@pytest.mark.data("efficientnet-lite0")
@pytest.mark.parametrize("name", ["emoji", "pretrained"])
def test_comparisons_of_emoji_are_built(name, monkeypatch):
    monkeypatch.chdir(ROOT)
    comparison = read_comparison(ROOT / "recipes" / "compare" / f"{name}.json")
    planned = dry_run(comparison, offline=True)
    assert [each.name for each in planned.planned] == list(comparison.models)
    assert {each.runs for each in planned.planned} == {3}
    assert all(each.flops > 1e11 for each in planned.planned)


@pytest.mark.data("fashion-mnist")
def test_the_comparison_of_five_families_is_built(monkeypatch):
    monkeypatch.chdir(ROOT)
    planned = dry_run(read_comparison(ROOT / "recipes" / "compare" / "fashion.json"), offline=True).planned
    settings = {each.name: each.settings for each in planned}
    assert settings["test_resnet"].startswith("SGD")
    assert settings["swin_tiny_patch4_window7_224"].startswith("AdamW")
    assert settings["inception_next_atto"].startswith("AdamW")


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A Hub with two models that transformers wrote, by the names of the notes, and Food-101's layout."""
    import huggingface_hub
    import torch
    import transformers
    from huggingface_hub import constants
    from huggingface_hub.errors import LocalEntryNotFoundError

    torch.manual_seed(0)
    vit = transformers.ViTConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64, image_size=32
    )
    resnet = transformers.ResNetConfig(
        layer_type="basic", depths=[2, 2, 2, 2], hidden_sizes=[64, 128, 256, 512]
    )
    vit_folder, resnet_folder = tmp_path / "vit", tmp_path / "resnet"
    transformers.ViTModel(vit).save_pretrained(vit_folder)
    transformers.ResNetForImageClassification(resnet).save_pretrained(resnet_folder)
    preparation = {"size": {"height": 32, "width": 32}, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    kinds = {"do_resize": True, "do_normalize": True, "do_rescale": True, "resample": 2}
    (vit_folder / "preprocessor_config.json").write_text(
        json.dumps(preparation | kinds | {"image_processor_type": "ViTImageProcessor"})
    )
    preparation |= {"size": {"shortest_edge": 32}, "crop_pct": 0.875, "resample": 3}
    (resnet_folder / "preprocessor_config.json").write_text(
        json.dumps(preparation | kinds | {"image_processor_type": "ConvNextImageProcessor", "resample": 3})
    )
    models = {"google/vit-base-patch16-224-in21k": vit_folder, "microsoft/resnet-50": resnet_folder}

    def download(repository, file, local_files_only=False):
        if not (models[repository] / file).exists():
            raise LocalEntryNotFoundError(file)
        return str(models[repository] / file)

    data = tmp_path / "snapshots" / "abc"
    write_food(data)

    def snapshot(repository, **options):
        assert repository == "food101"
        return str(data)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    return tmp_path


def write_food(folder, classes=101):
    """Write pictures in parquet as Food-101 has them: classes by number, a train and a validation part."""
    import pyarrow as pa
    from pyarrow import parquet

    random = np.random.default_rng(0)
    names = [f"dish {number}" for number in range(classes)]
    features = {"image": {"_type": "Image"}, "label": {"names": names, "_type": "ClassLabel"}}
    for part, each in (("train", 4), ("validation", 2)):
        labels = [number for number in range(classes) for _ in range(each)]
        pictures = []
        for index in range(len(labels)):
            file = io.BytesIO()
            Image.fromarray(random.integers(0, 255, (24, 32, 3), dtype=np.uint8)).save(file, "png")
            pictures.append({"bytes": file.getvalue(), "path": f"{part}-{index}.png"})
        table = pa.table({"image": pictures, "label": labels})
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
        (folder / "data").mkdir(parents=True, exist_ok=True)
        parquet.write_table(table, folder / "data" / f"{part}-00000-of-00001.parquet")


def test_the_experiment_of_the_notes_is_built_and_takes_steps(hub):
    comparison = read_comparison(ROOT / "recipes" / "compare" / "food101.json")
    planned = dry_run(comparison)
    vit, resnet = planned.planned
    assert (vit.runs, resnet.runs) == (5, 5)
    assert (vit.tries, resnet.tries) == (6, 6)
    assert (vit.epochs, resnet.epochs) == (15, 15)
    assert vit.canvas == (32, 32)
    assert resnet.canvas == (32, 32)
    measured = dry_run(replace(comparison, budget="10min"))  # which takes steps of both, from their weights
    assert all(each.epochs >= 1 for each in measured.planned)
