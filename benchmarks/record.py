"""What every measurement shares: medians of interleaved runs, and a dated result with what it ran on."""

import datetime
import importlib.metadata
import platform
import shlex
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

RESULTS = Path(__file__).parent / "results"


def interleave(runs: Mapping[str, Callable[[], None]], rounds: int) -> dict[str, list[float]]:
    """Run each in turn, ``rounds`` times after one warm-up, and return the seconds of each."""
    for run in runs.values():
        run()
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            started = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - started)
    return seconds


def ratio(seconds: Mapping[str, Sequence[float]], ours: str, peer: str) -> float:
    """Return how much longer ``ours`` takes than ``peer``: a ratio of medians."""
    return statistics.median(seconds[ours]) / statistics.median(seconds[peer])


def machine() -> str:
    """Return the processor and the number of cores, nothing that names the machine."""
    import torch

    name = platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    gpu = f"; {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    return f"{name}, {torch.get_num_threads()} threads{gpu}"


def versions(*packages: str) -> str:
    """Return the versions of packages in one line."""
    return ", ".join(f"{name} {importlib.metadata.version(name)}" for name in packages)


def write_result(name: str, title: str, body: str, *packages: str) -> Path:
    """Write ``results/DATE-NAME.md`` with the command, hardware and versions."""
    command = "python " + " ".join(
        shlex.quote(word) for word in [f"benchmarks/{Path(sys.argv[0]).name}", *sys.argv[1:]]
    )
    today = datetime.date.today().isoformat()
    text = (
        f"# {title}\n\n- date: {today}\n- command: `{command}`\n- hardware: {machine()}\n"
        f"- versions: Python {platform.python_version()}, {versions('torch', *packages)}\n\n{body.rstrip()}\n"
    )
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{today}-{name}.md"
    path.write_text(text, encoding="utf-8")
    return path
