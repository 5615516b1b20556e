"""Whole comparisons of tiny models, carried out once for all tests here."""

import json
import shutil
from dataclasses import replace

import pytest

from vitrail.errors import Interrupted, UsageError, VitrailError
from vitrail.run import compare as house
from vitrail.run.compare import Comparison, carry_out, compare_runs
from vitrail.run.compare import race as race_module
from vitrail.run.folder import Run


@pytest.fixture(scope="module")
def plan(pictures):
    return Comparison(
        where=str(pictures),
        models=("vit-pico4", "test_resnet"),
        seeds=2,
        budget="2ep",
        tries=2,
        fractions=(0.5, 1.0),
        options={"train.batch": 8, "data.workers": 0},
    )


@pytest.fixture(scope="module")
def done(plan, tmp_path_factory):
    folder = tmp_path_factory.mktemp("compared") / "out"
    return carry_out(plan, out=folder, offline=True)


class Counted:
    """Stands before `run_recipe` and counts what is trained."""

    def __init__(self, monkeypatch, fails=None):
        self.made, self.fails = [], fails
        self._real = race_module.run_recipe
        monkeypatch.setattr(race_module, "run_recipe", self)

    def __call__(self, recipe, **given):
        self.made.append(given["out"].name)
        if self.fails:
            self.fails(given["out"].name)
        return self._real(recipe, **given)


def test_runs_are_ordinary_and_alike_but_for_model_and_seed(done, plan):
    folders = sorted(path.name for path in (done.folder / "runs").iterdir())
    assert folders == sorted(
        f"{model}{part}-seed{seed}" for model in plan.models for part in ("", "-50pc") for seed in range(2)
    )
    recipes = [Run(done.folder / "runs" / name).recipe() for name in folders]
    assert {recipe.epochs for recipe in recipes} == {2}
    assert {recipe.data.split_seed for recipe in recipes} == {0}
    assert {recipe.seed for recipe in recipes} == {0, 1}
    tests = {
        tuple(house.set_side_by_side(done.entrants).answers[each.whole[0].path].keys)
        for each in done.entrants
    }
    assert len(tests) == 1


def test_settings_were_searched_with_as_many_tries_and_the_best_was_taken(done):
    for each in done.entrants:
        assert len(each.tries) == 2
        taken = next(one for one in each.tries if one.taken)
        assert taken.value == max(one.value for one in each.tries)
        chosen = Run(done.folder / taken.run).recipe().train
        assert {run.recipe().train for run in each.whole} == {chosen}


def test_what_is_written(done):
    plain = json.loads((done.folder / "compare.json").read_text())
    assert plain["plan"]["budget"] == "2ep"
    assert len(plain["ranking"]["standings"]) == 2
    assert set(plain["ranking"]["standings"][0]["metrics"]) >= {"accuracy", "log_loss", "ece"}
    assert len(plain["ranking"]["pairs"]) == len(plain["ranking"]["standings"][0]["metrics"])
    assert all(len(points) == 2 for points in plain["curves"].values())
    assert (done.folder / "report.html").stat().st_size > 20_000
    tables = {path.stem for path in (done.folder / "figures").iterdir()}
    wanted = {"results", "seeds", "differences", "costs", "learning-curves", "classes", "agreement"}
    assert tables >= wanted | {"robustness", "calibration", "search"}
    for spent in plain["costs"].values():
        assert all(value > 0 for value in spent.values())


def test_nothing_is_trained_twice_and_more_seeds_train_only_theirs(done, plan, monkeypatch, tmp_path):
    folder = tmp_path / "again"
    shutil.copytree(done.folder, folder)
    counted = Counted(monkeypatch)
    again = carry_out(plan, out=folder, offline=True)
    assert counted.made == []
    assert again.ranking.to_dict() == done.ranking.to_dict()
    carry_out(replace(plan, seeds=3), out=folder, offline=True)
    assert sorted(counted.made) == sorted(
        f"{model}{part}-seed2" for model in plan.models for part in ("", "-50pc")
    )


