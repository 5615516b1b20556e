"""What every test stands on: no network, caches of its own, executed shapes, nothing left running."""

import os
import shutil
import sys
import tempfile
import threading
import time
from pathlib import Path

import hypothesis
import pytest
from jaxtyping import install_import_hook

ROOT = Path(__file__).resolve().parent.parent
SCRATCH = Path(tempfile.mkdtemp(prefix="vitrail-tests-"))
LEDGER = SCRATCH / "ledger"
LEDGER.touch()

# The environment is set before anything is imported that reads it; the processes that tests start inherit it.
HOME = SCRATCH / "home"
HOME.mkdir()
os.environ |= {
    "HOME": str(HOME),
    "XDG_CACHE_HOME": str(HOME / ".cache"),
    "XDG_CONFIG_HOME": str(HOME / ".config"),
    "XDG_DATA_HOME": str(HOME / ".local" / "share"),
    "VITRAIL_CACHE": str(HOME / ".cache" / "vitrail"),
    "HF_HOME": str(HOME / ".cache" / "huggingface"),
    "HF_HUB_OFFLINE": "1",
    "TORCH_HOME": str(HOME / ".cache" / "torch"),
    "MPLBACKEND": "Agg",
    "VITRAIL_TEST_LEDGER": str(LEDGER),
    "PYTHONPATH": os.pathsep.join([str(ROOT / "tests" / "offline"), str(ROOT / "src")]),
}
for variable in ("VITRAIL_OFFLINE", "COLUMNS", "NO_COLOR", "FORCE_COLOR", "XDG_STATE_HOME"):
    os.environ.pop(variable, None)
if "PYTEST_XDIST_WORKER" in os.environ:  # as many workers as cores: one thread each
    os.environ |= {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}

sys.path.insert(0, str(ROOT / "tests" / "offline"))
sys.modules.pop("sitecustomize", None)
import sitecustomize  # noqa: E402, F401

# Shapes in signatures are executed, in the rooms where tensors travel.
TYPED = ["vitrail.nn", "vitrail.backbones", "vitrail.heads", "vitrail.models"]
install_import_hook(TYPED, "beartype.beartype")

IN_CI = bool(os.environ.get("VITRAIL_CI"))
hypothesis.settings.register_profile(
    # A run that decides whether work lands must not turn on luck; a developer's run should keep looking.
    "vitrail",
    deadline=None,
    database=None,
    derandomize=IN_CI,
    print_blob=True,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("vitrail")


def pytest_sessionfinish():
    shutil.rmtree(SCRATCH, ignore_errors=True)


def missing(mark):
    """Return what a marked test lacks on this machine, as a sentence with the cure; or an empty string.

    ``data`` may name folders below .data, as in ``@pytest.mark.data("emoji")``.
    """
    if mark.name == "data":
        wanted = [name for name in mark.args or ("fashion-mnist",) if not (ROOT / ".data" / name).is_dir()]
        return f"the real data is not there ({', '.join(wanted)}): run `make data`" if wanted else ""
    if mark.name == "browser" and not any(
        map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))
    ):
        return "there is no Chromium: install your system's package `chromium`"
    if mark.name == "gpu":
        import torch

        return "" if torch.cuda.is_available() else "there is no CUDA device"
    return ""


def pytest_runtest_setup(item):
    for mark in item.iter_markers():
        reason = missing(mark)
        if reason and IN_CI and mark.name != "gpu":
            pytest.fail(reason, pytrace=False)
        elif reason:
            pytest.skip(reason)


@pytest.fixture(autouse=True)
def nothing_leaves_the_machine():
    yield
    asked = LEDGER.read_text()
    if asked:
        LEDGER.write_text("")
        pytest.fail(f"something reached beyond this machine:\n{asked}", pytrace=False)


@pytest.fixture(autouse=True)
def nothing_goes_on_running():
    before = set(threading.enumerate())
    yield

    def left():
        return [each for each in threading.enumerate() if each not in before and not each.daemon]

    deadline = time.monotonic() + 5  # a thread that was told to stop may need a moment
    while left() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not left(), f"threads go on after the test: {left()}"


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    """Give each test a pixel cache of its own, so that none passes because of what another left there."""
    monkeypatch.setenv("VITRAIL_CACHE", str(tmp_path_factory.mktemp("cache", numbered=True)))
