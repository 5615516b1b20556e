"""The script that fetches real data, with clients of the registries that are faked here."""

import io
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

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


def test_an_unknown_name_is_refused(tmp_path):
    done = fetch(tmp_path, "emojis")
    assert done.returncode == 2
    assert "no data set is called emojis; there are fashion-mnist, emoji" in done.stderr
