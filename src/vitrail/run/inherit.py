"""What becomes of the classifier that came with trained weights: it is kept, or the head is new."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vitrail.backbones.classifier import Classifier, classifier_of
from vitrail.backbones.runs import is_run
from vitrail.heads.linear import LinearConfig
from vitrail.run.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class Inheritance:
    """The ``classifier`` that the head begins with, if one is kept, and a ``note`` of what became of it."""

    classifier: Classifier | None = None
    note: str = ""


def inherit(recipe: Recipe, classes: Sequence[str]) -> Inheritance:
    """Decide by a recipe that knows whether a picture has many labels; of weights that are here already.

    A classifier is kept when the head can begin with it and it tells the same classes apart, matched by name.
    """
    found = classifier_of(recipe.model, offline=True)
    source, count = recipe.model.weights or recipe.model.name, len(classes)
    if found is None:
        other = is_run(Path(source))
        return Inheritance(
            note=f"{source} has a head that is more than one layer: its body is kept, and the head is new."
            if other
            else ""
        )
    if set(found.classes) != set(classes):
        return Inheritance(
            note=f"{source} knows {len(found.classes)} other classes: its body is kept, and the head for the "
            f"{count} of the data is new."
        )
    if against := _obstacle(recipe, found):
        return Inheritance(
            note=f"{source} knows these {count} classes, but {against}: its body is kept, and the head is "
            "new."
        )
    return Inheritance(
        classifier=found, note=f"{source} knows these {count} classes: its classifier is kept."
    )


def _obstacle(recipe: Recipe, found: Classifier) -> str:
    """Return why a head cannot begin with a classifier of its own classes, or nothing."""
    if not isinstance(recipe.head, LinearConfig):
        return "another kind of head is asked for"
    if recipe.head.hidden:
        return "--head.hidden puts layers before the last"
    if found.multi and not recipe.task.multi:
        return "it gives any number of labels a picture, and the data has one"
    if recipe.task.multi and not found.multi:
        return "it gives one label a picture, and the data has any number"
    pool = getattr(recipe.model, "pool", None)
    if pool != found.pool:
        return f"it was trained on another summary than --model.pool {pool} makes"
    return ""
