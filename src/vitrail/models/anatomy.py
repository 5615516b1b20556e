"""What a model is made of: its layers with their shapes, parameters, arithmetic and memory."""

import copy
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, UntypedStorage, nn
from torch.autograd.function import FunctionCtx
from torch.autograd.graph import saved_tensors_hooks
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode

from vitrail.models.vision import Vision
from vitrail.values import Batch, Features, Size

_NUMBER = re.compile(r"(?<![^.])\d+$")  # blocks.3 has one, conv3 has none


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """A module and all within it, for one picture; or a parameter that stands beside modules.

    ``name`` goes on where the name of the layer that it is a part of ends. ``shape`` is its output's, without
    the batch, if that is a tensor. ``flops`` counts a multiplication and an addition as two; ``memory`` is
    what training keeps for the way back, in bytes. Layers that are alike and in a row may stand as one, with
    the numbers of one, ``times``.
    """

    name: str
    kind: str
    shape: tuple[int, ...] | None
    parameters: int
    flops: int
    memory: int
    parts: tuple["Layer", ...] = ()
    times: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Anatomy:
    """A model for one picture: ``layers`` stand as in the code.

    ``weights`` are its parameters and buffers, ``activations`` what training keeps for the way back: bytes.
    """

    layers: tuple[Layer, ...]
    parameters: int
    flops: int
    weights: int
    activations: int


def anatomy(model: nn.Module, image_size: Size, channels: int) -> Anatomy:
    """Take a model (or a backbone) apart, as if all of it were trained.

    Convolutions, matrix products and attention count as arithmetic. Nothing is computed and nothing is
    copied: the pictures and weights have shapes only.
    """
    shadow = _without_values(model).eval()
    scale = _Scale(shadow)
    pixels = torch.empty(1, channels, *image_size, device="meta")
    with torch.enable_grad(), _FusedAttention(), scale.counter, saved_tensors_hooks(scale.keep, _unchanged):
        if isinstance(shadow, Vision):
            shadow.outputs(Batch(keys=("",), pixels={"image": pixels}))
        else:
            shadow(pixels)
    return Anatomy(
        layers=tuple(_layers(shadow, scale)),
        parameters=_count(shadow),
        flops=scale.reading.flops,
        weights=sum(tensor.nbytes for tensor in shadow.state_dict().values()),
        activations=scale.reading.memory,
    )


def fold(layers: Sequence[Layer]) -> tuple[Layer, ...]:
    """Return the layers with those as one that follow each other and differ in nothing but their number."""

    def series(place: tuple[int, Layer]) -> tuple[int, Layer]:
        index, layer = place
        number = _NUMBER.search(layer.name)
        name = layer.name[: number.start()] if number else layer.name
        return int(number[0]) - index if number else 0, replace(layer, name=name)

    folded = []
    for _, alike in groupby(enumerate(layers), key=series):
        first, *others = (layer for _, layer in alike)
        last = f"-{others[-1].name.rpartition('.')[2]}" if others else ""
        folded.append(replace(first, name=first.name + last, times=1 + len(others), parts=fold(first.parts)))
    return tuple(folded)


def walk(layers: Sequence[Layer], depth: int = 0, path: str = "") -> Iterator[tuple[str, int, Layer]]:
    """Return the whole name, the depth and the layer of each, before those of its parts."""
    for layer in layers:
        yield path + layer.name, depth, layer
        yield from walk(layer.parts, depth + 1, f"{path}{layer.name}.")


@dataclass(kw_only=True)
class _Reading:
    flops: int = 0
    memory: int = 0


