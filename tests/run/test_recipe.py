import json

import pytest

from vitrail.errors import UsageError, VitrailError
from vitrail.run.launch import compose
from vitrail.run.recipe import differences, from_dict, read_recipe


@pytest.mark.parametrize("model", ["vit-s16", "vit-ti", "ViT-L/16", "resnet10t"])
def test_a_recipe_survives_json(model):
    recipe = compose("pictures", model, None, {"epochs": 3, "train.lr": 0.1, "head.hidden": [8, 4]})
    again = from_dict(json.loads(json.dumps(recipe.to_dict())), "recipe.json")
    assert again == recipe
    assert recipe.head.hidden == (8, 4)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("train.lrr", 1, "unknown key 'lrr'. Did you mean lr"),
        ("epochs", "many", "epochs: Expected `int"),
        ("train.optimizer", "adam", "train.*Invalid enum value 'adam'"),
        ("nothing", 1, "unknown key 'nothing'"),
        ("head.name", "lineer", "head is 'lineer'.*Did you mean linear"),
    ],
)
def test_wrong_keys_and_values_are_named(name, value, said):
    with pytest.raises(VitrailError, match=said):
        compose("pictures", "vit-pico4", None, {name: value})


def test_a_recipe_of_an_older_version_gets_the_defaults_of_newer_keys():
    recipe = compose("pictures", "vit-s16", None, {"epochs": 3})
    plain = json.loads(json.dumps(recipe.to_dict()))
    for part, key in (("data", "frames"), ("train", "muon_lr"), ("head", "dropout"), ("augment", "erase")):
        del plain[part][key]
    again = from_dict(plain, "recipe.json")
    assert again == recipe
    assert again.to_dict() == recipe.to_dict()


def test_recipe_files_that_are_missing_or_broken(tmp_path):
    with pytest.raises(UsageError, match="no such recipe"):
        read_recipe(tmp_path / "none.json")
    path = tmp_path / "broken.json"
    path.write_text("{")
    with pytest.raises(VitrailError, match=r"broken\.json"):
        read_recipe(path)


def test_differences_are_listed_key_by_key():
    old = {"train": {"lr": 1, "ema": 0}, "epochs": 3}
    new = {"train": {"lr": 2, "ema": 0}, "epochs": 3, "seed": 1}
    assert differences(old, new) == ["seed: null -> 1", "train.lr: 1 -> 2"]


def test_without_data_there_is_nothing_to_train():
    with pytest.raises(UsageError, match="which data"):
        compose(None, "vit-pico4", None, {})


def test_an_option_that_the_network_has_not_is_a_wrong_word_and_a_key_of_a_file_is_a_fault(tmp_path):
    with pytest.raises(UsageError, match=r"--model\.dept: a network of the family vit.*mean --model\.depth"):
        compose("digits", "vit-ti4", None, {"model.dept": 3})
    with pytest.raises(UsageError, match=r"--model\.patch-drop: a network of the family timm"):
        compose("digits", "resnet18", None, {"model.patch_drop": 0.5})
    file = tmp_path / "recipe.json"
    file.write_text('{"where": "digits", "model": {"family": "vit", "pretrained": true}}')
    with pytest.raises(VitrailError, match="unknown key 'pretrained'") as caught:
        compose(None, None, file, {})
    assert caught.value.status == 1
