"""The benchmarks' own files, which are scripts beside each other and not a package."""

import importlib
import sys
from pathlib import Path

import pytest

HOME = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def benchmark(monkeypatch):
    """Return what imports a file of the benchmarks by its name; nothing of them stays."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(HOME)
    yield importlib.import_module
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", None) or "").startswith(str(HOME)):
            del sys.modules[name]
