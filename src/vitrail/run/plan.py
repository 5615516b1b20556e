"""What a recipe leaves open, chosen by the number of training pictures and by what the network brings."""

from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import nn

from vitrail.backbones.stages import depth_of
from vitrail.data.preprocess import Preprocess
from vitrail.models.vision import Vision
from vitrail.nn.lora import can_adapt
from vitrail.run.recipe import Recipe
from vitrail.run.tune import Mode, TuneConfig, tune


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How trained weights are tuned to so many pictures.

    ``attention`` and ``others`` are the modes for networks with attention and for those without; ``epochs``
    are rounds over the pictures; ``freeze_norms`` is for those without; ``crop`` is the least and greatest
    share of the area that training cuts out of a larger canvas.
    """

    attention: Mode
    others: Mode
    epochs: int
    freeze_norms: bool
    crop: tuple[float, float]


PLANS = {
    0: Plan(attention="lora", others="full", epochs=50, freeze_norms=True, crop=(0.5, 1.0)),
    2_000: Plan(attention="full", others="full", epochs=30, freeze_norms=False, crop=(0.35, 1.0)),
    20_000: Plan(attention="full", others="full", epochs=15, freeze_norms=False, crop=(0.35, 1.0)),
    200_000: Plan(attention="full", others="full", epochs=10, freeze_norms=False, crop=(0.2, 1.0)),
}
"""Plans by the number of training pictures from which on they hold.

