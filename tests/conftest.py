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


@pytest.fixture(scope="session")
def made_up_outcome():
    """Make what a comparison of made-up models would have come to, without training any."""

    def make(folder, models=("vit-s16", "resnet50"), seeds=3, classes=("cat", "dog", "owl"), pictures=120):
        import numpy as np

        from vitrail.draw.page import Shown
        from vitrail.measure.classify import Classification
        from vitrail.measure.paired import over_seeds
        from vitrail.run.compare.calibration import Calibration
        from vitrail.run.compare.costs import Spending
        from vitrail.run.compare.examples import Parting
        from vitrail.run.compare.outcome import Outcome
        from vitrail.run.compare.race import Entrant, Try
        from vitrail.run.compare.robustness import Robustness
        from vitrail.run.compare.statistics import Ranking, Standing, _pairs

        rng, truth = np.random.default_rng(0), np.arange(pictures) % len(classes)
        drawn = {}
        for index, name in enumerate(models):
            drawn[name] = []
            for _ in range(seeds):
                metric = Classification(classes)
                logits = rng.normal(0, 1, (pictures, len(classes)))
                logits[np.arange(pictures), truth] += 3.0 - 0.7 * index
                scores = np.exp(logits)
                metric.update_arrays(scores / scores.sum(1, keepdims=True), truth)
                drawn[name].append(metric.resampled(resamples=100))
        again = drawn[models[0]][0].again
        orders = {"accuracy": "max", "macro_f1": "max", "log_loss": "min", "ece": "min"}
        standings = [
            Standing(
                name=name,
                metrics={each: over_seeds([run.metrics[each] for run in runs], again) for each in orders},
                by_seed={each: [run.metrics[each].value for run in runs] for each in orders},
                per_class={
                    each: over_seeds([run.per_class[each]["recall"] for run in runs], again)
                    for each in classes
                },
                seeds=range(seeds),
            )
            for name, runs in drawn.items()
        ]
        numbers = {
            name: {each: [run.metrics[each] for run in runs] for each in orders}
            for name, runs in drawn.items()
        }
        pairs = [
            pair
            for each, order in orders.items()
            for pair in _pairs({name: numbers[name][each] for name in models}, each, order, again, {})
        ]
        first = {each.name: each.metrics["accuracy"] for each in standings}
        picture = np.full((8, 8, 3), 120, np.uint8)
        losses = {
            name: {each: numbers[name][each][0].estimate(again) for each in ("ece", "log_loss")}
            for name in models
        }
        return Outcome(
            folder=folder,
            data="pets",
            entrants=[
                Entrant(
                    name=name,
                    tries=[
                        Try(words="as published", settings="AdamW", value=0.9, taken=True, run="search/0"),
                        Try(
                            words="3 times the rate", settings="AdamW", value=0.8, taken=False, run="search/1"
                        ),
                    ],
                    failed="seed 1: no memory" if name == models[-1] and len(models) > 2 else "",
                )
                for name in models
            ],
            ranking=Ranking(
                first="accuracy",
                orders=orders,
                standings=standings,
                pairs=pairs,
                per_class="recall",
                units=f"{pictures} pictures",
            ),
            costs={
                name: Spending(
                    parameters=10 ** (5 + index % 3),
                    flops=1e8 * (1 + index),
                    train_seconds=30.0 * (1 + index),
                    train_rate=100.0,
                    latency=0.01 * (1 + index),
                    answer_rate=200.0,
                    memory=10**9,
                    disk=10**7,
                )
                for index, name in enumerate(models)
            },
            calibration={
                name: Calibration(temperature=1.2, before=losses[name], after=losses[name]) for name in models
            },
            agreement={name: dict.fromkeys(models, 0.9) for name in models},
            partings=[
                Parting(
                    ours=models[0],
                    theirs=models[-1],
                    count=7,
                    shown=[Shown(picture=picture, caption=classes[0], remark="said so")] * 3,
                    explained=[models[0]],
                )
            ],
            classes=classes,
            sizes={"train": 1000, "val": 100, "test": pictures},
            environment={"vitrail": "0", "torch": "2", "processor": "one", "device": "cpu", "threads": 2},
            curves={name: [(100.0, value), (1000.0, value)] for name, value in first.items()},
            robustness=Robustness(
                metric="accuracy",
                pictures=pictures,
                seeds=seeds,
                values={
                    kind: {name: [first[name]] * 4 for name in models} for kind in ("noise", "blur", "jpeg")
                },
            ),
            made="2026-01-01",
        )

    return make
