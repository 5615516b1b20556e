"""Trained weights into a network that was built for other pictures than they were trained on."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import Tensor

from vitrail.backbones.checkpoints import Pretrained, read_pretrained
from vitrail.backbones.checkpoints.rules import listed
from vitrail.backbones.names import SIZES
from vitrail.backbones.timm import TimmConfig
from vitrail.backbones.vision_transformer import ViT
from vitrail.backbones.vit import ViTConfig
from vitrail.backbones.weights import fetch
from vitrail.errors import UsageError
from vitrail.nn.feedforward import gated_width
from vitrail.nn.positions import resample

FREE = ("size", "pool", "registers", "antialias", "drop_path", "dropout", "patch_drop", "init", "weights")
"""What of a network may differ from the one that was trained, as long as its tokens are as many."""

TOKENS = "tokens before the patches"
"""What pool and registers must agree in."""

FIRST = ("embed.weight", "embed.look.0.weight")
"""What meets the pictures' channels: the map of patches, or a convolutional stem's first layer."""


def locate(weights: str, *, offline: bool = False) -> Path:
    """Return where weights are: a path that exists, or a Hub id's folder in the cache, fetched if need be."""
    return Path(weights) if Path(weights).exists() else fetch(weights, offline=offline)


def preparation(config: ViTConfig, weights: str) -> dict[str, Any]:
    """Return how pictures were prepared for weights that are here already, or in the cache.

    Raises what `start` raises without a network, before anything else is begun.
    """
    found = read_pretrained(locate(weights, offline=True), like=config, values=False)
    _check_alike(config, found, weights)
    return dict(found.preprocessing)


def start(vit: ViT, config: ViTConfig, weights: str, *, offline: bool = False) -> None:
    """Load weights into the network of a config, which may have other channels and another grid.

    Positions are resampled to its grid; for channels see `adapt_channels`. An attention pooling that the
    weights do not have starts from chance.
    Raises UsageError when they are another network's, and what `read_pretrained` raises.
    """
    pretrained = read_pretrained(locate(weights, offline=offline), like=config)
    _check_alike(config, pretrained, weights)
    state = vit.state_dict()
    for name, tensor in pretrained.tensors.items():
        if name in FIRST:
            state[name] = adapt_channels(tensor, state[name].shape[1])
        elif name == "positions.values":
            state[name] = resample(tensor, state[name].shape[:-1], antialias=config.antialias)
        elif name in state:
            state[name] = tensor
    vit.load_state_dict(state)


def adapt_channels(kernel: Tensor, channels: int) -> Tensor:
    """Return a map of patches, ``d c h w``, for pictures of other channels, as timm does it.

    Grey pictures meet the sum of what the colours meet; more channels repeat it, weakened so that the sum
    stays as strong.
    """
    trained = kernel.shape[1]
    if channels == trained:
        return kernel
    if channels == 1:
        return kernel.sum(dim=1, keepdim=True)
    repeated = kernel.repeat(1, -(-channels // trained), 1, 1)[:, :channels]
    return repeated * (trained / channels)


def of_timm(name: str, source: Path, *, values: bool = True) -> Pretrained:
    """Return a checkpoint of others that is timm's network of this name, by timm's names of its tensors.

    Raises UsageError when it is another network's, and what `read_pretrained` raises.
    """
    found = read_pretrained(source, values=values)
    if found.config.name != name.partition(".")[0]:
        raise _another(found, name, source)
    return found


def _check_alike(config: ViTConfig, pretrained: Pretrained, weights: str) -> None:
    if isinstance(pretrained.config, TimmConfig):
        raise _another(pretrained, config.name, weights)
    ours, theirs = _switches(config), _switches(pretrained.config)
    names = [name for name in ours if ours[name] != theirs[name]]
    if names:
        reasons = listed([f"{name} {theirs[name]}, not {ours[name]}" for name in names], 4)
        cure = _leave_out(config, pretrained.config, names)
        raise _another(pretrained, config.name, weights, f": {reasons}", cure)


def _another(found: Pretrained, asked: str, weights: object, reasons: str = "", cure: str = "") -> UsageError:
    looks = f"looks like {found.title}, {found.config.name}, and not like {asked}{reasons}"
    return UsageError(f"{weights}: {looks}.\nTake the network that it is: --model {weights}{cure}")


def _leave_out(config: ViTConfig, theirs: ViTConfig, names: list[str]) -> str:
    """Name the flags that may have made another network out of the one that was named already."""
    if (config.size, config.patch) != (theirs.size, theirs.patch):
        return ""  # no flag does that
    of_tokens = [name for name in ("pool", "registers") if getattr(config, name) != getattr(theirs, name)]
    switches = [name for name in names if name != TOKENS] + (of_tokens if TOKENS in names else [])
    return f" (and leave out {', '.join('--model.' + name.replace('_', '-') for name in switches)}, if given)"


def _switches(config: ViTConfig) -> dict[str, Any]:
    """Return what two networks must agree in, with nothing left to the size's name."""
    switches = asdict(config)
    usual = asdict(SIZES[config.size])
    if config.feed == "swiglu":
        usual["mlp"] = gated_width(usual["mlp"])
    for name in FREE:
        del switches[name]
    switches |= {name: switches[name] or value for name, value in usual.items()}
    switches["layer_scale"] = config.layer_scale is not None  # what it starts from is in the weights
    return switches | {TOKENS: config.prefix_tokens}
