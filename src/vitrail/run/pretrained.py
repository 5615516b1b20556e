"""A classifier that somebody else trained, as if it were a run: it answers without further training."""

from dataclasses import replace
from pathlib import Path

from vitrail.backbones import configure
from vitrail.backbones.classifier import classifier_of
from vitrail.backbones.names import parse
from vitrail.backbones.timm import TimmConfig
from vitrail.data.preprocess import Preprocess
from vitrail.errors import UsageError
from vitrail.heads.linear import adopt
from vitrail.models.vision import Vision
from vitrail.run.contract import Contract
from vitrail.run.recipe import Recipe


def load_pretrained(name: str, *, offline: bool = False) -> tuple[Contract, Vision]:
    """Return what a model promises and the model: of a Hub id, a folder of transformers or timm, a timm name.

    Its pictures are prepared as they were for its weights, and its classes are called as its files call them.
    Raises UsageError for a model without trained weights, or whose weights have no classifier.
    """
    config = configure(name, offline=offline)
    if isinstance(config, TimmConfig) and config.weights is None:
        config = replace(config, pretrained=True)
    if config == config.untrained():
        raise UsageError(
            f"{name} has no trained weights, so it cannot answer. Train it: vitrail train DATA --model {name}"
        )
    found = classifier_of(config, offline=offline)
    if found is None:
        raise UsageError(
            f"{name}: its weights have no classifier to answer with. Tune it on pictures of yours:\n"
            f"vitrail train DATA --model {name}"
        )
    stated = config.preprocessing()
    preprocess = Preprocess(
        size=stated["size"],
        channels=stated["channels"],
        fit=stated["fit"],
        crop_pct=stated["crop_pct"],
        resample=stated["resample"],
        mean=stated["mean"],
        std=stated["std"],
    )
    recipe = Recipe(where=name, model=config)
    backbone = config.build(preprocess.size, preprocess.channels, offline=offline)
    head = recipe.head.build(backbone, found.classes)
    adopt(head, found.weight, found.bias, found.classes)
    contract = Contract(recipe=recipe, classes=found.classes, preprocess=preprocess, fingerprint="")
    return contract, Vision(backbone, head).eval()


def names_a_model(word: str) -> bool:
    """Whether a word that is no run folder names a model: a path into a folder that is there does not."""
    path = Path(word)
    if path.exists():
        return True
    try:
        parse(word)
    except UsageError:
        return False
    return path.parent == Path() or not path.parent.is_dir()
