"""The first checkpoints of the Vision Transformer: ``.npz``, as vit_jax and big_vision wrote them."""

import math
import re
import zipfile
import zlib
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vitrail.backbones.checkpoints.pretrained import Pretrained, shape, take
from vitrail.backbones.checkpoints.rules import Layout, Rule, joined, placed, same, turned
from vitrail.backbones.names import SIZES
from vitrail.backbones.vit import ViTConfig
from vitrail.errors import UsageError, VitrailError
from vitrail.values import Size

PREFIXES = ("params/img/", "params/", "opt/target/", "")
"""What stands before the names: of a tower that sees, of big_vision, of vit_jax in training, or nothing."""

OLD = "Transformer/posembed_input/pos_embedding"
"""What vit_jax calls the positions, among which the class token has one."""

_PARTS = {True: ("1", "LayerNorm_2", "MlpBlock_3"), False: ("0", "LayerNorm_1", "MlpBlock_0")}
"""The numbers that vit_jax (true) and big_vision gave to attention, second norm and feed-forward part."""

HEADER = 4096
"""More bytes than the shape of an array takes."""

SIDE = 224
"""The side of the pictures, in pixels, for waves as positions, which do not tell it."""


def read_big_vision(path: Path, like: ViTConfig | None, values: bool) -> Pretrained:  # noqa: ARG001
    """Return the checkpoint of a ``.npz`` file; its classes have no names.

    Where it has no positions, they are waves, by column and then by row: ours are by row first, so the two
    halves of every token's features are exchanged. Raises VitrailError for what is no such file.
    """
    arrays = _under_prefix(_read_arrays(path, values=values), path)
    try:
        theirs = {name: part for each in arrays.items() for name, part in _unstacked(*each)}
        config = _config(theirs)
        grid, beside = _grid(theirs, config.patch)
    except (KeyError, ValueError, IndexError) as error:
        raise VitrailError(f"{path}: not the tensors of a ViT: {error}.") from None
    head = "head/kernel" in theirs and "pre_logits/kernel" not in theirs
    size = (grid[0] * config.patch, grid[1] * config.patch)
    table = layout(config, grid, old=OLD in theirs, beside=beside, head=head)
    tensors, classifier = take(table, theirs, config, size, path)
    if config.positions == "sine":
        tensors, classifier = _exchanged(tensors, classifier, config)
    return Pretrained(
        title="a ViT of big_vision",
        config=config,
        tensors=tensors,
        head=classifier,
        preprocessing={
            "size": size,
            "channels": tensors["embed.weight"].shape[1],
            "fit": "squash",
            "crop_pct": 1.0,
            "resample": "bilinear",
            "mean": (0.5,) * tensors["embed.weight"].shape[1],
            "std": (0.5,) * tensors["embed.weight"].shape[1],
        },
    )


# ---------------------------------------------------------------- bytes -> tensors by name


