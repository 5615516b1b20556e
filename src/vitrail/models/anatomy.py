"""What a model is made of: its layers with their shapes, parameters, arithmetic and memory."""

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from vitrail.models.vision import Vision
from vitrail.values import Batch, Features, Size

Seen = dict[nn.Module, tuple[Any, int]]  # the last output of each module that was called, and its arithmetic


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """A module and all within it, for one picture.

    ``depth`` is how deep it is nested, from 0; ``shape`` is its output's without the batch, if that is a
    tensor. ``flops`` counts a multiplication and an addition as two; ``memory`` is its output in bytes.
    """

    name: str
    kind: str
    depth: int
    shape: tuple[int, ...] | None
    parameters: int
    flops: int
    memory: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Anatomy:
    """A model for one picture: ``memory`` is its weights in bytes, ``layers`` stand as in the code."""

    layers: tuple[Layer, ...]
    parameters: int
    flops: int
    memory: int


def anatomy(model: nn.Module, image_size: Size, channels: int, depth: int = 3) -> Anatomy:
    """Take a model (or a backbone) apart, down to ``depth`` modules within modules.

    Convolutions, matrix products and attention count as arithmetic. Nothing is computed and nothing is
    copied: the pictures and weights have shapes only.
    """
    shadow = _without_values(model).eval()
    seen: Seen = {}
    counter = FlopCounterMode(display=False)
    started: list[int] = []

    def enter(module: nn.Module, _: Any) -> None:  # noqa: ARG001
        started.append(counter.get_total_flops())

    def leave(module: nn.Module, _: Any, output: Any) -> None:
        before = seen.get(module, (None, 0))[1]
        seen[module] = output, before + counter.get_total_flops() - started.pop()

    for module in shadow.modules():
        module.register_forward_pre_hook(enter)
        module.register_forward_hook(leave)
    pixels = torch.empty(1, channels, *image_size, device="meta")
    with counter, torch.no_grad():
        if isinstance(shadow, Vision):
            shadow.outputs(Batch(keys=("",), pixels={"image": pixels}))
        else:
            shadow(pixels)
    return Anatomy(
        layers=tuple(_layers(shadow, seen, "", 0, depth)),
        parameters=_count(shadow),
        flops=counter.get_total_flops(),
        memory=sum(tensor.nbytes for tensor in shadow.state_dict().values()),
    )


def _layers(parent: nn.Module, seen: Seen, path: str, depth: int, deepest: int) -> Iterator[Layer]:
    for name, module in parent.named_children():
        output, _ = seen.get(module, (None, 0))
        parameters, flops = _count(module), _flops(module, seen)
        if isinstance(module, nn.ModuleList):  # a list is no step of its own
            yield from _layers(module, seen, f"{path}{name}.", depth, deepest)
        elif parameters or flops:
            tensor = output.summary if isinstance(output, Features) else output
            given = isinstance(tensor, Tensor)
            yield Layer(
                name=path + name,
                kind=type(module).__name__,
                depth=depth,
                shape=tuple(tensor.shape[tensor.shape[0] == 1 :]) if given else None,
                parameters=parameters,
                flops=flops,
                memory=tensor.nbytes if given else 0,
            )
            if depth + 1 < deepest:
                yield from _layers(module, seen, f"{path}{name}.", depth + 1, deepest)


def _without_values(model: nn.Module) -> nn.Module:
    """Return a copy whose tensors have shapes only; the originals are not copied on the way."""
    known: dict[int, Any] = {
        id(parameter): nn.Parameter(parameter.detach().to("meta"), requires_grad=False)
        for parameter in model.parameters()
    }
    known |= {id(buffer): buffer.to("meta") for buffer in model.buffers()}
    return copy.deepcopy(model, known)


def _flops(module: nn.Module, seen: Seen) -> int:
    if module in seen:
        return seen[module][1]
    return sum(_flops(child, seen) for child in module.children())  # it was passed by, not called


def _count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
