"""One table a layout says how others name and shape a network's tensors; it reads them and writes them.

A rule ties some names of ours to some on disk, and its two functions undo each other.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from einops import EinopsError, rearrange
from torch import Tensor

from vitrail.errors import VitrailError
from vitrail.values import Size

Parts = tuple[Tensor, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """Tensors of ours by name, theirs by name, and both directions between them."""

    ours: tuple[str, ...]
    theirs: tuple[str, ...]
    read: Callable[[Parts], Parts]
    write: Callable[[Parts], Parts]


def same(ours: str, theirs: str) -> Rule:
    """Return the rule of a tensor that has another name and nothing else."""
    return Rule(ours=(ours,), theirs=(theirs,), read=_as_is, write=_as_is)


def dense(ours: str, theirs: str, *, bias: bool = True) -> list[Rule]:
    """Return the rules of a layer or a norm that others call ``weight`` and ``bias`` too."""
    return [same(f"{ours}.{part}", f"{theirs}.{part}") for part in ("weight", "bias")[: 1 + bias]]


def turned(ours: str, theirs: str, pattern: str, **axes: int) -> Rule:
    """Return the rule of a tensor with other axes: ``pattern`` is einops', from theirs to ours.

    ``axes`` are sizes that the pattern leaves open in either direction.
    """
    return Rule(
        ours=(ours,),
        theirs=(theirs,),
        read=lambda parts: (_turn(parts[0], pattern, axes),),
        write=lambda parts: (_turn(parts[0], _reverse(pattern), axes),),
    )


def joined(ours: str, theirs: Sequence[str], pattern: str = "", **axes: int) -> Rule:
    """Return the rule of a tensor whose rows others keep as equal parts, such as query, key and value.

    ``pattern`` turns each part's axes before they are joined, as in `turned`.
    """

    def read(parts: Parts) -> Parts:
        return (cat([_turn(part, pattern, axes) for part in parts]),)

    def write(parts: Parts) -> Parts:
        return tuple(_turn(part, _reverse(pattern), axes) for part in parts[0].chunk(len(theirs)))

    return Rule(ours=(ours,), theirs=tuple(theirs), read=read, write=write)


def parted(ours: Sequence[str], theirs: str, shares: Sequence[int]) -> Rule:
    """Return the rule of several tensors whose rows others keep in one, such as a fused SwiGLU.

    ``shares`` says how the rows are divided between ours, in order: (1, 2) is a third and two thirds.
    """

    def read(parts: Parts) -> Parts:
        unit, rest = divmod(len(parts[0]), sum(shares))
        if rest:
            raise ValueError(f"{len(parts[0])} rows cannot be divided as {tuple(shares)}")
        return torch.split(parts[0], [unit * share for share in shares])

    return Rule(
        ours=tuple(ours), theirs=(theirs,), read=read, write=lambda parts: (torch.cat(parts).contiguous(),)
    )


def placed(
    grid: Size, positions: str, tokens: Sequence[str] = (), *, beside: int = 0, flat: bool = False
) -> Rule:
    """Return the rule of the positions, ``n d`` on disk, and of the tokens that stand before the patches.

    ``tokens`` come in our order: class, distillation, registers, each tensor one or more of them. The list
    of ``positions`` begins with those of the first ``beside`` tokens (none has any when it is 0), which are
    added to them, as a token that lies nowhere needs no position of its own; written, they are zeros. Then
    it has a ``grid`` row by row. On disk all have a leading axis of 1; when ``flat`` none has, and a token
    is ``d``.
    """

    def read(parts: Parts) -> Parts:
        *kept, places = (part.reshape(-1, part.shape[-1]) for part in parts)
        values = rearrange(places[beside:], "(h w) d -> h w d", h=grid[0], w=grid[1])
        if not kept:
            return (values,)
        prefix = cat(kept)
        return cat([add(prefix[:beside], places[:beside]), prefix[beside:]]), values

    def write(parts: Parts) -> Parts:
        *prefix, values = parts
        places = torch.cat([values.new_zeros(beside, values.shape[-1]), values.flatten(0, 1)])
        kept = _registers_last(prefix[0], len(tokens)) if tokens else ()
        if flat:
            return (*(token[0] for token in kept), places)
        return (*(token[None] for token in kept), places[None])

    ours = ("prefix", "positions.values") if tokens else ("positions.values",)
    return Rule(ours=ours, theirs=(*tokens, positions), read=read, write=write)


def stacked(tokens: Sequence[str]) -> Rule:
    """Return the rule of the tokens that stand before the patches where no positions are on disk."""

    def write(parts: Parts) -> Parts:
        return tuple(token[None] for token in _registers_last(parts[0], len(tokens)))

    return Rule(
        ours=("prefix",),
        theirs=tuple(tokens),
        read=lambda parts: (cat([part[0] for part in parts]),),
        write=write,
    )


def averaged(ours: str, theirs: Sequence[str]) -> Rule:
    """Return the rule of a classifier on two tokens side by side that is the mean of two, one on each."""

    def read(parts: Parts) -> Parts:
        first, second, first_bias, second_bias = parts
        weight, bias = cat([first, second], dim=1), add(first_bias, second_bias)
        return (weight, bias) if weight.is_meta else (weight / 2, bias / 2)

    def write(parts: Parts) -> Parts:
        return *(2 * parts[0]).chunk(2, dim=1), parts[1], parts[1]

    names = tuple(f"{each}.{part}" for part in ("weight", "bias") for each in theirs)
    return Rule(ours=(f"{ours}.weight", f"{ours}.bias"), theirs=names, read=read, write=write)


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """All the rules of one kind of checkpoint, and what else its files hold and nobody here needs.

    ``dropped`` are regular expressions that match whole names: text towers, decoders, constants.
    """

    rules: tuple[Rule, ...]
    dropped: tuple[str, ...] = ()

    def read(self, theirs: Mapping[str, Tensor], source: object) -> dict[str, Tensor]:
        """Return our tensors in float32, and counts as they are.

        Works on the meta device too, where nothing is read or computed. Raises VitrailError, with the names,
        when one is missing or unknown, or cannot be taken apart.
        """
        wanted = {name for rule in self.rules for name in rule.theirs}
        skip = re.compile("|".join(self.dropped) or r"(?!)")
        missing = [name for name in wanted if name not in theirs]
        unknown = [name for name in theirs if name not in wanted and not skip.fullmatch(name)]
        if missing or unknown:
            told = [
                f"{what} {listed(names)}" for what, names in (("lacks", missing), ("holds", unknown)) if names
            ]
            raise VitrailError(
                f"{source}: not the tensors of the network that it says it is: {', and '.join(told)}.\n"
                "Fetch it again if it was cut off; a variant that Vitrail does not know cannot be read."
            )
        tensors: dict[str, Tensor] = {}
        for rule in self.rules:
            parts = tuple(_single(theirs[name]) for name in rule.theirs)
            try:
                tensors.update(zip(rule.ours, rule.read(parts), strict=True))
            except (RuntimeError, ValueError, IndexError, EinopsError):
                shapes = ", ".join(
                    f"{name} {shape_text(part.shape)}" for name, part in zip(rule.theirs, parts, strict=True)
                )
                raise VitrailError(f"{source}: {shapes}: not the shape that its config describes.") from None
        return tensors

    def write(self, ours: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return their tensors, contiguous and none a view of another, as a file of safetensors wants them.

        Raises KeyError for one of ours that is missing, ValueError for one that no rule writes.
        """
        left = set(ours) - {name for rule in self.rules for name in rule.ours}
        if left:
            raise ValueError(f"no rule writes {listed(left)}")
        tensors: dict[str, Tensor] = {}
        for rule in self.rules:
            parts = rule.write(tuple(ours[name] for name in rule.ours))
            tensors.update((name, part.clone()) for name, part in zip(rule.theirs, parts, strict=True))
        return {
            name: part.contiguous(memory_format=torch.contiguous_format) for name, part in tensors.items()
        }


