"""What may and what may not be different when a run goes on."""

import json
import os
import signal
from dataclasses import replace

import pytest

import vitrail
from vitrail.cli import main
from vitrail.errors import UsageError, VitrailError
from vitrail.run import checkpoint, job, train
from vitrail.run.experiment import prepare
from vitrail.run.files import locked
from vitrail.run.launch import compose, resume_run, run_recipe
from vitrail.run.log import read_log
from vitrail.run.progress import Silent


@pytest.fixture
def finished(recipe, tmp_path):
    return run_recipe(replace(recipe, epochs=1), out=tmp_path / "run").path


class Heard(Silent):
    def __init__(self):
        self.lines = []

    def say(self, line):
        self.lines.append(line)


def test_another_recipe_is_refused_key_by_key(finished):
    with pytest.raises(UsageError) as caught:
        resume_run(finished, wanted={"train.lr": 0.5, "model.depth": 3, "seed": 0})
    assert "train.lr: " in str(caught.value)
    assert "-> 0.5" in str(caught.value)
    assert "model.depth: 2 -> 3" in str(caught.value)
    assert "seed" not in str(caught.value)


def test_the_command_line_refuses_the_same_way(finished, capsys):
    assert main(["train", "--resume", str(finished), "--train.lr", "0.5", "--train.batch", "8"]) == 2
    said = capsys.readouterr().err
    assert "-> 0.5" in said
    assert "batch" not in said
    assert len(said.strip().splitlines()) == 2
    assert main(["train", "--resume", str(finished), "--model", "vit-pico2"]) == 2
    assert "--model" in capsys.readouterr().err


