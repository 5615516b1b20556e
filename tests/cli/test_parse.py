import json
from pathlib import Path

import pytest

from vitrail.cli import VERBS, main
from vitrail.cli.compare import CompareWords
from vitrail.cli.demo import DemoWords
from vitrail.cli.evaluate import EvaluateWords
from vitrail.cli.explain import ExplainWords
from vitrail.cli.export import ExportWords
from vitrail.cli.models import ModelsWords
from vitrail.cli.parse import flags
from vitrail.cli.predict import PredictWords
from vitrail.cli.show import ShowWords
from vitrail.cli.train import words_of
from vitrail.run.launch import compose

SNAPSHOT = Path(__file__).parent / "flags.json"


def test_the_public_flags_are_a_snapshot_changed_deliberately():
    """To change the flags on purpose: rewrite the file with what this test prints."""
    now = {
        "compare": flags(CompareWords()),
        "demo": flags(DemoWords()),
        "evaluate": flags(EvaluateWords()),
        "explain": flags(ExplainWords()),
        "export": flags(ExportWords()),
        "models": flags(ModelsWords()),
        "predict": flags(PredictWords()),
        "show": flags(ShowWords()),
        "train --model vit-s16": flags(words_of(compose("data", "vit-s16", None, {}))),
        "train --model resnet18": flags(words_of(compose("data", "resnet18", None, {}))),
        "train --task segment": flags(words_of(compose("data", "resnet18", None, {"task.name": "segment"}))),
    }
    print(json.dumps(now, indent=1))
    assert now == json.loads(SNAPSHOT.read_text())


def test_every_verb_is_in_the_help_and_has_its_own(capsys):
    assert main(["--help"]) == 0
    top = capsys.readouterr().out
    for verb in VERBS:
        assert f"  {verb} " in top
        assert main([verb, "--help"]) == 0
        out = capsys.readouterr().out
        assert f"vitrail {verb}" in out
        assert "Examples:" in out
        assert "--json" in out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["trian", "digits"], "trian: not a verb. Did you mean train"),
        (["train", "digits", "--epoch", "3"], "--epoch: unknown flag. Did you mean --epochs"),
        (["train", "digits", "--model.dept", "3"], "--model.dept: unknown flag. Did you mean --model.depth"),
        (["train", "digits", "--model", "vit-s61x"], "vit-s61x"),
        (["train", "digits", "--model", "resnet81"], "Did you mean resnet"),
        (["train", "digits", "--model"], "--model: a value is missing"),
        (["train", "digits", "--epochs", "many"], "--epochs"),
        (["train", "digits", "--epochs"], "vitrail: --epochs: a value is missing. See"),
        (
            ["train", "digits", "--model.norm", "layr"],
            "vitrail: --model.norm layr: not one of layer, rms. Did you mean layer? See vitrail train --help",
        ),
        (
            ["train", "digits", "--train.optimizer", "adam"],
            "--train.optimizer adam: not one of adamw, muon, sgd. Did you mean adamw?",
        ),
        (
            ["train", "digits", "--model.bias", "notqkv"],
            "not one of all, none, not-qkv. Did you mean not-qkv",
        ),
        (
            ["train", "digits", "--data.fit", "padd"],
            "--data.fit padd: not one of crop, pad, squash, tile. Did you mean pad? See",
        ),
        (
            ["train", "digits", "--model", "vit-ti4", "--model.pretrained"],
            "--model.pretrained: a network of the family vit has no such setting. Trained weights are named: "
            "--model.weights, or",
        ),
        (["train"], "DATA is missing"),
        (["train", "nowhere/at/all"], "nowhere/at/all"),
        (["train", "--resume", "nowhere"], "nowhere does not exist"),
        (["train", "digits", "--task", "clasify"], "Did you mean classify"),
        (["train", "digits", "--recipe", "none.json"], "none.json: no such recipe"),
        (["compare"], "what is to be compared?"),
        (["compare", "digits"], "one run cannot be compared"),
        (["compare", "digits", "emoji", "--models", "vit-ti4"], "compared on one data set"),
        (["compare", "digits", "--models", "vit-ti4", "resnet81"], "Did you mean resnet"),
        (["compare", "digits", "--models", "vit-ti4", "vit-ti4"], "vit-ti4 is named twice"),
        (
            ["compare", "digits", "--models", "vit-ti4", "--budget", "much"],
            "--budget much: it is a number of",
        ),
        (["compare", "digits", "--models", "vit-ti4", "--seeds", "0"], "--seeds 0: it is 1 or more"),
        (["compare", "digits", "--model", "vit-ti4"], "--model: unknown flag. Did you mean --models"),
        (["compare", "nowhere/at/all", "--models", "vit-ti4"], "nowhere/at/all"),
        (["compare", "run-a", "run-b", "--seeds", "3"], "--seeds is about models to train"),
        (["compare", "run-a", "run-b"], "run-a does not exist"),
        (["compare", "none.json"], "none.json: no such file"),
        (["compare", "--resume", "nowhere"], "no such file"),
        (["compare", "digits", "--resume", "nowhere"], "leave the other words out"),
        (["predict", "nowhere", "a.jpg"], "nowhere: no such run"),
        (["explain", "nowhere", "a.jpg"], "nowhere: no such run"),
        (["explain", "run", "a.jpg", "--methods", "cam"], "--methods: unknown flag. Did you mean --method"),
        (["explain"], "RUN is missing"),
        (["evaluate"], "RUN is missing"),
        (["show", "vit-s61x"], "vit-s61x"),
    ],
)
def test_wrong_words_are_two_plain_lines_at_most_and_status_2(words, said, capsys):
    assert main(words) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert said in shown.err
    assert len(shown.err.strip().splitlines()) <= 2
    assert "Traceback" not in shown.err


def test_errors_are_json_too(capsys):
    assert main(["train", "nowhere/at/all", "--json"]) == 2
    shown = capsys.readouterr()
    assert json.loads(shown.out)["status"] == 2
    assert "nowhere" in shown.err


def test_no_words_show_the_help(capsys):
    assert main([]) == 2
    assert "usage: vitrail" in capsys.readouterr().out
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("vitrail 0.")
