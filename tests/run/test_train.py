"""The loop: deterministic, resumable to the same bits at any moment, harmless when numbers go wrong."""

import json
import multiprocessing
import os
import random
import shutil
import signal
import time
from dataclasses import replace

import pytest
import torch

from vitrail.errors import UsageError, VitrailError
from vitrail.run import checkpoint, files, train
from vitrail.run.folder import Run
from vitrail.run.launch import resume_run, run_recipe
from vitrail.run.log import read_log


def weights(folder):
    return (folder / "model.safetensors").read_bytes()


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """A run without any interruption, made once: ``reference(recipe)``."""
    made = {}

    def run(recipe):
        key = json.dumps(recipe.to_dict(), sort_keys=True)
        if key not in made:
            made[key] = run_recipe(recipe, out=tmp_path_factory.mktemp("reference") / "run").path
        return made[key]

    return run


def test_a_run_learns_and_leaves_everything_behind(recipe, tmp_path):
    run = run_recipe(replace(recipe, epochs=12), out=tmp_path / "run")
    names = {path.name for path in run.path.iterdir()}
    assert {
        "recipe.json",
        "model.safetensors",
        "vitrail.json",
        "metrics.jsonl",
        "predictions.parquet",
        "report.html",
        "README.md",
        "result.json",
        "checkpoints",
    } <= names
    assert run.result["test"]["metrics"]["accuracy"]["value"] > 0.6
    assert run.history[-1]["loss"] < run.history[0]["loss"]
    assert not any(name.endswith(".part") for name in names)


def test_the_same_seed_gives_the_same_bits_and_another_does_not(recipe, reference, tmp_path):
    again = run_recipe(recipe, out=tmp_path / "again").path
    assert weights(again) == weights(reference(recipe))
    more_threads = replace(recipe, data=replace(recipe.data, workers=4, cache=False))
    assert weights(run_recipe(more_threads, out=tmp_path / "threads").path) == weights(again)
    other = run_recipe(replace(recipe, seed=1), out=tmp_path / "other").path
    assert weights(other) != weights(again)


def resume_until_done(recipe, folder, moments):
    """Start a run in a process of its own, kill it after each of ``moments`` seconds, resume, finish."""
    fork = multiprocessing.get_context("fork")  # the child shares the imported torch: starts are instant

    def work(started):
        started.set()
        if (folder / "recipe.json").exists():
            resume_run(folder)
        else:
            run_recipe(recipe, out=folder)

    for moment in [*moments, None]:
        started = fork.Event()
        child = fork.Process(target=work, args=(started,))
        child.start()
        started.wait()
        if moment is None:
            child.join()
            assert child.exitcode == 0
        else:
            time.sleep(moment)
            os.kill(child.pid, signal.SIGKILL)
            child.join()
            if not (folder / "recipe.json").exists() and folder.exists():
                shutil.rmtree(folder)  # killed before anything was decided: start again


def check_kills(recipe, reference, tmp_path, trials):
    expected = reference(recipe)
    seed = random.randrange(10**6)
    print("seed", seed)
    draw = random.Random(seed)
    for trial in range(trials):
        folder = tmp_path / f"run{trial}"
        resume_until_done(recipe, folder, [draw.uniform(0.02, 1.2)])
        assert weights(folder) == weights(expected)
        keys = [(line.get("epoch"), line["step"]) for line in read_log(folder)]
        assert keys == [(line.get("epoch"), line["step"]) for line in read_log(expected)]
        timeless = [{k: v for k, v in line.items() if k != "seconds"} for line in read_log(folder)]
        assert timeless == [{k: v for k, v in line.items() if k != "seconds"} for line in read_log(expected)]


def test_a_killed_run_resumes_to_the_same_bits(recipe, reference, tmp_path):
    recipe = replace(recipe, train=replace(recipe.train, save_minutes=0.0005))
    check_kills(recipe, reference, tmp_path, trials=5)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_run_killed_at_fifty_moments_resumes_to_the_same_bits(recipe, reference, tmp_path):
    recipe = replace(recipe, epochs=8, train=replace(recipe.train, save_minutes=0.0005, optimizer="muon"))
    check_kills(recipe, reference, tmp_path, trials=50)


@pytest.mark.parametrize("optimizer", ["sgd", "muon"])
def test_every_step_can_be_resumed_from(recipe, reference, tmp_path, optimizer, monkeypatch):
    recipe = replace(recipe, epochs=2, train=replace(recipe.train, optimizer=optimizer))
    expected = reference(recipe)
    folder = tmp_path / "run"
    learn = train.learn

    class Killed(BaseException):
        pass

    def stop_before(step):
        def until(job, batch):
            if job.state.step == step:
                train.write_checkpoint(job)
                raise Killed
            return learn(job, batch)

        return until

    for step in range(1, 10, 3):
        monkeypatch.setattr(train, "learn", stop_before(step))
        with pytest.raises(Killed):
            resume_run(folder) if folder.exists() else run_recipe(recipe, out=folder)
    monkeypatch.undo()
    resume_run(folder)
    assert weights(folder) == weights(expected)


