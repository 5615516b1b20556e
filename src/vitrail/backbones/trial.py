"""What a network of timm takes and gives, found out by trying it without memory or arithmetic.

timm's networks differ in the sizes that they run at: any, multiples of a stride, one alone. No attribute says
which, so each is tried once, on torch's meta device, where tensors have shapes and no values.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any

import torch
from torch import Tensor

from vitrail.errors import UsageError
from vitrail.values import Size

Net = Any  # timm's networks share methods, not a type
Shapes = tuple[list[torch.Size], torch.Size]  # of the stages, and of the summary


@dataclass(frozen=True, kw_only=True)
class Trial:
    """How to build a network for a canvas, and what comes out of it.

    ``arguments`` build it. It takes pictures of ``least`` or larger whose sides are multiples of
    ``multiple``; or of the size ``only``. ``stages`` are the indices of the last stage of each stride.
    ``normed``: whether it can apply its last norm to them.
    """

    arguments: Mapping[str, Any]
    multiple: int
    least: Size
    only: Size | None
    stages: tuple[int, ...]
    strides: tuple[int, ...]
    channels: tuple[int, ...]
    width: int
    normed: bool


def try_out(make: Callable[..., Net], name: str, size: Size, channels: int) -> Trial:
    """Find how the network that ``make(**arguments)`` returns is built for pictures of ``size``.

    Raises UsageError when it runs neither at this size nor at a larger one up to its own, and when it runs
    nowhere: because it gives no summary, or asks for values, which nothing here has.
    """
    bench = _Bench(make=make, channels=channels, native=_on_meta(make))
    if not bench.widths:
        raise UsageError(f"timm's {name} cannot be tried: {bench.complaint} Choose another model.")
    for wanted in bench.sizes(size):
        only = None
        for step in bench.steps:
            canvas = round_up(wanted, step)
            if bench.runs(canvas):
                for multiple in bench.steps[: bench.steps.index(step) + 1]:  # often finer than what it took
                    if bench.runs_around(canvas, multiple):
                        return bench.look(canvas, multiple, None)
                if round_up(canvas, bench.steps[1]) == canvas:  # else patches might not reach the border
                    only = only or canvas
        if only:
            return bench.look(only, 1, only)
    raise UsageError(f"timm's {name} runs neither at {size[0]}x{size[1]} nor larger: choose another model.")


def round_up(size: Size, multiple: int) -> Size:
    """Return the smallest size, not below ``size``, whose sides are multiples."""
    return -(-size[0] // multiple) * multiple, -(-size[1] // multiple) * multiple


@dataclass(kw_only=True)
class _Bench:
    """Networks without values, one for each canvas that they are built for."""

    make: Callable[..., Net]
    channels: int
    native: Net
    built: dict[Size, Net] = field(default_factory=dict)
    complaint: str = ""

    def __post_init__(self) -> None:
        known = _parameters(type(self.native))
        config: Mapping[str, Any] = self.native.pretrained_cfg
        wanted = {"strict_img_size": False, "dynamic_img_size": True}
        self.flags = {flag: value for flag, value in wanted.items() if flag in known}
        self.sized = "img_size" in known and bool(config.get("fixed_input_size"))
        self.own_size: Size = tuple(config["input_size"][1:])
        self.reductions: list[int] = [stage["reduction"] for stage in self.native.feature_info]
        self.steps = (1, *sorted(set(self.reductions)))
        if not self.flags:
            self.built[self.own_size] = self.native
        stages, _ = self._try(self._net(self.own_size), self.own_size, normed=False) or ([], None)
        self.widths = [stage[1] for stage in stages]

    def sizes(self, size: Size) -> Iterator[Size]:
        """Return the size that is asked for, then larger ones up to the network's own."""
        yield size
        for side in range(self.steps[-1], max(self.own_size), self.steps[-1]):
            if side > min(size):
                yield max(size[0], side), max(size[1], side)
        yield max(size[0], self.own_size[0]), max(size[1], self.own_size[1])
        yield self.own_size

    def arguments(self, canvas: Size) -> dict[str, Any]:
        return {**self.flags, **({"img_size": canvas} if self.sized else {})}

    def runs(self, size: Size, built_for: Size | None = None) -> bool:
        net = self._net(built_for or size)
        return net is not None and self._shapes(net, size, normed=False) is not None

    def runs_around(self, canvas: Size, step: int) -> bool:
        """Whether what is built for one canvas runs at others that are multiples of a step as well.

        Those tried leave an odd rest at each halving, where some networks round one branch up and another
        down. One is far away: others round the ratio of pixels to tokens, which shows late.
        """
        coarse = round_up((self.steps[-1], 0), step)[0]
        base, far = round_up(canvas, coarse), 16 * coarse
        more = [step]
        while 2 * more[-1] < coarse:
            more.append(2 * more[-1])
        pairs = zip_longest([*more[::2], far], more[1::2], fillvalue=far)
        return all(self.runs((base[0] + down, base[1] + right), built_for=canvas) for down, right in pairs)

    def look(self, canvas: Size, multiple: int, only: Size | None) -> Trial:
        net = self._net(canvas)
        assert net is not None, "it ran a moment ago"
        normed = self._shapes(net, canvas, normed=True)
        shapes = normed or self._shapes(net, canvas, normed=False)
        assert shapes is not None, "it ran a moment ago"
        stages, summary = shapes
        last = {reduction: index for index, reduction in enumerate(self.reductions)}
        strides = tuple(sorted(last))
        return Trial(
            arguments=self.arguments(canvas),
            multiple=multiple,
            least=only or self._least(canvas, multiple),
            only=only,
            stages=tuple(last[stride] for stride in strides),
            strides=strides,
            channels=tuple(stages[last[stride]][1] for stride in strides),
            width=summary[1],
            normed=normed is not None,
        )

    def _least(self, canvas: Size, multiple: int) -> Size:
        for side in range(self.steps[-1], max(canvas), self.steps[-1]):
            least = round_up((min(side, canvas[0]), min(side, canvas[1])), multiple)
            if self.runs(least, built_for=canvas):
                return least
        return canvas

    def _net(self, canvas: Size) -> Net:
        key = canvas if self.sized else self.own_size
        if key not in self.built:
            try:
                self.built[key] = _on_meta(self.make, **self.arguments(key))
            except Exception:  # timm has no error of its own for a size that a network cannot be built for
                self.built[key] = None
        return self.built[key]

    def _shapes(self, net: Net, size: Size, normed: bool) -> Shapes | None:
        """Return what `_try` does, or None when the stages are wider or narrower than at the own size.

        Some hybrids run where the strides of their stems leave a rest, and fold tokens into wrong maps there.
        """
        shapes = self._try(net, size, normed)
        return shapes if shapes and [stage[1] for stage in shapes[0]] == self.widths else None

    def _try(self, net: Net, size: Size, normed: bool) -> Shapes | None:
        """Return the shapes of the stages and of the summary, or None when the network does not run."""
        pixels = torch.empty(2, self.channels, *size, device="meta")
        try:
            with torch.no_grad(), torch.device("meta"):
                final, stages = stages_of(net, pixels, None, normed)
                summary = net.forward_head(final, pre_logits=True)
        except Exception as error:  # as above: whatever a network raises, it does not run
            self.complaint = f"{' '.join(str(error).split())[:200].rstrip('.')}."
            return None
        if not isinstance(summary, Tensor) or summary.ndim != 2:
            self.complaint = "it sums a picture up in no vector."
            return None
        return [stage.shape for stage in stages], summary.shape


def stages_of(net: Net, pixels: Tensor, indices: list[int] | None, normed: bool) -> tuple[Any, list[Tensor]]:
    """Return what timm's network gives at its end and after the stages of these indices (all when None)."""
    norm = {"norm": True} if normed else {}
    final, stages = net.forward_intermediates(pixels, indices=indices, output_fmt="NCHW", **norm)
    return final, stages


def _parameters(kind: type) -> set[str]:
    """Return the names that a class's constructor takes, and those that it hands on to the class above."""
    names: set[str] = set()
    for each in kind.__mro__:
        parameters = inspect.signature(each.__init__).parameters  # type: ignore[misc]
        names |= parameters.keys()
        if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
            break
    return names


def _on_meta(make: Callable[..., Net], **arguments: Any) -> Net:
    with torch.device("meta"):
        return make(**arguments).eval()
