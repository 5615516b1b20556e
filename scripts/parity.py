"""Is another library's checkpoint the same network in ours? Builds each there, reads it here, compares.

    python scripts/parity.py [WORD] [--markdown [FILE]]

Every architecture is built by the library itself, a ViT with few layers, and with random weights everywhere:
norms, biases, scales and statistics too, so that nothing hides behind a zero or a one. It is written to disk
by the library and read by `read_pretrained`; then both answer the same random pictures, of the size that its
positions are of, and of another, not square one. Exit status 1: one differs by more than 1e-5. WORD: only
names with it.
"""

import argparse
import logging
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from importlib.metadata import version
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vitrail.backbones.checkpoints import Pretrained, read_pretrained
from vitrail.backbones.timm import TimmConfig

LIMIT = 1e-5
CLASSES = 7

Outputs = tuple[Tensor, Tensor, Tensor | None]
"""Normalised tokens ``b n d``, the prefix first; the picture's summary ``b d``; logits, if there are any.

The tokens of a CNN are the places of its last stage, row by row.
"""


@dataclass(frozen=True)
class Case:
    """``make`` writes a checkpoint into a folder; it returns where, and what answers pictures with it."""

    source: str
    name: str
    make: Callable[[Path], tuple[Path, Callable[[Tensor], Outputs]]]


@dataclass(frozen=True)
class Row:
    """The largest differences by output, at each of two sizes."""

    case: Case
    differences: Mapping[tuple[int, int], Mapping[str, float]]

    @property
    def equal(self) -> bool:
        return all(value <= LIMIT for found in self.differences.values() for value in found.values())


def compare(case: Case, folder: Path) -> Row:
    """Build, write, read and compare."""
    torch.manual_seed(0)
    path, theirs = case.make(folder)
    pretrained = read_pretrained(path)
    native = pretrained.preprocessing["size"]
    config = pretrained.config
    patch = 32 if isinstance(config, TimmConfig) else config.patch
    return Row(
        case,
        {size: _differences(pretrained, native, size, theirs) for size in (native, (3 * patch, 2 * patch))},
    )


@torch.no_grad()
def _differences(
    pretrained: Pretrained,
    native: tuple[int, int],
    size: tuple[int, int],
    theirs: Callable[[Tensor], Outputs],
) -> dict[str, float]:
    config = pretrained.config
    net = config.build(native, 3).eval()
    inside = net.net if isinstance(config, TimmConfig) else net
    inside.load_state_dict(dict(pretrained.tensors))
    pixels = torch.randn(2, 3, *size)
    features, (tokens, summary, logits) = net(pixels), theirs(pixels)
    prefix = [] if features.prefix is None else [features.prefix]
    ours = [torch.cat([*prefix, features.levels[-1].flatten(2).mT], dim=1), features.summary]
    if getattr(config, "pool", "") == "class+distilled":  # whose summaries others average, and we keep both
        ours[1] = torch.stack(ours[1].chunk(2, dim=1)).mean(0)
    pairs = {"tokens": (ours[0], tokens), "summary": (ours[1], summary)}
    if logits is not None:
        assert pretrained.head is not None, "the classifier came along"
        pairs["logits"] = (nn.functional.linear(features.summary, *pretrained.head), logits)
    return {name: (one - other).abs().max().item() for name, (one, other) in pairs.items()}


def randomise(net: nn.Module) -> nn.Module:
    """Draw every parameter anew, so that outputs are of order 1 and nothing is zero or one."""
    matrices = {
        id(layer.weight)
        for layer in net.modules()
        if isinstance(layer, nn.Linear | nn.Conv2d | nn.MultiheadAttention)
        if hasattr(layer, "weight")
    }
    for name, part in net.named_parameters():
        if id(part) in matrices or name.endswith("in_proj_weight"):
            nn.init.normal_(part, std=part[0].numel() ** -0.5)
        elif part.ndim == 1 and not name.endswith("bias"):  # norms and scales
            nn.init.uniform_(part, 0.5, 1.5)
        else:
            nn.init.normal_(part, std=0.3)
    return net.eval()


# ---------------------------------------------------------------- timm

