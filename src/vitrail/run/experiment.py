"""From a recipe to the things that it names: splits, preprocessing, model, loaders."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch

from vitrail.backbones.vit import ViTConfig
from vitrail.contracts import Samples
from vitrail.data.augment import Augment
from vitrail.data.cache import PixelCache
from vitrail.data.loader import Loader
from vitrail.data.preprocess import Preprocess
from vitrail.data.probe import probe
from vitrail.data.readers import open_data
from vitrail.data.split import Splits, complete
from vitrail.data.windows import windows_for
from vitrail.errors import UsageError, VitrailError, nearest
from vitrail.heads.linear import adopt
from vitrail.models.vision import Vision
from vitrail.run.canvas import choose_preprocess
from vitrail.run.engine import choose_environment
from vitrail.run.inherit import Inheritance, inherit
from vitrail.run.optim import Order
from vitrail.run.plan import settle, trained
from vitrail.run.recipe import DataConfig, Recipe
from vitrail.run.tune import tune
from vitrail.tasks import Task


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """A resolved recipe with the data that it is about; one ``begun`` has weights of its own by now."""

    recipe: Recipe
    splits: Splits
    preprocess: Preprocess
    notes: tuple[str, ...] = ()
    begun: bool = False

    @property
    def task(self) -> Task:
        """What is asked, of which classes."""
        return self.recipe.task.build(self.splits.classes)

    @property
    def chooses(self) -> tuple[str, Order]:
        """The validation metric that chooses the best epoch, and which way is better."""
        name, orders = self.recipe.train.metric or self.task.primary, self.task.orders
        if name not in orders:
            raise UsageError(f"--train.metric {name}: not one of {', '.join(orders)}.{nearest(name, orders)}")
        return name, orders[name]

    def check(self) -> None:
        """Raise UsageError for a metric that cannot choose, or a network that cannot be, before any work."""
        _ = self.chooses
        model = self.recipe.model
        if self.task.masked and self.recipe.augment.mixup:
            raise UsageError(
                f"--augment.mixup {self.recipe.augment.mixup:g}: classes of pixels cannot be blended. "
                "Take --augment.cutmix, which cuts."
            )
        if isinstance(model, ViTConfig):
            with torch.device(
                "meta"
            ):  # `normal` needs no arithmetic, for which torch would load its compiler
                plain = replace(model.untrained(), init="normal")
                plain.build(self.preprocess.size, self.preprocess.channels)

    @cached_property
    def cache(self) -> PixelCache | None:
        """The decoded pictures of all parts: one cache, which one process fills."""
        return PixelCache.open(self.splits.train, self.preprocess) if self.recipe.data.cache else None

    def model(self) -> Vision:
        """Build the network with its first weights, which the recipe's seed determines, ready to be tuned."""
        torch.manual_seed(self.recipe.seed)
        recipe = replace(self.recipe, model=self.recipe.model.untrained()) if self.begun else self.recipe
        model = build_model(recipe, self.preprocess, self.splits.classes)
        kept = None if self.begun else inherit(self.recipe, self.splits.classes).classifier
        if kept is not None:
            adopt(model.head, kept.weight, kept.bias, kept.classes)
        tune(model, recipe.tune)
        return model

    def loader(self, split: str, *, augmented: bool = False) -> Loader:
        """Return the loader of one split; ``augmented`` is how the training part is seen in training."""
        batch = self.recipe.train.batch
        assert batch is not None, "a resolved recipe has a batch size"
        return make_loader(
            getattr(self.splits, split),
            self.preprocess,
            self.task,
            self.recipe.data,
            batch=batch if augmented else max(batch, 64),
            seed=self.recipe.seed,
            augment=self.recipe.augment if augmented else None,
            cache=self.cache,
        )


def build_model(recipe: Recipe, preprocess: Preprocess, classes: Sequence[str]) -> Vision:
    """Build backbone and head for a canvas of ``preprocess.size`` and these classes."""
    backbone = recipe.model.build(preprocess.size, preprocess.channels)
    return Vision(backbone, recipe.head.build(backbone, classes, bool(recipe.task.multi)))


