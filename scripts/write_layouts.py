"""Write tiny checkpoints of every family with transformers, and what transformers answers with them.

    python scripts/write_layouts.py tests/backbones/layouts

The folders there were written by transformers 4.46.3 with torch 2.15.0, in an environment of their own: files
on the Hub are of that age, and the package cannot be installed beside the version 5 that the tests run. The
tests read them, and let version 5 write the same cases through this file. Each folder is a checkpoint with
random weights (norms, scales, biases and positions as well, so that nothing hides), and what it answers:
pictures at the native and at another, not square size, the last hidden state after the last norm, the summary
and, where there is a classifier, its logits.
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

SIZES = ((16, 16), (24, 12))
"""The native size, and another."""

TOWER = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "image_size": 16,
    "patch_size": 4,
}
TEXT = {
    "hidden_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 1,
    "intermediate_size": 8,
    "vocab_size": 9,
    "max_position_embeddings": 4,
}
PAIR = {"vision_config": TOWER, "text_config": TEXT}
LABELS = {"id2label": {0: "crane", 1: "heron", 2: "crane"}, "label2id": {"crane": 2, "heron": 1}}
DECODER = {
    "mask_ratio": 0.0,
    "decoder_hidden_size": 8,
    "decoder_num_hidden_layers": 1,
    "decoder_num_attention_heads": 1,
    "decoder_intermediate_size": 8,
}
DINO = {name: value for name, value in TOWER.items() if name != "intermediate_size"} | {"mlp_ratio": 2}


@dataclass(frozen=True, kw_only=True)
class Case:
    """A class of transformers with a config; the ``tower`` that sees is this attribute of it, or itself."""

    model: str
    config: str
    stated: Mapping[str, Any]
    tower: str = ""
    processor: str = "ViTImageProcessor"
    prepared: Mapping[str, Any] = field(default_factory=dict)


SQUARE = {"size": {"height": 16, "width": 16}}
CUT = {"size": {"shortest_edge": 18}, "crop_size": {"height": 16, "width": 16}}

CASES: dict[str, Case] = {
    "vit": Case(
        model="ViTForImageClassification",
        config="ViTConfig",
        stated={**TOWER, **LABELS},
        tower="vit",
        prepared=SQUARE,
    ),
    "vit-bare": Case(
        model="ViTModel",
        config="ViTConfig",
        stated={**TOWER, "qkv_bias": False, "hidden_act": "gelu_new", "layer_norm_eps": 1e-5},
    ),
    "vit-masked": Case(
        model="ViTForMaskedImageModeling",
        config="ViTConfig",
        stated={**TOWER, "encoder_stride": 4},
        tower="vit",
    ),
    "deit": Case(
        model="DeiTForImageClassification",
        config="DeiTConfig",
        stated={**TOWER, **LABELS},
        tower="deit",
        processor="DeiTImageProcessor",
        prepared={"size": {"height": 18, "width": 18}, "crop_size": {"height": 16, "width": 16}},
    ),
    "deit-distilled": Case(
        model="DeiTForImageClassificationWithTeacher",
        config="DeiTConfig",
        stated={**TOWER, **LABELS},
        tower="deit",
    ),
    "deit-bare": Case(model="DeiTModel", config="DeiTConfig", stated=TOWER),
    "vit-mae": Case(
        model="ViTMAEForPreTraining",
        config="ViTMAEConfig",
        stated={**TOWER, **DECODER},
        tower="vit",
        prepared=SQUARE,
    ),
    "vit-mae-bare": Case(model="ViTMAEModel", config="ViTMAEConfig", stated={**TOWER, **DECODER}),
    "dinov2": Case(
        model="Dinov2ForImageClassification",
        config="Dinov2Config",
        stated={**DINO, **LABELS},
        tower="dinov2",
        processor="BitImageProcessor",
        prepared=CUT,
    ),
    "dinov2-giant": Case(
        model="Dinov2Model",
        config="Dinov2Config",
        stated={**DINO, "use_swiglu_ffn": True, "qkv_bias": False},
    ),
    "dinov2-registers": Case(
        model="Dinov2WithRegistersForImageClassification",
        config="Dinov2WithRegistersConfig",
        stated={**DINO, **LABELS, "num_register_tokens": 3},
        tower="dinov2_with_registers",
        processor="BitImageProcessor",
        prepared=CUT,
    ),
    "dinov2-registers-giant": Case(
        model="Dinov2WithRegistersModel",
        config="Dinov2WithRegistersConfig",
        stated={**DINO, "use_swiglu_ffn": True},
    ),
    "clip": Case(
        model="CLIPModel",
        config="CLIPConfig",
        stated={**PAIR, "projection_dim": 8},
        tower="vision_model",
        processor="CLIPImageProcessor",
        prepared={"size": {"shortest_edge": 16}, "crop_size": {"height": 16, "width": 16}},
    ),
    "clip-vision": Case(
        model="CLIPVisionModel", config="CLIPVisionConfig", stated={**TOWER, "hidden_act": "gelu"}
    ),
    "clip-projected": Case(
        model="CLIPVisionModelWithProjection",
        config="CLIPVisionConfig",
        stated={**TOWER, "projection_dim": 8},
        tower="vision_model",
    ),
    "siglip": Case(
        model="SiglipModel",
        config="SiglipConfig",
        stated=PAIR,
        tower="vision_model",
        processor="SiglipImageProcessor",
        prepared=SQUARE,
    ),
    "siglip-vision": Case(
        model="SiglipVisionModel", config="SiglipVisionConfig", stated={**TOWER, "image_size": 18}
    ),
    "siglip-classes": Case(
        model="SiglipForImageClassification",
        config="SiglipConfig",
        stated={**PAIR, **LABELS},
        tower="vision_model",
    ),
}


def write(name: str, folder: Path, **how: Any) -> None:
    """Write one case into a folder: checkpoint, preparation of pictures, answers. ``how`` it is saved."""
    import transformers
    from safetensors.torch import save_file

    case = CASES[name]
    torch.manual_seed(len(name))
    model = getattr(transformers, case.model)(getattr(transformers, case.config)(**case.stated)).eval()
    shake(model)
    model.save_pretrained(folder, **how)
    if case.prepared:
        getattr(transformers, case.processor)(**case.prepared).save_pretrained(folder)
    found: dict[str, Tensor] = {}
    for number, size in enumerate(SIZES):
        found |= {f"{part}.{number}": value for part, value in answer(case, model, size).items()}
    save_file({part: value.clone() for part, value in found.items()}, folder / "answers.safetensors")


def shake(model: nn.Module) -> None:
    """Draw every parameter anew: those that multiply lie around one, the others around zero."""
    for name, parameter in model.named_parameters():
        factor = parameter.ndim == 1 and name.endswith(("weight", "lambda1"))
        with torch.no_grad():
            parameter.normal_(float(factor), 0.2)


@torch.no_grad()
def answer(case: Case, model: Any, size: tuple[int, int]) -> dict[str, Tensor]:
    """Return pictures of a size, and what the model makes of them."""
    pixels = torch.randn(1, 3, *size)
    resize = {} if "Dinov2" in case.model else {"interpolate_pos_encoding": True}  # there it always does
    order = {}
    if "ViTMAE" in case.model:  # it shuffles patches by noise, which is in order here
        order["noise"] = torch.arange(size[0] * size[1] // 16)[None].float()
    tower = getattr(model, case.tower) if case.tower else model
    seen = tower(pixels, **resize, **order)
    tokens = seen.last_hidden_state
    summary = tokens[:, 0]
    if "CLIP" in case.model:
        norm = tower.post_layernorm if hasattr(tower, "post_layernorm") else tower.vision_model.post_layernorm
        tokens, summary = norm(tokens), seen.pooler_output
    elif case.model == "SiglipForImageClassification":
        summary = tokens.mean(dim=1)
    elif "Siglip" in case.model:
        summary = seen.pooler_output
    elif case.model.startswith("Dinov2") and "Classification" in case.model:
        patches = tokens[:, 1 + case.stated.get("num_register_tokens", 0) :]
        summary = torch.cat([summary, patches.mean(dim=1)], dim=1)
    elif "Teacher" in case.model:
        summary = tokens[:, :2].flatten(1)
    found = {"pixels": pixels, "tokens": tokens, "summary": summary}
    if "Classification" in case.model:
        found["logits"] = model(pixels, **resize).logits
    return found


def main() -> None:
    import transformers

    torch.set_num_threads(1)
    out = Path(sys.argv[1])
    for name, case in CASES.items():
        if hasattr(transformers, case.model):
            write(name, out / name)


if __name__ == "__main__":
    main()