class _Scale:
    """What each module of a network adds, while it runs, to the arithmetic and to the tensors kept."""

    def __init__(self, network: nn.Module) -> None:
        self.counter = FlopCounterMode(display=False)
        self.outputs: dict[nn.Module, Any] = {}
        self._added: dict[nn.Module, _Reading] = {}
        self._entered: list[_Reading] = []
        self._kept: set[UntypedStorage] = set()  # held, so that no other comes to lie where one was
        self._memory = 0
        self._weights = {each.untyped_storage() for each in (*network.parameters(), *network.buffers())}
        for module in network.modules():
            module.register_forward_pre_hook(self._enter)
            module.register_forward_hook(self._leave)

    @property
    def reading(self) -> _Reading:
        """The sums so far."""
        return _Reading(flops=self.counter.get_total_flops(), memory=self._memory)

    def keep(self, tensor: Tensor) -> Tensor:
        """Weigh what is kept for the way back; views of one tensor, and weights, weigh nothing more."""
        storage = tensor.untyped_storage()
        if storage not in self._weights and storage not in self._kept:
            self._kept.add(storage)
            self._memory += storage.nbytes()
        return tensor

    def added(self, module: nn.Module) -> _Reading:
        """Return what a module added; one that was passed by, not called, what its children did."""
        if module in self._added:
            return self._added[module]
        parts = [self.added(child) for child in module.children()]
        return _Reading(flops=sum(part.flops for part in parts), memory=sum(part.memory for part in parts))

    def _enter(self, module: nn.Module, _: Any) -> None:  # noqa: ARG002
        self._entered.append(self.reading)

    def _leave(self, module: nn.Module, _: Any, output: Any) -> None:
        before, now = self._entered.pop(), self.reading
        added = self._added.setdefault(module, _Reading())
        added.flops += now.flops - before.flops
        added.memory += now.memory - before.memory
        self.outputs[module] = output


class _FusedAttention(TorchFunctionMode):
    """Let attention keep what its fused kernels keep; the one for shapes alone would keep all weights."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is F.scaled_dot_product_attention:
            return _Attend.apply(kwargs or {}, *args)
        return func(*args, **(kwargs or {}))


class _Attend(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, options: dict[str, Any], *args: Any) -> Any:
        answer = F.scaled_dot_product_attention(*args, **options)
        if answer.ndim == 4:  # laid out for its heads to be joined, as the kernels do
            answer = answer.transpose(1, 2).contiguous().transpose(1, 2)
        tensors = [each for each in (*args, *options.values(), answer) if isinstance(each, Tensor)]
        ctx.save_for_backward(*tensors)
        return answer


def _layers(parent: nn.Module, scale: _Scale, path: str = "") -> Iterator[Layer]:
    for name, parameter in parent.named_parameters(recurse=False):
        yield Layer(
            name=path + name,
            kind="Parameter",
            shape=tuple(parameter.shape),
            parameters=parameter.numel(),
            flops=0,
            memory=0,
        )
    for name, module in parent.named_children():
        parameters, added = _count(module), scale.added(module)
        parts = tuple(_layers(module, scale))
        whole = parts and parameters == _count(parent) and added.flops == scale.added(parent).flops
        if isinstance(module, nn.ModuleList) or whole:  # no step of its own
            yield from _layers(module, scale, f"{path}{name}.")
        elif parameters or added.flops:
            output = scale.outputs.get(module)
            tensor = output.summary if isinstance(output, Features) else output
            yield Layer(
                name=path + name,
                kind=type(module).__name__,
                shape=tuple(tensor.shape[tensor.shape[0] == 1 :]) if isinstance(tensor, Tensor) else None,
                parameters=parameters,
                flops=added.flops,
                memory=added.memory,
                parts=() if all(part.kind == "Parameter" for part in parts) else parts,
            )


def _without_values(model: nn.Module) -> nn.Module:
    """Return a copy whose tensors have shapes only; the originals are not copied on the way."""
    known: dict[int, Any] = {
        id(parameter): nn.Parameter(parameter.detach().to("meta")) for parameter in model.parameters()
    }
    known |= {id(buffer): buffer.to("meta") for buffer in model.buffers()}
    return copy.deepcopy(model, known)


def _count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _unchanged(tensor: Tensor) -> Tensor:
    return tensor
