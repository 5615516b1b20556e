"""Trained weights into a run: by which recipe, what is kept of them, and what the run knows of it later."""

import json
import multiprocessing
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import load_file

import vitrail
from vitrail.cli import main
from vitrail.errors import UsageError, VitrailError
from vitrail.nn.lora import Adapted, merged
from vitrail.run import job, launch, train
from vitrail.run.checkpoint import load_tensors
from vitrail.run.claim import claimed
from vitrail.run.compose import compose
from vitrail.run.contract import read_contract
from vitrail.run.experiment import prepare
from vitrail.run.folder import RECIPE
from vitrail.run.launch import resume_run, run_recipe
from vitrail.run.plan import settle
from vitrail.run.tune import TuneConfig


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Folders in timm's layout, as the Hub has them, of a Transformer and a convolutional network."""
    home = tmp_path_factory.mktemp("weights")
    for name in ("test_vit", "test_resnet"):
        torch.manual_seed(0)
        net = timm.create_model(name, num_classes=5)
        for module in net.modules():  # statistics that only its training can have left
            if isinstance(module, torch.nn.BatchNorm2d):
                module.running_mean.uniform_(-0.1, 0.1)
        timm.models.save_for_hf(net, home / name, safe_serialization=True)
    return home


SMALL = {"image_size": 32, "epochs": 2, "train.batch": 16, "data.workers": 1}


def tuned(pictures, folder, **options):
    words = {f"tune.{name}": value for name, value in options.items()}
    return compose(pictures, str(folder), None, {**SMALL, **words})


# ---------------------------------------------------------------- which recipe


def test_a_model_that_brings_weights_is_tuned_and_another_is_trained_from_scratch(trained):
    vit, cnn = (compose("pictures", str(trained / name), None, {}) for name in ("test_vit", "test_resnet"))
    for recipe in (vit, cnn):
        assert recipe.train.optimizer == "adamw"
        assert recipe.tune == TuneConfig(mode=None, layer_decay=None, head_lr=None, freeze_norms=None)
    assert compose("pictures", "test_resnet", None, {}).train.optimizer == "sgd"
    assert compose("pictures", "vit-s16", None, {}).tune == TuneConfig()
    for key, value in (("model.pretrained", True), ("model.weights", str(trained / "test_resnet"))):
        asked = compose("pictures", "test_resnet", None, {key: value})
        assert asked.tune.mode is None
        assert asked.train.optimizer == "adamw"


def test_a_start_can_be_chosen_by_name(trained):
    folder = str(trained / "test_resnet")
    assert compose("pictures", folder, "scratch", {}).train.optimizer == "sgd"
    assert compose("pictures", folder, "finetune", {}) == compose("pictures", folder, None, {})
    with pytest.raises(UsageError, match=r"vit-s16 brings no trained weights.*--model\.weights"):
        compose("pictures", "vit-s16", "finetune", {})
    with pytest.raises(UsageError, match=r"--recipe fintune: neither.*Did you mean finetune"):
        compose("pictures", folder, "fintune", {})


def test_a_recipe_that_learns_from_scratch_is_told_of_trained_weights(trained, tmp_path, caplog):
    folder, settled = str(trained / "test_resnet"), tmp_path / "recipe.json"
    settled.write_text(json.dumps(compose("pictures", "test_resnet", None, {"train.lr": 0.1}).to_dict()))
    options = {"model.weights": folder}
    for words in (("pictures", folder, settled, {}), ("pictures", None, settled, options)):
        caplog.clear()
        made = compose(*words)
        assert (made.tune, made.train.optimizer, made.train.lr) == (TuneConfig(), "sgd", 0.1)
        (said,) = caplog.messages
        assert said.startswith(
            f"note: {folder} brings trained weights, and the recipe says how to learn from"
        )
        assert said.endswith("take --recipe finetune.")
    caplog.clear()
    light = tmp_path / "light.json"
    light.write_text('{"augment": {"flip": true}}')
    for words in (
        (None, None, made, {}),  # said once: the command line reads its words in two passes
        ("pictures", "test_convnext", settled, {}),
        ("pictures", folder, light, {}),
        ("pictures", folder, "scratch", {}),
        ("pictures", folder, None, {}),
    ):
        compose(*words)
    assert caplog.messages == []


