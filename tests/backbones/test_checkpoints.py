"""Checkpoints of transformers in our ViT: equal answers, for files that versions 4.46.3 and 5 wrote.

`tests/backbones/layouts` holds what 4.46.3 wrote and answered; `scripts/write_layouts.py` says how.
"""

import importlib.util
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

from vitrail.backbones import configure
from vitrail.backbones.checkpoints import families, read_pretrained
from vitrail.backbones.checkpoints.start import adapt_channels
from vitrail.backbones.vit import ViTConfig
from vitrail.errors import UsageError

LAYOUTS = Path(__file__).parent / "layouts"
OLD = sorted(folder.name for folder in LAYOUTS.iterdir())
TOLERANCE = {"rtol": 0, "atol": 1e-5}


def script():
    place = Path(__file__).parents[2] / "scripts" / "write_layouts.py"
    specification = importlib.util.spec_from_file_location("write_layouts", place)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Return who writes a case with the transformers that is installed, once."""
    import transformers

    transformers.utils.logging.disable_progress_bar()
    author, home = script(), tmp_path_factory.mktemp("transformers")

    def write(name, **how):
        folder = home / "-".join([name, *how])
        if not folder.exists():
            author.write(name, folder, **how)
        return folder

    return write


def compare(folder, config=None):
    """Hold what our network answers against what transformers answered."""
    answers, config = load_file(folder / "answers.safetensors"), config or configure(str(folder))
    pretrained = read_pretrained(folder)
    for number in (0, 1):
        pixels = answers[f"pixels.{number}"]
        vit = config.build(tuple(pixels.shape[2:]), 3).eval()
        with torch.no_grad():
            features, tokens = vit(pixels), vit.tokens(pixels)
        values = tokens.values
        if tokens.prefix is not None:
            values = torch.cat([tokens.prefix, values], dim=1)
        torch.testing.assert_close(values, answers[f"tokens.{number}"], **TOLERANCE)
        torch.testing.assert_close(features.summary, answers[f"summary.{number}"], **TOLERANCE)
        assert (pretrained.head is None) == (f"logits.{number}" not in answers)
        if pretrained.head is not None:
            logits = F.linear(features.summary, *pretrained.head)
            torch.testing.assert_close(logits, answers[f"logits.{number}"], **TOLERANCE)


@pytest.mark.parametrize("name", OLD)
def test_what_version_4_wrote_answers_alike(name):
    assert json.loads((LAYOUTS / name / "config.json").read_text())["transformers_version"] == "4.46.3"
    compare(LAYOUTS / name)


@pytest.mark.parametrize("name", list(script().CASES))
def test_what_version_5_writes_answers_alike(name, written):
    folder = written(name)
    stated = json.loads((folder / "config.json").read_text())
    assert int(stated["transformers_version"].split(".")[0]) >= 5
    compare(folder)


def test_every_family_is_shown():
    models = {json.loads((LAYOUTS / name / "config.json").read_text())["model_type"] for name in OLD}
    shown = {"clip_vision_model", "siglip_vision_model", *families.TITLES}
    assert models == shown - {"dinov2_with_registers"}  # which came with 4.48
    assert set(OLD) < set(script().CASES)


def test_the_comparison_would_notice():
    """The other filter for positions, another activation, another epsilon: each is more than 1e-5 apart."""
    config = configure(str(LAYOUTS / "vit"))
    with pytest.raises(AssertionError, match="Tensor-likes are not close"):
        compare(LAYOUTS / "vit", replace(config, antialias=True))


@pytest.mark.parametrize("name", OLD)
def test_layouts_write_what_they_read(name):
    """Each tensor goes back to where it came from, except that positions of tokens stay in the tokens."""
    theirs = load_file(LAYOUTS / name / "model.safetensors")
    pretrained = read_pretrained(LAYOUTS / name)
    family = next(family for family, title in families.TITLES.items() if pretrained.title.startswith(title))
    tensors = dict(pretrained.tensors)
    if pretrained.head:
        tensors |= dict(zip(("head.weight", "head.bias"), pretrained.head, strict=True))
    end = families.embedding(family) + ".weight"
    at = next(name.removesuffix(end) for name in theirs if name.endswith(end))
    grid = tuple(pretrained.tensors["positions.values"].shape[:2])
    layout = families.layout(family, pretrained.config, grid, at=at, head=pretrained.head is not None)
    back = layout.write(tensors)
    assert back.keys() <= theirs.keys()
    changed = ("position", "cls_token", "class_embedding", "distillation_token", "classifier")
    for name, tensor in back.items():
        assert tensor.shape == theirs[name].shape, name
        if not any(part in name for part in changed):
            torch.testing.assert_close(tensor, theirs[name], rtol=0, atol=0)
    again = layout.read(back, "what was written")
    torch.testing.assert_close(again, tensors, rtol=0, atol=1e-6)


def test_what_comes_along(written):
    config = configure(str(LAYOUTS / "dinov2"))
    assert (config.size, config.width, config.depth, config.heads, config.mlp) == ("pico", 16, 2, 2, 32)
    assert (config.pool, config.layer_scale, config.antialias, config.eps) == ("class+mean", 1.0, False, 1e-6)
    pretrained = read_pretrained(LAYOUTS / "dinov2")
    assert pretrained.title == "a DINOv2 of transformers"
    assert pretrained.classes == ("crane (0)", "heron", "crane (2)")  # two of one name are two classes
    assert configure(str(LAYOUTS / "deit")).registers == 1
    assert configure(str(LAYOUTS / "deit-distilled")).pool == "class+distilled"
    assert configure(str(LAYOUTS / "vit-bare")).bias == "not-qkv"
    clip = configure(str(LAYOUTS / "clip"))
    assert (clip.activation, clip.enter_norm, clip.patch_bias, clip.eps) == ("quick_gelu", True, False, 1e-5)
    registers = configure(str(written("dinov2-registers")))
    assert (registers.registers, registers.antialias) == (3, True)
    assert read_pretrained(LAYOUTS / "clip").classes is None


def test_known_sizes_keep_their_names(tmp_path):
    """What a checkpoint is is known by its header: its tensors need not be read."""
    named = ViTConfig(size="ti", patch=16)
    with torch.device("meta"):
        shapes = named.build((32, 32), 3).state_dict()
    tensors = {name: torch.zeros(part.shape, dtype=torch.half) for name, part in shapes.items()}
    save_file(families.layout("vit", named, (2, 2)).write(tensors), tmp_path / "model.safetensors")
    stated = {"model_type": "vit", "hidden_size": 192, "num_attention_heads": 3, "intermediate_size": 768}
    (tmp_path / "config.json").write_text(json.dumps({**stated, "image_size": 32}))
    found = read_pretrained(tmp_path, values=False)
    assert found.config == replace(named, eps=1e-12, antialias=False)
    assert all(tensor.is_meta for tensor in found.tensors.values())


def test_shards_are_one_checkpoint(written):
    whole = read_pretrained(written("vit"))
    shards = written("vit", max_shard_size="5KB")
    assert not (shards / "model.safetensors").exists()
    torch.testing.assert_close(read_pretrained(shards).tensors, whole.tensors, rtol=0, atol=0)
    compare(shards)


def test_half_precision_becomes_single_before_anything_is_added(tmp_path):
    source = LAYOUTS / "vit-bare"
    tensors = {name: part.half() for name, part in load_file(source / "model.safetensors").items()}
    save_file(tensors, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_bytes((source / "config.json").read_bytes())
    found = read_pretrained(tmp_path).tensors
    expected = (
        tensors["embeddings.cls_token"].float() + tensors["embeddings.position_embeddings"].float()[:, :1]
    )
    assert torch.equal(found["prefix"][None], expected)


def test_a_file_beside_its_config_is_its_folder():
    file = LAYOUTS / "vit" / "model.safetensors"
    assert configure(str(file)) == replace(configure(str(LAYOUTS / "vit")), weights=str(file))


@pytest.mark.parametrize(("channels", "weigh"), [(1, lambda k: k.sum(1, keepdim=True)), (3, lambda k: k)])
def test_grey_pictures_meet_the_sum(channels, weigh):
    config = configure(str(LAYOUTS / "vit"))
    kernel = load_file(LAYOUTS / "vit" / "model.safetensors")[
        "vit.embeddings.patch_embeddings.projection.weight"
    ]
    assert torch.equal(config.build((16, 16), channels).embed.weight, weigh(kernel))


@pytest.mark.parametrize("channels", [1, 2, 4, 5, 13])
def test_channels_are_adapted_as_timm_does(channels):
    from timm.models._manipulate import adapt_input_conv

    kernel = torch.randn(4, 3, 2, 2)
    torch.testing.assert_close(adapt_channels(kernel, channels), adapt_input_conv(channels, kernel))


def test_what_may_be_chosen_otherwise(written):
    """Pooling and dropping are the user's; a pooling that the weights do not have starts from chance."""
    config = configure(str(LAYOUTS / "siglip"))
    mean = replace(config, pool="mean", drop_path=0.1, patch_drop=0.5).build((16, 16), 3).eval()
    assert mean.pooling is None
    whole = configure(str(LAYOUTS / "siglip-classes"))
    pooled = replace(whole, pool="attention").build((16, 16), 3)
    assert torch.equal(pooled.embed.weight, whole.build((16, 16), 3).embed.weight)
    tokens = replace(configure(str(LAYOUTS / "vit")), pool="mean", registers=1).build((16, 16), 3)
    assert tokens.prefix.shape == (1, 16)
    with pytest.raises(UsageError, match="tokens before the patches 1, not 0"):
        replace(configure(str(LAYOUTS / "vit")), pool="mean").build((16, 16), 3)


