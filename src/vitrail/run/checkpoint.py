"""Checkpoints: atomic, verified, without pickle.

A checkpoint is two files, ``STEP.safetensors`` and ``STEP.json``. The second is written last and holds the
first one's SHA-256 and a checksum of itself, so a checkpoint counts only once it is complete, and a truncated
or flipped byte anywhere is noticed. The two newest are kept.
"""

import contextlib
import hashlib
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor

from vitrail.errors import VitrailError
from vitrail.run.files import replacing, write_atomic

KEPT = 2


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """Everything that resuming needs: ``tensors`` by name, and the plain numbers of ``state``."""

    tensors: Mapping[str, Tensor]
    state: Mapping[str, Any]


def save(folder: Path, step: int, checkpoint: Checkpoint) -> Path:
    """Write a checkpoint of ``step`` into ``folder`` and drop all but the newest two."""
    weights = folder / f"{step:010d}.safetensors"
    save_tensors(weights, checkpoint.tensors)
    state = json.dumps(dict(checkpoint.state), sort_keys=True)
    note = {"state": state, "check": zlib.crc32(state.encode()), "sha256": _digest(weights)}
    write_atomic(weights.with_suffix(".json"), json.dumps(note))
    for old in _newest_first(folder)[KEPT:]:
        old.unlink(missing_ok=True)  # the .json first: without it the tensors no longer count
        old.with_suffix(".safetensors").unlink(missing_ok=True)
    for orphan in folder.glob("*.safetensors"):
        if not orphan.with_suffix(".json").exists():
            orphan.unlink(missing_ok=True)
    return weights


def load(folder: Path) -> tuple[Checkpoint | None, list[Path]]:
    """Return the newest good checkpoint in ``folder`` (None: there is none) and the damaged newer ones."""
    damaged: list[Path] = []
    for note in _newest_first(folder):
        try:
            return _read(note), damaged
        except VitrailError:
            damaged.append(note.with_suffix(".safetensors"))
    return None, damaged


def clear(folder: Path) -> None:
    """Remove all checkpoints: a run that starts anew must not find later ones of before."""
    for path in [*_newest_first(folder), *folder.glob("[0-9]*.safetensors")]:
        path.unlink(missing_ok=True)


def save_tensors(
    path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None
) -> None:
    """Write tensors as safetensors, atomically."""
    ready = {name: tensor.detach().contiguous().cpu() for name, tensor in tensors.items()}
    needed = sum(tensor.numel() * tensor.element_size() for tensor in ready.values())
    with replacing(path, needed) as draft:
        safetensors.torch.save_file(ready, draft, metadata=dict(metadata or {"format": "pt"}))


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file; one that is missing or broken is an error that names it."""
    if not path.exists():
        raise VitrailError(f"{path}: not found. Was the training finished? See `vitrail train --resume`.")
    try:
        return dict(safetensors.torch.load_file(path))
    except (safetensors.SafetensorError, OSError, ValueError) as error:
        raise VitrailError(
            f"{path}: broken or cut off ({error}). Copy it again, or resume the run."
        ) from None


def _read(note_path: Path) -> Checkpoint:
    weights = note_path.with_suffix(".safetensors")
    try:
        note = json.loads(note_path.read_bytes())
        if zlib.crc32(note["state"].encode()) != note["check"] or _digest(weights) != note["sha256"]:
            raise ValueError("checksums differ")
        return Checkpoint(tensors=load_tensors(weights), state=json.loads(note["state"]))
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        raise VitrailError(f"{weights}: this checkpoint is damaged.") from error


def _newest_first(folder: Path) -> list[Path]:
    return sorted(folder.glob("[0-9]*.json"), reverse=True)


def _digest(path: Path) -> str:
    with contextlib.closing(path.open("rb")) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
