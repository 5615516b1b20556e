"""How pictures were prepared for a checkpoint of transformers, in the words of our own preprocessing."""

import logging
import math
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from vitrail.backbones.weights import PREPARATION, read_json
from vitrail.errors import VitrailError
from vitrail.values import Size

log = logging.getLogger(__name__)

RESAMPLE = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic"}
"""Pillow's numbers of its filters."""

_IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
_HALF = {"mean": (0.5,) * 3, "std": (0.5,) * 3}
_CLIP = {"mean": (0.48145466, 0.4578275, 0.40821073), "std": (0.26862954, 0.26130258, 0.27577711)}
_DINO = {"fit": "crop", "crop_pct": 224 / 256, "resample": "bicubic", **_IMAGENET}

USUAL: dict[str, Mapping[str, Any]] = {
    "vit": {"fit": "squash", "crop_pct": 1.0, "resample": "bilinear", **_HALF},
    "deit": {"fit": "crop", "crop_pct": 224 / 256, "resample": "bicubic", **_IMAGENET},
    "vit_mae": {"fit": "squash", "crop_pct": 1.0, "resample": "bicubic", **_IMAGENET},
    "dinov2": _DINO,
    "dinov2_with_registers": _DINO,
    "clip": {"fit": "crop", "crop_pct": 1.0, "resample": "bicubic", **_CLIP},
    "siglip": {"fit": "squash", "crop_pct": 1.0, "resample": "bicubic", **_HALF},
    "resnet": {"fit": "crop", "crop_pct": 224 / 256, "resample": "bicubic", **_IMAGENET},
}
"""What a family's published checkpoints do, for what a file leaves out."""


def read_preparation(folder: Path, family: str, native: Size, channels: int) -> dict[str, Any]:
    """Return how pictures were prepared for a checkpoint of transformers (see `timm_preprocessing`).

    Without a file that says so it is the family's usual way, at its ``native`` size, and a warning.
    Raises VitrailError for a filter that our preprocessing does not have.
    """
    usual = {"size": native, "channels": channels, **USUAL[family]}
    for name in PREPARATION:
        if (file := folder / name).exists():
            stated = read_json(file)
            try:
                return _translate(stated.get("image_processor", stated), usual)
            except (TypeError, ValueError, KeyError) as error:
                raise VitrailError(f"{file}: cannot be understood ({error}).") from None
    _warn(folder)
    return usual


@cache
def _warn(folder: Path) -> None:
    log.warning("%s: no %s: pictures are prepared as is usual for its kind.", folder, PREPARATION[0])


def _translate(stated: Mapping[str, Any], usual: Mapping[str, Any]) -> dict[str, Any]:
    """Return what an image processor states, in our words.

    Pictures that it resizes to a square before it cuts the centre out (DeiT's) keep their shape here, as in
    their training: on squares that is the same. Where it would fill up a border, they are enlarged instead.
    """
    sides = stated.get("size", {"height": usual["size"][0], "width": usual["size"][1]})
    if not isinstance(sides, Mapping):  # files of before 2023 leave it to the class what a number means
        edge = "shortest_edge" if usual["fit"] == "crop" else "side"
        sides = {edge: sides}
    shorter = sides.get("shortest_edge") or min(_size(sides))
    fit, size, share = "squash", _size(sides), 1.0
    if stated.get("do_center_crop", "crop_size" in stated):
        fit, size = (
            "crop",
            _size(stated.get("crop_size", {"height": usual["size"][0], "width": usual["size"][1]})),
        )
        share = min(1.0, min(size) / shorter)
    elif "shortest_edge" in sides:
        fit, share = _as_convnext(stated, shorter)
    resample = stated.get("resample")
    if resample is not None and resample not in RESAMPLE:
        raise ValueError(f"resample {resample} is none of {', '.join(RESAMPLE.values())}")
    mean, std = _statistics(stated, usual)
    return {
        "size": size,
        "channels": usual["channels"],
        "fit": fit,
        "crop_pct": share,
        "resample": usual["resample"] if resample is None else RESAMPLE[resample],
        "mean": mean,
        "std": std,
    }


def _as_convnext(stated: Mapping[str, Any], shorter: int) -> tuple[str, float]:
    """Return fit and share where no crop is stated, which ConvNeXt's processor makes anyway.

    ResNets have that one too. Below 384 pixels it crops, and from there on squeezes pictures into a square.
    """
    kind = str(stated.get("image_processor_type") or stated.get("feature_extractor_type") or "")
    if "crop_pct" not in stated and not kind.startswith("ConvNext"):
        return "crop", 1.0
    if shorter >= 384:
        return "squash", 1.0
    return "crop", shorter / int(shorter / (stated.get("crop_pct") or 224 / 256))


def _size(sides: Any) -> Size:
    """Return the height and width that a number, a pair, or one of transformers' mappings names."""
    if isinstance(sides, Mapping):
        if "height" in sides:
            return int(sides["height"]), int(sides["width"])
        sides = sides.get("shortest_edge", sides.get("side"))
    if isinstance(sides, list | tuple):
        return int(sides[0]), int(sides[-1])
    return int(sides), int(sides)


def _statistics(stated: Mapping[str, Any], usual: Mapping[str, Any]) -> tuple[tuple[float, ...], ...]:
    """Return mean and deviation for pixels from 0 to 1, whatever the checkpoint's were from 0 to."""
    if stated.get("do_normalize", True):
        mean, std = (
            _numbers(stated.get(f"image_{name}") or usual[name], usual["channels"])
            for name in ("mean", "std")
        )
    else:
        mean, std = (0.0,) * usual["channels"], (1.0,) * usual["channels"]
    top = 255 * (stated.get("rescale_factor", 1 / 255) if stated.get("do_rescale", True) else 1.0)
    if math.isclose(top, 1.0):
        return mean, std
    return tuple(value / top for value in mean), tuple(value / top for value in std)


def _numbers(values: Any, channels: int) -> tuple[float, ...]:
    numbers = values if isinstance(values, list | tuple) else [values] * channels
    return tuple(float(number) for number in numbers)
