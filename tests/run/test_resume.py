"""What may and what may not be different when a run goes on."""

import json
from dataclasses import replace

import pytest

import vitrail
from vitrail.cli import main
from vitrail.errors import UsageError
from vitrail.run.launch import resume_run, run_recipe
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
