"""From words to a recipe: a name or a file to start from, and keys that go over it."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from vitrail.backbones import BACKBONES
from vitrail.data.augment import PRESETS
from vitrail.errors import UsageError, nearest
from vitrail.run.recipe import Recipe, from_dict, name_of, read_recipe
from vitrail.run.starts import STARTS, WEIGHTS, start_recipe
from vitrail.run.tune import TuneConfig

log = logging.getLogger(__name__)

DEFAULT_MODEL = "vit-ti"
"""A small Transformer whose patch follows the pictures' size."""


def compose(
    where: str | Path | None,
    model: str | None,
    recipe: Recipe | str | Path | None,
    options: Mapping[str, Any],
    *,
    offline: bool = False,
) -> Recipe:
    """Return the recipe that words describe: a file's, or one by name, or the model's own; with keys changed.

    In a file ``model`` may be a name alone; the rest is then the model's own, too.
    """
    start, plain = given_recipe(recipe)
    given = bool(plain)
    named = plain.pop("model") if isinstance(plain.get("model"), str) else None
    if model is not None or "model" not in plain:
        plain.pop("model", None)
        says = {f"{part}.name": name_of(plain[part]) for part in ("task", "head") if plain.get(part)}
        begun = start_recipe(
            model or named or DEFAULT_MODEL,
            str(where or ""),
            name=start,
            options=says | dict(options),
            offline=offline,
        )
        base = begun.to_dict()
        _choose(base, says)
        plain = _merged(base, plain)
    if where is not None:
        plain["where"] = str(where)
    if not plain.get("where"):
        raise UsageError("which data? Name a folder, a table, `digits`, or hf://owner/name.")
    _choose(plain, options)
    for name, value in options.items():
        _check_key(plain, name)
        if name == "augment":
            plain["augment"] = preset(value)
        elif value is not None:
            _set(plain, name, _sides(value) if name == "image_size" else value)
    made = from_dict(plain, "recipe" if start or isinstance(recipe, Recipe | None) else str(recipe))
    named_weights = model is not None or any(options.get(f"model.{key}") for key in WEIGHTS)
    if given and named_weights and made.tune == TuneConfig() and made.model != made.model.untrained():
        log.warning(
            "note: %s brings trained weights, and the recipe says how to learn from scratch: all at one "
            "rate. For fine-tuning leave it out, or take --recipe finetune.",
            made.model.weights or made.model.name,
        )
    return made


def given_recipe(recipe: Recipe | str | Path | None) -> tuple[str | None, dict[str, Any]]:
    """Return the name of a start, if it is one, and the keys that a recipe or its file gives.

    Raises UsageError for what is neither a name nor a file.
    """
    if recipe is None:
        return None, {}
    if isinstance(recipe, Recipe):
        return None, recipe.to_dict()
    word = str(recipe)
    if word in STARTS:
        return word, {}
    if not Path(word).suffix and not Path(word).exists():
        raise UsageError(f"--recipe {word}: neither {', '.join(STARTS)} nor a file.{nearest(word, STARTS)}")
    return None, read_recipe(Path(word))


def preset(word: str) -> dict[str, Any]:
    """Return the augmentation that one word means."""
    if word not in PRESETS:
        raise UsageError(f"--augment {word}: not one of {', '.join(PRESETS)}.{nearest(word, PRESETS)}")
    return asdict(PRESETS[word])


def _check_key(plain: Mapping[str, Any], name: str) -> None:
    """Raise UsageError for a setting that the chosen network has not: flags and options name it, no file."""
    part, _, key = name.partition(".")
    model = plain.get("model")
    if part != "model" or not isinstance(model, Mapping) or model.get("family") not in BACKBONES:
        return
    known = {each.name.replace("_", "-") for each in fields(BACKBONES[model["family"]])}
    flag = key.replace("_", "-")
    if flag in known:
        return
    if key == "pretrained":
        cure = " Trained weights are named: --model.weights, or a Hub id by --model."
    else:
        cure = nearest(f"--model.{flag}", [f"--model.{each}" for each in known])
    raise UsageError(f"--model.{flag}: a network of the family {model['family']} has no such setting.{cure}")


def _choose(plain: dict[str, Any], options: Mapping[str, Any]) -> None:
    """Put a task and a head that options name in place of those of a recipe, whose settings are others'."""
    for part, brings in (("task", ("task", "head")), ("head", ("head",))):
        wanted, now = options.get(f"{part}.name"), plain.get(part)
        if wanted and wanted != name_of(now):
            for each in brings:
                plain.pop(each, None)
            plain[part] = {"name": wanted}


def _merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``base`` with the keys of ``over``, those of inner objects one by one."""
    merged = dict(base)
    for key, value in over.items():
        inner = merged.get(key)
        both = isinstance(inner, Mapping) and isinstance(value, Mapping)
        merged[key] = _merged(inner, value) if both else value  # type: ignore[arg-type]
    return merged


def _sides(size: int | Sequence[int]) -> list[int]:
    """Return height and width; one number stands for both."""
    sides = [size] if isinstance(size, int) else list(size)
    if len(sides) not in (1, 2):
        raise UsageError(f"--image-size is a height and a width, or one number for both, not {sides}.")
    return [sides[0], sides[-1]]


def _set(plain: dict[str, Any], name: str, value: Any) -> None:
    """Set a key by its dotted name."""
    *path, last = name.split(".")
    for part in path:
        inner = plain.get(part)
        plain[part] = dict(inner) if isinstance(inner, Mapping) else {}
        plain = plain[part]
    plain[last] = value
