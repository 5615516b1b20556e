"""What the Hub's local cache holds: found by looking at folders, without the Hub's client asking anything."""

from pathlib import Path

from vitrail.backbones.weights import CONFIG, SHARDS, WEIGHTS

PREFIX, MAIN = "models--", "refs/main"


def cached_models() -> dict[str, Path]:
    """Return the folder of every model in the Hub's local cache with a config and safetensors, by its id."""
    from huggingface_hub import constants

    found = {}
    for kept in sorted(Path(constants.HF_HUB_CACHE).glob(f"{PREFIX}*")):
        try:
            commit = (kept / MAIN).read_text(encoding="utf-8").strip()
        except OSError:
            continue  # nothing of it has ever arrived
        folder = kept / "snapshots" / commit
        if (folder / CONFIG).exists() and any((folder / file).exists() for file in (WEIGHTS, SHARDS)):
            found[kept.name.removeprefix(PREFIX).replace("--", "/")] = folder
    return found