# The meta device has no arithmetic of its own: torch's would import its compiler, seconds for some sizes.


def cat(parts: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Return tensors one after the other, as `torch.cat` does; on the meta device without delay."""
    if not parts[0].is_meta:
        return torch.cat(list(parts), dim=dim)
    shapes = [list(part.shape) for part in parts]
    length = sum(sizes.pop(dim) for sizes in shapes)
    if any(sizes != shapes[0] for sizes in shapes):
        raise ValueError("these tensors differ in their other sizes")
    return parts[0].new_empty(*shapes[0][:dim], length, *shapes[0][dim:])


def add(first: Tensor, second: Tensor) -> Tensor:
    """Return the sum of two tensors of one shape; on the meta device without delay."""
    if first.shape != second.shape:
        raise ValueError("these tensors differ in their sizes")
    return first if first.is_meta else first + second


def listed(names: Iterable[str], most: int = 3) -> str:
    """Return the first few names in order, and how many more there are."""
    names = sorted(names)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def shape_text(shape: Iterable[int]) -> str:
    """Return a shape as people write it: ``3x16x16``."""
    return "x".join(map(str, shape)) or "of one number"


def _single(part: Tensor) -> Tensor:
    return part.float() if part.is_floating_point() else part


def _as_is(parts: Parts) -> Parts:
    return parts


def _turn(part: Tensor, pattern: str, axes: Mapping[str, int]) -> Tensor:
    return rearrange(part, pattern, **axes) if pattern else part


def _reverse(pattern: str) -> str:
    theirs, _, ours = pattern.partition("->")
    return f"{ours.strip()} -> {theirs.strip()}" if pattern else ""


def _registers_last(prefix: Tensor, tensors: int) -> Parts:
    """Cut the tokens into as many tensors as there are: one each, and the last the registers together."""
    return (*(prefix[each : each + 1] for each in range(tensors - 1)), prefix[tensors - 1 :])
