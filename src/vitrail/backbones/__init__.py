"""Pixels to features."""

from pathlib import Path

from vitrail.backbones.names import parse
from vitrail.backbones.timm import TimmConfig
from vitrail.backbones.vit import ViTConfig
from vitrail.backbones.weights import fetch, read_config
from vitrail.errors import UsageError

ModelConfig = ViTConfig | TimmConfig

BACKBONES: dict[str, type[ModelConfig]] = {"vit": ViTConfig, "timm": TimmConfig}
"""The families of networks, by the name that their configs carry."""


def configure(name: str, *, offline: bool = False) -> ModelConfig:
    """Return the config of a model's name: ours, timm's, a folder in timm's layout, or a Hub id of one.

    A Hub id is fetched, unless it is in the cache. Raises UsageError for a name that nobody knows, with the
    nearest ones, and for a Hub id that is not in the cache when ``offline``.
    """
    known = parse(name)
    if known.source == "vitrail":
        return ViTConfig.named(known.size, known.patch)
    if known.source == "timm":
        return TimmConfig(name=known.text)
    folder = Path(known.text) if known.source == "path" else fetch(known.text, offline=offline)
    if not folder.is_dir():
        raise UsageError(
            f"{name}: name a model's folder, or the model by name and this file by --model.weights."
        )
    return TimmConfig(name=read_config(folder)["architecture"], weights=known.text)
