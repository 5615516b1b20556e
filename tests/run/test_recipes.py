"""Every committed recipe says what it is for and is built: data, canvas, model and optimizer."""

import json
from pathlib import Path

import pytest

from vitrail.run.engine import start_engine
from vitrail.run.experiment import prepare
from vitrail.run.job import start_job
from vitrail.run.launch import compose
from vitrail.run.train import learn

ROOT = Path(__file__).parents[2]
RECIPES = sorted((ROOT / "recipes").glob("*.json"))


@pytest.mark.data("fashion-mnist")
@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_is_built_and_takes_a_step(path, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    about = json.loads(path.read_text())["about"]
    assert set(about) == {"what", "command", "cost", "expected"}
    assert f"recipes/{path.name}" in about["command"]
    experiment = prepare(compose(None, None, path, {}))
    job = start_job(experiment, tmp_path, start_engine(experiment.recipe))
    seen = learn(job, next(iter(job.training.epoch(0))))
    assert 0 < seen["loss"] < 10
    name, _ = experiment.chooses
    assert name in about["expected"]


def test_there_are_recipes():
    assert {"digits-vit", "fashion-cnn", "fashion-vit"} <= {path.stem for path in RECIPES}
