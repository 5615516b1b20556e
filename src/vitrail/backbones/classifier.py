"""The classifier that came with trained weights, and the names of its classes."""

import logging
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from vitrail.backbones import ModelConfig
from vitrail.backbones.checkpoints import read_pretrained
from vitrail.backbones.checkpoints.start import locate
from vitrail.backbones.published import distinct
from vitrail.backbones.runs import classifier_layer, is_run, run_head, run_model
from vitrail.backbones.timm import TimmConfig
from vitrail.backbones.weights import read_weights
from vitrail.errors import VitrailError

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Classifier:
    """A linear classifier on a backbone's summary: ``weight`` ``c d``, ``bias`` ``c``, names.

    With ``multi`` each class is a question of its own. ``pool`` is how the summary was made that it was
    trained on; None where a network has but one way.
    """

    weight: Tensor
    bias: Tensor
    classes: tuple[str, ...]
    multi: bool = False
    pool: str | None = None


def classifier_of(config: ModelConfig, *, offline: bool = False) -> Classifier | None:
    """Return the classifier of the weights that a backbone starts from, or None when they have none.

    Raises what fetching and reading them raises.
    """
    found: tuple[Tensor, Tensor | None] | None
    classes: tuple[str, ...] | None
    pool = None
    if config.weights is not None and is_run(Path(config.weights)):
        return _of_run(Path(config.weights))
    if isinstance(config, TimmConfig):
        found, classes = config.classifier(offline=offline)
    elif config.weights is not None:
        pretrained = read_pretrained(locate(config.weights, offline=offline), like=config)
        found, classes = pretrained.head, pretrained.classes
        pool = getattr(pretrained.config, "pool", None)
    else:
        return None
    if found is None:
        return None
    weight, bias = found
    bias = weight.new_zeros(len(weight)) if bias is None else bias
    return Classifier(
        weight=weight, bias=bias, classes=classes or _names(len(weight), config.weights), pool=pool
    )


def _of_run(folder: Path) -> Classifier | None:
    """Return the classifier of a run of ours; a head with hidden layers, or of another kind, is none."""
    stated = run_head(folder)
    layer = classifier_layer(read_weights(folder))
    if layer is None or stated["head"].get("name") != "linear":
        return None
    weight, bias = layer
    if weight.ndim != 2:  # a layer of pixels, whose head has the same name in another task
        return None
    if not len(weight) == len(bias) == len(stated["classes"]):
        raise VitrailError(f"{folder}: its head and its classes are not as many. Copy it again from the run.")
    return Classifier(
        weight=weight,
        bias=bias,
        classes=stated["classes"],
        multi=stated["multi"],
        pool=run_model(folder).get("pool"),
    )


def _names(count: int, weights: str | None) -> tuple[str, ...]:
    """Return names for classes that nobody named: of ImageNet when there are as many, else their numbers."""
    from timm.data import ImageNetInfo, infer_imagenet_subset

    subset = infer_imagenet_subset({"num_classes": count})
    if subset is None:
        log.warning("%s names none of its %d classes: they are called by their numbers.", weights, count)
        return tuple(f"class {index}" for index in range(count))
    log.warning("%s names none of its %d classes: taken to be those of %s.", weights, count, subset)
    info = ImageNetInfo(subset)
    return distinct([info.index_to_description(index) for index in range(count)])