On the 1,000 pictures of each of VTAB's tasks, LoRA and its like are clearly better than a probe and than
tuning a Transformer in full (Jia et al. 2022, "Visual prompt tuning"; Mai et al. 2024, "Lessons learned from
a unifying empirical study of parameter-efficient transfer learning"); with thousands tuning in full is as
good as any. A convolutional network is best tuned in full (Kornblith et al. 2019, "Do better ImageNet models
transfer better?"). Epochs: DeiT III tunes for 20 to 50 and MAE for 50 to 100 on 1.3 million pictures; few
pictures want at least 500 steps (Steiner et al. 2021, "How to train your ViT?").
"""

MODES: dict[Mode, tuple[float, float, float]] = {
    "full": (0.1, 0.75, 10.0),
    "last": (0.1, 0.75, 10.0),
    "lora": (1.0, 1.0, 1.0),
    "probe": (1.0, 1.0, 1.0),
}
"""The peak rate as a share of that from scratch (AdamW's is 1e-3), the decay a layer, the head's multiple.

Layer decay as in BEiT and MAE (0.65 to 0.75); their rate for a batch of 1,024, 5e-4 to 2e-3, is by the root
of the batch 1.3e-4 to 5e-4 at 64, for networks that never saw a label: those that did want less. LoRA wants
ten times the rate of tuning in full, as Hu et al. have it. A new head has all to learn; one that is kept has
not, and its multiple is 1.
"""

WIDTH = 768
"""The width of the networks that those rates were found on; Adam's like take them times 768 / width.

So their steps change as much of what a layer computes (Yang et al. 2022, "Tensor programs V: tuning large
neural networks via zero-shot hyperparameter transfer"). SGD's steps are as large as the gradient, which has
a width of its own.
"""
MOST = 10.0
"""The most that a narrow network multiplies its rate by: in full it is tuned at most at that from scratch."""


def trained(recipe: Recipe) -> bool:
    """Whether a recipe's model brings trained weights."""
    return recipe.model != recipe.model.untrained()


def settle(recipe: Recipe, preprocess: Preprocess, pictures: int, *, new_head: bool = True) -> Recipe:
    """Return a recipe that leaves nothing open of tuning, batch, rate, epochs and augmentation.

    Without a ``new_head`` the classifier of the weights is kept, and learns at the rate of the last block.
    Raises UsageError for a tuning that the network does not allow, before anything is trained.
    """
    brings = trained(recipe)
    plan = PLANS[max(least for least in PLANS if pictures >= least)]
    tuned, augment, share = recipe.tune, recipe.augment, 1.0
    if tuned != TuneConfig():
        with torch.device("meta"):  # shapes tell enough
            backbone = recipe.model.untrained().build(preprocess.size, preprocess.channels)
        tuned = _settle_tuning(tuned, backbone, plan if brings else None, new_head=new_head)
        share = _share(tuned, recipe.train.optimizer, backbone.width) if brings else 1.0
    if (
        brings
        and preprocess.fit != "tile"
        and augment.crop_scale is None
        and augment.shift is None
        and max(preprocess.size) > 64
    ):
        augment = replace(augment, crop_scale=plan.crop)
    batch = recipe.train.batch or _batch(pictures)
    lr = recipe.train.lr or share * _rate(recipe.train.optimizer, batch)
    return replace(
        recipe,
        tune=tuned,
        train=replace(recipe.train, batch=batch, lr=lr),
        epochs=recipe.epochs or (plan.epochs if brings else _epochs(pictures)),
        augment=augment.suited(preprocess.size, preprocess.fit),
    )


def describe(recipe: Recipe, model: nn.Module) -> str:
    """Return in one line what of a model is learned and how; nothing when it is all of it, at one rate."""
    tuned = recipe.tune
    if tuned == TuneConfig():
        return ""
    learned, whole = (
        sum(each.numel() for each in model.parameters() if each.requires_grad or frozen) / 1e6
        for frozen in (False, True)
    )
    ways = {
        "full": "all weights",
        "probe": "the head alone",
        "last": f"the head and the last {tuned.blocks} blocks",
        "lora": f"LoRA of rank {tuned.rank}, alpha {tuned.alpha or 0:g}, beside layers of {tuned.targets}",
    }
    calm = ", norms frozen" if tuned.freeze_norms and tuned.mode in ("full", "last") else ""
    decay = f", layer decay {tuned.layer_decay:g}" if tuned.layer_decay != 1 else ""
    head = f", head at {tuned.head_lr:g} times" if tuned.head_lr != 1 else ""
    source = recipe.model.weights or (f"timm's {recipe.model.name}" if trained(recipe) else "chance")
    return (
        f"from {source}: learns {ways[tuned.mode or 'full']}{calm}, "
        f"{learned:.3g} of {whole:.3g} million numbers; "
        f"{recipe.train.optimizer}, peak rate {recipe.train.lr:.2g}{decay}{head}"
    )


def _settle_tuning(
    tuned: TuneConfig, backbone: nn.Module, plan: Plan | None, *, new_head: bool
) -> TuneConfig:
    """Choose what is None by a plan (None: from scratch), and try the outcome on a network without values."""
    attends = can_adapt(backbone, "attention")
    if plan is None:
        mode = tuned.implied or "full"
        chosen: dict[str, Any] = {"layer_decay": 1.0, "head_lr": 1.0, "freeze_norms": False}
    else:
        mode = tuned.implied or (plan.attention if attends else plan.others)
        _, decay, head = MODES[mode]
        frozen = mode in ("lora", "probe") or (plan.freeze_norms and not attends)
        chosen = {"layer_decay": decay, "head_lr": head if new_head else 1.0, "freeze_norms": frozen}
    if mode == "lora":
        rank = tuned.rank or 8
        chosen |= {"rank": rank, "alpha": 2.0 * rank, "targets": "attention" if attends else "feed"}
    if mode == "last":
        chosen["blocks"] = max(1, max(depth_of(backbone).values()) // 4)
    given = {name: value for name, value in asdict(tuned).items() if value is not None}
    settled = TuneConfig(**{**chosen, **given, "mode": mode})
    tune(Vision(backbone, nn.Identity()), settled)
    return settled


def _share(tuned: TuneConfig, optimizer: str, width: int) -> float:
    """Return the rate at which trained weights are tuned as a share of that from scratch."""
    scale = 1.0 if optimizer == "sgd" else min(WIDTH / width, MOST)
    return MODES[tuned.mode or "full"][0] * scale


def _batch(pictures: int) -> int:
    """Choose a batch that makes enough steps an epoch: 16 for a hundred pictures, 256 for very many."""
    enough = {256: 200_000, 128: 100_000, 64: 2_000, 32: 500}
    return next((size for size, least in enough.items() if pictures >= least), 16)


def _epochs(pictures: int) -> int:
    """Choose how often all pictures are seen from scratch: often when they are few, 10 to 200 times."""
    return int(min(200, max(10, 100_000 / max(pictures, 1))))


def _rate(optimizer: str, batch: int) -> float:
    """Scale the optimizer's rate with the batch: linearly for SGD, else above 64 by the square root.

    Goyal et al., 2017; Malladi et al., "On the SDEs and scaling rules for adaptive gradient algorithms",
    2022.
    """
    if optimizer == "sgd":
        return 0.1 * batch / 128
    return float({"muon": 2e-3, "adamw": 1e-3}[optimizer] * (max(batch, 64) / 64) ** 0.5)