def test_what_was_found_out_stays_until_there_is_something_new(done, plan, monkeypatch, tmp_path):
    folder = tmp_path / "again"
    shutil.copytree(done.folder, folder)
    before = json.loads((folder / "compare.json").read_text())

    def stops(name):
        raise Interrupted("SIGINT: stopped")

    Counted(monkeypatch, stops)
    with pytest.raises(Interrupted):
        carry_out(replace(plan, seeds=3), out=folder, offline=True)
    after = json.loads((folder / "compare.json").read_text())
    assert after["plan"]["seeds"] == 3
    assert after["ranking"] == before["ranking"]


def test_a_model_that_joins_leaves_the_budgets_of_the_others_as_they_were_frozen(plan, tmp_path):
    quick = replace(plan, seeds=1, tries=1, fractions=(1.0,), budget="0.02min", models=("vit-pico4",))
    first = carry_out(quick, out=tmp_path / "out", offline=True)
    both = carry_out(replace(quick, models=plan.models), out=tmp_path / "out", offline=True)
    assert both.epochs["vit-pico4"] == first.epochs["vit-pico4"]
    assert both.epochs["test_resnet"] >= 1
    unlimited = replace(quick, budget=None, options={**quick.options, "epochs": 2})
    carry_out(unlimited, out=tmp_path / "other", offline=True)
    joined = carry_out(replace(unlimited, models=plan.models), out=tmp_path / "other", offline=True)
    assert joined.epochs == {"vit-pico4": 2, "test_resnet": 2}


def test_another_comparison_in_the_folder_is_refused(done, plan, tmp_path):
    with pytest.raises(UsageError, match="budget '2ep', not '3ep'"):
        carry_out(replace(plan, budget="3ep"), out=done.folder, offline=True)
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(UsageError, match="holds no comparison"):
        carry_out(plan, out=tmp_path, offline=True)
    runs = [done.folder / "runs" / f"{model}-seed0" for model in plan.models]
    with pytest.raises(UsageError, match="was trained there"):
        compare_runs(runs, out=done.folder, offline=True)


def test_runs_start_in_turn(plan, monkeypatch, tmp_path):
    counted = Counted(monkeypatch)
    quick = replace(plan, tries=1, fractions=(1.0,), budget="1ep")
    carry_out(quick, out=tmp_path / "out", offline=True)
    assert counted.made == ["vit-pico4-seed0", "test_resnet-seed0", "vit-pico4-seed1", "test_resnet-seed1"]


def test_a_model_that_fails_midway_drops_out_and_the_page_says_so(plan, monkeypatch, tmp_path):
    def fails(name):
        if name == "test_resnet-seed1":
            raise RuntimeError("out of memory: 3 GB")

    Counted(monkeypatch, fails)
    quick = replace(plan, tries=1, fractions=(1.0,), budget="1ep")
    outcome = carry_out(quick, out=tmp_path / "out", offline=True)
    failed = {each.name: each.failed for each in outcome.entrants}
    assert failed["vit-pico4"] == ""
    assert "out of memory: 3 GB" in failed["test_resnet"]
    assert [len(each.seeds) for each in outcome.ranking.standings].count(2) == 1
    page = (tmp_path / "out" / "report.html").read_text()
    assert "test_resnet dropped out" in page
    assert "out of memory: 3 GB" in page


def test_when_all_fail_the_reason_is_said(plan, monkeypatch, tmp_path):
    def fails(name):
        raise VitrailError("the disk is full")

    Counted(monkeypatch, fails)
    with pytest.raises(VitrailError, match="the disk is full"):
        carry_out(replace(plan, tries=1), out=tmp_path / "out", offline=True)


def test_a_request_to_stop_is_no_failure_of_a_model_and_the_rest_goes_on_later(plan, monkeypatch, tmp_path):
    quick = replace(plan, tries=1, fractions=(1.0,), budget="1ep")

    def stops(name):
        if name == "test_resnet-seed0":
            raise Interrupted("SIGINT: stopped")

    with monkeypatch.context() as patched:
        Counted(patched, stops)
        with pytest.raises(Interrupted):
            carry_out(quick, out=tmp_path / "out", offline=True)
    counted = Counted(monkeypatch)
    outcome = carry_out(quick, out=tmp_path / "out", offline=True)
    assert counted.made == ["test_resnet-seed0", "vit-pico4-seed1", "test_resnet-seed1"]
    assert not any(each.failed for each in outcome.entrants)