def test_a_signal_saves_and_leaves_and_resuming_gives_the_same_bits(recipe, reference, tmp_path, monkeypatch):
    expected = reference(recipe)
    folder = tmp_path / "run"
    learn = train.learn

    def signalled(job, batch):
        if job.state.step == 5:
            os.kill(os.getpid(), signal.SIGTERM)
        return learn(job, batch)

    monkeypatch.setattr(train, "learn", signalled)
    with pytest.raises(VitrailError, match=r"SIGTERM: stopped after step \d+ of \d+.*--resume"):
        run_recipe(recipe, out=folder)
    assert not (folder / "result.json").exists()
    resume_run(folder)
    assert weights(folder) == weights(expected)


def test_more_epochs_train_exactly_the_rest(recipe, reference, tmp_path):
    run = run_recipe(replace(recipe, epochs=2), out=tmp_path / "run")
    first = read_log(run.path)
    resume_run(run.path, epochs=3)
    lines = read_log(run.path)
    assert lines[: len(first)] == first
    assert [line["epoch"] for line in run.history] == [1, 2, 3]
    steps = [line["step"] for line in lines if "epoch" not in line]
    assert steps == list(range(1, len(steps) + 1))
    with pytest.raises(UsageError, match="3 epochs"):
        resume_run(run.path, epochs=1)


def test_changed_data_cannot_be_resumed(recipe, tmp_path, monkeypatch):
    import shutil

    data = tmp_path / "data"
    shutil.copytree(recipe.where, data)
    recipe = replace(recipe, where=str(data))
    monkeypatch.setattr(train, "validate", lambda job, interrupt: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run_recipe(recipe, out=tmp_path / "run")
    monkeypatch.undo()
    (data / "dots" / "000.png").unlink()
    with pytest.raises(VitrailError, match="has changed"):
        resume_run(tmp_path / "run")


def test_numbers_that_are_not_finite_stop_the_run_unharmed(recipe, tmp_path, monkeypatch):
    learn, seen = train.learn, {}

    def poisoned(job, batch):
        if job.state.step == 4:
            seen["before"] = {name: value.clone() for name, value in job.model.state_dict().items()}
            with torch.no_grad():
                job.model.head.register_forward_hook(lambda *words: words[2] * float("nan"))
        return learn(job, batch)

    monkeypatch.setattr(train, "learn", poisoned)
    with pytest.raises(VitrailError) as caught:
        run_recipe(recipe, out=tmp_path / "run")
    message = str(caught.value)
    assert "step 5" in message
    assert "learning rate" in message
    assert ".png" in message
    saved, _ = checkpoint.load(tmp_path / "run" / "checkpoints")
    assert saved.state["step"] == 4
    for name, value in seen["before"].items():
        assert torch.equal(value, saved.tensors[f"model.{name}"])


def test_a_disk_that_fills_leaves_the_old_checkpoint(recipe, tmp_path, monkeypatch):
    import errno

    saves = []
    fsync = os.fsync

    def fill(handle):
        saves.append(handle)
        if len(saves) > 14:
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(handle)

    monkeypatch.setattr(files.os, "fsync", fill)
    with pytest.raises(VitrailError, match=r"disk is full .* free"):
        run_recipe(replace(recipe, epochs=30), out=tmp_path / "run")
    monkeypatch.undo()
    assert not list((tmp_path / "run").rglob("*.part"))
    saved, warnings = checkpoint.load(tmp_path / "run" / "checkpoints")
    assert saved is not None
    assert warnings == []


def test_patience_stops_early(recipe, tmp_path, monkeypatch):
    monkeypatch.setattr(train, "better", lambda ranked, best: best is None)
    run = run_recipe(replace(recipe, epochs=9, train=replace(recipe.train, patience=2)), out=tmp_path / "run")
    assert len(run.history) == 3


def test_a_folder_that_exists_is_never_overwritten(recipe, tmp_path):
    (tmp_path / "mine.txt").write_text("precious")
    with pytest.raises(UsageError, match="exists"):
        run_recipe(recipe, out=tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


def test_what_is_not_a_run_cannot_be_resumed(tmp_path):
    with pytest.raises(UsageError, match="not a run folder"):
        resume_run(tmp_path)
    with pytest.raises(UsageError, match="does not exist"):
        Run(tmp_path / "none").recipe()
