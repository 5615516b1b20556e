"""Checkpoints that cannot be read: one or two plain lines that name the file, the tensors and the cure."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from vitrail.backbones import configure
from vitrail.backbones.checkpoints import read_pretrained
from vitrail.backbones.checkpoints.kinds import looks_like
from vitrail.backbones.vit import ViTConfig
from vitrail.errors import UsageError, VitrailError

LAYOUTS = Path(__file__).parent / "layouts"


@pytest.fixture
def spoil(tmp_path):
    """Return who copies a checkpoint and changes its tensors and its config."""

    def change(name="vit", tensors=lambda them: them, **stated):
        for file in ("config.json", "model.safetensors"):
            shutil.copy(LAYOUTS / name / file, tmp_path)
        config = json.loads((tmp_path / "config.json").read_text()) | stated
        (tmp_path / "config.json").write_text(json.dumps(config))
        changed = tensors(load_file(tmp_path / "model.safetensors"))
        (tmp_path / "model.safetensors").unlink()
        save_file(changed, tmp_path / "model.safetensors")
        return tmp_path

    return change


def refuse(folder, kind=VitrailError):
    """Return what is said to whoever names a folder as a model; it is the same when its tensors are read."""
    with pytest.raises(kind) as named:
        configure(str(folder))
    assert len(str(named.value).splitlines()) <= 2
    assert str(named.value).startswith(str(folder))
    return str(named.value).removeprefix(str(folder))


def test_missing_and_unknown_tensors_are_listed(spoil):
    def swap(them):
        kept = {name: tensor for name, tensor in them.items() if ".layer.0." not in name}
        return kept | {"vit.stranger": torch.zeros(1)}

    said = refuse(spoil(tensors=swap))
    assert "lacks vit.encoder.layer.0.attention.attention.key.bias, " in said
    assert " and 13 more, and holds vit.stranger.\n" in said
    assert "Fetch it again" in said


def test_a_deeper_config_than_file(spoil):
    assert "lacks vit.encoder.layer.2." in refuse(spoil(num_hidden_layers=3))
    assert "holds vit.encoder.layer.1." in refuse(spoil(num_hidden_layers=1))


@pytest.mark.parametrize(
    ("stated", "message"),
    [
        ({"hidden_size": 24}, r"projection.bias would make embed.bias 16, not 24 \(27 more are wrong\)"),
        ({"intermediate_size": 32}, r"layer.0.output.dense.weight would make .* 16x24, not 16x32 \(5 more"),
        ({"image_size": 24}, r"embeddings.position_embeddings 1x17x16: not the shape that"),
        ({"patch_size": 8}, r"position_embeddings 1x17x16: not the shape that"),
        ({"patch_size": 8, "image_size": 32}, r"would make embed.weight 16x3x4x4, not 16x3x8x8\."),
        ({"num_attention_heads": 3}, "3 heads do not divide a width of 16: take 2 or 4"),
        ({"num_attention_heads": "two"}, r"config.json: describes no vit: "),
        ({"patch_size": [4, 2]}, "patches of 4x2 pixels, and only squares are known here"),
        ({"patch_size": 32}, "position_embeddings 1x17x16: not the shape that"),
        ({"patch_size": 0}, r"config.json: describes no vit: "),
        ({"num_hidden_layers": 0}, r"config.json: describes no vit: depth must be at least 1"),
        ({"hidden_act": "mish"}, "hidden_act 'mish' is none of gelu, "),
        ({"id2label": {"0": "a", "1": "b"}}, "names 2 classes, but the classifier has 3"),
        ({"id2label": ["a", "b"]}, "id2label cannot be understood"),
    ],
)
def test_configs_that_the_tensors_contradict(stated, message, spoil):
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(refuse(spoil(**stated)))


def test_a_wrong_classifier(spoil):
    def widen(them):
        return them | {"classifier.weight": torch.zeros(3, 8)}

    assert "its classifier takes 8 features, not 16" in refuse(spoil(tensors=widen))


def test_other_networks_are_called_by_name(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "swin"}')
    said = refuse(tmp_path)
    assert 'looks like transformers\' "swin", which is no plain ViT' in said
    assert "vit, deit, vit_mae, dinov2, dinov2_with_registers, clip, siglip" in said
    assert "`vitrail models" in said


@pytest.mark.parametrize(
    ("names", "looks"),
    [
        (["blocks.0.attn.qkv.weight"], "a ViT of timm"),
        (["layers.0.blocks.0.attn.relative_position_bias_table", "x"], "a Swin Transformer"),
        (["blocks.0.attn.q_bias", "blocks.0.attn.qkv.weight"], "a BEiT"),
        (["layer1.0.conv1.weight"], "a ResNet"),
        (["resnet.encoder.stages.0.layers.0.layer.0.convolution.weight"], "a ResNet"),
        (["conv_stem.weight"], "an EfficientNet"),
        (["stages.0.blocks.0.conv_dw.weight"], "a ConvNeXt"),
        (["model.layers.0.self_attn.q_proj.weight"], "a language model"),
        (["encoder.layers.encoder_layer_0.ln_1.weight"], "a ViT of torchvision"),
        (["visual.transformer.resblocks.0.ln_1.weight"], "a CLIP in its first form"),
        (["something"], None),
    ],
)
def test_what_files_look_like(names, looks):
    assert looks_like(names) == looks


def test_timm_gives_its_networks_away():
    import timm

    for name, looks in {
        "vit_tiny_patch16_224": "a ViT of timm",
        "swin_tiny_patch4_window7_224": "a Swin Transformer",
        "beit_base_patch16_224": "a BEiT",
        "resnet18": "a ResNet",
        "efficientnet_b0": "an EfficientNet",
        "convnext_atto": "a ConvNeXt",
    }.items():
        with torch.device("meta"):
            assert looks_like(timm.create_model(name).state_dict()) == looks


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["layer1.0.conv1.weight"], "no ViT; it looks like a ResNet"),
        (["x"], "no ViT; it looks like nothing known"),
        (["vit.encoder.layer.0.attention.attention.query.weight"], "its config.json describes: put that"),
        (["backbone.encoder.norm.weight"], "a model that Vitrail trained: name its run folder"),
    ],
)
def test_files_without_a_config(names, message, tmp_path):
    file = tmp_path / "some.safetensors"
    save_file({name: torch.zeros(1) for name in names}, file)
    with pytest.raises(VitrailError, match=message):
        ViTConfig(size="pico", weights=str(file)).build((32, 32), 3)
    with pytest.raises(UsageError, match=r"name a model's folder"):
        configure(str(file))


def test_a_switch_that_made_another_network_of_it_is_to_be_left_out():
    weights = str(LAYOUTS / "vit")
    for changes, flags in (
        ({"norm": "rms", "qk_norm": True}, "--model.norm, --model.qk-norm"),
        ({"registers": 2}, "--model.registers"),
        ({"pool": "mean"}, "--model.pool"),
    ):
        with pytest.raises(UsageError) as refused:
            replace(configure(weights), **changes).build((32, 32), 3)
        cure = f"Take the network that it is: --model {weights} (and leave out {flags}, if given)"
        assert str(refused.value).splitlines()[1] == cure


def test_weights_of_another_network_say_which():
    weights = str(LAYOUTS / "dinov2")
    config = ViTConfig(size="b", patch=16, weights=weights)
    with pytest.raises(UsageError) as refused:
        config.build((32, 32), 3)
    said = str(refused.value)
    with pytest.raises(UsageError, match=r"looks like a DINOv2"):
        config.preprocessing()  # so that a run knows before it begins
    assert said.startswith(
        f"{weights}: looks like a DINOv2 of transformers, vit-pico4, and not like vit-b16: "
    )
    assert "depth 2, not 12" in said
    assert said.endswith(f"\nTake the network that it is: --model {weights}")
    with pytest.raises(
        UsageError, match=r"looks like a ViT of transformers.*: activation gelu, not quick_gelu\."
    ):
        replace(configure(str(LAYOUTS / "vit")), activation="quick_gelu").build((16, 16), 3)


def test_half_a_file(spoil):
    folder = spoil()
    whole = (folder / "model.safetensors").read_bytes()
    for length in (0, 7, 100, len(whole) // 2):
        (folder / "model.safetensors").write_bytes(whole[:length])
        with pytest.raises(VitrailError, match=r"model.safetensors: broken, cannot be read as safetensors"):
            configure(str(folder))
    (folder / "model.safetensors").unlink()
    with pytest.raises(UsageError, match=r"model.safetensors: there are no weights here"):
        configure(str(folder))


def test_shards_that_are_not_there(spoil):
    folder = spoil()
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    index = folder / "model.safetensors.index.json"
    for content, message in (
        ("{}", "no weight_map"),
        ('{"weight_map": {"a": "../a.safetensors"}}', r"../a.safetensors is no file beside it"),
        ('{"weight_map": {"a": "b.safetensors"}}', r"b.safetensors: there are no weights here"),
        ('{"weight_map"', "index.json: cannot be read"),
    ):
        index.write_text(content)
        with pytest.raises(VitrailError, match=message):
            read_pretrained(folder)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pth", "pytorch_model-00001-of-00002.bin"])
def test_pickles_are_refused_with_the_command_that_converts_them(name, spoil):
    folder = spoil()
    (folder / "model.safetensors").rename(folder / name)
    said = refuse(folder)
    assert said.startswith(f"/{name}: a pickle can run any code while it is read, so it is not.\n")
    assert said.endswith(f"python -m vitrail.backbones.convert {folder}")
    with pytest.raises(VitrailError, match=rf"convert {folder / name}$"):
        ViTConfig(weights=str(folder / name)).build((224, 224), 3)


def test_a_patch_that_does_not_divide_the_pictures():
    with pytest.raises(UsageError, match=r"patches of 4 pixels do not divide 18x16: take 16x16 or 20x16"):
        configure(str(LAYOUTS / "vit")).build((18, 16), 3)


def test_pictures_that_the_patch_does_not_divide_lose_a_border(spoil, caplog):
    """SigLIP's so400m is trained at 384 with patches of 14: its last six pixels are seen by no patch."""
    folder = spoil("siglip-vision")
    assert configure(str(folder)).preprocessing()["size"] == (16, 16)
    (folder / "preprocessor_config.json").write_text('{"size": {"height": 18, "width": 21}}')
    assert configure(str(folder)).preprocessing()["size"] == (16, 20)
    assert "patches of 4 do not divide 18x21: pictures of 16x20" in caplog.text


def test_a_classifier_that_sees_other_tokens_is_left_out(spoil, caplog):
    def classify(them):
        kept = {name: tensor for name, tensor in them.items() if name.startswith("vision_model.")}
        return kept | {"classifier.weight": torch.zeros(3, 16), "classifier.bias": torch.zeros(3)}

    assert read_pretrained(spoil("clip", classify)).head is None
    assert "its classifier looks at tokens that no norm has seen: it is left out" in caplog.text


def test_text_towers_and_old_constants_are_known(spoil):
    def age(them):
        return them | {"vision_model.embeddings.position_ids": torch.arange(17)[None]}

    folder = spoil("clip", age, vision_config_dict={"layer_norm_eps": 1e-4})
    assert configure(str(folder)).eps == 1e-4
    assert "holds text_model.stranger" not in str(read_pretrained(folder).title)
