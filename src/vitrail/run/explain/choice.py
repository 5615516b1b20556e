"""Which method explains a model, and what the words for a method, a layer and a class mean."""

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields
from typing import Any

from vitrail.contracts import Explainer
from vitrail.errors import UsageError, nearest
from vitrail.explain import EXPLAINERS, layers_of
from vitrail.models.vision import Vision
from vitrail.nn.lora import can_adapt

PREFERRED: Mapping[str, Sequence[str]] = {
    "attention": ("relevance", "saliency", "occlusion"),
    "transformer": ("saliency", "layer-cam", "occlusion"),
    "convolutional": ("layer-cam", "saliency", "occlusion"),
    "other": ("occlusion",),
}
"""The methods for each kind of backbone, the first where nothing else is asked for: with attention of ours,
with attention of others and layers on a grid, with such layers alone, and others.

By measurement (benchmarks/results/explained.md), among methods that need a few answers. On our Transformers
relevance and saliency cannot be told apart by the heat on the object (4.6 and 5.7 times chance, 5.6 and 5.7);
relevance depends more on what was learned. On a Swin saliency is far ahead of maps of a layer (3.5 against
1.7 at the layer that is found). On convolutional networks LayerCAM and saliency are as good as each other;
Grad-CAM is ahead of LayerCAM on one (5.4 against 4.2) and behind it on the other (2.9 against 4.2)."""


OF_PIXELS: Sequence[str] = ("saliency", "occlusion")
"""The same where pixels are answered. Layers and attention far from the pixels do not say which of them one
hangs on: a U-Net brings that along from its finest levels, and LayerCAM at the last of all is often empty."""


def kind_of(model: Vision) -> str:
    """Return which of the kinds of `PREFERRED` a model's backbone is."""
    if hasattr(model.backbone, "attention"):
        return "attention"
    if not layers_of(model):
        return "other"
    return "transformer" if can_adapt(model.backbone, "attention") else "convolutional"


def preferred(model: Vision) -> Sequence[str]:
    """Return the names of methods that suit a model, the best first."""
    return OF_PIXELS if model.head.levels else PREFERRED[kind_of(model)]


def default_method(model: Vision) -> str:
    """Return the name of the method that a model is explained by when none is named."""
    return preferred(model)[0]


def explainer_of(model: Vision, method: str | None = None, layer: str | None = None) -> Explainer:
    """Return the method of a name (None: the default), at a layer of this model.

    Raises UsageError for a method that is unknown or looks at no layer, and for a layer that is not there.
    """
    name = default_method(model) if method is None else method
    if name not in EXPLAINERS:
        raise UsageError(
            f"--method {name}: unknown.{nearest(name, EXPLAINERS)} There are {', '.join(EXPLAINERS)}."
        )
    kind = EXPLAINERS[name]
    if layer is None:
        return kind()
    default = layer_field(kind)
    if default is MISSING:
        those = [each for each, other in EXPLAINERS.items() if layer_field(other) is not MISSING]
        raise UsageError(f"--layer {layer}: {name} looks at no layer. Those that do: {', '.join(those)}.")
    if isinstance(default, int):
        return kind(layer=_numbered(name, layer))  # type: ignore[call-arg]
    known = layers_of(model)
    if layer not in known:
        there = f"This network has {', '.join(known)}." if known else "This network names none."
        raise UsageError(f"--layer {layer}: there is no such layer.{nearest(layer, known)} {there}")
    return kind(layer=layer)  # type: ignore[call-arg]


def layer_field(kind: Any) -> Any:
    """Return the layer that a method looks at unless told otherwise, or MISSING where it looks at none."""
    return next((field.default for field in fields(kind) if field.name == "layer"), MISSING)


def _numbered(method: str, layer: str) -> int:
    try:
        return int(layer)
    except ValueError:
        raise UsageError(f"--layer {layer}: for {method} it is a number, from 0, or from -1 back.") from None


def find_class(word: str, classes: Sequence[str], flag: str = "--about") -> str:
    """Return the class that a word names: as it is written, or as one of the names that a class goes by.

    Classes of others are often called by several names, with commas between them ("tabby, tabby cat").
    Raises UsageError, with the nearest, for a word that names none, or more than one.
    """
    if word in classes:
        return word
    alike = word.strip().casefold()
    found = [
        name
        for name in classes
        if alike in (name.casefold(), *(part.strip().casefold() for part in name.split(",")))
    ]
    if len(found) == 1:
        return found[0]
    if found:
        raise UsageError(f"{flag} {word}: that names {len(found)} classes: {'; '.join(found[:5])}.")
    listed = f" The classes are {', '.join(classes)}." if len(classes) <= 12 else ""
    raise UsageError(f"{flag} {word}: the model knows no such class.{nearest(word, classes)}{listed}")
