"""Pickles: refused when a model is named, converted without running anything that they hold."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from vitrail.backbones import configure
from vitrail.backbones.convert import convert, main
from vitrail.errors import UsageError, VitrailError

LAYOUTS = Path(__file__).parent / "layouts"


class Bomb:
    """What a malicious pickle holds: a call that is made while it is read."""

    def __init__(self, proof):
        self.proof = str(proof)

    def __reduce__(self):
        return os.mkdir, (self.proof,)


@pytest.fixture
def tensors():
    return load_file(LAYOUTS / "vit-bare" / "model.safetensors")


@pytest.mark.parametrize("modern", [True, False])
def test_the_code_in_a_pickle_never_runs(modern, tensors, tmp_path, capsys):
    file, proof = tmp_path / "pytorch_model.bin", tmp_path / "exploded"
    torch.save({**tensors, "bomb": Bomb(proof)}, file, _use_new_zipfile_serialization=modern)
    assert main([str(file)]) == 1
    said = capsys.readouterr().err
    assert said.startswith(f"vitrail: {file}: cannot be read without running what it holds, so it is not (")
    assert "Ask whoever made it for safetensors." in said
    assert not proof.exists()
    assert sorted(place.name for place in tmp_path.iterdir()) == ["pytorch_model.bin"]
    torch.load(file, weights_only=False)
    assert proof.exists(), "it would have exploded"


def test_the_command_that_the_refusal_names_cures_it(tensors, tmp_path):
    (tmp_path / "config.json").write_bytes((LAYOUTS / "vit-bare" / "config.json").read_bytes())
    torch.save(tensors, tmp_path / "pytorch_model.bin")
    with pytest.raises(VitrailError) as refused:
        configure(str(tmp_path))
    command = str(refused.value).splitlines()[-1].split(": ", 1)[1]
    program, *words = command.split()
    assert program == "python"
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    assert "model.safetensors: 0.0 MB" in done.stderr
    torch.testing.assert_close(load_file(tmp_path / "model.safetensors"), tensors, rtol=0, atol=0)
    assert configure(str(tmp_path)).width == 16


def test_shards_become_one_file(tensors, tmp_path):
    names = sorted(tensors)
    for number, part in enumerate((names[:9], names[9:]), 1):
        torch.save(
            {name: tensors[name] for name in part}, tmp_path / f"pytorch_model-0000{number}-of-00002.bin"
        )
    torch.save({"lr": 0.1}, tmp_path / "optimizer.pt")  # which is left alone
    assert convert(tmp_path) == tmp_path / "model.safetensors"
    assert load_file(tmp_path / "model.safetensors").keys() == tensors.keys()


@pytest.mark.parametrize("nest", ["model", "state_dict", "anything"])
def test_tensors_in_a_part_of_the_file(nest, tensors, tmp_path):
    torch.save({nest: tensors, "epoch": 3, "optimizer": {"state": {}}}, tmp_path / "x.pth")
    out = convert(tmp_path / "x.pth")
    assert out == tmp_path / "x.safetensors"
    assert load_file(out).keys() == tensors.keys()


def test_which_part_is_asked(tensors, tmp_path, capsys):
    torch.save({"student": tensors, "teacher": tensors, "epoch": 3}, tmp_path / "x.pth")
    with pytest.raises(
        UsageError, match=r"x.pth: tensors by name are in its parts student, teacher; say by --key"
    ):
        convert(tmp_path / "x.pth")
    assert main([str(tmp_path / "x.pth"), str(tmp_path / "y.safetensors"), "--key", "teacher"]) == 0
    assert load_file(tmp_path / "y.safetensors").keys() == tensors.keys()
    with pytest.raises(UsageError, match=r"y.safetensors: exists already"):
        convert(tmp_path / "x.pth", tmp_path / "y.safetensors", "teacher")


def test_tensors_that_share_memory_are_written_apart(tmp_path):
    matrix = torch.arange(12.0).reshape(3, 4)
    torch.save({"whole": matrix, "turned": matrix.T, "row": matrix[1]}, tmp_path / "x.pt")
    written = load_file(convert(tmp_path / "x.pt"))
    assert torch.equal(written["turned"], matrix.T)
    assert torch.equal(written["row"], matrix[1])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], "holds a list, not tensors by name"),
        ({"epoch": 3}, "are in its parts none of epoch"),
        ({}, "are in its parts none of"),
    ],
)
def test_files_without_tensors(content, message, tmp_path):
    torch.save(content, tmp_path / "x.pt")
    with pytest.raises(VitrailError, match=message):
        convert(tmp_path / "x.pt")


def test_files_that_are_no_pickles(tmp_path):
    (tmp_path / "x.bin").write_bytes(b"half a file")
    with pytest.raises(VitrailError, match=r"x.bin: cannot be read without running"):
        convert(tmp_path / "x.bin")
    for nothing in (tmp_path / "y.bin", LAYOUTS / "vit"):
        with pytest.raises(UsageError, match="no such file, or a folder without"):
            convert(nothing)
    assert not list(tmp_path.glob("*.part"))