SMALL = {"embed_dim": 96, "num_heads": 4}
TIMM: dict[str, tuple[str, dict[str, Any]]] = {
    "ViT (augreg), Ti/16": ("vit_tiny_patch16_224", {}),
    "ViT (augreg), B/32": ("vit_base_patch32_224", {}),
    "ViT, L/16 at 48x64": ("vit_large_patch16_224", {"img_size": (48, 64)}),
    "DeiT, distilled": ("deit_tiny_distilled_patch16_224", {}),
    "DeiT III (LayerScale)": ("deit3_small_patch16_224", {}),
    "DINOv2, S/14": ("vit_small_patch14_dinov2", {"img_size": 70}),
    "DINOv2 with registers": ("vit_small_patch14_reg4_dinov2", {"img_size": 70}),
    "DINOv2 giant's SwiGLU": ("vit_giant_patch14_dinov2", {"img_size": 56, **SMALL}),
    "CLIP, B/32": ("vit_base_patch32_clip_224", {}),
    "CLIP, quick GELU": ("vit_base_patch16_clip_quickgelu_224", {"img_size": 64, **SMALL}),
    "SigLIP, B/16 (attention pooling)": ("vit_base_patch16_siglip_224", {"img_size": 64}),
    "SigLIP, so400m (tanh GELU)": (
        "vit_so400m_patch14_siglip_224",
        {"img_size": 56, "embed_dim": 144, "num_heads": 2},
    ),
    "SigLIP, mean-pooled": ("vit_base_patch16_siglip_gap_224", {"img_size": 64, **SMALL}),
    "mean-pooled with registers": ("vit_little_patch16_reg4_gap_256", {}),
    "mean-pooled with an idle class token": ("vit_tiny_patch16_224", {"global_pool": "avg"}),
    "attention pooling beside a class token": ("vit_tiny_patch16_224", {"global_pool": "map"}),
    "query-key norm, no query bias": ("vit_tiny_patch16_224", {"qk_norm": True, "qkv_bias": False}),
    "RMSNorm, registers (test_vit4)": ("test_vit4", {}),
    "RMSNorm, no biases, no positions": (
        "vit_tiny_patch16_224",
        {
            "norm_layer": "rmsnorm",
            "qkv_bias": False,
            "proj_bias": False,
            "pos_embed": "none",
            "reg_tokens": 2,
        },
    ),
    "axial rotary positions": ("vit_small_patch16_rope_224", {"img_size": 64}),
}
"""Architectures of timm, and what departs from them."""


def timm_case(title: str) -> Case:
    name, arguments = TIMM[title]

    def make(folder: Path) -> tuple[Path, Callable[[Tensor], Outputs]]:
        import timm

        net = randomise(timm.create_model(name, depth=2, num_classes=CLASSES, **arguments))
        timm.models.save_for_hf(net, folder, safe_serialization=True)
        free = timm.create_model(f"local-dir:{folder}", pretrained=True, dynamic_img_size=True).eval()
        return folder, _answers_of_timm(free)

    return Case(f"timm {version('timm')}", f"{title}: {name}", make)


def _answers_of_timm(net: Any) -> Callable[[Tensor], Outputs]:
    def answer(pixels: Tensor) -> Outputs:
        tokens = net.forward_features(pixels)
        return tokens, net.forward_head(tokens, pre_logits=True), net(pixels)

    return answer


# ---------------------------------------------------------------- big_vision

NPZ: dict[str, dict[str, Any]] = {
    "vit_jax, class token": {"old": True, "token": True},
    "vit_jax, a layer before the classifier": {
        "old": True,
        "token": True,
        "at": "opt/target/",
        "before": True,
    },
    "vit_jax, mean-pooled": {"old": True},
    "big_vision, class token": {"token": True, "at": "params/"},
    "big_vision, layers stacked": {"at": "params/", "stacked": True},
    "big_vision, waves as positions": {"at": "params/", "waves": True},
    "SigLIP's tower": {"at": "params/img/", "pooled": True},
}
"""Files in the layouts of vit_jax and big_vision, which timm reads by its own function."""


