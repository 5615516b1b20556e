import random

import pytest
import torch

from vitrail.errors import VitrailError
from vitrail.run import checkpoint
from vitrail.run.checkpoint import Checkpoint, load, load_tensors, save


def made(step):
    return Checkpoint(
        tensors={"w": torch.full((300,), float(step)), "n": torch.tensor(step)}, state={"step": step}
    )


def test_round_trip_keeps_the_two_newest(tmp_path):
    for step in (1, 2, 10):
        save(tmp_path, step, made(step))
    found, warnings = load(tmp_path)
    assert warnings == []
    assert found.state == {"step": 10}
    assert torch.equal(found.tensors["w"], made(10).tensors["w"])
    assert len(list(tmp_path.iterdir())) == 4


def test_nothing_there(tmp_path):
    assert load(tmp_path / "none") == (None, [])


def damage_everywhere(tmp_path, places, draw):
    """Truncate or flip one byte of the newest checkpoint at ``places`` places; each must be found."""
    save(tmp_path, 1, made(1))
    newest = save(tmp_path, 2, made(2))
    for number in range(places):
        victim = newest if number % 2 else newest.with_suffix(".json")
        good = victim.read_bytes()
        place = draw.randrange(len(good))
        bad = (
            good[:place]
            if number % 4 < 2
            else good[:place] + bytes([good[place] ^ 1 << draw.randrange(8)]) + good[place + 1 :]
        )
        victim.write_bytes(bad)
        found, damaged = load(tmp_path)
        victim.write_bytes(good)
        assert found is not None, (number, place)
        assert found.state == {"step": 1}, (number, place)
        assert damaged == [newest]


def test_damage_is_found_and_the_one_before_used(tmp_path):
    seed = random.randrange(10**6)
    print("seed", seed)
    damage_everywhere(tmp_path, 20, random.Random(seed))


@pytest.mark.slow
def test_damage_is_found_at_two_hundred_places(tmp_path):
    damage_everywhere(tmp_path, 200, random.Random(7))


def test_a_kill_between_the_two_files_does_not_count(tmp_path, monkeypatch):
    save(tmp_path, 1, made(1))

    def killed(*words):
        raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint, "write_atomic", killed)
    with pytest.raises(KeyboardInterrupt):
        save(tmp_path, 2, made(2))
    monkeypatch.undo()
    assert load(tmp_path)[0].state == {"step": 1}
    save(tmp_path, 3, made(3))
    assert not (tmp_path / "0000000002.safetensors").exists()


@pytest.mark.parametrize("content", [b"", b"\x10", b"\xff" * 64, b"\x80\x04pickle"])
def test_weights_that_are_broken_are_named(tmp_path, content):
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(VitrailError, match=r"model\.safetensors"):
        load_tensors(path)