def test_what_is_the_same_may_be_repeated_and_a_finished_run_is_left_alone(finished, capsys):
    before = {path: path.stat().st_mtime_ns for path in finished.rglob("*")}
    assert main(["train", "--resume", str(finished), "--train.batch", "8", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["epochs"] == 1
    assert before == {path: path.stat().st_mtime_ns for path in finished.rglob("*")}


def test_more_epochs_by_command_line_and_by_python(finished):
    assert main(["train", "--resume", str(finished), "--epochs", "2", "--json"]) == 0
    assert vitrail.train(resume=finished, epochs=3).result["epochs"] == 3
    with pytest.raises(UsageError, match="own recipe"):
        vitrail.train("digits", resume=finished)


def test_another_machine_is_said(finished):
    file = finished / "recipe.json"
    plain = json.loads(file.read_text())
    plain["environment"]["torch"] = "2.11.0"
    file.write_text(json.dumps(plain))
    (finished / "result.json").unlink()
    heard = Heard()
    resume_run(finished, progress=heard)
    assert any("environment.torch" in line and "perhaps other bits" in line for line in heard.lines)


def test_a_metric_that_does_not_exist_is_named_before_anything_is_trained(recipe, tmp_path):
    with pytest.raises(UsageError, match=r"acuracy.*Did you mean accuracy"):
        run_recipe(replace(recipe, train=replace(recipe.train, metric="acuracy")), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_convolutional_network_goes_on_to_the_same_bits(recipe, tmp_path):
    """Its weights lie channels-last in memory, and so must what the optimizer remembers of them."""
    options = {"epochs": 2, "train.batch": 16, "augment.shift": 1, "image_size": 32}
    for optimizer in ("sgd", "adamw"):
        cnn = compose(recipe.where, "test_resnet", None, {**options, "train.optimizer": optimizer})
        whole = run_recipe(cnn, out=tmp_path / f"{optimizer}-whole").path
        part = tmp_path / f"{optimizer}-part"
        with pytest.MonkeyPatch.context() as patch:
            stop_at(patch, step=3)
            with pytest.raises(Killed):
                run_recipe(cnn, out=part)
        resume_run(part)
        assert (part / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()


class Killed(BaseException):
    pass


def stop_at(patch, step):
    learn = train.learn

    def until(work, batch):
        if work.state.step == step:
            job.write_checkpoint(work)
            raise Killed
        return learn(work, batch)

    patch.setattr(train, "learn", until)


def test_a_signal_during_validation_stops_at_once_even_in_the_last_epoch(recipe, tmp_path, monkeypatch):
    whole = run_recipe(replace(recipe, epochs=1), out=tmp_path / "whole").path
    answer = train.answer_all

    def signalled(*words):
        os.kill(os.getpid(), signal.SIGTERM)
        return answer(*words)

    monkeypatch.setattr(train, "answer_all", signalled)
    with pytest.raises(VitrailError, match="SIGTERM: stopped after step"):
        run_recipe(replace(recipe, epochs=1), out=tmp_path / "run")
    monkeypatch.undo()
    assert not (tmp_path / "run" / "result.json").exists()
    resume_run(tmp_path / "run")
    assert (tmp_path / "run" / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()


def test_a_kill_between_checkpoint_and_best_weights_is_made_good(recipe, tmp_path, monkeypatch):
    whole = run_recipe(replace(recipe, epochs=1), out=tmp_path / "whole").path

    def killed(*words):
        raise Killed

    monkeypatch.setattr(train, "save_weights", killed)
    with pytest.raises(Killed):
        run_recipe(replace(recipe, epochs=1), out=tmp_path / "run")
    monkeypatch.undo()
    resume_run(tmp_path / "run")
    assert (tmp_path / "run" / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()


def test_when_all_checkpoints_are_damaged_the_run_starts_anew_and_keeps_its_new_ones(recipe, tmp_path):
    run = run_recipe(recipe, out=tmp_path / "run").path
    expected = (run / "model.safetensors").read_bytes()
    for path in (run / "checkpoints").glob("*.safetensors"):
        path.write_bytes(b"")
    (run / "result.json").unlink()
    heard = Heard()
    resume_run(run, progress=heard)
    assert sum("starting anew" in line for line in heard.lines) == 2
    assert (run / "model.safetensors").read_bytes() == expected
    saved, damaged = checkpoint.load(run / "checkpoints")
    assert saved.state["epoch"] == recipe.epochs
    assert damaged == []


def test_two_processes_never_share_a_run(recipe, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first = run_recipe(replace(recipe, epochs=1)).path
    second = run_recipe(replace(recipe, epochs=1)).path
    assert first != second
    (first / "result.json").unlink()
    with locked(first.absolute()), pytest.raises(UsageError, match="another process"):
        resume_run(first)


def test_a_run_goes_on_from_another_folder(recipe, tmp_path, monkeypatch):
    from pathlib import Path

    monkeypatch.chdir(Path(recipe.where).parent)
    run = run_recipe(replace(recipe, epochs=1, where="pictures"), out=tmp_path / "run").path
    monkeypatch.chdir(tmp_path)
    assert resume_run(run, epochs=2).result["epochs"] == 2
    assert str(tmp_path) not in (run / "vitrail.json").read_text()


def test_patience_that_is_over_is_said(recipe, tmp_path, monkeypatch):
    monkeypatch.setattr(train, "better", lambda ranked, best: best is None)
    patient = replace(recipe, epochs=5, train=replace(recipe.train, patience=1))
    run = run_recipe(patient, out=tmp_path / "run").path
    heard = Heard()
    resume_run(run, epochs=9, progress=heard)
    assert any("patience ended the run at epoch 2" in line for line in heard.lines), heard.lines


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("train.lr", -1.0, "--train.lr -1: it is above 0"),
        ("train.batch", 0, "--train.batch 0: it is 1 or more"),
        ("train.ema", 2.0, "--train.ema 2: it is 0 to 1"),
        ("train.save_minutes", -1.0, "--train.save-minutes -1"),
        ("data.workers", -1, "--data.workers -1: it is 0 to 256"),
        ("epochs", 0, "--epochs 0: it is 1 or more"),
        ("image_size", [1, 2, 3], "--image-size is a height and a width"),
        ("head.dropout", 1.5, "dropout"),
    ],
)
def test_numbers_out_of_range_are_refused_before_anything_is_made(pictures, name, value, said):
    with pytest.raises(VitrailError, match=said):
        compose(pictures, "vit-pico4", None, {name: value})


def test_the_patch_follows_the_canvas_that_was_asked_for(pictures):
    recipe = prepare(compose(pictures, "vit-pico", None, {"image_size": 112})).recipe
    assert recipe.model.patch == 16
    assert recipe.image_size == (112, 112)


def test_the_commands_that_recipes_and_reports_name_work(pictures, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = ["train", str(pictures), "--model", "vit-pico4", "--epochs", "1", "--model.depth", "1"]
    assert main([*words, "--out", "run"]) == 0
    assert main(["train", "--recipe", "run/recipe.json", "--out", "again", "--seed", "1"]) == 0
    assert json.loads((tmp_path / "again" / "recipe.json").read_text())["seed"] == 1
    assert main(["train", "--epochs", "1", "--model", "vit-pico4", str(pictures), "--out", "third"]) == 0
    (tmp_path / "own.json").write_text('{"model": "vit-pico4", "epochs": 1, "head": "linear"}')
    assert main(["train", str(pictures), "--recipe", "own.json", "--out", "fourth", "--offline"]) == 0
    assert main(["train", "--resume", "fourth", "--epochs", "2", "--offline"]) == 0
    assert main([*words, "--out", "fifth", "--task.multi", "True"]) == 2
    assert "has one label a picture" in capsys.readouterr().err
    assert main(["train", "--resume", "run", "--out", "else"]) == 2
    assert "take out --out" in capsys.readouterr().err


def test_a_kill_before_validation_leaves_the_same_log(recipe, tmp_path, monkeypatch):
    whole = run_recipe(replace(recipe, epochs=1), out=tmp_path / "whole").path

    def killed(work, interrupt):
        job.write_checkpoint(work)
        raise Killed

    monkeypatch.setattr(train, "validate", killed)
    with pytest.raises(Killed):
        run_recipe(replace(recipe, epochs=1), out=tmp_path / "run")
    monkeypatch.undo()
    resume_run(tmp_path / "run")
    lines, expected = (
        [{**line, "seconds": 0} for line in read_log(folder)] for folder in (tmp_path / "run", whole)
    )
    assert lines == expected
