import json

import pytest

from vitrail.cli import main


def shown(words, capsys):
    assert main(["show", *words]) == 0
    return capsys.readouterr()


def cells(table, name):
    (line,) = (line for line in table.splitlines() if line.strip().startswith(f"{name} "))
    return line.split()[1:]


def test_blocks_that_are_alike_are_one_line(capsys):
    out, facts = shown(["vit-l16"], capsys)
    assert cells(out, "blocks.0-23")[:4] == ["24", "x", "Block", "197x1024"]
    assert cells(out, "up")[:3] == ["Linear", "197x4096", "4,198,400"]
    assert len(out.splitlines()) < 20
    said = dict(line.split(maxsplit=1) for line in facts.splitlines() if line.strip())
    assert said["picture"] == "224x224x3"
    assert said["parameters"] == "303,300,608"
    assert said["flops"] == "123,107,377,152"
    assert said["weights"] == "1,157.0 MiB"  # four bytes each
    assert said["activations"] == "296.9 MiB"


def test_depth_says_how_much_is_listed(capsys):
    lines = [len(shown(["vit-pico8", "--depth", str(depth)], capsys).out.splitlines()) for depth in (1, 2, 9)]
    assert lines[0] < lines[1] < lines[2]
    assert "blocks" not in shown(["vit-pico8", "--depth", "1"], capsys).out
    for name in ("vit-pico8", "test_convnext", "test_efficientnet"):
        assert len(shown([name, "--image-size", "64"], capsys).out.splitlines()) <= 43


def test_json_holds_every_layer(capsys):
    out, facts = shown(["vit-pico8", "--image-size", "32", "48", "--channels", "1", "--json"], capsys)
    assert facts == ""
    answer = json.loads(out)
    layers = {layer["name"]: layer for layer in answer["layers"]}
    assert {f"encoder.blocks.{index}.mix.qkv" for index in range(6)} <= layers.keys()
    assert layers["encoder.blocks.5"] | {"memory": 0} == {
        "name": "encoder.blocks.5",
        "kind": "Block",
        "depth": 1,
        "shape": [24, 64],
        "parameters": 33472,
        "flops": 2 * 24 * (4 * 64 * 64 + 2 * 64 * 128 + 2 * 24 * 64),
        "memory": 0,
    }
    assert answer["picture"] == "32x48x1"
    assert answer["weights"] >= 4 * answer["parameters"]
    assert answer["activations"] >= layers["encoder"]["memory"] > 6 * layers["encoder.blocks.5"]["memory"]
    flat = json.loads(shown(["vit-pico8", "--depth", "1", "--json"], capsys).out)["layers"]
    assert {layer["depth"] for layer in flat} == {0}


def test_a_folder_of_transformers_at_its_own_size(tmp_path, capsys):
    import transformers

    small = {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 96}
    config = transformers.ViTConfig(**small, image_size=32, patch_size=8, num_channels=1)
    transformers.ViTForImageClassification(config).save_pretrained(tmp_path / "model")
    capsys.readouterr()
    answer = json.loads(shown([str(tmp_path / "model"), "--json"], capsys).out)
    assert answer["picture"] == "32x32x1"
    assert [layer["kind"] for layer in answer["layers"]].count("Block") == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["vit-pico8", "--depth", "0"], "--depth is 1 or more, not 0."),
        (["vit-pico8", "--channels", "0"], "--channels is 1 or more, not 0."),
        (["vit-pico8", "--image-size", "1", "2", "3"], "--image-size is a height and a width"),
        (["test_resnet", "--image-size", "-5", "7"], "--image-size is a height and a width"),
        (["vit-l16", "--image-size", "100"], "patches of 16 pixels do not divide 100x100"),
    ],
)
def test_wrong_words(words, said, capsys):
    assert main(["show", *words]) == 2
    assert said in capsys.readouterr().err
