"""The layers that a backbone can be watched at, in order and by name, and how their outputs lie on a grid."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import cast

from jaxtyping import Float
from torch import Tensor, nn

from vitrail.backbones.timm import TimmBackbone, on_grid
from vitrail.backbones.vision_transformer import ViT
from vitrail.errors import UsageError
from vitrail.nn.block import Block, PostNorm
from vitrail.values import Size

FINAL = "final"
"""The last map or tokens, of which the summary is made."""
FEWEST = 4
"""Cells along the shorter side, below which a grid says too little about where."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """A module of a backbone whose output lies on a grid.

    ``grid`` takes the pictures and returns how many cells that has, down and across. ``lay`` takes the
    module's output and the pictures, and returns ``b c h w``, whole: what the network padded pictures with,
    too. ``trim`` takes a map ``b 1 h w`` of that grid and the pictures, and returns the part that lies on
    them.
    """

    module: nn.Module
    grid: Callable[[Tensor], tuple[int, ...]]
    lay: Callable[[Tensor, Tensor], Tensor]
    trim: Callable[[Tensor, Tensor], Tensor]


def layers(backbone: nn.Module) -> dict[str, Layer]:
    """Return the layers by name, in the order that data passes them; none of networks that are not known.

    The last is the deepest whose places all have a part in the summary. That is the end, except where a token
    sums the picture up: there no other token matters to it, and what its last look at the others took in is
    the first norm of the last block.
    """
    if isinstance(backbone, ViT):
        return _of_vit(backbone)
    return _of_timm(backbone) if isinstance(backbone, TimmBackbone) else {}


def telling(layers: Mapping[str, Layer], pixels: Tensor) -> str:
    """Return the name of the deepest layer whose grid still says where, on pictures of this size.

    Small pictures leave the last maps of a network with a stride of 32 a cell or two.
    """
    grids = {name: min(layer.grid(pixels)) for name, layer in layers.items()}
    enough = min(FEWEST, max(grids.values()))
    return [name for name, cells in grids.items() if cells >= enough][-1]


def _of_vit(vit: ViT) -> dict[str, Layer]:
    def lay(output: Float[Tensor, "b n d"], pixels: Tensor) -> Tensor:
        return output[:, vit.skip :].mT.reshape(len(output), -1, *vit.grid(pixels))

    found: dict[str, nn.Module] = {"enter": vit.enter}
    for index, block in enumerate(cast("list[Block]", vit.encoder.blocks)):
        if not isinstance(block.around_mix, PostNorm):
            found[f"blocks.{index}.norm"] = block.around_mix.norm
        found[f"blocks.{index}"] = block
    if vit.pool.startswith("class"):
        del found[f"blocks.{len(vit.encoder.blocks) - 1}"]
    else:
        found[FINAL] = vit.encoder.norm
    return {name: Layer(module=module, grid=vit.grid, lay=lay, trim=_whole) for name, module in found.items()}


def _of_timm(backbone: TimmBackbone) -> dict[str, Layer]:
    """Return the stages that timm lists, by its names, and the last map."""
    modules = dict(backbone.net.named_modules())
    token = getattr(backbone.net, "global_pool", "") == "token"
    found: dict[str, tuple[nn.Module, int]] = {}
    for stage in backbone.net.feature_info:
        name, stride = str(stage["module"]), int(stage["reduction"])
        for each in (f"{name}.norm1", name) if token else (name,):
            if each in modules:
                found[each] = modules[each], stride
    names = list(found)
    if token and names[-2] == f"{names[-1]}.norm1":
        del found[names[-1]]
    else:
        found[FINAL] = backbone.final, backbone.strides[-1]
    return {
        name: Layer(
            module=module,
            grid=partial(_grid_timm, backbone, stride),
            lay=partial(_lay_timm, backbone, stride),
            trim=partial(_trim_timm, backbone, stride),
        )
        for name, (module, stride) in found.items()
    }


def _grid_timm(backbone: TimmBackbone, stride: int, pixels: Tensor) -> Size:
    _, canvas = backbone.prepared(pixels.to("meta"))
    return -(-canvas.shape[2] // stride), -(-canvas.shape[3] // stride)


def _lay_timm(backbone: TimmBackbone, stride: int, output: Tensor, pixels: Tensor) -> Tensor:
    """Lay maps, with their channels first or last, or tokens on their grid.

    Raises UsageError for tokens that lie in no order that is known here.
    """
    if output.ndim == 4:
        last = str(getattr(backbone.net, "output_fmt", "NCHW")) == "NHWC"
        return output.movedim(3, 1) if last else output
    height, width = _grid_timm(backbone, stride, pixels)
    prefix = output.shape[1] - height * width if output.ndim == 3 else -1
    if not 0 <= prefix <= getattr(backbone.net, "num_prefix_tokens", 0):
        raise UsageError("this layer's output lies on no grid: take another, or the method occlusion.")
    return output[:, prefix:].mT.reshape(len(output), -1, height, width)


def _trim_timm(backbone: TimmBackbone, stride: int, values: Tensor, pixels: Tensor) -> Tensor:
    shapes = pixels.to("meta")
    enlarged, canvas = backbone.prepared(shapes)
    return on_grid(values, stride, canvas, enlarged, shapes)


def _whole(values: Tensor, pixels: Tensor) -> Tensor:  # noqa: ARG001
    return values
