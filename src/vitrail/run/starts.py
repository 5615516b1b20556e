"""What a run starts from, by name: `--recipe NAME`, or what suits the model when none is named."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from vitrail.backbones import ModelConfig, configure
from vitrail.backbones.names import SIZES
from vitrail.backbones.vit import ViTConfig
from vitrail.errors import UsageError
from vitrail.run.recipe import Recipe, TrainConfig
from vitrail.run.tune import TuneConfig

TRAINED_BY_SGD = (
    "resnet",
    "resnext",
    "wide_resnet",
    "seresnet",
    "res2net",
    "regnet",
    "densenet",
    "vgg",
    "inception_v",
    "inception_resnet",
    "xception",
    "dpn",
    "dla",
)
"""How the names of the networks begin whose papers trained them by SGD with momentum."""

WEIGHTS = ("weights", "pretrained")
"""The settings of networks that bring trained weights."""

DROP_PATH = {1280: 0.3, 1024: 0.2, 768: 0.1}
"""The stochastic depth that tuning gives a Transformer of at least this width (He et al. 2021, "MAE")."""


def scratch(model: ModelConfig, where: str, task: str = "classify") -> Recipe:
    """Return the recipe that learns a network anew: its family's own.

    Our Transformers take Muon (see `benchmarks/results` for what each part of their recipe is worth); the
    convolutional networks of timm that were introduced with SGD and momentum take that, as classifiers; the
    rest AdamW.
    """
    if model.family == "vit":
        train = TrainConfig(optimizer="muon", betas=(0.9, 0.99), weight_decay=0.1, ema=0.998)
    elif task == "classify" and model.name.removeprefix("test_").startswith(TRAINED_BY_SGD):
        train = TrainConfig(optimizer="sgd", weight_decay=5e-4, warmup=0.15, clip=5.0)
    else:
        train = TrainConfig()
    return Recipe(where=where, model=model, train=train)


def finetune(model: ModelConfig, where: str, task: str = "classify") -> Recipe:  # noqa: ARG001
    """Return the recipe that tunes trained weights: AdamW, and what is open is chosen by the pictures.

    See `vitrail.run.plan` for what, and where it is taken from.
    """
    if isinstance(model, ViTConfig) and not model.drop_path:
        width = model.width or SIZES[model.size].width
        model = replace(
            model, drop_path=next((DROP_PATH[least] for least in DROP_PATH if width >= least), 0.0)
        )
    tune = TuneConfig(mode=None, layer_decay=None, head_lr=None, freeze_norms=None)
    return Recipe(where=where, model=model, train=TrainConfig(warmup=0.1), tune=tune)


STARTS: dict[str, Callable[[ModelConfig, str, str], Recipe]] = {"finetune": finetune, "scratch": scratch}
"""Recipes by name."""


def start_recipe(
    model: str,
    where: str,
    *,
    name: str | None = None,
    options: Mapping[str, Any] | None = None,
    offline: bool = False,
) -> Recipe:
    """Return the recipe ``name``, or without one `finetune` for a model that brings trained weights.

    ``options`` are keys of the recipe that will be set later and may name the weights. Raises UsageError for
    `finetune` without weights.
    """
    config = configure(model, offline=offline)
    options = options or {}
    trained = config != config.untrained()
    trained = trained or any(options.get(f"model.{key}") for key in WEIGHTS)
    if name == "finetune" and not trained:
        raise UsageError(
            f"--recipe finetune: {config.name} brings no trained weights. Name a model's folder or Hub id, "
            "or weights by --model.weights (a network of timm: --model.pretrained)."
        )
    return STARTS[name or ("finetune" if trained else "scratch")](
        config, where, str(options.get("task.name") or "classify")
    )
