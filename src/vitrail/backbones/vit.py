"""Which Vision Transformer: its size by name, its switches, and the one place that builds it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from torch import nn

from vitrail.backbones.entrance import Entrance, check_divides
from vitrail.backbones.names import SIZES
from vitrail.backbones.switches import check_switches
from vitrail.backbones.vision_transformer import Pool, ViT
from vitrail.nn.attention import Attention, CrossAttention
from vitrail.nn.block import RESIDUALS, Block, ExpertsBlock, PreNorm
from vitrail.nn.droppath import DropPath
from vitrail.nn.embed import ConvStem, PatchEmbed, TubeletEmbed
from vitrail.nn.encoder import Encoder
from vitrail.nn.experts import Experts
from vitrail.nn.feedforward import MLP, SwiGLU, gated_width
from vitrail.nn.init import INITS
from vitrail.nn.norm import NORMS, LayerScale
from vitrail.nn.pool import AttentionPool
from vitrail.nn.positions import LearnedPositions, SinePositions
from vitrail.nn.rotary import RotaryPositions
from vitrail.values import Size


@dataclass(frozen=True, kw_only=True)
class ViTConfig:
    """A Vision Transformer of our own: ``size`` names a row of the table, the rest departs from it."""

    family: Literal["vit"] = "vit"
    """The family of networks."""
    size: str = "s"
    """pico, ti, s, b, l, h or g."""
    patch: int = 16
    """The side of a patch in pixels, which divides the pictures' sides (0: chosen by the pictures)."""
    tubelet: int = 0
    """Frames of a video or slices of a volume that a patch takes in (0: pictures)."""
    width: int | None = None
    """Features of a token (default: the size's)."""
    depth: int | None = None
    """Layers (default: the size's)."""
    heads: int | None = None
    """Attentions side by side in a layer; they divide the width (default: the size's)."""
    mlp: int | None = None
    """Hidden width of the feed-forward part (default: the size's; two thirds of it for SwiGLU)."""
    stem: Literal["patch", "conv"] = "patch"
    """Pixels to tokens: one linear map of each patch, or small overlapping convolutions."""
    patch_bias: bool = True
    """Whether the map of patches has a bias (CLIP's has none)."""
    positions: Literal["none", "learned", "sine", "rotary"] = "learned"
    """Where tokens lie: learned vectors, fixed waves, or queries and keys turned by their place."""
    antialias: bool = True
    """Resample learned positions with the antialiased filter, as timm does (transformers: without)."""
    pool: Pool = "class"
    """What sums the picture up: a class token, the patches' mean, attention (SigLIP), the class token beside
    the mean (DINOv2's classifier) or beside a distillation token (DeiT)."""
    registers: int = 0
    """Tokens without a meaning, to take notes on, which keep its maps clean (Darcet et al. 2023)."""
    enter_norm: bool = False
    """A norm before the first layer (CLIP)."""
    final_norm: Literal["tokens", "summary"] = "tokens"
    """The last norm comes before the summary, or after it (mean-pooled networks of timm and MAE)."""
    norm: Literal["layer", "rms"] = "layer"
    """LayerNorm, or RMSNorm, which sets the strength of a token and not its mean."""
    norm_place: Literal["pre", "post"] = "pre"
    """Normalise where a branch begins, or after its sum with what came in, as in 2017."""
    eps: float = 1e-6
    """What norms add to a variance; checkpoints differ."""
    feed: Literal["mlp", "swiglu"] = "mlp"
    """The feed-forward part: two dense layers, or three of which one is a gate."""
    activation: Literal["gelu", "gelu_tanh", "quick_gelu", "relu"] = "gelu"
    """The bend of an `mlp`; SigLIP has gelu_tanh, CLIP quick_gelu."""
    bias: Literal["all", "not-qkv", "none"] = "all"
    """Which dense layers of the blocks have biases; without, large networks train steadier (ViT-22B)."""
    qk_norm: bool = False
    """Normalise queries and keys, so that attention never saturates (ViT-22B)."""
    layer_scale: float | None = None
    """Learned factors on each branch that start at this value: 1e-5 or so (DeiT III, DINOv2)."""
    experts: int = 0
    """Feed-forward parts in every second layer, of which each token takes its best (V-MoE; 0: none)."""
    experts_top: int = 1
    """How many experts each token takes."""
    experts_capacity: float = 1.25
    """In training, the tokens an expert takes at most, as a multiple of its even share."""
    drop_path: float = 0.0
    """The chance that the last layer's branches are dropped in training; earlier ones less."""
    dropout: float = 0.0
    """The chance that an activation is dropped in training."""
    patch_drop: float = 0.0
    """The share of the patches that training leaves out, to save as much time (Li et al. 2022, "FLIP")."""
    init: Literal["normal", "xavier"] = "xavier"
    """The weights at the start: normal with deviation 0.02, or Xavier-uniform."""
    weights: str | None = None
    """Start from these weights: a folder, a .safetensors or .npz file, or a Hub id."""

    def __post_init__(self) -> None:
        check_switches(self)

    @classmethod
    def named(cls, size: str, patch: int) -> "ViTConfig":
        """Return what a name stands for: below S with the stem and the pool that such networks like best.

        See benchmarks/results for what each is worth to them.
        """
        if SIZES[size].width < SIZES["s"].width:
            return cls(size=size, patch=patch, stem="conv", pool="mean")
        return cls(size=size, patch=patch)

    @property
    def name(self) -> str:
        """The model's name: size and patch."""
        return f"vit-{self.size}{self.patch or ''}"

    def build(self, image_size: Sequence[int], channels: int, *, offline: bool = False) -> ViT:
        """Return the network for pictures of this size, with its weights, or fresh ones by torch's generator.

        With ``tubelet`` sizes have three numbers: frames or slices, height, width.
        Raises UsageError when the patch does not divide the pictures, or the heads the width, or when weights
        are another network's or not in the cache and ``offline``; VitrailError when they are not to be had.
        """
        if not self.patch:
            return self.suited((image_size[-2], image_size[-1])).build(image_size, channels, offline=offline)
        width = self._width
        vit = ViT(
            self.entrance(image_size, channels),
            enter=self._norm(width) if self.enter_norm else nn.Identity(),
            encoder=Encoder(
                (self._block(layer) for layer in range(self._depth)),
                self._norm(width) if self._normed("tokens") else nn.Identity(),
            ),
            pooling=self._attention_pool() if self.pool == "attention" else None,
            norm_summary=self._norm(width) if self._normed("summary") else nn.Identity(),
            pool=self.pool,
            prefix=self.prefix_tokens,
            width=width,
            dropout=self.dropout,
            patch_drop=self.patch_drop,
        )
        vit.apply(INITS[self.init])
        if self.weights is not None:
            from vitrail.backbones.checkpoints.start import start

            start(vit, self, self.weights, offline=offline)
        return vit

    def entrance(self, image_size: Sequence[int], channels: int) -> Entrance:
        """Return what makes tokens of pictures of this size, to be initialised.

        Raises UsageError when the patch does not divide them.
        """
        patch = (self.tubelet, self.patch, self.patch) if self.tubelet else (self.patch, self.patch)
        check_divides(patch, image_size)
        grid = tuple(side // each for side, each in zip(image_size, patch, strict=True))
        turned = self.positions == "rotary"
        return Entrance(
            embed=self._embed(channels),
            positions=self._positions(grid),
            rotary=RotaryPositions(self._width // self._heads, len(grid)) if turned else None,
            patch=patch,
        )

    @property
    def prefix_tokens(self) -> int:
        """How many tokens come before the patches."""
        return self.pool.startswith("class") + (self.pool == "class+distilled") + self.registers

    def fetch(self, *, offline: bool = False) -> None:
        """Bring the weights to start from into the cache, unless they are there or ``offline``.

        Raises what `build` raises when they are not to be had, before anything else is begun.
        """
        if self.weights is not None:
            from vitrail.backbones.checkpoints.start import locate

            locate(self.weights, offline=offline)

    def untrained(self) -> "ViTConfig":
        """Return the same network without weights to start from."""
        return replace(self, weights=None)

    def preprocessing(self) -> dict[str, Any]:
        """Return how pictures were prepared for the weights to start from: nothing, without such weights.

        Asks no network: raises UsageError for weights on the Hub that `fetch` has not brought here.
        """
        if self.weights is None:
            return {}
        from vitrail.backbones.checkpoints.start import preparation

        return preparation(self, self.weights)

    def suited(self, pictures: Size) -> "ViTConfig":
        """Return the network with its patch chosen, if it is not: 7 to 14 patches a side of pictures."""
        patch = 2 ** math.floor(math.log2(max(2.0, min(pictures) / 7)))
        return self if self.patch else replace(self, patch=min(16, patch))

    def suitable_size(self, pictures: Size) -> Size:
        """Return a canvas for pictures of about this size, which the patch divides.

        Small pictures keep their shape, larger ones become squares of 224. With less than 4 patches a side
        there is little for tokens to tell each other: such pictures are enlarged to 7.
        """
        if max(pictures) > 224:
            pictures = (224, 224)
        fewest = min(pictures) / self.patch
        scale = 1.0 if fewest >= 4 else 7 / fewest
        height, width = (round(side * scale / self.patch) * self.patch for side in pictures)
        square = max(self.patch, 224 // self.patch * self.patch)
        return (height, width) if max(height, width) <= max(224, 7 * self.patch) else (square, square)

    @property
    def _width(self) -> int:
        return self.width or SIZES[self.size].width

    @property
    def _depth(self) -> int:
        return self.depth or SIZES[self.size].depth

    @property
    def _heads(self) -> int:
        return self.heads or SIZES[self.size].heads

    def _normed(self, place: str) -> bool:
        return self.final_norm == place and self.norm_place == "pre"  # post-norm blocks end with a norm

    def _norm(self, width: int) -> nn.Module:
        return NORMS[self.norm](width, self.eps, self.bias != "none")

    def _embed(self, channels: int) -> nn.Module:
        if self.tubelet:
            sides = (self.tubelet, self.patch, self.patch)
            return TubeletEmbed(channels, self._width, sides, bias=self.patch_bias)
        if self.stem == "conv":
            return ConvStem(channels, self._width, self.patch)
        return PatchEmbed(channels, self._width, self.patch, bias=self.patch_bias)

    def _positions(self, grid: tuple[int, ...]) -> nn.Module | None:
        if self.positions == "learned":
            return LearnedPositions(grid, self._width, antialias=self.antialias)
        return SinePositions(self._width) if self.positions == "sine" else None

    def _block(self, layer: int) -> Block:
        drop = nn.Sequential(
            nn.Dropout(self.dropout), DropPath(self.drop_path * layer / max(self._depth - 1, 1))
        )
        chosen = bool(self.experts and layer % 2)
        return (ExpertsBlock if chosen else Block)(
            around_mix=self._around(drop),
            mix=Attention(
                self._width,
                self._heads,
                bias=self.bias == "all",
                out_bias=self.bias != "none",
                norm=self._norm if self.qk_norm else None,
            ),
            around_feed=self._around(drop),
            feed=self._experts() if chosen else self._feed(),
        )

    def _around(self, drop: nn.Module) -> PreNorm:
        scale = None if self.layer_scale is None else LayerScale(self._width, self.layer_scale)
        return RESIDUALS[self.norm_place](self._norm(self._width), scale=scale, drop=drop)

    def _feed(self) -> nn.Module:
        hidden, bias = SIZES[self.size].mlp, self.bias != "none"
        if self.feed == "swiglu":
            return SwiGLU(self._width, self.mlp or gated_width(hidden), bias=bias, dropout=self.dropout)
        return MLP(
            self._width, self.mlp or hidden, activation=self.activation, bias=bias, dropout=self.dropout
        )

    def _experts(self) -> nn.Module:
        experts = [self._feed() for _ in range(self.experts)]
        return Experts(experts, self._width, top=self.experts_top, capacity=self.experts_capacity)

    def _attention_pool(self) -> AttentionPool:
        return AttentionPool(
            self._width,
            cross=CrossAttention(self._width, self._heads),
            around_feed=PreNorm(self._norm(self._width)),
            feed=self._feed(),
        )
