"""Pixels to features."""

from dataclasses import replace
from pathlib import Path

from vitrail.backbones.checkpoints import read_pretrained
from vitrail.backbones.checkpoints.kinds import describes_itself, kind_of
from vitrail.backbones.checkpoints.timm import is_ours
from vitrail.backbones.names import parse
from vitrail.backbones.published import plain_architecture
from vitrail.backbones.runs import run_model
from vitrail.backbones.timm import TimmConfig
from vitrail.backbones.vit import ViTConfig
from vitrail.backbones.weights import fetch
from vitrail.errors import UsageError

ModelConfig = ViTConfig | TimmConfig

BACKBONES: dict[str, type[ModelConfig]] = {"vit": ViTConfig, "timm": TimmConfig}
"""The families of networks, by the name that their configs carry."""


def configure(name: str, *, offline: bool = False) -> ModelConfig:
    """Return the config of a model's name: ours, timm's, a folder of theirs or a run's, or a Hub id.

    A Hub id is fetched, unless it is in the cache; of weights only names and shapes are read. Raises
    UsageError for a name that nobody knows, with the nearest ones, and for a Hub id that is not in the cache
    when ``offline``; VitrailError for a folder that holds no network of a kind that is known here.
    """
    known = parse(name)
    if known.source == "vitrail":
        return ViTConfig.named(known.size, known.patch)
    if known.source == "timm":
        return TimmConfig(name=known.text)
    source = Path(known.text) if known.source == "path" else fetch(known.text, offline=offline)
    if source.is_dir() or describes_itself(source):
        kind, place = kind_of(source)
        if kind == "run" and (run := run_model(place)).get("family") == "timm":
            return TimmConfig(name=str(run.get("name")), weights=known.text)
        if kind == "timm" and not is_ours(place):
            return TimmConfig(name=plain_architecture(place), weights=known.text)
        return replace(read_pretrained(source, values=False).config, weights=known.text)
    raise UsageError(f"{name}: name a model's folder, or the model by name and this file by --model.weights.")
