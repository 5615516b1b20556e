"""Which weights are learned, at which share of the rate, and what rests meanwhile."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from torch import nn

from vitrail.backbones.stages import depth_of
from vitrail.errors import UsageError
from vitrail.models.vision import Vision
from vitrail.nn.lora import Targets, adapt, can_adapt
from vitrail.run.limits import POSITIVE, check_limits

Mode = Literal["full", "probe", "last", "lora"]

OWNERS: dict[str, Mode] = {"blocks": "last", "rank": "lora", "alpha": "lora", "targets": "lora"}
"""The settings that belong to one mode."""


@dataclass(frozen=True, kw_only=True)
class TuneConfig:
    """Which weights are learned, and at which share of the learning rate.

    From scratch: all of them, at one rate. Where a model brings trained weights, what is None is chosen by
    the number of training pictures (see `vitrail.run.plan`).
    """

    mode: Mode | None = "full"
    """Learn all weights, the head alone (probe), the last blocks as well, or thin matrices beside weights
    that stay as they are (lora: Hu et al. 2021; they are merged into the weights that the run keeps)."""
    blocks: int | None = None
    """With `last`: how many blocks are learned, counted from the head (default: a quarter of them)."""
    layer_decay: float | None = 1.0
    """Each block's learning rate as a multiple of the one's after it (Bao et al. 2021, "BEiT"): what early
    blocks have learned is of use everywhere."""
    head_lr: float | None = 1.0
    """The head's learning rate as a multiple of the recipe's: above 1 where it is new and the rest is not."""
    freeze_norms: bool | None = False
    """Keep norms as they are, batch norms with the statistics that they came with, where pictures are few."""
    rank: int | None = None
    """With `lora`: how many dimensions are learned beside each weight (default: 8)."""
    alpha: float | None = None
    """With `lora`: what is learned is multiplied by alpha / rank (default: twice the rank)."""
    targets: Targets | None = None
    """With `lora`: beside which linear layers: those of attention, the others (feed), or all (default:
    attention; in a network without it, feed)."""

    def __post_init__(self) -> None:
        limits = {"blocks": (1, None), "rank": (1, None), "alpha": POSITIVE}
        check_limits(self, "tune", limits | {"layer_decay": (1e-12, 1), "head_lr": POSITIVE})
        modes = {mode: name for name, mode in OWNERS.items() if getattr(self, name) is not None}
        for mode, name in modes.items():
            if self.mode not in (None, mode):
                raise UsageError(f"--tune.{name} belongs to --tune.mode {mode}, not to {self.mode}.")
        if len(modes) > 1:
            raise UsageError("--tune.blocks belongs to --tune.mode last, --tune.rank to lora: take one out.")

    @property
    def implied(self) -> Mode | None:
        """The mode that a setting of its own implies, where none is named."""
        return self.mode or next((OWNERS[name] for name in OWNERS if getattr(self, name) is not None), None)


def tune(model: Vision, config: TuneConfig) -> None:
    """Freeze what is not learned and put in what is learned instead, in place.

    Frozen parts rest also in training: no dropout in them, and batch norms keep their statistics.
    Raises UsageError for more blocks than there are, and for `lora` where there is nothing to adapt.
    """
    backbone = model.backbone
    if config.mode != "full":
        depth = depth_of(backbone)
        deepest = _deepest(config, max(depth.values()))
        for name, parameter in backbone.named_parameters():
            parameter.requires_grad_(depth[name] <= deepest)
    if config.mode == "lora":
        assert config.rank, "a resolved recipe says what is adapted"
        assert config.targets, "and where"
        if not adapt(backbone, config.rank, config.alpha or config.rank, config.targets):
            raise UsageError(_nothing_to_adapt(backbone, config.targets))
    norms = [module for module in backbone.modules() if _is_norm(module)]
    if config.mode == "lora" or config.freeze_norms:
        for parameter in (each for norm in norms for each in norm.parameters(recurse=False)):
            parameter.requires_grad_(not config.freeze_norms)
    plain = [norm for norm in norms if config.freeze_norms and not list(norm.parameters())]
    model.resting = (*_frozen(model), *plain)


def shares(model: Vision, config: TuneConfig) -> dict[str, float]:
    """Return, for each parameter's name, its learning rate as a multiple of the recipe's."""
    decay, head = config.layer_decay or 1.0, config.head_lr or 1.0
    return {
        **{f"backbone.{name}": decay**depth for name, depth in depth_of(model.backbone).items()},
        **{f"head.{name}": head for name, _ in model.head.named_parameters()},
    }


def _deepest(config: TuneConfig, stages: int) -> int:
    """Return up to which depth the backbone's own weights are learned; -1 is none of them."""
    if config.mode != "last":
        return -1
    assert config.blocks, "a resolved recipe says how many blocks"
    if config.blocks >= stages:
        raise UsageError(
            f"--tune.blocks {config.blocks}: this network has {stages - 1}. All weights are --tune.mode full."
        )
    return config.blocks


def _nothing_to_adapt(backbone: nn.Module, targets: Targets) -> str:
    """Return why `lora` cannot be, with a cure that this network allows."""
    kinds: tuple[Targets, ...] = ("attention", "feed")
    said = f"--tune.mode lora: this network has no linear layers of the kind {targets!r}"
    if others := [kind for kind in kinds if can_adapt(backbone, kind)]:
        return f"{said}, only of {others[0]!r}: take --tune.targets {others[0]}."
    stages = max(depth_of(backbone).values(), default=0)
    mode = "--tune.mode last or full" if stages > 1 else "--tune.mode full"
    return f"{said}, nor any other: take {mode}."


def _is_norm(module: nn.Module) -> bool:
    """Whether a module normalises: by its name, since timm has many of its own."""
    name = type(module).__name__.lower()
    own = bool(list(module.parameters(recurse=False))) or hasattr(module, "running_mean")
    return "norm" in name and "normfree" not in name and own


def _frozen(module: nn.Module) -> Iterator[nn.Module]:
    """Give the outermost modules none of whose weights is learned."""
    parameters = list(module.parameters())
    if parameters and not any(parameter.requires_grad for parameter in parameters):
        yield module
    elif parameters:
        for child in module.children():
            yield from _frozen(child)
