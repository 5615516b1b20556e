"""Reading weights that others trained: safetensors only, from a file, a folder or the Hub."""

import json
from pathlib import Path
from typing import Any

from torch import Tensor

from vitrail.errors import UsageError, VitrailError

CONFIG, WEIGHTS = "config.json", "model.safetensors"
PICKLES = {".bin", ".pt", ".pth", ".ckpt", ".pkl", ".tar"}


def read_weights(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a ``.safetensors`` file, or of a folder that holds ``model.safetensors``.

    Raises VitrailError for a broken file, and for a pickle, which could run anything while it is read.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    file = path / WEIGHTS if path.is_dir() else path
    if file.suffix in PICKLES or (path.is_dir() and not file.exists() and _pickles(path)):
        culprit = file if file.suffix in PICKLES else _pickles(path)[0]
        raise VitrailError(
            f"{culprit}: a pickle can run any code while it is read, so it is not.\n"
            "Convert it if you trust it: safetensors.torch.save_file(torch.load(FILE), 'model.safetensors')."
        )
    try:
        return load_file(file)
    except FileNotFoundError:
        raise UsageError(f"{file}: there are no weights here.") from None
    except (SafetensorError, OSError) as error:
        raise VitrailError(f"{file}: broken, cannot be read as safetensors ({error}).") from None


def read_config(folder: Path) -> dict[str, Any]:
    """Return ``config.json`` of a model folder in timm's layout.

    Raises UsageError when there is none, or when it is another library's.
    """
    file = folder / CONFIG
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(f"{folder}: no {CONFIG}, so this is no model folder.") from None
    except (OSError, ValueError) as error:
        raise VitrailError(f"{file}: cannot be read ({error}).") from None
    if not isinstance(config, dict) or not isinstance(config.get("architecture"), str):
        made_by = "transformers" if isinstance(config, dict) and "model_type" in config else "something else"
        raise UsageError(f'{file}: written by {made_by}; timm\'s name of an "architecture" is wanted.')
    return config


def fetch(hub_id: str, *, offline: bool = False) -> Path:
    """Return the folder of a model on the Hub: from the cache without a network, else downloaded into it.

    Only ``config.json`` and ``model.safetensors`` are fetched. Raises UsageError when the model is not in the
    cache and ``offline``, or when that is no name, and VitrailError when it cannot be had.
    """
    from huggingface_hub import constants, hf_hub_download
    from huggingface_hub.errors import (
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        RemoteEntryNotFoundError,
    )

    files = (WEIGHTS, CONFIG)
    try:
        return [Path(hf_hub_download(hub_id, file, local_files_only=True)) for file in files][-1].parent
    except HFValidationError:
        raise UsageError(f"{hub_id}: no such file or folder, and no name of a model on the Hub.") from None
    except LocalEntryNotFoundError:
        kept = Path(constants.HF_HUB_CACHE, "models--" + hub_id.replace("/", "--"))
    cure = "Connect, or fetch it elsewhere and name its folder."
    if offline:
        raise UsageError(f"{hub_id}: not in the cache ({kept}), and --offline forbids the Hub.\n{cure}")
    try:
        return [Path(hf_hub_download(hub_id, file)) for file in files][-1].parent
    except RemoteEntryNotFoundError:
        raise VitrailError(f"{hub_id}: has no {WEIGHTS} with a {CONFIG}; pickles are not read.") from None
    except HfHubHTTPError as error:
        raise VitrailError(f"{hub_id}: the Hub refuses it ({error.response.status_code}).") from None
    except OSError:
        raise VitrailError(
            f"{hub_id}: not in the cache ({kept}), and there is no network to fetch it.\n{cure}"
        ) from None


def _pickles(folder: Path) -> list[Path]:
    return sorted(file for file in folder.iterdir() if file.suffix in PICKLES)
