"""A Swin that learns in seconds, which timm does not have."""

import importlib
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
SWIN = "swin_pico_patch4_window6_96"


@pytest.fixture(scope="session", autouse=True)
def small_swin():
    """Let timm know the small Swin of the benchmarks by its name, unless it does already."""
    from timm import is_model

    if not is_model(SWIN):
        with pytest.MonkeyPatch.context() as patch:
            patch.syspath_prepend(BENCHMARKS)
            assert importlib.import_module("small_swin").NAME == SWIN
