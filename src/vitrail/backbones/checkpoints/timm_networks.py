"""Which ViT of ours computes what a network of timm does: asked of the network itself, which has no values.

What a file of tensors tells by its names and shapes is not asked here; what it leaves untold is.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from vitrail.backbones.trial import Net
from vitrail.backbones.vision_transformer import Pool
from vitrail.backbones.weights import CONFIG
from vitrail.errors import VitrailError
from vitrail.values import Size

POOLS: dict[str, Pool] = {"token": "class", "avg": "mean", "map": "attention"}
"""timm's words for what sums a picture up, and ours."""

Activation = Literal["gelu", "gelu_tanh", "quick_gelu", "relu"]


@dataclass(frozen=True, kw_only=True)
class Untold:
    """What names and shapes of tensors leave open.

    ``positions`` are those of a network that has learned none, and ``size`` is that of the pictures which
    they were learned on. ``exchanged``: rotary positions turn the first half of a head's features by columns.
    """

    heads: int
    pool: Pool
    eps: float = 1e-6
    activation: Activation = "gelu"
    positions: Literal["none", "rotary"] = "none"
    exchanged: bool = False
    size: Size | None = None


def build(folder: Path) -> Net:
    """Return the network that timm would build for a folder, without values.

    Raises VitrailError when timm builds none.
    """
    import timm

    try:
        with torch.device("meta"):
            return timm.create_model(f"local-dir:{folder}", num_classes=0)
    except (AssertionError, AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
        what = " ".join(str(error).split())
        raise VitrailError(f"{folder / CONFIG}: timm builds no network of it: {what[:300]}.") from None


def understand(net: Net) -> Untold:
    """Return what there is to know of a network besides its tensors.

    Raises ValueError, with the reason, when no ViT of ours computes the same.
    """
    if reason := next(_strange(net), None):
        raise ValueError(reason)
    attention, rotary = net.blocks[0].attn, getattr(net, "rope", None)
    distilled = hasattr(net, "dist_token")
    return Untold(
        heads=attention.num_heads,
        pool="class+distilled" if distilled else POOLS[net.global_pool],
        eps=next(each.eps for each in net.modules() if hasattr(each, "eps")),
        activation=next(_activations(net), "gelu"),
        positions="none" if rotary is None else "rotary",
        exchanged=rotary is not None and rotary.grid_indexing == "xy",
        size=tuple(net.patch_embed.img_size),
    )


def _strange(net: Net) -> Iterator[str]:
    """Return what about a network has no counterpart in ours."""
    from timm import layers
    from timm.models import deit, eva, vision_transformer

    whole = (vision_transformer.VisionTransformer, deit.VisionTransformerDistilled, eva.Eva)
    if type(net) not in whole:
        yield f"it is timm's {type(net).__name__}"
        return
    known = {
        *whole,
        *(vision_transformer.Block, eva.EvaBlock, layers.Attention, layers.AttentionRope),
        *(layers.AttentionPoolLatent, layers.Mlp, layers.GluMlp, layers.LayerScale, layers.PatchEmbed),
        *(layers.LayerNorm, layers.RmsNorm, layers.RotaryEmbeddingCat),
        *(layers.GELU, layers.GELUTanh, layers.QuickGELU, nn.GELU, nn.ReLU, nn.SiLU, nn.LayerNorm),
        *(nn.Linear, nn.Conv2d, nn.Dropout, nn.Identity, nn.Sequential, nn.ModuleList, nn.Module),
    }
    parts = list(net.modules())
    if other := sorted({type(part).__name__ for part in parts} - {kind.__name__ for kind in known}):
        yield f"it has timm's {', '.join(other)}"
        return
    for part in parts:
        normed = not isinstance(getattr(part, "norm", nn.Identity()), nn.Identity)
        if normed and type(part) not in (*whole, layers.AttentionPoolLatent):
            yield f"its {type(part).__name__} has a norm of its own"
        if isinstance(part, layers.GluMlp) and (part.gate_last or not isinstance(part.act, nn.SiLU)):
            yield "its gates are no SwiGLU"
        if isinstance(part, eva.EvaBlock) and (part.gamma_1 is None) != (part.gamma_2 is None):
            yield "one branch of its blocks is scaled and the other is not"
    attention = net.blocks[0].attn
    if getattr(attention, "gate", None) is not None or attention.attn_dim != net.embed_dim:
        yield "its attention has a gate, or heads that are not as wide as its tokens together"
    norms = [part for part in parts if isinstance(part, nn.LayerNorm | layers.RmsNorm)]
    if len({(isinstance(norm, nn.LayerNorm), norm.eps) for norm in norms}) != 1:
        yield "its norms are of several kinds"
    if len(set(_activations(net))) > 1:
        yield "it has several activations"
    if attention.qkv is None or (attention.proj.bias is None and isinstance(norms[0], nn.LayerNorm)):
        yield "it has biases where ours has none"
    yield from _strange_ends(net)


def _strange_ends(net: Net) -> Iterator[str]:
    """Return what has no counterpart before the first block and after the last."""
    patch, prefix = net.patch_embed, net.num_prefix_tokens
    if patch.patch_size[0] != patch.patch_size[1] or patch.dynamic_img_pad:
        yield "its patches are no squares, or may be cut off"
    if net.global_pool not in POOLS:
        yield f"it pools by {net.global_pool or 'nothing'!r}"
    if getattr(net, "pool_include_prefix", False) and prefix and net.global_pool != "token":
        yield "it pools the class token and the registers too"
    if isinstance(net.norm, nn.Identity) == isinstance(net.fc_norm, nn.Identity):
        yield "its last norm is missing, or there are two"
    if hasattr(net, "dist_token") and (isinstance(net.norm, nn.Identity) or net.reg_token is not None):
        yield "its distillation token stands beside registers"
    pool = net.attn_pool
    if pool is not None:
        block = net.blocks[0]
        plain = pool.latent_len == 1 and pool.pos_embed is None and pool.mlp is not None
        same = (pool.num_heads, pool.mlp.fc1.out_features) == (
            block.attn.num_heads,
            block.mlp.fc1.out_features,
        )
        if not (plain and same and type(block.mlp) is type(pool.mlp) and block.mlp.fc1.bias is not None):
            yield "its attention pooling is built otherwise than its blocks"
    rotary = getattr(net, "rope", None)
    if rotary is None:
        return
    turns = (
        rotary.in_pixels,
        rotary.grid_offset,
        rotary.ref_feat_shape,
        rotary.rotate_half,
        rotary.temperature,
    )
    if turns != (False, 0.0, None, False, 100.0) or net.pos_embed is not None:
        yield "its rotary positions are others"
    if not isinstance(net.blocks[0].attn.q_norm, nn.Identity):
        yield "it turns queries and keys that are normed"


def _activations(net: Net) -> Iterator[Activation]:
    """Return the activation of each dense feed-forward part."""
    from timm import layers

    kinds: Iterable[Any] = (part.act for part in net.modules() if isinstance(part, layers.Mlp))
    for kind in kinds:
        if isinstance(kind, layers.QuickGELU):
            yield "quick_gelu"
        elif isinstance(kind, nn.ReLU):
            yield "relu"
        elif isinstance(kind, layers.GELUTanh) or getattr(kind, "approximate", "none") == "tanh":
            yield "gelu_tanh"
        else:
            yield "gelu"
