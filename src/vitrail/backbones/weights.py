"""Reading weights that others trained: safetensors only, from a file, a folder or the Hub."""

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vitrail.errors import UsageError, VitrailError

CONFIG, WEIGHTS, SHARDS = "config.json", "model.safetensors", "model.safetensors.index.json"
PREPARATION = ("preprocessor_config.json", "processor_config.json")
PICKLES = {".bin", ".pt", ".pth", ".ckpt", ".pkl", ".tar"}


def read_weights(path: Path, *, values: bool = True) -> dict[str, Tensor]:
    """Return the tensors of a ``.safetensors`` file, or of a folder that holds them in one file or in shards.

    Without ``values`` they lie on the meta device: names, shapes and types, at the cost of a header.
    Raises VitrailError for a broken file, and for a pickle, which could run anything while it is read.
    """
    from safetensors import SafetensorError, safe_open
    from safetensors.torch import load_file

    tensors: dict[str, Tensor] = {}
    for file in _files(path):
        try:
            if values:
                tensors |= load_file(file)
                continue
            with safe_open(file, "pt") as opened:
                for name in opened.keys():  # noqa: SIM118 - it is no mapping
                    shape = opened.get_slice(name).get_shape()
                    tensors[name] = torch.empty(shape, device="meta")
        except FileNotFoundError:
            raise UsageError(f"{file}: there are no weights here.") from None
        except (SafetensorError, OSError) as error:
            raise VitrailError(f"{file}: broken, cannot be read as safetensors ({error}).") from None
    return tensors


def _files(path: Path) -> list[Path]:
    """Return the files that hold a checkpoint's tensors; refuse those that would have to be unpickled."""
    pickles = [path] if path.suffix in PICKLES else []
    if path.is_dir():
        if (path / WEIGHTS).exists():
            return [path / WEIGHTS]
        if (path / SHARDS).exists():
            return [path / name for name in _shards(path / SHARDS)]
        pickles = sorted(file for file in path.iterdir() if file.suffix in PICKLES)
        if not pickles:
            return [path / WEIGHTS]
    if pickles:
        raise VitrailError(
            f"{pickles[0]}: a pickle can run any code while it is read, so it is not.\n"
            f"Take its tensors out without running any: python -m vitrail.backbones.convert {path}"
        )
    return [path]


def _shards(index: Path) -> list[str]:
    """Return the names of the files that a checkpoint is divided into, which lie beside their index."""
    files = read_json(index).get("weight_map")
    if not isinstance(files, dict) or not all(isinstance(name, str) for name in files.values()):
        raise VitrailError(f"{index}: no weight_map of tensors to files.")
    names = sorted(set(files.values()))
    if strange := [name for name in names if Path(name).name != name]:
        raise VitrailError(f"{index}: {strange[0]} is no file beside it.")
    return names


def read_config(folder: Path) -> dict[str, Any]:
    """Return ``config.json`` of a model folder, in timm's layout or in transformers'.

    Raises UsageError when there is none, or when it is something else's.
    """
    if not (folder / CONFIG).exists():
        raise UsageError(f"{folder}: no {CONFIG}, so this is no model folder.")
    config = read_json(folder / CONFIG)
    if not any(isinstance(config.get(key), str) for key in ("architecture", "model_type")):
        raise UsageError(
            f'{folder / CONFIG}: written by something else; timm writes an "architecture", '
            'transformers a "model_type".'
        )
    return config


def model_type(source: Path) -> str | None:
    """Return which network of transformers a folder, or a file beside its config, says it is; else None."""
    folder = source.parent if source.name == WEIGHTS else source
    stated = read_json(folder / CONFIG).get("model_type") if (folder / CONFIG).exists() else None
    return stated if isinstance(stated, str) else None


def read_json(file: Path) -> dict[str, Any]:
    """Return the object of a JSON file; raises VitrailError when it holds none."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise VitrailError(f"{file}: cannot be read ({error}).") from None
    if not isinstance(content, dict):
        raise VitrailError(f"{file}: holds no JSON object.")
    return content


def fetch(hub_id: str, *, offline: bool = False) -> Path:
    """Return the folder of a model on the Hub: from the cache without a network, else downloaded into it.

    That is ``config.json``, the weights in safetensors, in one file or in shards, and what says how pictures
    are prepared, if the model has it. Raises UsageError when the model is not in the cache and ``offline``,
    or when that is no name, and VitrailError when it cannot be had.
    """
    from huggingface_hub import constants, hf_hub_download
    from huggingface_hub.errors import (
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        RemoteEntryNotFoundError,
    )

    nothing = f"{hub_id}: no such file or folder, and no name of a model on the Hub."
    if hub_id.count("/") != 1 or Path(hub_id).suffix in {".npz", ".safetensors", *PICKLES}:
        raise UsageError(nothing)  # a file that is gone is not asked of the network

    def cached(file: str) -> Path:
        return Path(hf_hub_download(hub_id, file, local_files_only=True))

    def download(file: str) -> Path:
        return Path(hf_hub_download(hub_id, file))

    try:
        folder = _bring(cached)
    except HFValidationError:
        raise UsageError(nothing) from None
    except LocalEntryNotFoundError:
        kept = Path(constants.HF_HUB_CACHE, "models--" + hub_id.replace("/", "--"))
    else:
        if not offline:
            _bring_preparation(hub_id, folder, download)
        return folder
    cure = "Connect, or fetch it elsewhere and name its folder."
    if offline:
        raise UsageError(f"{hub_id}: not in the cache ({kept}), and --offline forbids the Hub.\n{cure}")
    try:
        folder = _bring(download)
    except RemoteEntryNotFoundError:
        raise VitrailError(
            f"{hub_id}: has no {WEIGHTS} with a {CONFIG}; pickles are not read.\n"
            "Fetch it elsewhere, and take its tensors out: python -m vitrail.backbones.convert FOLDER"
        ) from None
    except HfHubHTTPError as error:
        status = error.response.status_code
        why = "no such model, or a private one" if status in (401, 404) else "the Hub refuses it"
        raise VitrailError(f"{hub_id}: {why} ({status}).") from None
    except OSError:
        raise VitrailError(
            f"{hub_id}: not in the cache ({kept}), and there is no network to fetch it.\n{cure}"
        ) from None
    _bring_preparation(hub_id, folder, download)
    return folder


def _bring(get: Callable[[str], Path]) -> Path:
    """Get what a model cannot do without; return its folder."""
    from huggingface_hub.errors import EntryNotFoundError

    folder = get(CONFIG).parent
    try:
        get(WEIGHTS)
    except EntryNotFoundError as nothing:
        try:
            index = get(SHARDS)
        except EntryNotFoundError:
            raise nothing from None
        for shard in _shards(index):
            get(shard)
    return folder


def _bring_preparation(hub_id: str, folder: Path, download: Callable[[str], Path]) -> None:
    """Get what says how pictures are prepared, unless it is here or known not to exist; else do without."""
    from huggingface_hub import try_to_load_from_cache

    if "model_type" not in read_config(folder):
        return  # timm says it in its config
    for file in PREPARATION:
        known = try_to_load_from_cache(hub_id, file)
        if known is None:
            with suppress(OSError):
                download(file)
                return
        elif isinstance(known, str):
            return
