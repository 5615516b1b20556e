import json

import pytest
import safetensors.torch
import timm
import torch

from vitrail.backbones import catalogue, configure
from vitrail.backbones.catalogue import NATIVE, list_models
from vitrail.backbones.costs import Cost, count_cost, read_costs, write_costs
from vitrail.backbones.names import PATCHES, SIZES, our_names


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A local cache of the Hub, as its client lays it out; returns a function that puts a model into it."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))

    def put(hub_id, config, tensors=None, card=None):
        kept = tmp_path / "hub" / f"models--{hub_id.replace('/', '--')}"
        (kept / "refs").mkdir(parents=True)
        (kept / "refs" / "main").write_text("abc123")
        folder = kept / "snapshots" / "abc123"
        folder.mkdir(parents=True)
        (folder / "config.json").write_text(json.dumps(config))
        if tensors is not None:
            safetensors.torch.save_file(tensors, folder / "model.safetensors")
        if card is not None:
            (folder / "README.md").write_text(card)
        return folder

    return put


def only(name):
    (row,) = (row for row in list_models(name) if row.name == name)
    return row


def test_ours_come_first_then_timms():
    rows = list_models()
    ours = [row.name for row in rows if row.source == "vitrail"]
    assert ours == [f"vit-{size}{patch}" for size in SIZES for patch in PATCHES] == our_names()
    assert [row.name for row in rows[len(ours) :]] == sorted(timm.list_models())


def test_a_word_picks_names_that_contain_it():
    names = [row.name for row in list_models("Swin_Tiny")]
    assert "swin_tiny_patch4_window7_224" in names
    assert all("swin_tiny" in name for name in names)
    assert list_models("no such name") == []


def test_a_row_says_all_in_plain_values():
    row = only("efficientnet_b0").to_dict()
    assert json.loads(json.dumps(row)) == {
        "name": "efficientnet_b0",
        "source": "timm",
        "parameters": 4007548,
        "flops": 769069504,
        "size": [224, 224],
        "weights": [
            {"tag": tag, "licence": "apache-2.0", "hub_id": f"timm/efficientnet_b0.{tag}", "cached": False}
            for tag in ("ra_in1k", "ra4_e3600_r224_in1k")
        ],
    }
    assert only("vit-s16").to_dict()["weights"] == ()


def test_licences_of_the_default_weights_come_first():
    assert only("resnet50").weights[0].tag == timm.models.get_pretrained_cfg("resnet50").tag
    assert only("resnet50").licences == ("apache-2.0", "bsd-3-clause", "not stated", "cc-by-nc-4.0")
    assert only("resnet50t").licences == ()


def test_a_network_newer_than_the_table_is_listed_without_numbers(monkeypatch):
    monkeypatch.setattr(catalogue, "read_costs", dict)
    row = only("resnet18")
    assert row.cost is None
    assert row.to_dict() | {"weights": ()} == {
        "name": "resnet18", "source": "timm", "parameters": None, "flops": None, "size": None, "weights": ()
    }  # fmt: skip


def test_the_table_holds_what_is_counted_of_ours():
    """When this fails, run scripts/measure_costs.py."""
    costs = read_costs()
    for size in SIZES:
        name = f"vit-{size}16"
        counted = count_cost(lambda name=name: configure(name).build(NATIVE, 3), NATIVE)
        assert costs[name] == counted, name
    assert set(our_names()) <= costs.keys()


@pytest.mark.parametrize(("name", "side"), [("resnet10t", 176), ("test_vit", 160)])
def test_the_table_holds_what_is_counted_of_timms(name, side):
    net = timm.create_model(name, num_classes=0)
    assert read_costs()[name] == count_cost(lambda: timm.create_model(name, num_classes=0), (side, side))
    assert read_costs()[name].parameters == sum(parameter.numel() for parameter in net.parameters())


def test_a_count_of_a_single_layer():
    def make():
        return torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3, padding=1), torch.nn.Flatten())

    assert count_cost(make, (5, 6), channels=1) == Cost(
        parameters=4 * 9 + 4, flops=2 * 4 * 9 * 30, size=(5, 6)
    )


def test_a_table_is_read_as_it_was_written(tmp_path):
    costs = {"b": Cost(parameters=2, flops=3, size=(4, 5)), "a": Cost(parameters=6, flops=7, size=(8, 9))}
    write_costs(costs, "nobody", tmp_path / "costs.csv")
    assert read_costs(tmp_path / "costs.csv") == costs
    assert (tmp_path / "costs.csv").read_text().splitlines()[:3] == [
        "# nobody", "name,parameters,flops,height,width", "a,6,7,8,9"
    ]  # fmt: skip


def test_what_is_cached_is_said(hub):
    config = {"architecture": "resnet50"}
    hub("timm/resnet50.a2_in1k", config, {})
    hub("timm/resnet50.a3_in1k", config)  # its weights have not arrived
    assert only("resnet50").cached == ("a2_in1k",)
    assert only("resnet18").cached == ()
    assert [row.name for row in list_models() if row.source == "hub"] == []


def test_other_models_of_the_cache_are_listed_when_they_can_be_named(hub, caplog):
    import transformers

    small = {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 96}
    config = transformers.ViTConfig(**small, image_size=32, patch_size=8)
    net = transformers.ViTForImageClassification(config)
    folder = hub("Somebody/vit-small", {}, {}, "---\nlicense: cc0-1.0\ntags:\n- x\n---\n# A model\n")
    net.save_pretrained(folder)
    hub("somebody/tuned", {"architecture": "resnet10t", "pretrained_cfg": {}}, {})
    hub("somebody/bert", {"model_type": "bert"}, {})
    rows = {row.name: row for row in list_models() if row.source == "hub"}
    assert rows.keys() == {"Somebody/vit-small", "somebody/tuned"}
    vit = rows["Somebody/vit-small"]
    assert (vit.licences, vit.cached) == (("cc0-1.0",), ("",))
    blocks = 2 * (4 * 48 * 48 + 4 * 48 + 2 * 48 * 96 + 48 + 96 + 4 * 48)
    assert vit.cost.size == (32, 32)
    assert vit.cost.parameters == blocks + 48 * (8 * 8 * 3 + 1) + (16 + 1 + 2) * 48
    assert rows["somebody/tuned"].cost == only("resnet10t").cost
    assert rows["somebody/tuned"].licences == ("not stated",)
    assert list_models("SOMEBODY/V") == [vit]
    assert not caplog.messages
