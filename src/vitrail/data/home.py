"""Where Vitrail keeps what it can always make again: indexes of large folders and decoded pictures."""

import os
import tempfile
from pathlib import Path


def cache_home() -> Path:
    """Return the cache folder: ``VITRAIL_CACHE``, else ``~/.cache/vitrail``; it need not exist yet.

    It never lies in the user's data. An account without a home folder gets one below the temporary folder.
    """
    if chosen := os.environ.get("VITRAIL_CACHE"):
        return Path(chosen).expanduser().absolute()
    try:
        return Path.home() / ".cache" / "vitrail"
    except RuntimeError:
        return Path(tempfile.gettempdir()) / "vitrail-cache"