def test_one_seed_works_and_says_what_its_interval_ignores(plan, tmp_path):
    quick = replace(plan, seeds=1, tries=1, fractions=(1.0,), budget="1ep")
    outcome = carry_out(quick, out=tmp_path / "out", offline=True)
    assert all(pair.mcnemar is not None for pair in outcome.ranking.of("accuracy"))
    page = (tmp_path / "out" / "report.html").read_text()
    assert "One seed only" in page
    assert "McNemar" in page


def test_finished_runs_are_compared_and_seeds_of_one_model_belong_together(done, tmp_path):
    runs = [path for path in (done.folder / "runs").iterdir() if "50pc" not in path.name]
    outcome = compare_runs(runs, out=tmp_path / "out", offline=True)
    assert {each.name: len(each.seeds) for each in outcome.ranking.standings} == {
        "vit-pico4": 2,
        "test_resnet": 2,
    }
    first = {each.name: each.metrics["accuracy"].to_dict() for each in done.ranking.standings}
    assert first == {each.name: each.metrics["accuracy"].to_dict() for each in outcome.ranking.standings}
    assert json.loads((tmp_path / "out" / "compare.json").read_text())["plan"] is None


def test_other_data_is_measured_as_well(done, pictures, tmp_path):
    runs = [done.folder / "runs" / f"{model}-seed0" for model in ("vit-pico4", "test_resnet")]
    outcome = compare_runs(runs, also=[str(pictures)], out=tmp_path / "out", offline=True)
    (there,) = outcome.elsewhere
    assert there.pictures == 60
    assert set(there.values) == {"vit-pico4", "test_resnet"}
    assert "On other data" in (tmp_path / "out" / "report.html").read_text()


def test_on_the_command_line(done, tmp_path, capsys):
    from vitrail.cli import main

    runs = [str(done.folder / "runs" / f"{model}-seed0") for model in ("vit-pico4", "test_resnet")]
    assert main(["compare", *runs, "--out", str(tmp_path / "out")]) == 0
    shown = capsys.readouterr()
    assert "vit-pico4" in shown.out
    assert "could not have been seen" in shown.err
    assert str(tmp_path / "out" / "report.html") in shown.err
    assert main(["compare", "--resume", str(done.folder), "--json", "--offline"]) == 0
    plain = json.loads(capsys.readouterr().out)
    assert plain["ranking"] == json.loads((done.folder / "compare.json").read_text())["ranking"]


def test_a_dry_run_trains_nothing(pictures, tmp_path, capsys, monkeypatch):
    from vitrail.cli import main

    monkeypatch.chdir(tmp_path)
    words = ["compare", str(pictures), "--models", "vit-pico4", "test_resnet", "--budget", "3ep", "--dry-run"]
    assert main([*words, "--json"]) == 0
    plain = json.loads(capsys.readouterr().out)
    assert [each["runs"] for each in plain["models"]] == [5, 5]
    assert [each["epochs"] for each in plain["models"]] == [3, 3]
    assert main(words) == 0
    assert "Nothing was trained" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_model_that_drops_out_makes_status_1_and_a_page_all_the_same(
    pictures, tmp_path, capsys, monkeypatch
):
    from vitrail.cli import main

    def fails(name):
        if name == "test_resnet-seed0":
            raise RuntimeError("no memory")

    Counted(monkeypatch, fails)
    words = [
        "--models",
        "vit-pico4",
        "test_resnet",
        "--seeds",
        "1",
        "--tries",
        "1",
        "--budget",
        "1ep",
        "--json",
    ]
    assert main(["compare", str(pictures), *words, "--out", str(tmp_path / "out")]) == 1
    assert "no memory" in json.loads(capsys.readouterr().out)["failed"]["test_resnet"]
    assert (tmp_path / "out" / "report.html").exists()
