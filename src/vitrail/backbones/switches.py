"""Which switches of a Vision Transformer make no sense, alone or together: said before anything is built."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vitrail.backbones.names import SIZES
from vitrail.errors import UsageError, nearest

if TYPE_CHECKING:
    from vitrail.backbones.vit import ViTConfig

LEAST = {
    "patch": 0,
    "tubelet": 0,
    "registers": 0,
    "experts": 0,
    "experts_top": 1,
    "width": 1,
    "depth": 1,
    "heads": 1,
    "mlp": 1,
}
CHANCES = ("drop_path", "dropout", "patch_drop")


def check_switches(config: ViTConfig) -> None:
    """Raise UsageError, with the cure, for the first switch that makes no sense."""
    if config.size not in SIZES:
        known = ", ".join(SIZES)
        raise UsageError(f"there is no size {config.size!r}.{nearest(config.size, SIZES)} Sizes are {known}.")
    for name, least in LEAST.items():
        value = getattr(config, name)
        if value is not None and value < least:
            raise UsageError(f"{name} must be at least {least}, not {value}.")
    for name in CHANCES:
        if not 0 <= getattr(config, name) < 1:
            raise UsageError(f"{name} is a chance from 0 to below 1, not {getattr(config, name):g}.")
    for name in ("eps", "layer_scale"):
        value = getattr(config, name)
        if value is not None and not 0 < value < float("inf"):
            raise UsageError(f"{name} must be above 0, not {value:g}.")
    if config.tubelet and config.stem == "conv":
        raise UsageError("a convolutional stem is for pictures: leave tubelet, or take --model.stem patch.")
    if config.final_norm == "summary" and config.pool.startswith("class+"):
        raise UsageError(f"a norm after the summary is of one token, not of {config.pool}: leave final_norm.")
    if config.experts:
        _check_experts(config)


def _check_experts(config: ViTConfig) -> None:
    if config.experts_top > config.experts:
        raise UsageError(
            f"a token cannot go to {config.experts_top} of {config.experts} experts: "
            f"take 1 to {config.experts} for experts_top."
        )
    if not config.experts_capacity > 0:
        raise UsageError(f"experts_capacity must be above 0, not {config.experts_capacity:g}: 1.25 is usual.")
    if (config.depth or SIZES[config.size].depth) < 2:
        raise UsageError("every second layer has experts, and this network has but one: take more depth.")
