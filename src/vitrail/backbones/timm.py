"""Every convolutional and hybrid network of timm, through one door."""

import logging
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any, Literal

import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from vitrail.backbones.published import published_as, stated_classes, timm_preprocessing
from vitrail.backbones.runs import backbone_of, is_run
from vitrail.backbones.trial import Net, Trial, round_up, stages_of, try_out
from vitrail.backbones.weights import fetch, model_type, read_weights
from vitrail.errors import UsageError, VitrailError
from vitrail.values import Features, Size

log = logging.getLogger(__name__)


class TimmBackbone(nn.Module):
    """A whole network of timm without its classifier: stages are the levels, its pooled output the summary.

    timm's own classifier on the summary gives timm's logits. Pictures ``b c h w`` may have any size: they are
    padded at the right and the bottom to a multiple, and enlarged where the network takes nothing smaller.
    Convolutions see padding, so ``valid`` changes nothing here. ``inputs`` are the pictures' channels.
    """

    def __init__(self, net: nn.Module, trial: Trial, inputs: int = 3) -> None:
        super().__init__()
        self.net: Net = net
        self.inputs = inputs
        self.strides, self.channels, self.width = trial.strides, trial.channels, trial.width
        self.least, self.multiple, self.only = trial.least, trial.multiple, trial.only
        self._stages, self._normed = list(trial.stages), trial.normed
        self.final = nn.Identity()  # where the last map passes by, whichever layer of timm's it comes from

    def forward(
        self,
        pixels: Float[Tensor, "b c H W"],
        valid: Bool[Tensor, "b H W"] | None = None,  # noqa: ARG002
        levels: bool = True,
    ) -> Features:
        """Return the features; without ``levels`` the summary alone, at the cost of timm's classifier."""
        enlarged, canvas = self.prepared(pixels)
        if levels:
            final, stages = stages_of(self.net, canvas, self._stages, self._normed)
            grids = tuple(
                on_grid(stage, stride, canvas, enlarged, pixels)
                for stage, stride in zip(stages, self.strides, strict=True)
            )
        else:
            final, grids = self.net.forward_features(canvas), ()
        final = self.final(final)
        prefix = getattr(self.net, "num_prefix_tokens", 0)
        return Features(
            levels=grids,
            strides=self.strides if levels else (),
            summary=self.net.forward_head(final, pre_logits=True),
            prefix=final[:, :prefix] if prefix and isinstance(final, Tensor) and final.ndim == 3 else None,
        )

    def prepared(self, pixels: Float[Tensor, "b c H W"]) -> tuple[Tensor, Tensor]:
        """Return the pictures enlarged, if they must be, and those padded: what the network is given."""
        enlarged = self._enlarge(pixels)
        return enlarged, _pad(enlarged, self.multiple)

    def _enlarge(self, pixels: Tensor) -> Tensor:
        height, width = pixels.shape[2:]
        if self.only:
            return _resize(pixels, self.only)
        scale = max(self.least[0] / height, self.least[1] / width, 1.0)
        size = (max(self.least[0], round(height * scale)), max(self.least[1], round(width * scale)))
        return _resize(pixels, size) if scale > 1 else pixels


def _pad(pixels: Tensor, multiple: int) -> Tensor:
    height, width = round_up((pixels.shape[2], pixels.shape[3]), multiple)
    if (height, width) == pixels.shape[2:]:
        return pixels  # which F.pad would copy
    return F.pad(pixels, (0, width - pixels.shape[3], 0, height - pixels.shape[2]))


def on_grid(stage: Tensor, stride: int, canvas: Tensor, enlarged: Tensor, pixels: Tensor) -> Tensor:
    """Bring a stage to the grid that its stride promises on the pictures that were given."""
    stage = _resize(stage, _grid(canvas, stride))  # some networks lose a border (Inception), most do not
    height, width = _grid(enlarged, stride)
    return _resize(stage[:, :, :height, :width], _grid(pixels, stride))