def _read_arrays(path: Path, *, values: bool) -> dict[str, Tensor]:
    """Return the arrays of a file; without ``values`` on the meta device, at the cost of their headers."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if name.endswith(".npy")]
            found = {}
            for name in names:
                with archive.open(name) as file:
                    part = BytesIO(file.read() if values else file.read(HEADER))
                found[name.removesuffix(".npy")] = _array(part) if values else _header(part)
            return found
    except FileNotFoundError:
        raise UsageError(f"{path}: there are no weights here.") from None
    except (OSError, ValueError, TypeError, RuntimeError, zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise VitrailError(f"{path}: broken, cannot be read as .npz ({error}).") from None


def _array(file: BytesIO) -> Tensor:
    array = np.lib.format.read_array(file)  # refuses pickles
    if array.dtype == np.dtype("V2"):  # how NumPy stores the bfloat16 that it does not know
        return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(np.ascontiguousarray(array))


def _header(file: BytesIO) -> Tensor:
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    return torch.empty(read(file)[0], device="meta")


def _under_prefix(arrays: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    """Return the arrays of the tower that sees, their names shortened."""
    prefix = next((each for each in PREFIXES if f"{each}embedding/kernel" in arrays), None)
    if prefix is None:
        raise VitrailError(f"{path}: no embedding/kernel, so it is no ViT of vit_jax or big_vision.")
    return {name.removeprefix(prefix): part for name, part in arrays.items() if name.startswith(prefix)}


def _unstacked(name: str, part: Tensor) -> list[tuple[str, Tensor]]:
    """Return the layers of an array that holds them all (big_vision's ``scan``), or the array."""
    at = "Transformer/encoderblock/"
    if not name.startswith(at):
        return [(name, part)]
    return [(name.replace(at, f"Transformer/encoderblock_{layer}/"), each) for layer, each in enumerate(part)]


# ---------------------------------------------------------------- which network


def _config(theirs: Mapping[str, Tensor]) -> ViTConfig:
    """Return the network that names and shapes describe.

    The activation is JAX's GELU, whose default is the approximation; timm takes the exact one for most.
    """
    patch, other, _, width = theirs["embedding/kernel"].shape
    if patch != other:
        raise ValueError(f"patches of {patch}x{other} pixels, and only squares are known here")
    block = "Transformer/encoderblock_"
    numbers = [int(found[1]) for name in theirs if (found := re.match(rf"{block}(\d+)/", name))]
    attention, _, feed = _PARTS[OLD in theirs]
    heads = theirs[f"{block}0/MultiHeadDotProductAttention_{attention}/query/kernel"].shape[1]
    mlp = theirs[f"{block}0/{feed}/Dense_0/kernel"].shape[1]
    token, pooled = "cls" in theirs, "MAPHead_0/probe" in theirs
    learned = OLD in theirs or "pos_embedding" in theirs
    return ViTConfig(
        **shape(width=width, depth=max(numbers, default=-1) + 1, heads=heads, mlp=mlp),
        patch=patch,
        positions="learned" if learned else "sine",
        pool="attention" if pooled else "class" if token else "mean",
        registers=int(token and pooled),
        activation="gelu_tanh",
    )


def _grid(theirs: Mapping[str, Tensor], patch: int) -> tuple[Size, int]:
    """Return the grid of the positions, a square, and how many positions of tokens stand before them."""
    places = theirs.get(OLD, theirs.get("pos_embedding"))
    if places is None:
        return (SIDE // patch, SIDE // patch), 0
    count = places.shape[-2]
    beside = int(OLD in theirs and "cls" in theirs)
    side = math.isqrt(count - beside)
    if side * side != count - beside:
        raise ValueError(f"{count} positions are of no square")
    return (side, side), beside


def _exchanged(
    tensors: Mapping[str, Tensor], head: tuple[Tensor, Tensor | None] | None, config: ViTConfig
) -> tuple[dict[str, Tensor], tuple[Tensor, Tensor | None] | None]:
    """Exchange the halves of the features that tokens have between the layers: the network stays the same.

    Norms treat all features alike, and what reads tokens reads them where what writes them puts them.
    """

    def exchange(tensor: Tensor, axis: int) -> Tensor:
        return tensor.roll(tensor.shape[axis] // 2, axis)

    readers = (".qkv.weight", ".up.weight", ".key_value.weight")
    inner = (".qkv.bias", ".up.bias")
    found = {}
    for name, tensor in tensors.items():
        after = name.startswith("pooling.") and not name.endswith(readers[2])
        axis = 1 if name.endswith(readers) or name == "prefix" else 0
        found[name] = tensor if after or name.endswith(inner) else exchange(tensor, axis)
    if head is None or config.pool == "attention":
        return found, head
    return found, (exchange(head[0], 1), head[1])


# ---------------------------------------------------------------- what the tensors are called


def layout(config: ViTConfig, grid: Size, *, old: bool, beside: int = 0, head: bool = False) -> Layout:
    """Return how a network lies in a file, with positions on a ``grid``; ``old`` are the names of vit_jax.

    With ``head`` the classifier belongs to it.
    """
    tokens = ["cls"] if config.prefix_tokens else []
    rules = [
        turned("embed.weight", "embedding/kernel", "p q c d -> d c p q"),
        same("embed.bias", "embedding/bias"),
    ]
    if config.positions == "learned":
        rules.append(placed(grid, OLD if old else "pos_embedding", tokens, beside=beside))
    elif tokens:
        rules.append(turned("prefix", "cls", "1 n d -> n d"))
    attention, second, feed = _PARTS[old]
    for layer in range(config.depth or SIZES[config.size].depth):
        ours, theirs = f"encoder.blocks.{layer}", f"Transformer/encoderblock_{layer}"
        at = f"{theirs}/MultiHeadDotProductAttention_{attention}"
        heads = config.heads or SIZES[config.size].heads
        rules += _norm(f"{ours}.around_mix.norm", f"{theirs}/LayerNorm_0")
        rules += _heads(f"{ours}.mix.qkv", [f"{at}/{part}" for part in ("query", "key", "value")], heads)
        rules += _out(f"{ours}.mix.out", f"{at}/out", heads)
        rules += _norm(f"{ours}.around_feed.norm", f"{theirs}/{second}")
        rules += _feed(f"{ours}.feed", f"{theirs}/{feed}")
    rules += _norm("encoder.norm", "Transformer/encoder_norm")
    if config.pool == "attention":
        rules += _pooling(config.heads or SIZES[config.size].heads)
    rules += _dense("head", "head") if head else []
    dropped = [r"pre_logits/.*"] if head else [r"pre_logits/.*", r"head/.*"]
    return Layout(rules=tuple(rules), dropped=tuple(dropped))


def _dense(ours: str, theirs: str) -> list[Rule]:
    return [
        turned(f"{ours}.weight", f"{theirs}/kernel", "i o -> o i"),
        same(f"{ours}.bias", f"{theirs}/bias"),
    ]


def _norm(ours: str, theirs: str) -> list[Rule]:
    return [same(f"{ours}.weight", f"{theirs}/scale"), same(f"{ours}.bias", f"{theirs}/bias")]


def _feed(ours: str, theirs: str) -> list[Rule]:
    return _dense(f"{ours}.up", f"{theirs}/Dense_0") + _dense(f"{ours}.down", f"{theirs}/Dense_1")


def _heads(ours: str, theirs: list[str], heads: int) -> list[Rule]:
    """Return the rules of the layers that make each head's queries, keys or values, ours all in one."""
    kernels, biases = ([f"{name}/{part}" for name in theirs] for part in ("kernel", "bias"))
    return [
        joined(f"{ours}.weight", kernels, "d h c -> (h c) d", h=heads),
        joined(f"{ours}.bias", biases, "h c -> (h c)", h=heads),
    ]


def _out(ours: str, theirs: str, heads: int) -> list[Rule]:
    kernel = turned(f"{ours}.weight", f"{theirs}/kernel", "h c d -> d (h c)", h=heads)
    return [kernel, same(f"{ours}.bias", f"{theirs}/bias")]


def _pooling(heads: int) -> list[Rule]:
    at = "MAPHead_0/MultiHeadDotProductAttention_0"
    rules = [turned("pooling.probe", "MAPHead_0/probe", "1 n d -> n d")]
    rules += _heads("pooling.cross.query", [f"{at}/query"], heads)
    rules += _heads("pooling.cross.key_value", [f"{at}/key", f"{at}/value"], heads)
    rules += _out("pooling.cross.out", f"{at}/out", heads)
    rules += _norm("pooling.around_feed.norm", "MAPHead_0/LayerNorm_0")
    return rules + _feed("pooling.feed", "MAPHead_0/MlpBlock_0")
