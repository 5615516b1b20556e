"""What timm states about the weights of a name, or in a folder: preprocessing, classes, how it was built."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from vitrail.backbones.runs import is_run, run_model, run_preprocessing
from vitrail.backbones.weights import CONFIG, read_config
from vitrail.errors import UsageError, VitrailError

ARGUMENTS = {"num_classes", "in_chans", "img_size", "drop_rate", "drop_path_rate"}
"""What a timm folder may say of how its network was built that is not the network's own."""


def plain_architecture(folder: Path) -> str:
    """Return the name of a folder's network, which is built as timm knows it under this name.

    Raises VitrailError when the folder asks for another variant of it.
    """
    config = read_config(folder)
    arguments = {name: value for name, value in config.get("model_args", {}).items() if name not in ARGUMENTS}
    if arguments.get("global_pool") == _own_pool(config["architecture"]):
        del arguments["global_pool"]
    departs = sorted(arguments)
    if departs:
        raise VitrailError(
            f"{folder / CONFIG}: a {config['architecture']} that was built with {', '.join(departs)} "
            "(model_args): such variants are not read."
        )
    return str(config["architecture"])


def _own_pool(architecture: str) -> str:
    """Return how a network of timm pools of itself, in timm's words."""
    import timm

    if not timm.is_model(architecture):
        raise UsageError(f"timm knows no network called {architecture}: `vitrail models` lists its names.")
    with torch.device("meta"):
        net = timm.create_model(architecture)
    pool = getattr(net, "global_pool", None) or getattr(getattr(net, "head", None), "global_pool", "avg")
    return str(getattr(pool, "pool_type", pool))


def stated_classes(source: Path, count: int) -> tuple[str, ...] | None:
    """Return the names of the classes in order, where a folder's config states them.

    Raises VitrailError when they are not as many as the classifier has.
    """
    config = read_config(source) if source.is_dir() else {}
    inner = config.get("pretrained_cfg", config)
    names = config.get("label_names") or inner.get("label_names") or inner.get("labels")
    if not names:
        return None
    if isinstance(names, Mapping):  # by the number of the output
        names = [names.get(str(index), f"class {index}") for index in range(count)]
    if len(names) != count:
        raise VitrailError(f"{source / CONFIG}: names {len(names)} classes, but the classifier has {count}.")
    return distinct([str(name) for name in names])


def distinct(names: Sequence[str]) -> tuple[str, ...]:
    """Return the names of classes; of two that are alike (ImageNet's cranes) each gets its number too."""
    often = Counter(names)
    return tuple(f"{name} ({index})" if often[name] > 1 else name for index, name in enumerate(names))


def timm_preprocessing(name: str) -> dict[str, Any]:
    """Return how pictures were prepared for the weights that timm publishes under a name, or of a folder.

    Plain values: ``size`` (height, width), ``channels``, ``mean`` and ``std`` a channel for pixels
    from 0 to 1, ``resample``, ``fit`` (crop, squash or pad) and ``crop_pct``, the share of the shorter side.
    """
    published = published_as(name)
    channels, height, width = published["input_size"]
    fits = {"center": "crop", "squash": "squash", "border": "pad"}
    return {
        "size": (height, width),
        "channels": channels,
        "fit": fits[published.get("crop_mode", "center")],
        "crop_pct": float(published["crop_pct"]),
        "resample": published["interpolation"],
        "mean": tuple(published["mean"]),
        "std": tuple(published["std"]),
    }


def published_as(name: str) -> dict[str, Any]:
    """Return what timm states about the weights of a name or in a folder."""
    from timm.models import PretrainedCfg, get_pretrained_cfg

    if is_run(Path(name)):
        run = run_preprocessing(Path(name))
        crops = {"crop": "center", "squash": "squash", "pad": "border"}
        return published_as(str(run_model(Path(name)).get("name"))) | {
            "input_size": (run["channels"], *run["size"]),
            "crop_mode": crops[run["fit"]],
            "interpolation": run["resample"],
            **{key: run[key] for key in ("crop_pct", "mean", "std")},
        }
    if Path(name).is_dir():
        stated = read_config(Path(name))  # folders of before 2023 have it all on one level
        return {**PretrainedCfg().to_dict(), **stated.get("pretrained_cfg", stated)}
    try:
        stated = get_pretrained_cfg(name)
    except RuntimeError:
        raise UsageError(f"timm knows no weights called {name}: `vitrail models` lists its names.") from None
    return dict((stated or PretrainedCfg()).to_dict())