@pytest.mark.parametrize(
    ("words", "optimizer"),
    [
        ([], "sgd"),
        (["--model.pretrained"], "adamw"),
        (["--model.weights", "somewhere"], "adamw"),
        (["--model.pretrained", "--recipe", "scratch"], "sgd"),
    ],
)
def test_flags_that_bring_weights_decide_on_the_start(words, optimizer, capsys):
    """They do before the other flags are read, so that `--help` shows the defaults that will hold."""
    assert main(["train", "digits", "--model", "test_resnet", *words, "--help"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert f"for the rest. (default: {optimizer})" in shown


def test_wide_transformers_of_ours_are_tuned_with_stochastic_depth(tmp_path):
    for size, chance in (("s", 0.0), ("b", 0.1), ("l", 0.2), ("h", 0.3)):
        recipe = compose("pictures", f"vit-{size}16", "finetune", {"model.weights": "somewhere"})
        assert recipe.model.drop_path == chance


@pytest.fixture(scope="module")
def prepared(pictures, trained):
    return {name: prepare(tuned(pictures, trained / name)) for name in ("test_vit", "test_resnet")}


@pytest.mark.parametrize(
    ("name", "count", "mode", "epochs", "frozen"),
    [
        ("test_vit", 90, "lora", 50, True),
        ("test_vit", 5_000, "full", 30, False),
        ("test_vit", 50_000, "full", 15, False),
        ("test_resnet", 90, "full", 50, True),
        ("test_resnet", 5_000, "full", 30, False),
    ],
)
def test_what_is_open_is_chosen_by_the_pictures_and_the_network(prepared, name, count, mode, epochs, frozen):
    made = prepared[name]
    fresh = compose("pictures", made.recipe.model.weights, None, {"image_size": 96})
    recipe = settle(fresh, replace(made.preprocess, size=(96, 96)), count)
    assert (recipe.tune.mode, recipe.epochs, recipe.tune.freeze_norms) == (mode, epochs, frozen)
    assert None not in (recipe.train.batch, recipe.train.lr, recipe.tune.layer_decay, recipe.tune.head_lr)
    width = prepared[name].model().backbone.width
    rate = {"lora": 1e-3, "full": 1e-4}[mode] * min(10, 768 / width)
    assert recipe.train.lr == pytest.approx(rate * (max(recipe.train.batch, 64) / 64) ** 0.5)
    assert recipe.augment.crop_scale == ((0.5, 1.0) if count == 90 else (0.35, 1.0))
    assert settle(recipe, made.preprocess, count) == recipe, "what is settled stays so"


@pytest.mark.parametrize("mode", ["full", "last", "lora", "probe"])
@pytest.mark.parametrize(("optimizer", "scratch"), [("adamw", 1e-3), ("muon", 2e-3), ("sgd", 0.1 * 16 / 128)])
def test_a_narrow_network_takes_ten_times_the_rate_at_most(prepared, mode, optimizer, scratch):
    made = prepared["test_vit"]
    assert made.model().backbone.width == 64
    options = {"tune.mode": mode, "train.optimizer": optimizer}
    recipe = settle(compose("pictures", made.recipe.model.weights, None, options), made.preprocess, 90)
    share = {"full": 0.1, "last": 0.1, "lora": 1.0, "probe": 1.0}[mode]
    wider = 1 if optimizer == "sgd" else 10  # 768 / 64 would be 12
    assert recipe.train.lr == pytest.approx(share * scratch * wider)


@pytest.mark.parametrize(("optimizer", "rate"), [("adamw", 1e-4 * 768 / 1024), ("sgd", 0.1 * 0.1 * 16 / 128)])
def test_a_wide_network_is_tuned_in_smaller_steps_but_not_by_sgd(prepared, optimizer, rate):
    made = prepared["test_vit"]
    options = {"tune.mode": "full", "train.optimizer": optimizer, "model.weights": "somewhere"}
    recipe = compose("pictures", "vit-l16", None, options)
    preprocess = replace(made.preprocess, size=(32, 32))
    assert settle(recipe, preprocess, 90).train.lr == pytest.approx(rate)


def test_what_is_named_is_kept(prepared):
    made = prepared["test_vit"]
    fresh = compose(
        "pictures",
        made.recipe.model.weights,
        None,
        {"tune.blocks": 2, "tune.head_lr": 3.0, "train.lr": 0.5, "epochs": 7, "train.optimizer": "sgd"},
    )
    recipe = settle(fresh, made.preprocess, 90)
    assert recipe.tune == TuneConfig(mode="last", blocks=2, layer_decay=0.75, head_lr=3.0, freeze_norms=False)
    assert (recipe.train.lr, recipe.epochs, recipe.train.optimizer) == (0.5, 7, "sgd")
    with pytest.raises(UsageError, match=r"--tune\.blocks 99"):
        settle(replace(fresh, tune=TuneConfig(mode="last", blocks=99)), made.preprocess, 90)
    with pytest.raises(UsageError, match=r"--tune\.rank"):
        settle(replace(fresh, tune=TuneConfig(mode="lora", rank=9999)), made.preprocess, 90)


def test_a_tuning_that_cannot_be_leaves_no_folder_behind(pictures, trained, tmp_path):
    recipe = tuned(pictures, trained / "test_resnet", mode="lora")
    with pytest.raises(UsageError, match="no linear layers"):
        run_recipe(recipe, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


# ---------------------------------------------------------------- what a run makes of it


def test_lora_is_merged_into_a_run_that_knows_nothing_of_it(pictures, trained, tmp_path, monkeypatch, capsys):
    jobs = []

    def finish(work, progress, measured=launch.finish):
        jobs.append(work)
        return measured(work, progress)

    monkeypatch.setattr(launch, "finish", finish)
    folder, model = tmp_path / "run", trained / "test_vit"
    words = ["--tune.mode", "lora", "--tune.targets", "all", "--train.lr", "0.02"]
    words += ["--image-size", "32", "--epochs", "1", "--json", "--out", str(folder)]
    assert main(["train", str(pictures), "--model", str(model), *words]) == 0
    assert "learns LoRA of rank 8, alpha 16, beside layers of all, " in capsys.readouterr().err

    (work,) = jobs
    adapted = [module for module in work.answering.modules() if isinstance(module, Adapted)]
    assert max(module.lora_up.abs().max() for module in adapted) > 0.01, "they have learned"
    (part,) = work.validation.epoch(0)
    batch = work.engine.ready(part, work.experiment.preprocess)
    with torch.no_grad():
        apart = work.answering.eval().outputs(batch)
        together = vitrail.load(folder).model.outputs(batch)
    torch.testing.assert_close(together, apart, atol=1e-5, rtol=0)

    before = merged(work.experiment.model())  # as it came
    after = load_file(folder / "model.safetensors")
    assert after.keys() == before.keys()
    beside = re.compile(r"backbone\.encoder\.blocks\.\d+\.(mix|feed)\.(qkv|out|up|down)\.weight|head\..*")
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {name for name in before if beside.fullmatch(name)}
    (checkpoint,) = (folder / "checkpoints").glob("*.safetensors")
    assert any("lora_up" in name for name in load_tensors(checkpoint)), "checkpoints keep them apart"


def test_what_is_frozen_leaves_a_run_as_it_came(pictures, trained, tmp_path):
    run = run_recipe(tuned(pictures, trained / "test_resnet", mode="probe"), out=tmp_path / "run")
    before = load_file(trained / "test_resnet" / "model.safetensors")
    after = load_file(run.path / "model.safetensors")
    for name in before:
        if not name.startswith("fc."):  # batch norms with all their statistics among them
            assert torch.equal(before[name], after[f"backbone.net.{name}"]), name
    assert run.history[-1]["loss"] < run.history[0]["loss"]


LAYOUTS = Path(__file__).parents[1] / "backbones" / "layouts"


@pytest.mark.parametrize("mode", ["full", "last", "lora", "probe"])
@pytest.mark.parametrize("name", ["vit", "dinov2-giant", "siglip-vision"])
def test_every_way_starts_as_the_trained_network(pictures, name, mode):
    """Checkpoints of transformers among them, with gates, factors and an attention pool of their own."""
    experiment = prepare(compose(pictures, str(LAYOUTS / name), None, {"tune.mode": mode}))
    pixels = torch.randn(2, experiment.preprocess.channels, *experiment.preprocess.size)
    backbone = experiment.recipe.model.build(experiment.preprocess.size, 3).eval()
    model = experiment.model().eval()
    with torch.no_grad():
        assert torch.equal(model.backbone(pixels).summary, backbone(pixels).summary)
    adapted = [layer for layer in model.modules() if isinstance(layer, Adapted)]
    assert bool(adapted) == (mode == "lora")
    assert all(parameter.requires_grad for parameter in model.head.parameters())


def test_a_checkpoint_of_transformers_is_tuned_to_larger_pictures(pictures, tmp_path, capsys):
    before = prepare(compose(pictures, str(LAYOUTS / "vit"), None, {})).preprocess
    side = before.size[0] + 2 * prepare(compose(pictures, str(LAYOUTS / "vit"), None, {})).recipe.model.patch
    words = ["--model", str(LAYOUTS / "vit"), "--image-size", str(side), "--epochs", "1", "--json"]
    assert main(["train", str(pictures), *words, "--out", str(tmp_path / "run")]) == 0
    assert "learns LoRA of rank 8" in capsys.readouterr().err
    contract = read_contract(tmp_path / "run")
    assert contract.preprocess.size == (side, side)
    assert contract.preprocess.mean == before.mean
    assert vitrail.load(tmp_path / "run")(min(pictures.rglob("*.png"))).pop().name in contract.classes


@pytest.mark.parametrize(("model", "size"), [("vit-pico4", 12), ("test_resnet", 32), ("test_convnext", 32)])
def test_a_run_is_gone_on_from_by_its_folder(pictures, tmp_path, model, size):
    """With other classes, and in other colours than its own grey."""
    words = {"epochs": 1, "image_size": size, "data.workers": 1}
    run = run_recipe(compose(pictures, model, None, words), out=tmp_path / "run").path
    others = tmp_path / "others"
    shutil.copytree(pictures / "dots", others / "dots")
    shutil.copytree(pictures / "plain", others / "plain")
    recipe = compose(others, str(run), None, {"data.workers": 1})
    assert recipe.tune.mode is None, "it brings weights"
    made = prepare(recipe)
    assert made.preprocess == read_contract(run).preprocess
    mine, theirs = made.model().eval().backbone, vitrail.load(run).model.backbone
    pixels = torch.randn(2, 1, size, size)
    with torch.no_grad():
        torch.testing.assert_close(mine(pixels).summary, theirs(pixels).summary)
        coloured = prepare(replace(recipe, data=replace(recipe.data, channels=3))).model().eval().backbone
        thrice = pixels.expand(-1, 3, -1, -1)
        torch.testing.assert_close(coloured(thrice).summary, mine(pixels).summary, atol=1e-4, rtol=1e-4)
    (run / "model.safetensors").unlink()
    with pytest.raises(UsageError, match="no weights here"):
        prepare(compose(others, str(run), None, {})).model()


def test_pictures_of_another_size(pictures, trained, tmp_path):
    native = timm.get_pretrained_cfg("test_vit").input_size[1:]
    assert native != (64, 64)
    made = prepare(compose(pictures, str(trained / "test_vit"), None, {"image_size": 64}))
    assert made.preprocess.size == made.recipe.image_size == (64, 64)
    assert made.model().backbone.positions.values.shape[:2] == (4, 4), "positions are resampled"
    assert prepare(compose(pictures, str(trained / "test_vit"), None, {})).preprocess.size == native


# ---------------------------------------------------------------- going on


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


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("test_vit", {"mode": "lora", "freeze_norms": False}),
        ("test_resnet", {"mode": "last", "blocks": 1}),
    ],
)
def test_a_run_goes_on_to_the_same_bits_without_the_weights_that_it_started_from(
    pictures, trained, tmp_path, name, options
):
    shutil.copytree(trained / name, tmp_path / "weights")
    recipe = tuned(pictures, tmp_path / "weights", **options)
    recipe = replace(recipe, train=replace(recipe.train, ema=0.9))
    whole = run_recipe(recipe, out=tmp_path / "whole").path
    with pytest.MonkeyPatch.context() as patch:
        stop_at(patch, step=4)
        with pytest.raises(Killed):
            run_recipe(recipe, out=tmp_path / "part")
    shutil.rmtree(tmp_path / "weights")
    resume_run(tmp_path / "part")
    ends = [(run / "model.safetensors").read_bytes() for run in (whole, tmp_path / "part")]
    assert ends[0] == ends[1]
    assert read_contract(tmp_path / "part") == read_contract(whole)
    assert vitrail.load(tmp_path / "part")(min(pictures.rglob("*.png")))


def test_before_the_first_checkpoint_the_weights_are_still_wanted(pictures, trained, tmp_path):
    shutil.copytree(trained / "test_resnet", tmp_path / "weights")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(launch, "start_job", lambda *words: (_ for _ in ()).throw(Killed))
        with pytest.raises(Killed):
            run_recipe(tuned(pictures, tmp_path / "weights"), out=tmp_path / "run")
    shutil.rmtree(tmp_path / "weights")
    with pytest.raises(VitrailError, match="weights"):
        resume_run(tmp_path / "run")


# ---------------------------------------------------------------- one folder, one process


def test_a_folder_is_held_before_anything_is_in_it(recipe, tmp_path):
    with claimed(tmp_path / "run"):
        with pytest.raises(UsageError, match="another process"):
            run_recipe(recipe, out=tmp_path / "run")
        (tmp_path / "run" / RECIPE).write_text("{}")
    with pytest.raises(UsageError, match="exists"):
        run_recipe(recipe, out=tmp_path / "run")
    (tmp_path / "run" / RECIPE).unlink()
    with claimed(tmp_path / "run"):  # what a killed process left: its lock alone
        pass


def test_of_two_processes_that_want_one_folder_one_gets_it(recipe, tmp_path):
    fork = multiprocessing.get_context("fork")
    ready, said = fork.Barrier(2), fork.Queue()

    def work():
        ready.wait()
        try:
            said.put(str(run_recipe(replace(recipe, epochs=1), out=tmp_path / "run").path))
        except UsageError as error:
            said.put(str(error))

    children = [fork.Process(target=work) for _ in range(2)]
    for child in children:
        child.start()
    for child in children:
        child.join()
    first, second = sorted((said.get(), said.get()), key=len)
    assert first == str(tmp_path / "run")
    assert "another process" in second or "exists" in second
    assert (tmp_path / "run" / "result.json").exists()