def _grid(pixels: Tensor, stride: int) -> Size:
    return -(-pixels.shape[2] // stride), -(-pixels.shape[3] // stride)


def _resize(x: Tensor, size: Size) -> Tensor:
    if tuple(x.shape[2:]) == size:
        return x
    return F.interpolate(x, size=size, mode="bilinear", antialias=True)


@dataclass(frozen=True, kw_only=True)
class TimmConfig:
    """A network of timm."""

    family: Literal["timm"] = "timm"
    """The family of networks."""
    name: str = "resnet18"
    """timm's name of the architecture, with or without the tag of its weights."""
    pretrained: bool = False
    """Start from the weights that timm publishes under this name, fetched once."""
    weights: str | None = None
    """Start from these weights instead: a folder, a .safetensors file, or a Hub id."""
    drop_path: float = 0.0
    """The chance that the last residual branches are dropped in training; earlier ones less."""

    def __post_init__(self) -> None:
        if not 0 <= self.drop_path < 1:
            raise UsageError(f"drop_path is a chance from 0 to below 1, not {self.drop_path:g}.")

    def build(self, image_size: Size, channels: int, *, offline: bool = False) -> TimmBackbone:
        """Return the network for pictures of this size, with its weights or fresh ones.

        Raises UsageError when it cannot be built so, or when its weights are not in the cache and
        ``offline``; VitrailError when they are not to be had.
        """
        trial = _trial(self.untrained(), image_size, channels)
        if trial.only and trial.only != image_size:
            log.warning("%s takes %dx%d pictures only: others are resized to that.", self.name, *trial.only)
        elif any(side < least for side, least in zip(image_size, trial.least, strict=True)):
            log.warning(
                "%s takes no pictures below %dx%d: smaller ones are enlarged.", self.name, *trial.least
            )
        source = self._source(offline=offline)
        if source is None:
            return TimmBackbone(self._create(channels, **trial.arguments), trial, channels)
        return TimmBackbone(self._load(source, channels, **trial.arguments), trial, channels)

    def fetch(self, *, offline: bool = False) -> None:
        """Bring the weights to start from into the cache, unless they are there or ``offline``.

        Raises what `build` raises when they are not to be had, before anything else is begun.
        """
        self._source(offline=offline)

    def untrained(self) -> "TimmConfig":
        """Return the same network without weights to start from: for who has its trained weights already."""
        return replace(self, pretrained=False, weights=None)

    def preprocessing(self) -> dict[str, Any]:
        """Return what the weights were trained with (see `timm_preprocessing`); without weights nothing.

        Asks no network: raises UsageError for weights on the Hub that `fetch` has not brought here.
        """
        if self.weights is None:
            return timm_preprocessing(self.name) if self.pretrained else {}
        source = self._source(offline=True)
        if source and model_type(source):
            from vitrail.backbones.checkpoints.start import of_timm

            return dict(of_timm(self.name, source, values=False).preprocessing)
        return timm_preprocessing(str(source) if source and source.is_dir() else self.name)

    def classifier(
        self, *, offline: bool = False
    ) -> tuple[tuple[Tensor, Tensor | None] | None, tuple[str, ...] | None]:
        """Return weight and bias of the weights' own classifier, and its classes' names where stated.

        Only a linear layer on the summary counts as one. Raises what `build` raises for missing weights.
        """
        source = self._source(offline=offline)
        if source is None:
            return None, None
        if model_type(source):
            from vitrail.backbones.checkpoints.start import of_timm

            found = of_timm(self.name, source)
            return found.head, found.classes
        tensors, published = read_weights(source), published_as(str(source) if source.is_dir() else self.name)
        layer = published.get("classifier")
        weight = tensors.get(f"{layer}.weight")
        if weight is None or weight.ndim != 2:
            return None, None
        return (weight, tensors.get(f"{layer}.bias")), stated_classes(source, len(weight))

    def suited(self, pictures: Size) -> "TimmConfig":  # noqa: ARG002
        """Return the network as it is: nothing of it depends on the pictures."""
        return self

    def suitable_size(self, pictures: Size) -> Size:
        """Return a canvas for pictures of about this size: at most what the network was designed for.

        Small pictures keep their shape. Below 24 pixels five halvings leave nothing: such are enlarged to 32.
        """
        design: Size = timm_preprocessing(self.name)["size"]
        if max(pictures) > max(design):
            return design
        scale = 1.0 if min(pictures) >= 24 else 32 / min(pictures)
        height, width = (round(side * scale) for side in pictures)
        return height, width

    def _create(self, channels: int, **arguments: Any) -> Net:
        import timm

        if self.drop_path:
            arguments["drop_path_rate"] = self.drop_path
        try:
            return timm.create_model(self.name, in_chans=channels, **{"num_classes": 0, **arguments})
        except TypeError as error:
            if "drop_path_rate" in str(error):
                raise UsageError(
                    f"timm's {self.name} has no residual paths to drop: leave drop_path."
                ) from None
            raise

    def _source(self, *, offline: bool) -> Path | None:
        """Return the folder or file of the weights to start from, fetched if need be."""
        if self.weights is not None:
            return Path(self.weights) if Path(self.weights).exists() else fetch(self.weights, offline=offline)
        if not self.pretrained:
            return None
        published = published_as(self.name)
        hub_id = published.get("hf_hub_id")
        if not hub_id and published.get("url"):
            raise UsageError(
                f"timm publishes the weights of {self.name} as a pickle only: {published['url']}\n"
                "Fetch it, then python -m vitrail.backbones.convert FILE, and name that by --model.weights."
            )
        if not hub_id:
            raise UsageError(f"timm publishes no weights for {self.name}: leave out pretrained.")
        return fetch(hub_id, offline=offline)

    def _load(self, source: Path, channels: int, **arguments: Any) -> Net:
        """Return the whole network with the weights of a file or folder, then without its classifier.

        timm brings the weights to other sizes and channels; a name that is missing or unknown is an error.
        """
        if foreign := model_type(source) is not None:
            from vitrail.backbones.checkpoints.start import of_timm

            tensors = dict(of_timm(self.name, source).tensors)
        else:
            tensors = read_weights(source)
            tensors = backbone_of(tensors, "net.") if is_run(source) else tensors
        published = published_as(str(source) if source.is_dir() and not foreign else self.name)
        classifiers = published.get("classifier") or ()
        first = classifiers if isinstance(classifiers, str) else next(iter(classifiers), "")
        classes = len(tensors[f"{first}.bias"]) if f"{first}.bias" in tensors else 0
        overlay = {"state_dict": tensors, "num_classes": classes, "label_offset": 0}
        if "input_size" in published:
            overlay["input_size"] = tuple(published["input_size"])
        try:
            net = self._create(
                channels, pretrained=True, num_classes=classes, pretrained_cfg_overlay=overlay, **arguments
            )
        except (RuntimeError, KeyError) as error:
            what = " ".join(str(error).split())
            raise VitrailError(f"{source}: these are not the weights of {self.name}: {what[:300]}") from None
        net.reset_classifier(0)
        return net


@cache
def _trial(config: TimmConfig, size: Size, channels: int) -> Trial:
    """Return how a network is built for pictures of this size; who builds it again need not try again."""
    return try_out(partial(config._create, channels), config.name, size, channels)
