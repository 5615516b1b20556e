import errno
import os

import pytest

from vitrail.errors import VitrailError
from vitrail.run.files import first_free, read_json, replacing, write_atomic, write_json


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path):
    path = tmp_path / "a" / "note.json"
    write_json(path, {"é": 1})
    assert read_json(path, "a note") == {"é": 1}

    def write_half():
        with replacing(path) as draft:
            draft.write_text("half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_half()
    assert read_json(path, "a note") == {"é": 1}
    assert [p.name for p in path.parent.iterdir()] == ["note.json"]


def test_a_full_disk_names_bytes_and_leaves_no_draft(tmp_path, monkeypatch):
    path = tmp_path / "weights"
    write_atomic(path, b"old")

    def full(handle):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(VitrailError, match=r"disk is full \(1,000 bytes needed, [\d,]+ free\)"):
        write_atomic(path, b"n" * 1000)
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["weights"]


def test_a_place_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(VitrailError) as caught:
        write_atomic(tmp_path / "file" / "inside", "x")
    assert len(str(caught.value).splitlines()) == 1
    assert "--out" in str(caught.value)


@pytest.mark.parametrize("content", [None, b"{", b"\xff\xfe"])
def test_json_that_is_missing_or_broken_is_named(tmp_path, content):
    path = tmp_path / "vitrail.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(VitrailError, match=r"vitrail\.json"):
        read_json(path, "a run has it")


def test_first_free(tmp_path):
    (tmp_path / "run-1").mkdir()
    assert first_free(lambda n: tmp_path / f"run-{n}") == tmp_path / "run-2"
