import json
from dataclasses import replace

import pytest

from vitrail.errors import UsageError, VitrailError
from vitrail.run.compare.budget import Budget, epochs_within, flops_of_epoch, parse_budget
from vitrail.run.compare.plan import Comparison, candidates, contestants, read_comparison
from vitrail.run.compare.race import prepared_for
from vitrail.run.experiment import prepare


@pytest.mark.parametrize(
    ("text", "amount", "unit"),
    [
        ("30ep", 30, "ep"),
        ("1 epoch", 1, "ep"),
        ("20min", 20, "min"),
        ("1.5h", 90, "min"),
        ("5e15flop", 5e15, "flop"),
    ],
)
def test_a_budget_is_epochs_minutes_or_arithmetic(text, amount, unit):
    assert parse_budget(text) == Budget(amount=amount, unit=unit)


@pytest.mark.parametrize("text", ["30", "ep", "0ep", "-3ep", "2.5ep", "20 parsecs", ""])
def test_a_budget_that_is_none(text):
    with pytest.raises(UsageError, match="--budget"):
        parse_budget(text)


def comparison(pictures, **given):
    given = {"models": ("vit-pico4", "test_resnet")} | given
    return Comparison(where=str(pictures), **given)


def experiments(plan):
    return prepared_for({each.name: each for each in contestants(plan)}, offline=True)


def test_each_family_begins_with_its_own_recipe_on_the_same_split(pictures):
    vit, resnet = contestants(comparison(pictures))
    assert (vit.recipe.train.optimizer, resnet.recipe.train.optimizer) == ("muon", "sgd")
    assert vit.recipe.data.split_seed == resnet.recipe.data.split_seed == 0


def test_without_a_budget_all_get_what_the_hungriest_recipe_asks_for(pictures):
    plan = comparison(pictures, options={"epochs": 7})
    assert epochs_within(None, experiments(plan)) == {"vit-pico4": 7, "test_resnet": 7}
    assert epochs_within(parse_budget("3ep"), experiments(plan)) == {"vit-pico4": 3, "test_resnet": 3}


def test_arithmetic_buys_epochs_and_too_little_is_refused(pictures):
    found = experiments(comparison(pictures, options={"epochs": 1}))
    prices = {name: flops_of_epoch(each) for name, each in found.items()}
    limit = 2.5 * max(prices.values())
    bought = epochs_within(Budget(amount=limit, unit="flop"), found)
    assert bought == {name: int(limit // price) for name, price in prices.items()}
    assert min(bought.values()) == 2
    with pytest.raises(UsageError, match="one epoch of"):
        epochs_within(Budget(amount=10, unit="flop"), found)


def test_minutes_buy_epochs_by_measurement(pictures):
    found = experiments(comparison(pictures, options={"epochs": 1}))
    short, long = (epochs_within(Budget(amount=minutes, unit="min"), found) for minutes in (0.5, 50))
    assert all(1 <= short[name] < long[name] for name in found)


def test_every_model_gets_as_many_tries_of_the_same_kinds(pictures):
    for model, other in (("vit-pico4", "adamw"), ("test_resnet", "adamw"), ("test_convnext", "sgd")):
        plan = comparison(pictures, models=(model,), options={"epochs": 1})
        settled = prepare(contestants(plan)[0].recipe, offline=True).recipe
        tries = candidates(settled, 8)
        assert len(tries) == 8
        assert tries[0] == ("as published", settled)
        assert tries[1][1].train.lr == pytest.approx(settled.train.lr / 3)
        assert tries[3][1].train.optimizer == other
        assert tries[3][1].train.lr is None  # settled anew for the other optimizer
        assert len({json.dumps(recipe.to_dict()) for _, recipe in tries}) == 8
        assert candidates(settled, 8) == tries
        assert len(candidates(settled, 2)) == 2


@pytest.mark.parametrize(
    "given",
    [
        {"models": ()},
        {"seeds": 0},
        {"tries": 0},
        {"fractions": (0.0, 1.0)},
        {"fractions": (1.5,)},
        {"recipes": ("scratch", "scratch", "scratch")},
        {"budget": "much"},
    ],
)
def test_wrong_words_are_refused_before_any_work(pictures, given):
    with pytest.raises(UsageError):
        comparison(pictures, **given)


def test_the_same_model_twice_is_told_apart_by_its_recipe_or_refused(pictures, tmp_path):
    file = tmp_path / "gentle.json"
    file.write_text(json.dumps({"train": {"lr": 1e-4}, "model": "vit-pico4"}))
    one, two = contestants(comparison(pictures, models=("vit-pico4",) * 2, recipes=("scratch", str(file))))
    assert (one.name, two.name) == ("vit-pico4 (scratch)", "vit-pico4 (gentle)")
    assert two.recipe.train.lr == 1e-4
    with pytest.raises(UsageError, match="twice"):
        contestants(comparison(pictures, models=("vit-pico4",) * 2))


def test_a_comparison_is_read_from_a_file(pictures, tmp_path):
    plan = comparison(pictures, budget="3ep", fractions=(0.5, 1.0), options={"image_size": [12, 12]})
    file = tmp_path / "plan.json"
    file.write_text(json.dumps({"about": {}, "compare": plan.to_dict()}))
    assert read_comparison(file) == plan
    file.write_text(json.dumps({"plan": plan.to_dict()}))
    assert read_comparison(file) == plan
    for broken, error, words in (
        ("{", VitrailError, "cannot be read"),
        ("{}", UsageError, "no comparison"),
        (json.dumps({"compare": {"where": "x", "model": "y"}}), UsageError, "unknown key 'model'"),
        (json.dumps({"compare": {"where": 3, "models": []}}), VitrailError, "where"),
    ):
        file.write_text(broken)
        with pytest.raises(error, match=words):
            read_comparison(file)
    with pytest.raises(UsageError, match="no such file"):
        read_comparison(tmp_path / "none.json")


def test_a_model_that_cannot_take_the_pictures_is_named_before_anything_is_trained(pictures):
    plan = comparison(pictures, options={"epochs": 1, "image_size": [13, 13]})
    with pytest.raises(UsageError, match="vit-pico4: "):
        experiments(replace(plan, models=("test_resnet", "vit-pico4")))