def test_a_run_never_needs_them_again():
    config = configure(str(LAYOUTS / "vit"))
    assert config.weights == str(LAYOUTS / "vit")
    assert config.untrained() == replace(config, weights=None)
    assert config.untrained().preprocessing() == {}
    config.fetch(offline=True)
    assert config.preprocessing()["size"] == (16, 16)


def test_other_names_for_the_same_network():
    """A config that states all that the checkpoint says takes its file, too."""
    found = configure(str(LAYOUTS / "vit"))
    stated = ViTConfig(
        size="b", patch=4, width=16, depth=2, heads=2, mlp=24, eps=1e-12, weights=str(LAYOUTS / "vit")
    )
    assert torch.equal(stated.build((16, 16), 3).prefix, found.build((16, 16), 3).prefix)


def test_shapes_are_read_without_arithmetic():
    """On the meta device torch's arithmetic would first import its compiler, which takes seconds."""
    from torch.overrides import TorchFunctionMode

    class Watch(TorchFunctionMode):
        seen: set[str] = set()  # noqa: RUF012

        def __torch_function__(self, function, types, args=(), kwargs=None):
            self.seen.add(function.__name__.strip("_"))
            return function(*args, **(kwargs or {}))

    with Watch() as watch:
        for name in OLD:
            read_pretrained(LAYOUTS / name, values=False)
    assert "reshape" in watch.seen
    assert not {"add", "cat", "div", "mul", "sub", "stack", "roll", "truediv", "linspace"} & watch.seen


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "config", "stated"),
    [
        ("ViTForImageClassification", "ViTConfig", {}),
        ("DeiTForImageClassificationWithTeacher", "DeiTConfig", {}),
        ("Dinov2ForImageClassification", "Dinov2Config", {"layerscale_value": 0.1, "image_size": 518}),
        ("SiglipForImageClassification", "SiglipConfig", {}),
    ],
)
def test_networks_of_full_size_answer_alike(model, config, stated, tmp_path):
    import transformers

    torch.manual_seed(0)
    theirs = getattr(transformers, model)(getattr(transformers, config)(**stated)).eval()
    theirs.save_pretrained(tmp_path)
    ours, pretrained = configure(str(tmp_path)), read_pretrained(tmp_path)
    for size in ((224, 224), (280, 168) if ours.patch == 14 else (256, 160)):
        pixels = torch.randn(1, 3, *size)
        resize = {} if "Dinov2" in model else {"interpolate_pos_encoding": True}
        with torch.no_grad():
            logits = F.linear(ours.build(size, 3).eval()(pixels).summary, *pretrained.head)
            torch.testing.assert_close(logits, theirs(pixels, **resize).logits, **TOLERANCE)
