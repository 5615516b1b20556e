"""What a recipe leaves open of the canvas: size, channels, and which numbers become black and white."""

from collections.abc import Mapping, Sequence
from typing import Any

from vitrail.contracts import Samples
from vitrail.data.depth import Range
from vitrail.data.names import few
from vitrail.data.preprocess import Preprocess
from vitrail.data.probe import Probe
from vitrail.data.spread import measure
from vitrail.errors import UsageError
from vitrail.run.recipe import Recipe


def choose_preprocess(recipe: Recipe, look: Probe, samples: Samples) -> tuple[Preprocess, list[str]]:
    """Choose the canvas: the recipe's, else the checkpoint's, else what suits the pictures and the patch."""
    published: Mapping[str, Any] = recipe.model.preprocessing()
    data, notes = recipe.data, []
    tiled = data.fit == "tile" or (data.fit is None and recipe.task.build(()).masked)
    if recipe.image_size is not None:
        sides = recipe.image_size
        size = (sides[0], sides[-1])
    else:
        size = published.get("size") or recipe.model.suitable_size(look.size)
        if min(size) > min(look.size):
            how = "filled up" if tiled else "enlarged"
            notes.append(
                f"The pictures ({look.size[0]}x{look.size[1]}) are {how} to {size[0]}x{size[1]}, "
                "which this model needs."
            )
    channels = data.channels or look.channels or published.get("channels") or (1 if look.grey else 3)
    plain = 0.5, 0.25  # without a checkpoint: centred, and of about unit spread
    mean, std = published.get("mean", plain[:1]), published.get("std", plain[1:])
    span = data.range
    if look.deep or channels not in (1, 3):
        found = measure(samples, channels, max_pixels=data.max_pixels, span=span)
        if found is None and channels not in (1, 3):
            raise UsageError(
                f"{recipe.where}: none of the first pictures can be read with {channels} channels "
                f"(--data.channels). {_seen(look)}"
            )
        if found is not None:
            notes += [_say(found.range, found.pictures)] if found.range and not span else []
            span, mean, std = found.range, found.mean or mean, found.std or std
    return (
        Preprocess(
            size=size,
            channels=channels,
            fit=data.fit or ("tile" if tiled else published.get("fit", "crop")),
            crop_pct=data.crop_pct or published.get("crop_pct", 1.0),
            resample=data.resample or published.get("resample", "bicubic"),
            mean=_per_channel(mean, channels),
            std=_per_channel(std, channels),
            max_pixels=data.max_pixels,
            frames=data.frames,
            range=span,
        ),
        notes,
    )


def _per_channel(values: Sequence[float], channels: int) -> tuple[float, ...]:
    """Return one number a channel: as they are, or their mean for every channel."""
    return tuple(values) if len(values) == channels else (sum(values) / len(values),) * channels


def _say(span: Range, pictures: int) -> str:
    """Say which numbers become black and white."""
    pairs = [f"{low:g} to {high:g}" for low, high in zip(span[::2], span[1::2], strict=True)]
    each = "" if len(pairs) == 1 else ", a range for each channel"
    return (
        f"Of more than 8 bits, {few(pairs, 5)} becomes black to white{each}: 99.8 % of {pictures} training "
        "pictures. What lies beyond is clipped; --data.range says it otherwise."
    )


def _seen(look: Probe) -> str:
    return f"They seem to have {look.channels or (1 if look.grey else 3)}."
