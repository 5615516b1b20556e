"""What a file or folder looks like, by its config and by the names of its tensors."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from vitrail.backbones.runs import is_run
from vitrail.backbones.weights import CONFIG, WEIGHTS, read_config, read_weights
from vitrail.errors import UsageError, VitrailError

Kind = Literal["transformers", "resnet", "timm", "big_vision", "run"]

SIGNS = {
    "a BEiT": r"(.*\.)?blocks\.\d+\.attn\.q_bias|.*\.relative_position_bias\.relative_position_bias_table",
    "a Swin Transformer": r".*relative_position_bias_table",
    "a ViT of timm": r"blocks\.\d+\.attn\.qkv\.weight",
    "a ViT of transformers": r"(.*\.)?encoder\.layer\.\d+\.attention\.attention\.query\.weight",
    "a CLIP or SigLIP of transformers": r"(.*\.)?encoder\.layers\.\d+\.self_attn\.q_proj\.weight",
    "a ViT of torchvision": r"encoder\.layers\.encoder_layer_\d+\..*",
    "a CLIP in its first form": r"visual\.transformer\.resblocks\..*",
    "a model that Vitrail trained": r"backbone\.(encoder|net)\..*",
    "a ConvNeXt": r"(.*\.)?stages\.\d+\.(blocks|layers)\.\d+\.(conv_dw|dwconv)\.weight",
    "a ResNet": r"(.*\.)?(layer1\.0\.conv1|stages\.0\.layers\.0\.layer\.0\.convolution)\.weight",
    "an EfficientNet": r"(.*\.)?(conv_stem|blocks\.0\.0\.conv_dw)\.weight",
    "a language model": r"(.*\.)?(layers\.\d+\.self_attn\.q_proj|h\.\d+\.attn\.c_attn)\.weight",
}
"""Names that give a network away, most telling first."""


def kind_of(path: Path) -> tuple[Kind, Path]:
    """Return whose layout a checkpoint is in, and where to read it: a folder when the config is there.

    Raises UsageError for what is no checkpoint, VitrailError for one that nobody here reads.
    """
    if is_run(path):
        return "run", path
    if path.is_dir():
        stated = read_config(path).get("model_type")
        return ("timm" if stated is None else "resnet" if stated == "resnet" else "transformers"), path
    if path.suffix == ".npz":
        return "big_vision", path
    if describes_itself(path):
        return kind_of(path.parent)
    looks = looks_like(read_weights(path, values=False))
    if looks == "a ViT of timm":
        return "timm", path
    if looks and looks.endswith("of transformers"):
        raise UsageError(f"{path}: {looks}, which its {CONFIG} describes: put that beside it.")
    if looks == "a model that Vitrail trained":
        raise UsageError(f"{path}: {looks}: name its run folder instead.")
    raise VitrailError(f"{path}: no ViT; it looks like {looks or 'nothing known'}.")


def describes_itself(file: Path) -> bool:
    """Whether a file of weights tells what network it is of, or a config beside it does."""
    return file.suffix == ".npz" or (file.name == WEIGHTS and (file.parent / CONFIG).exists())


def looks_like(names: Iterable[str]) -> str | None:
    """Return what network the tensors of these names are of, or None."""
    names = list(names)
    for title, sign in SIGNS.items():
        if any(re.fullmatch(sign, name) for name in names):
            return title
    return None
