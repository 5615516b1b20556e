"""Take the tensors out of a pickle without running it: ``python -m vitrail.backbones.convert FILE [OUT]``.

torch reads it with ``weights_only=True``, which builds tensors and plain containers, calls nothing else that
the file names, and refuses files that want more. What comes out is safetensors, which Vitrail reads.
"""

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vitrail.backbones.weights import PICKLES, WEIGHTS
from vitrail.errors import UsageError, VitrailError

NESTS = ("model", "state_dict", "module", "model_state")
"""Where a file that holds more than a network's tensors keeps them."""


def convert(source: Path, out: Path | None = None, key: str | None = None) -> Path:
    """Write the tensors of a pickle, or of all a folder's, as safetensors; return the file.

    By default that is ``model.safetensors`` in the folder, or the file's name with ``.safetensors``. ``key``
    names the part of the file that holds the tensors. Raises UsageError when there is nothing to convert, the
    result exists, or the file has several parts; VitrailError when it cannot be read without running it.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    files = _pickles(source) if source.is_dir() else [source]
    if not files or not files[0].exists():
        raise UsageError(f"{source}: no such file, or a folder without {', '.join(sorted(PICKLES))}.")
    target = out or (source / WEIGHTS if source.is_dir() else source.with_suffix(".safetensors"))
    if target.exists():
        raise UsageError(f"{target}: exists already. Name another file to write.")
    tensors: dict[str, Tensor] = {}
    for file in files:
        tensors |= _tensors(_load(file), key, file)
    whole = {name: tensor.detach().clone().contiguous() for name, tensor in tensors.items()}
    draft = target.with_name(f"{target.name}.{os.getpid()}.part")
    try:
        save_file(whole, draft, metadata={"format": "pt"})
        draft.replace(target)
    except (OSError, SafetensorError) as error:
        raise VitrailError(f"{target}: cannot be written ({error}).") from None
    finally:
        with suppress(OSError):
            draft.unlink(missing_ok=True)
    return target


def _pickles(folder: Path) -> list[Path]:
    """Return transformers' own weights of a folder, where an optimizer may lie beside; else all pickles."""
    weights = sorted(folder.glob("pytorch_model*.bin"))
    return weights or sorted(file for file in folder.iterdir() if file.suffix in PICKLES)


def _load(file: Path) -> Any:
    try:
        return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # a pickle can fail in any way
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise VitrailError(
            f"{file}: cannot be read without running what it holds, so it is not ({reason[:200]}).\n"
            "Ask whoever made it for safetensors."
        ) from None


def _tensors(content: Any, key: str | None, file: Path) -> dict[str, Tensor]:
    """Return the tensors by name that a file holds, or one part of it."""
    if not isinstance(content, Mapping):
        raise VitrailError(f"{file}: holds a {type(content).__name__}, not tensors by name.")
    if key is None and (tensors := _network(content)):
        return tensors
    parts = {name: tensors for name, part in content.items() if (tensors := _network(part))}
    if key is None:
        usual = [name for name in NESTS if name in parts]
        key = usual[0] if usual else next(iter(parts)) if len(parts) == 1 else None
    if key not in parts:
        which = ", ".join(map(str, parts)) or f"none of {', '.join(map(str, content))}"
        raise UsageError(f"{file}: tensors by name are in its parts {which}; say by --key which to take.")
    return parts[key]


def _network(part: Any) -> dict[str, Tensor]:
    """Return a mapping of names to tensors; of anything else nothing."""
    if isinstance(part, Mapping) and all(isinstance(each, Tensor) for each in part.values()):
        return dict(part)
    return {}


def main(words: Sequence[str] | None = None) -> int:
    """Convert what the command line names; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m vitrail.backbones.convert", description=__doc__)
    parser.add_argument("file", type=Path, help="a pickle of torch, or a folder that holds some")
    parser.add_argument("out", type=Path, nargs="?", help="the .safetensors file to write")
    parser.add_argument("--key", help="the part of the file that holds the tensors")
    given = parser.parse_args(words)
    try:
        written = convert(given.file, given.out, given.key)
    except VitrailError as error:
        sys.stderr.write(f"vitrail: {error}\n")
        return error.status
    sys.stderr.write(f"{written}: {written.stat().st_size / 1e6:.1f} MB\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
