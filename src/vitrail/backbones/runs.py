"""What a run of Vitrail's own has learned, to go on from with other pictures or classes."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from vitrail.backbones.weights import read_json
from vitrail.errors import VitrailError

CONTRACT = "vitrail.json"

Value = TypeVar("Value")


def is_run(folder: Path) -> bool:
    """Whether a folder is one that `vitrail train` made."""
    return (folder / CONTRACT).exists()


def run_model(folder: Path) -> dict[str, Any]:
    """Return what a run's contract says of its backbone; VitrailError when it is damaged."""
    return _part(folder, "model")


def run_preprocessing(folder: Path) -> dict[str, Any]:
    """Return how a run's pictures were prepared, in the words of `timm_preprocessing`."""
    stated = _part(folder, "preprocess")
    try:
        lists = {name: tuple(stated[name]) for name in ("size", "mean", "std")}
        return lists | {name: stated[name] for name in ("channels", "fit", "crop_pct", "resample")}
    except (KeyError, TypeError) as error:
        raise VitrailError(
            f"{folder / CONTRACT}: incomplete ({error}). Copy it again from the run."
        ) from None


def run_head(folder: Path) -> dict[str, Any]:
    """Return what a run's contract says of its answers: ``head``, ``multi``, and ``classes`` in order.

    Raises VitrailError when it is damaged.
    """
    classes, multi = read_json(folder / CONTRACT).get("classes"), _part(folder, "task").get("multi")
    if not isinstance(classes, list) or not all(isinstance(name, str) for name in classes):
        raise VitrailError(f"{folder / CONTRACT}: has no 'classes'. Copy it again from the run.")
    return {"head": _part(folder, "head"), "multi": bool(multi), "classes": tuple(classes)}


def backbone_of(tensors: Mapping[str, Value], inside: str = "") -> dict[str, Value]:
    """Return the tensors of a run's backbone, or of the module ``inside`` it, by their names there."""
    return _inside(tensors, f"backbone.{inside}")


def classifier_layer(tensors: Mapping[str, Value]) -> tuple[Value, Value] | None:
    """Return weight and bias of a run's head, or None when it has hidden layers and so more than one."""
    head = _inside(tensors, "head.")
    names = {name.rpartition(".")[2]: each for name, each in head.items()}
    return (names["weight"], names["bias"]) if len(head) == 2 and len(names) == 2 else None


def _inside(tensors: Mapping[str, Value], prefix: str) -> dict[str, Value]:
    return {name.removeprefix(prefix): each for name, each in tensors.items() if name.startswith(prefix)}


def _part(folder: Path, name: str) -> dict[str, Any]:
    part = read_json(folder / CONTRACT).get(name)
    if not isinstance(part, dict):
        raise VitrailError(f"{folder / CONTRACT}: has no {name!r}. Copy it again from the run.")
    return part