def make_loader(
    samples: Samples,
    preprocess: Preprocess,
    task: Task,
    data: DataConfig,
    *,
    batch: int,
    seed: int = 0,
    augment: Augment | None = None,
    cache: PixelCache | None = None,
    overlap: int | None = None,
) -> Loader:
    """Return a loader with the threads that the recipe's data part asks for; with ``augment`` it shuffles.

    ``batch`` are pictures, or windows of them where those are larger than the canvas.
    """
    workers = data.workers if data.workers is not None else min(8, os.cpu_count() or 1)
    windows = data.windows or 1
    return Loader(
        samples,
        preprocess,
        batch=batch if augment else max(1, batch // windows),
        seed=seed,
        augment=augment,
        collate=task.collate,
        workers=workers,
        cache=cache,
        shuffle=augment is not None,
        masked=task.masked,
        windows=windows,
        overlap=overlap,
    )


def open_splits(recipe: Recipe, *, offline: bool = False) -> Splits:
    """Return the parts of the data that a recipe is about, of the training part as much as it asks for."""
    data = recipe.data
    options = replace(data, offline=data.offline or offline)
    seed = recipe.seed if data.split_seed is None else data.split_seed
    table = open_data(recipe.where, options)
    splits = complete(table, seed=seed, allow_shared_groups=data.shared_groups)
    return splits.thinned(data.fraction, seed)


def prepare(recipe: Recipe, *, offline: bool = False, begun: Preprocess | None = None) -> Experiment:
    """Read the data and resolve what the recipe leaves open; the result's recipe leaves nothing open.

    ``begun`` is the preprocessing of a run that goes on from a checkpoint, and so needs no other weights.
    """
    options = replace(recipe.data, offline=recipe.data.offline or offline)
    if begun is None:
        recipe.model.fetch(offline=options.offline)
    splits = open_splits(recipe, offline=options.offline)
    look = probe(splits.train)
    if look is None:
        raise VitrailError(
            f"{recipe.where}: none of the first pictures can be read. Is this a folder of pictures?"
        )
    _check_question(recipe, splits.train)
    multi = splits.train.many
    if recipe.task.multi not in (None, multi):
        found = "any number of labels" if multi else "one label"
        unit = "pixel" if splits.train.masked else "picture"
        raise UsageError(f"--task.multi {recipe.task.multi}: {recipe.where} has {found} a {unit}.")
    canvas = recipe.image_size or look.size
    model = recipe.model.suited((canvas[0], canvas[-1]))
    recipe = replace(recipe, model=model, task=replace(recipe.task, multi=multi))
    preprocess, notes = (begun, []) if begun else choose_preprocess(recipe, look, splits.train)
    data = replace(
        recipe.data,
        channels=preprocess.channels,
        fit=preprocess.fit,
        crop_pct=preprocess.crop_pct,
        resample=preprocess.resample,
        range=preprocess.range,
    )
    if preprocess.fit == "tile" and data.windows is None:
        data = replace(data, windows=windows_for(look.size, preprocess.size))
    recipe = replace(recipe, image_size=preprocess.size, data=data)
    legacy = Inheritance() if begun else inherit(recipe, splits.classes)
    notes += [legacy.note] if legacy.note else []
    seen = len(splits.train) * (data.windows or 1)
    resolved = settle(recipe, preprocess, seen, new_head=legacy.classifier is None)
    if resolved.tune.mode != "full" and not trained(resolved):
        notes.append(
            f"{resolved.model.name} brings no trained weights: with --tune.mode {resolved.tune.mode} most of "
            "it stays as chance made it."
        )
    resolved = replace(resolved, environment=recipe.environment or choose_environment(resolved))
    made = Experiment(
        recipe=resolved,
        splits=splits,
        preprocess=preprocess,
        notes=(*splits.notes, *notes),
        begun=begun is not None,
    )
    made.check()
    return made


def _check_question(recipe: Recipe, samples: Samples) -> None:
    """Raise UsageError when the data has other targets than the task asks for."""
    wanted = recipe.task.build(()).masked
    if samples.masked and not wanted:
        raise UsageError(f"{recipe.where} has masks: what each pixel is. Ask for that: --task segment")
    if wanted and not samples.masked:
        raise UsageError(
            f"--task {recipe.task.name}: {recipe.where} has no masks. Put a folder 'masks' beside the folder "
            "'images', with a PNG of the same name for each picture."
        )
