"""Experts in a run: their losses are minimised and logged by name, their usage is counted, told and kept."""

import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

import vitrail
from vitrail.run import job, train
from vitrail.run.launch import compose, resume_run, run_recipe
from vitrail.run.log import read_history, read_log
from vitrail.values import Losses

TERMS = {"cross_entropy", "expert_balance", "expert_z"}
SEEN = {"experts.1.0", "experts.1.1", "experts.1.2", "experts.dropped"}


@pytest.fixture
def mixed(recipe):
    """The small recipe with three experts in its second layer, and parts of unequal size."""
    train_config = replace(recipe.train, batch=7)
    return replace(recipe, epochs=2, model=replace(recipe.model, experts=3), train=train_config)


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    options = {"epochs": 4, "model.depth": 2, "model.patch": 4, "model.experts": 4, "train.batch": 64}
    recipe = compose("digits", "vit-pico", None, options)
    return run_recipe(recipe, out=tmp_path_factory.mktemp("digits") / "run")


def test_a_network_with_experts_learns_digits(digits):
    assert digits.history[-1]["loss_cross_entropy"] < 0.5 * digits.history[0]["loss_cross_entropy"]
    assert digits.result["test"]["metrics"]["accuracy"]["value"] > 0.8


def test_every_term_is_logged_by_name_and_the_epoch_holds_their_means(digits):
    lines = read_log(digits.path)
    steps = [line for line in lines if "epoch" not in line]
    for line in steps:
        assert set(line) == {"step", "loss", "norm", "lr", *(f"loss_{name}" for name in TERMS)}
        assert line["loss"] == pytest.approx(sum(line[f"loss_{name}"] for name in TERMS), rel=1e-5)
    for record in digits.history:
        mine = [line for line in steps if record["step"] - len(steps) // 4 < line["step"] <= record["step"]]
        for name in ("loss", *(f"loss_{name}" for name in TERMS)):
            assert record[name] == pytest.approx(sum(line[name] for line in mine) / len(mine), rel=1e-9)
        usage = [record[f"train_experts.1.{expert}"] for expert in range(4)]
        assert sum(usage) == pytest.approx(1, abs=1e-5)
        assert min(usage) > 0
        assert 0 <= record["train_experts.dropped"] < 1


def test_the_report_shows_how_much_each_expert_is_used(digits):
    page = (digits.path / "report.html").read_text(encoding="utf-8")
    section = re.search(r'<section id="experts">.*?</section>', page, re.DOTALL)[0]
    best = read_history(digits.path)[digits.result["best_epoch"] - 1]
    for expert in range(4):
        assert f"layer 1, expert {expert}: {best[f'train_experts.1.{expert}']:.1%}" in section
    assert re.search(r"All experts are used: \d+ to \d+|Layer 1: expert \d gets", section)


def test_the_trained_network_answers_alike_alone_and_in_a_batch(digits):
    draw = np.random.default_rng(0)
    pictures = [Image.fromarray(draw.integers(0, 255, (8, 8), dtype=np.uint8)) for _ in range(24)]
    predictor = vitrail.load(digits.path)
    together = predictor(pictures)
    for picture, answer in zip(pictures, together, strict=True):
        (alone,) = predictor([picture])
        np.testing.assert_allclose(alone.scores, answer.scores, atol=1e-5)


def test_the_sums_of_an_epoch_survive_a_kill(mixed, tmp_path, monkeypatch):
    whole = run_recipe(mixed, out=tmp_path / "whole").path
    learn = train.learn

    class Killed(BaseException):
        pass

    def until(work, batch):
        if work.state.step == 3:
            assert set(work.state.sums) == {f"loss_{name}" for name in TERMS} | {
                f"train_{name}" for name in SEEN
            }
            job.write_checkpoint(work)
            raise Killed
        return learn(work, batch)

    monkeypatch.setattr(train, "learn", until)
    with pytest.raises(Killed):
        run_recipe(mixed, out=tmp_path / "part")
    monkeypatch.undo()
    resume_run(tmp_path / "part")
    logs = [[{**line, "seconds": 0} for line in read_log(folder)] for folder in (tmp_path / "part", whole)]
    assert logs[0] == logs[1]
    assert (tmp_path / "part" / "model.safetensors").read_bytes() == (
        whole / "model.safetensors"
    ).read_bytes()


def test_the_routers_losses_are_minimised_with_the_task(mixed, tmp_path, monkeypatch):
    """Without them the total is another, and so are the weights that come out."""
    losses = Losses.total.fget
    shares = []

    def total(each):
        routers = each.terms["expert_balance"] + each.terms["expert_z"]
        torch.testing.assert_close(losses(each), each.terms["cross_entropy"] + routers)
        shares.append(float(routers.detach() / losses(each).detach()))
        return losses(each)

    monkeypatch.setattr(Losses, "total", property(total))
    with_them = run_recipe(replace(mixed, epochs=1), out=tmp_path / "with").path
    assert min(shares) > 1e-3
    monkeypatch.setattr(Losses, "total", property(lambda each: each.terms["cross_entropy"]))
    without = run_recipe(replace(mixed, epochs=1), out=tmp_path / "without").path
    assert (with_them / "model.safetensors").read_bytes() != (without / "model.safetensors").read_bytes()


def test_a_loss_of_one_term_is_logged_as_before(recipe, tmp_path):
    run = run_recipe(replace(recipe, epochs=1), out=tmp_path / "run")
    assert set(read_log(run.path)[0]) == {"step", "loss", "norm", "lr"}
    assert not any(name.startswith(("loss_", "train_")) for name in run.history[0])
    assert 'id="experts"' not in (run.path / "report.html").read_text(encoding="utf-8")


def test_what_a_model_saw_may_be_plain_numbers_or_tensors():
    told = Losses(
        terms={"a": torch.tensor(1.0, requires_grad=True), "b": torch.tensor(2.0).double()},
        seen={"share": 0.25, "count": torch.tensor(3)},
    )
    names, numbers = train.numbers_of(told)
    assert dict(zip(names, numbers.tolist(), strict=True)) == {
        "loss": 3.0,
        "loss_a": 1.0,
        "loss_b": 2.0,
        "train_share": 0.25,
        "train_count": 3.0,
    }
    assert not numbers.requires_grad
