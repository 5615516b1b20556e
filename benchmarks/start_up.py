"""Start-up: seconds of whole processes, in turn. `python benchmarks/start_up.py`"""

import subprocess
import sys
from functools import partial

import record

RUNS = {
    "python -c pass": ["-c", "pass"],
    "vitrail --help": ["-m", "vitrail", "--help"],
    "import vitrail": ["-c", "import vitrail"],
    "import torch": ["-c", "import torch"],
    "vitrail train --help": ["-m", "vitrail", "train", "--help"],
    "import what training a ViT needs": ["-c", "import vitrail.run.launch"],
    "import torchvision": ["-c", "import torchvision"],
}


def main() -> None:
    def start(words: list[str]) -> None:
        subprocess.run([sys.executable, *words], check=True, stdout=subprocess.DEVNULL)

    seconds = record.interleave({name: partial(start, words) for name, words in RUNS.items()}, rounds=7)
    rows = "\n".join(
        f"| `{name}` | {sorted(times)[len(times) // 2]:.2f} |" for name, times in seconds.items()
    )
    head = "Median seconds of seven whole processes each, in turn.\n\n| process | seconds |\n| --- | --- |\n"
    body = head + rows
    print(body)
    record.write_result("start-up", "Start-up", body, "vitrail")


if __name__ == "__main__":
    main()