def npz_case(title: str) -> Case:
    options = NPZ[title]
    token, waves = options.get("token", False), options.get("waves", False)
    pool = "token" if token else "map" if options.get("pooled") else "avg"

    def make(folder: Path) -> tuple[Path, Callable[[Tensor], Outputs]]:
        import timm

        arrays = big_vision_arrays(np.random.default_rng(0), **options)
        np.savez(folder / "weights.npz", **arrays)

        def answer(pixels: Tensor) -> Outputs:
            file, size = folder / "weights.npz", (64, 64)
            if waves:  # timm cannot do without positions: it is given those of each size
                file, size = folder / "with-positions.npz", tuple(pixels.shape[2:])
                np.savez(
                    file,
                    **arrays,
                    **{"params/pos_embedding": waves_of_big_vision(size[0] // 16, size[1] // 16)},
                )
            arguments = {"class_token": token, "no_embed_class": not options.get("old"), "global_pool": pool}
            net = timm.create_model(
                "vit_base_patch16_224",
                **(SMALL | arguments),
                depth=2,
                num_classes=CLASSES,
                img_size=size,
                dynamic_img_size=not waves,
                fc_norm=False,
                act_layer="gelu_tanh",
            )
            net.load_pretrained(str(file))
            tokens, summary, logits = _answers_of_timm(net.eval())(pixels)
            if waves:  # of which we have those of the row first: the halves of our features are exchanged
                tokens, summary = (each.roll(each.shape[-1] // 2, -1) for each in (tokens, summary))
            return tokens, summary, None if options.get("before") else logits

        return folder / "weights.npz", answer

    return Case(f"timm {version('timm')}, .npz", title, make)


def big_vision_arrays(
    draw: np.random.Generator, *, at: str = "", old: bool = False, token: bool = False, pooled: bool = False,
    stacked: bool = False, waves: bool = False, before: bool = False,
) -> dict[str, np.ndarray]:  # fmt: skip
    """Return random arrays of a small ViT under the names that vit_jax (``old``) or big_vision gave them."""
    width, heads, mlp, patch, places, layers = 96, 4, 384, 16, 16, 2
    found: dict[str, np.ndarray] = {}

    def put(name: str, *shape: int, mean: float = 0.0, spread: float | None = None) -> None:
        spread = int(np.prod(shape[:-1])) ** -0.5 if spread is None else spread
        found[name] = draw.normal(mean, spread, shape).astype(np.float32)

    def dense(name: str, taken: int, given: int) -> None:
        put(f"{name}/kernel", taken, given)
        put(f"{name}/bias", given, spread=0.2)

    def norm(name: str) -> None:
        put(f"{name}/scale", width, mean=1, spread=0.3)
        put(f"{name}/bias", width, spread=0.2)

    def attention(name: str) -> None:
        for part in ("query", "key", "value"):
            put(f"{name}/{part}/kernel", width, heads, width // heads, spread=width**-0.5)
            put(f"{name}/{part}/bias", heads, width // heads, spread=0.2)
        put(f"{name}/out/kernel", heads, width // heads, width)
        put(f"{name}/out/bias", width, spread=0.2)

    put("embedding/kernel", patch, patch, 3, width)
    put("embedding/bias", width, spread=0.2)
    if token:
        put("cls", 1, 1, width, spread=0.3)
    if not waves:
        places_name = "Transformer/posembed_input/pos_embedding" if old else "pos_embedding"
        put(places_name, 1, places + (old and token), width, spread=0.3)
    mix, second, feed = ("1", "2", "3") if old else ("0", "1", "0")
    for layer in range(layers):
        block = f"Transformer/encoderblock_{layer}"
        norm(f"{block}/LayerNorm_0")
        attention(f"{block}/MultiHeadDotProductAttention_{mix}")
        norm(f"{block}/LayerNorm_{second}")
        dense(f"{block}/MlpBlock_{feed}/Dense_0", width, mlp)
        dense(f"{block}/MlpBlock_{feed}/Dense_1", mlp, width)
    norm("Transformer/encoder_norm")
    if pooled:
        put("MAPHead_0/probe", 1, 1, width, spread=1.0)
        attention("MAPHead_0/MultiHeadDotProductAttention_0")
        norm("MAPHead_0/LayerNorm_0")
        dense("MAPHead_0/MlpBlock_0/Dense_0", width, mlp)
        dense("MAPHead_0/MlpBlock_0/Dense_1", mlp, width)
    if before:
        dense("pre_logits", width, width)
    dense("head", width, CLASSES)
    if stacked:
        first = "Transformer/encoderblock_0/"
        for name in [name for name in found if name.startswith(first)]:
            each = [found.pop(name.replace("_0/", f"_{layer}/", 1)) for layer in range(layers)]
            found[name.replace("_0/", "/", 1)] = np.stack(each)
    named = {f"{at}{name}": array for name, array in found.items()}
    other_tower = {"params/t": np.ones(1, np.float32), "params/txt/head/bias": np.ones(3, np.float32)}
    return named | (other_tower if at == "params/img/" else {})


def waves_of_big_vision(height: int, width: int, features: int = 96) -> np.ndarray:
    """Return big_vision's ``posemb_sincos_2d``: sines and cosines of the column, then of the row."""
    speeds = 1.0 / 10_000 ** (np.arange(features // 4) / (features // 4 - 1))
    y, x = (place.reshape(-1, 1) * speeds for place in np.mgrid[:height, :width])
    return np.concatenate([np.sin(x), np.cos(x), np.sin(y), np.cos(y)], axis=1)[None].astype(np.float32)


# ---------------------------------------------------------------- transformers

_TRUNK = {"hidden_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 256}
_DINO = {
    "hidden_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "patch_size": 14,
    "image_size": 56,
}
TRANSFORMERS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "ViT": ("ViTForImageClassification", "ViTConfig", {**_TRUNK, "image_size": 64}),
    "ViT, B/16 without query bias": (
        "ViTForImageClassification",
        "ViTConfig",
        {"num_hidden_layers": 2, "image_size": 64, "qkv_bias": False, "hidden_act": "quick_gelu"},
    ),
    "DeiT": ("DeiTForImageClassification", "DeiTConfig", {**_TRUNK, "image_size": 64}),
    "DeiT, distilled": ("DeiTForImageClassificationWithTeacher", "DeiTConfig", {**_TRUNK, "image_size": 64}),
    "masked autoencoder": ("ViTMAEModel", "ViTMAEConfig", {**_TRUNK, "image_size": 64, "mask_ratio": 0.0}),
    "DINOv2": ("Dinov2ForImageClassification", "Dinov2Config", _DINO),
    "DINOv2, SwiGLU": ("Dinov2ForImageClassification", "Dinov2Config", {**_DINO, "use_swiglu_ffn": True}),
    "DINOv2 with registers": (
        "Dinov2WithRegistersForImageClassification",
        "Dinov2WithRegistersConfig",
        {**_DINO, "num_register_tokens": 3},
    ),
    "CLIP": ("CLIPVisionModel", "CLIPVisionConfig", {**_TRUNK, "image_size": 64, "patch_size": 16}),
    "SigLIP": ("SiglipVisionModel", "SiglipVisionConfig", {**_TRUNK, "image_size": 64, "patch_size": 16}),
}
"""Models of transformers, their configs, and what departs from these."""


def transformers_case(title: str) -> Case:
    kind, config, arguments = TRANSFORMERS[title]

    def make(folder: Path) -> tuple[Path, Callable[[Tensor], Outputs]]:
        import transformers

        settings = getattr(transformers, config)(**arguments, num_labels=CLASSES)
        net = randomise(getattr(transformers, kind)(settings))
        net.save_pretrained(folder)
        inside = getattr(net, net.base_model_prefix, net)

        def answer(pixels: Tensor) -> Outputs:
            places = pixels[0, 0].numel() // settings.patch_size**2
            extra = (
                {"noise": torch.arange(places).repeat(len(pixels), 1) / places}
                if kind == "ViTMAEModel"
                else {}
            )
            found = inside(pixels, interpolate_pos_encoding=True, **extra)
            tokens = found.last_hidden_state
            logits = None
            if hasattr(net, "classifier") or hasattr(net, "cls_classifier"):
                logits = net(pixels, interpolate_pos_encoding=True).logits
            if kind == "CLIPVisionModel":  # which norms its class token only
                tokens = getattr(inside, "vision_model", inside).post_layernorm(tokens)
            return tokens, _summary(kind, tokens, found), logits

        return folder, answer

    return Case(f"transformers {version('transformers')}", f"{title}: {kind}", make)


def _summary(kind: str, tokens: Tensor, found: Any) -> Tensor:
    """Return what a model of transformers sums a picture up by: what its classifier is given."""
    if kind == "SiglipVisionModel":
        return found.pooler_output
    if kind.endswith("WithTeacher"):
        return tokens[:, :2].mean(dim=1)
    if kind.startswith("Dinov2"):
        skip = 4 if "Registers" in kind else 1
        return torch.cat([tokens[:, 0], tokens[:, skip:].mean(dim=1)], dim=1)
    return tokens[:, 0]


RESNETS: dict[str, dict[str, Any]] = {
    "ResNet, 18 layers": {
        "layer_type": "basic",
        "depths": [2, 2, 2, 2],
        "hidden_sizes": [64, 128, 256, 512],
    },
    "ResNet, 50 layers": {"layer_type": "bottleneck", "depths": [3, 4, 6, 3]},
}
"""What departs from the config of transformers' ResNets, which become timm's."""


def resnet_case(title: str) -> Case:
    def make(folder: Path) -> tuple[Path, Callable[[Tensor], Outputs]]:
        import transformers

        settings = transformers.ResNetConfig(**RESNETS[title], num_labels=CLASSES)
        net = randomise(transformers.ResNetForImageClassification(settings)).train()
        with torch.no_grad():
            for _ in range(5):  # the statistics of batches become their own
                net(torch.randn(4, 3, 64, 64))
        net.eval().save_pretrained(folder)
        transformers.ConvNextImageProcessor(size={"shortest_edge": 64}).save_pretrained(folder)

        def answer(pixels: Tensor) -> Outputs:
            found = net.resnet(pixels)
            tokens, summary = found.last_hidden_state.flatten(2).mT, found.pooler_output.flatten(1)
            return tokens, summary, net(pixels).logits

        return folder, answer

    return Case(f"transformers {version('transformers')}", f"{title}: ResNetForImageClassification", make)


# ---------------------------------------------------------------- the table

CASES = {
    **{f"timm/{title}": timm_case(title) for title in TIMM},
    **{f"npz/{title}": npz_case(title) for title in NPZ},
    **{f"transformers/{title}": transformers_case(title) for title in TRANSFORMERS},
    **{f"transformers/{title}": resnet_case(title) for title in RESNETS},
}


def table(rows: list[Row]) -> Iterator[str]:
    """Return the lines of a Markdown table."""
    outputs = ("tokens", "summary", "logits")
    yield f"| source | architecture | size | {' | '.join(outputs)} | size | {' | '.join(outputs)} | equal |"
    yield f"| --- | --- |{' --- | ---: | ---: | ---: |' * 2} --- |"
    for row in rows:
        cells = [row.case.source, row.case.name]
        for (height, width), found in row.differences.items():
            cells += [f"{height}x{width}"]
            cells += [f"{found[name]:.1e}" if name in found else "" for name in outputs]
        yield f"| {' | '.join(cells)} | {'yes' if row.equal else '**no**'} |"


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("word", nargs="?", default="", help="only architectures whose names contain it")
    parser.add_argument(
        "--markdown", nargs="?", const="-", metavar="FILE", help="a page, printed or into FILE"
    )
    words = parser.parse_args(argv)
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    chosen = [case for name, case in CASES.items() if words.word.lower() in f"{name} {case.name}".lower()]
    if not chosen:
        parser.error(f"no architecture's name contains {words.word!r}")
    rows = []
    for case in chosen:
        quiet = StringIO()
        with tempfile.TemporaryDirectory() as folder, redirect_stdout(quiet), redirect_stderr(quiet):
            rows.append(compare(case, Path(folder)))
    lines = list(table(rows))
    equal = sum(row.equal for row in rows)
    end = f"{equal} of {len(rows)} within {LIMIT:g} (largest difference, float32, two random pictures)."
    if words.markdown:
        page = "\n".join(
            ["# Parity with other libraries", "", f"torch {torch.__version__}. {end}", "", *lines, ""]
        )
        if words.markdown == "-":
            print(page)
        else:
            Path(words.markdown).write_text(page, encoding="utf-8")
    else:
        for line in _aligned(lines):
            print(line)
    print(end, file=sys.stderr)
    return int(equal < len(rows))


def _aligned(lines: list[str]) -> Iterator[str]:
    """Return the rows of a Markdown table as columns for a terminal."""
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if "---" not in line]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


if __name__ == "__main__":
    sys.exit(main())
