"""A recipe is everything that makes a run: complete, frozen, readable, and enough to make it again."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, get_type_hints

import msgspec

from vitrail.backbones import BACKBONES, ModelConfig
from vitrail.data.augment import Augment
from vitrail.data.readers import ReaderOptions
from vitrail.errors import UsageError, VitrailError, nearest
from vitrail.heads import HEADS, HeadConfig
from vitrail.heads.linear import LinearConfig
from vitrail.run.limits import POSITIVE, check_limits
from vitrail.run.tune import TuneConfig
from vitrail.tasks import TASKS, TaskConfig
from vitrail.tasks.classify import ClassifyConfig


@dataclass(frozen=True, kw_only=True)
class DataConfig(ReaderOptions):
    """Which columns to read, and how a picture is fitted onto the model's canvas."""

    frames: Literal["first", "error"] = "first"
    """Of animations and multi-page files take the first frame, or count them as broken."""
    fit: Literal["crop", "squash", "pad", "tile"] | None = None
    """Cut the middle out, squash the whole picture, pad it, or look at windows of it as it is (default: tile
    for segmentation, else crop, or the checkpoint's)."""
    windows: int | None = None
    """With `tile`: windows of each picture in an epoch (default: as many as a picture has room for)."""
    crop_pct: float | None = None
    """With `crop`: the share of the shorter side that is kept (default: all, or the checkpoint's)."""
    resample: str | None = None
    """bilinear, bicubic, lanczos or nearest (default: bicubic, or the checkpoint's)."""
    channels: int | None = None
    """1 grey, 3 colour, or as many as bands are in NumPy files and TIFFs (default: what the pictures are)."""
    range: tuple[float, ...] | None = None
    """Of more than 8 bits: what becomes black and what becomes white, or such a pair for each channel; beyond
    it is clipped (default: where the training pictures' lowest and highest 0.1 % begin)."""
    max_pixels: int = 500_000_000
    """Larger pictures are refused: they may be decompression bombs."""
    workers: int | None = None
    """Threads that decode (default: one a core, at most 8)."""
    split_seed: int | None = None
    """Holds out the parts that the data does not name (default: the recipe's seed): with one split for all
    seeds, runs are tested on the same pictures and can be compared."""
    fraction: float = 1.0
    """The share of the training pictures that is learned from, in each class alike; smaller shares are parts
    of larger ones."""
    cache: bool = True
    """Keep decoded pictures in the cache folder, so that later epochs cost no decoding."""

    def __post_init__(self) -> None:
        limits: dict[str, tuple[float, float | None]] = {"channels": (1, None), "max_pixels": (1, None)}
        check_limits(
            self, "data", limits | {"workers": (0, 256), "windows": (1, None), "fraction": (1e-12, 1)}
        )


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """How weights are learned."""

    optimizer: Literal["adamw", "sgd", "muon"] = "adamw"
    """AdamW, SGD with Nesterov momentum, or Muon for hidden matrices with AdamW for the rest."""
    batch: int | None = None
    """Pictures a step (default: by the number of pictures)."""
    accumulate: int = 1
    """Parts that a batch is worked through in, when it does not fit into memory."""
    lr: float | None = None
    """Peak learning rate (default: by the optimizer and the batch)."""
    final_lr: float = 0.0
    """Where the cosine ends, as a fraction of the peak."""
    warmup: float = 0.05
    """The fraction of the run during which the rate rises."""
    weight_decay: float = 0.05
    """Decay of matrices; vectors are not decayed."""
    betas: tuple[float, float] = (0.9, 0.999)
    """AdamW's two memories."""
    muon_lr: float = 10.0
    """Muon's peak learning rate as a multiple of `lr`, which is AdamW's."""
    momentum: float = 0.9
    """SGD's memory."""
    clip: float = 1.0
    """The largest norm of the gradient (0: no limit)."""
    ema: float = 0.0
    """Answer with averaged weights of this decay (0: off)."""
    metric: str | None = None
    """The validation metric that chooses the best epoch (default: the task's)."""
    patience: int = 0
    """Stop after this many epochs without a better one (0: never)."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """bf16 is used on devices where it pays."""
    compile: Literal["auto", "on", "off"] = "auto"
    """torch.compile is used where it pays."""
    save_minutes: float = 5.0
    """Time between two checkpoints within an epoch; one is written after each epoch."""

    def __post_init__(self) -> None:
        share = (0, 1)
        limits: dict[str, tuple[float, float | None]] = {"batch": (1, None), "accumulate": (1, None)}
        limits |= {"lr": POSITIVE, "muon_lr": POSITIVE}
        limits |= {"final_lr": share, "warmup": share, "momentum": share, "ema": share}
        limits |= {
            "weight_decay": (0, None),
            "clip": (0, None),
            "patience": (0, None),
            "save_minutes": (0, None),
        }
        check_limits(self, "train", limits)


@dataclass(frozen=True, kw_only=True)
class Environment:
    """What the bits of a run depend on besides the recipe."""

    vitrail: str
    torch: str
    device: str
    processor: str
    threads: int
    precision: str
    compile: bool
    channels_last: bool


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything that made a run. Fields left at None are resolved from the data, once, and written down."""

    where: str
    """The data: a folder, a table, `digits`, or hf://owner/name."""
    model: ModelConfig
    """The backbone."""
    task: TaskConfig = field(default_factory=ClassifyConfig)
    """What is asked."""
    head: HeadConfig = field(default_factory=LinearConfig)
    """How it is answered."""
    data: DataConfig = DataConfig()
    train: TrainConfig = TrainConfig()
    tune: TuneConfig = field(default_factory=TuneConfig)
    augment: Augment = field(default_factory=Augment)
    epochs: int | None = None
    """Rounds over the training pictures (default: by their number)."""
    image_size: tuple[int, ...] | None = None
    """Height and width of the canvas, or one number for both (default: by the pictures and the patch)."""
    seed: int = 0
    """Every random choice follows from it."""
    device: str = "auto"
    """cpu, cuda, cuda:1, mps, or auto."""
    environment: Environment | None = None
    """What the bits depend on besides; filled in by the run."""

    def __post_init__(self) -> None:
        check_limits(self, "", {"epochs": (1, None)})

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values: every key, also those that a file left at their defaults."""
        plain: dict[str, Any] = msgspec.to_builtins(asdict(self))
        return plain


def from_dict(plain: Mapping[str, Any], name: str) -> Recipe:
    """Read a recipe from JSON values; ``name`` names it in errors. Missing keys keep their defaults."""
    given = dict(plain)
    task = name_of(given.get("task", "classify"))
    heads = HEADS.get(task, {})
    kinds: dict[str, Mapping[str, type]] = {"task": TASKS, "head": heads, "model": BACKBONES}
    given.setdefault("head", next(iter(heads), None))
    chosen: dict[str, Any] = {}
    for part, registry in kinds.items():
        value = given.pop(part, None)
        if value is None:
            continue
        value = {"name": value} if isinstance(value, str) else value
        kind = str(value.get("family" if part == "model" else "name"))
        if kind not in registry:
            of = f" of the task {task}" if part == "head" else ""
            raise UsageError(
                f"{name}: {part} is {kind!r}, not one of {', '.join(registry)}{of}."
                f"{nearest(str(kind), registry)}"
            )
        chosen[part] = _convert(value, registry[kind], f"{name}: {part}")
    _no_unknown(given, Recipe, name)
    for key, value in given.items():
        chosen[key] = _convert(value, _TYPES[key], f"{name}: {key}")
    try:
        return Recipe(**chosen)
    except TypeError as error:
        raise VitrailError(f"{name}: {error}") from None


def name_of(part: Any) -> str:
    """Return the name of a part of a recipe, which is the name alone or an object with it."""
    return str(part.get("name") if isinstance(part, Mapping) else part)


def read_recipe(path: Path) -> dict[str, Any]:
    """Read a recipe file as plain values; its ``about`` (command, cost, expected score) is for people."""
    try:
        plain = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(f"{path}: no such recipe.") from None
    except (OSError, ValueError) as error:
        raise VitrailError(f"{path}: cannot be read as a recipe ({error}).") from None
    if not isinstance(plain, dict):
        raise VitrailError(f"{path}: a recipe is a JSON object.")
    plain.pop("about", None)
    return plain


def differences(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Return one line ``key: old -> new`` for each key in which two recipes differ."""
    lines = []
    for key in sorted(old.keys() | new.keys()):
        before, after = old.get(key), new.get(key)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            lines += differences(before, after, f"{prefix}{key}.")
        elif json.dumps(before) != json.dumps(after):
            lines.append(f"{prefix}{key}: {json.dumps(before)} -> {json.dumps(after)}")
    return lines


_TYPES = get_type_hints(Recipe)


def _convert(value: Any, kind: Any, name: str) -> Any:
    """Convert JSON values to a config, refusing unknown keys and wrong types by name."""
    if is_dataclass(kind) and isinstance(kind, type) and isinstance(value, Mapping):
        _no_unknown(value, kind, name)
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise VitrailError(f"{name}: {error}.") from None


def _no_unknown(value: Mapping[str, Any], kind: type, name: str) -> None:
    known = {part.name for part in fields(kind)}
    for key in value:
        if key not in known:
            raise VitrailError(f"{name}: unknown key {key!r}.{nearest(key, known)}")
