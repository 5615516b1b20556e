"""`vitrail train`."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, make_dataclass
from pathlib import Path
from typing import Any

from vitrail.cli.parse import Common, parse, plain, take
from vitrail.cli.say import emit, metric_rows, show_table, tell
from vitrail.data.augment import PRESETS
from vitrail.errors import UsageError
from vitrail.run.compose import compose, given_recipe
from vitrail.run.folder import Run
from vitrail.run.launch import resume_run, run_recipe
from vitrail.run.progress import reporter
from vitrail.run.recipe import Recipe
from vitrail.run.starts import STARTS

ABOUT = "Train a model on a folder of pictures, measure it, and report: all in one run folder."
EXAMPLES = """\
vitrail train pictures/ --model vit-s16 --epochs 50 --out run
vitrail train digits --model vit-ti4 --epochs 30 --json
vitrail train labels.csv --model resnet18 --data.label species --data.group site
vitrail train pictures/ --model vit-ti16 --head.hidden 256 --train.ema 0.999 --augment.mixup 0.2
vitrail train pictures/ --model google/vit-base-patch16-224 --tune.mode lora
vitrail train --recipe run/recipe.json --seed 1
vitrail train --resume run"""
NAMES = ("model", "task", "head", "recipe", "augment", "resume")


@dataclass(frozen=True, kw_only=True)
class Names(Common):
    """The words that choose a recipe."""

    out: str | None = None
    """The run folder to make (default: the next free one below runs/)."""
    offline: bool = False
    """Never touch the network, whatever a name may mean."""


def words_of(recipe: Recipe) -> Names:
    """Return the words of the verb around a recipe, whose fields are its flags."""
    kind = make_dataclass("TrainWords", [], bases=(Recipe, Names), frozen=True, kw_only=True)
    kind.__doc__ = ABOUT
    values = {name: getattr(recipe, name) for name in recipe.__dataclass_fields__}
    words: Names = kind(**values)
    return words


def run(argv: Sequence[str]) -> None:
    """Train, or go on with a run."""
    names, rest = take(argv, NAMES)
    if "resume" in names:
        result = _resume(names, rest)
    else:
        offline = "--offline" in rest
        options = {f"{part}.name": names[part] for part in ("task", "head") if part in names}
        options |= {"augment": names["augment"]} if "augment" in names else {}
        options |= _weights_of(rest)
        told = given_recipe(names.get("recipe"))[1].get("where")
        where = None if told else _positional(rest)
        if where is None and not told:
            if not {"--help", "-h"} & set(rest):
                raise UsageError("DATA is missing. See vitrail train --help")
            where = "DATA"
        base = compose(where, names.get("model"), names.get("recipe"), options, offline=offline)
        words = parse(words_of(base), rest, verb="train", about=_about(base), examples=EXAMPLES)
        recipe = compose(None, None, base, _changes(base, words))
        result = run_recipe(recipe, out=words.out, offline=offline, progress=reporter())
    _report(result, "--json" in argv)


def _resume(names: dict[str, str], rest: Sequence[str]) -> Run:
    """Go on with a run; flags may repeat its recipe, and only the epochs may differ from it."""
    folder = Path(names.pop("resume"))
    base = Run(folder).recipe()
    given: dict[str, Any] = {f"{part}.name": name for part, name in names.items() if part in ("task", "head")}
    others = sorted(set(names) - {"task", "head", "model"})
    if others or names.get("model", base.model.name) != base.model.name:
        raise UsageError(
            f"--resume goes on with the run's own recipe; take out --{(others or ['model'])[0]}."
        )
    words = parse(words_of(base), rest, verb="train --resume RUN", about=ABOUT, examples=EXAMPLES)
    if words.out is not None:
        raise UsageError(f"--resume writes into {folder}; take out --out.")
    given |= _changes(base, words)
    epochs = given.pop("epochs", None)
    return resume_run(folder, epochs=epochs, wanted=given, offline=words.offline, progress=reporter())


def _changes(base: Recipe, words: Names) -> dict[str, Any]:
    """Return the keys of a recipe, by dotted name, that words set to something else."""
    before = plain(base)
    return {name: value for name, value in plain(words).items() if name in before and value != before[name]}


def _weights_of(rest: Sequence[str]) -> dict[str, Any]:
    """Return the flags that bring trained weights, which decide on the recipe that the others go over."""
    weights, _ = take(rest, ["model.weights"])
    return {**weights, **({"model.pretrained": True} if "--model.pretrained" in rest else {})}


def _positional(rest: Sequence[str]) -> str | None:
    """Return the first word that is no flag, for the first pass; tyro reads it properly in the second."""
    return next((word for word in rest if not word.startswith("-")), None)


def _about(recipe: Recipe) -> str:
    return (
        f"{ABOUT}\n\n"
        f"Shown for --task {recipe.task.name} --model {recipe.model.name} --head {recipe.head.name}; "
        "choose others and ask for --help again. Also: --recipe FILE.json starts from a recipe, "
        f"--recipe {'|'.join(STARTS)} from one by name (finetune, where the model brings trained weights), "
        f"--augment {'|'.join(PRESETS)} sets all of the augmentation, --resume RUN goes on with a run."
    )


def _report(result: Run, as_json: bool) -> None:
    if as_json:
        emit(result.result)
        return
    tell()
    show_table(
        "On the test pictures",
        ("metric", "value", "95 % interval"),
        metric_rows(result.result["test"]["metrics"]),
    )
    tell(f"\nreport   {result.report}")
    tell(f"predict  vitrail predict {result.path} PICTURES...")
    if sys.stderr.isatty():
        tell(f"open     {result.report.resolve().as_uri()}")
