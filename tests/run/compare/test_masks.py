"""Segmenters are compared as classifiers are, and heads as models are."""

import json
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest

import vitrail
from vitrail.cli import main
from vitrail.errors import UsageError, VitrailError
from vitrail.run.compare import Comparison, carry_out, compare_runs
from vitrail.run.compare.dry import dry_run
from vitrail.run.compare.field import _distinct
from vitrail.run.compare.pictures import in_order, middle
from vitrail.run.compare.plan import contestants
from vitrail.run.compose import compose
from vitrail.run.folder import Run
from vitrail.run.predictions import read_predictions
from vitrail.values import Mask

NAMES = ("background", "disc", "bar")


@pytest.fixture(scope="module")
def shapes(tmp_path_factory, shapes_in):
    return shapes_in(tmp_path_factory.mktemp("data") / "shapes", size=(36, 44), counts=(10, 3, 6))


@pytest.fixture(scope="module")
def plan(shapes):
    return Comparison(
        where=str(shapes),
        models=("vit-pico4", "test_resnet"),
        heads=("linear",),
        seeds=2,
        budget="1ep",
        tries=1,
        also=(str(shapes),),
        options={
            "task.name": "segment",
            "image_size": [32, 32],
            "train.batch": 8,
            "data.workers": 0,
        },
    )


@pytest.fixture(scope="module")
def done(plan, tmp_path_factory):
    return carry_out(plan, out=tmp_path_factory.mktemp("compared") / "out", offline=True)


def test_everything_is_measured(done):
    plain = json.loads((done.folder / "compare.json").read_text())
    assert plain["ranking"]["first"] == "mean_iou"
    for standing in plain["ranking"]["standings"]:
        assert standing["per_class"].keys() == set(NAMES)
        runs = [Run(done.folder / "runs" / f"{standing['name']}-seed{seed}") for seed in (0, 1)]
        values = [run.result["test"]["metrics"]["mean_iou"]["value"] for run in runs]
        assert standing["by_seed"]["mean_iou"] == pytest.approx(values)
        for rows in plain["robustness"]["values"].values():
            as_they_are, *worse = (each["value"] for each in rows[standing["name"]])
            assert as_they_are == pytest.approx(np.mean(values), abs=1e-6)  # the same pictures and masks
            assert len(worse) == 3
        (there,) = plain["elsewhere"]
        assert there["values"][standing["name"]]["value"] == pytest.approx(np.mean(values), abs=1e-6)
        calibrated = plain["calibration"][standing["name"]]
        assert calibrated["temperature"] is None
        assert calibrated["after"] == {"ece": standing["metrics"]["ece"]}
        costs = plain["costs"][standing["name"]]
        assert all(value > 0 for value in costs.values())
    assert all(0 < share <= 1 for row in plain["agreement"].values() for share in row.values())
    assert plain["robustness"]["pictures"] == 6


def test_worse_pictures_are_worse(done):
    found = done.robustness.values["occlusion"]
    assert any(rows[3].value < rows[0].value for rows in found.values())


def test_the_page_shows_masks_side_by_side(done):
    page = (done.folder / "report.html").read_text(encoding="utf-8")
    for words in (
        "Mean IoU",
        "ahead of",
        "say the same of a pixel",
        "mean IoU:",
        "<td>linear</td>",
        "On worse pictures",
    ):
        assert words in page
    plain = re.sub(r"<script.*?</script>|data:[^\"]*|<style.*?</style>", "", page, flags=re.DOTALL)
    assert "nan" not in plain
    shown = sum(len(side.shown) for side in done.partings)
    assert shown
    assert shown <= sum(side.count for side in done.partings)
    for side in done.partings:
        for each in side.shown:
            assert each.picture.shape[1] > 4 * each.picture.shape[0] / 2  # picture, truth and two masks


def test_runs_are_used_again_and_seeds_belong_together(done, tmp_path):
    runs = list((done.folder / "runs").iterdir())
    outcome = compare_runs(runs, out=tmp_path / "out", offline=True)
    assert {each.name: each.metrics["mean_iou"] for each in outcome.ranking.standings} == {
        each.name: each.metrics["mean_iou"] for each in done.ranking.standings
    }


def test_models_may_see_pictures_in_their_own_way(done, shapes, tmp_path):
    options = {"data.fit": "pad", "train.batch": 8, "data.workers": 0, "head.name": "linear"}
    other = vitrail.train(
        shapes,
        task="segment",
        model="vit-pico4",
        epochs=1,
        image_size=24,
        out=tmp_path / "run",
        options=options,
    )
    tiled = Run(done.folder / "runs" / "test_resnet-seed0")
    outcome = compare_runs([other.path, tiled.path], out=tmp_path / "out", offline=True)
    assert outcome.robustness.part is None
    for name, run in (("vit-pico4", other), ("test_resnet", tiled)):
        whole = run.result["test"]["metrics"]["mean_iou"]["value"]
        assert outcome.robustness.values["jpeg"][name][0].value == pytest.approx(whole, abs=1e-6)


def test_classes_are_matched_by_name(done, tmp_path):
    path = done.folder / "runs" / "test_resnet-seed0" / "predictions.parquet"
    plain = read_predictions(path, "test", NAMES)
    turned = read_predictions(path, "test", ("bar", "background", "disc"))
    for one, other in zip(plain.answers, turned.answers, strict=True):
        assert other.true.tolist() == [one.true[index] for index in (2, 0, 1)]
        assert other.taken[0, 1] == one.taken[2, 0]
        assert other.hits.tolist() == one.hits.tolist()
    with pytest.raises(VitrailError, match="about the classes"):
        read_predictions(path, "test", ("bar", "disc", "ground"))


def test_other_masks_of_the_same_pictures_are_refused(done, tmp_path):
    import pyarrow.parquet as pq

    copy = tmp_path / "copy"
    shutil.copytree(done.folder / "runs" / "test_resnet-seed0", copy)
    table = pq.read_table(copy / "predictions.parquet")
    rows = table.to_pylist()
    for row in rows:
        if row["split"] == "test" and row["key"] == rows[-1]["key"]:
            row["true"] = [row["true"][0] + 1, *row["true"][1:]]
    pq.write_table(type(table).from_pylist(rows, schema=table.schema), copy / "predictions.parquet")
    with pytest.raises(VitrailError, match="different labels of 1 pictures"):
        compare_runs([done.folder / "runs" / "vit-pico4-seed0", copy], out=tmp_path / "out", offline=True)


def test_heads_are_compared(plan):
    def named(**words):
        comparison = replace(plan, **words)
        return [(each.name, each.recipe.head.name) for each in contestants(comparison, offline=True)]

    assert named(heads=("fcn",)) == [("vit-pico4", "fcn"), ("test_resnet", "fcn")]
    assert named(heads=("masks", "unet")) == [("vit-pico4", "masks"), ("test_resnet", "unet")]
    assert named(models=("vit-pico4",), heads=("linear", "fcn")) == [
        ("vit-pico4 (linear)", "linear"),
        ("vit-pico4 (fcn)", "fcn"),
    ]
    with pytest.raises(UsageError, match="--head: 3 for 2 models"):
        named(heads=("fcn", "unet", "masks"))
    with pytest.raises(UsageError, match="named twice"):
        named(models=("vit-pico4",), heads=("fcn", "fcn"))
    with pytest.raises(UsageError, match="of the task segment"):
        named(heads=("lineal",))


def test_runs_of_two_heads_are_told_apart():
    options = {"task.name": "segment", "seed": 0}
    recipes = [compose("data", "vit-pico4", None, options | {"head.name": head}) for head in ("unet", "fcn")]
    assert _distinct(recipes) == ["vit-pico4 (head unet)", "vit-pico4 (head fcn)"]
    twice = [replace(recipes[0], epochs=epochs) for epochs in (1, 2)]
    assert _distinct(twice) == ["vit-pico4 (epochs 1)", "vit-pico4 (epochs 2)"]


def test_a_dry_run_counts_windows(shapes, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ["--task", "segment", "--models", "vit-pico4", "--head", "linear", "fcn", "--budget", "2ep"]
    words += ["--image-size", "16", "--seeds", "1", "--tries", "1", "--dry-run", "--json"]
    assert main(["compare", str(shapes), *words]) == 0
    plain = json.loads(capsys.readouterr().out)
    assert [each["head"] for each in plain["models"]] == ["linear", "fcn"]
    assert [each["name"] for each in plain["models"]] == ["vit-pico4 (linear)", "vit-pico4 (fcn)"]
    options = {"task.name": "segment", "image_size": [16, 16]}
    whole = Comparison(
        where=str(shapes),
        models=("vit-pico4",),
        heads=("linear",),
        seeds=1,
        tries=1,
        budget="2ep",
        options=options | {"data.fit": "squash"},
    )
    (once,) = dry_run(whole, offline=True).planned
    # Of 36 x 44 pixels there are 6 windows of 16 x 16 to learn from, and 3 x 4 or more to answer.
    assert plain["models"][0]["flops"] > 5 * once.flops
    assert list(tmp_path.iterdir()) == []


def test_the_middle_of_a_picture():
    assert middle((10, 20), 6) == (slice(2, 8), slice(7, 13))
    assert np.zeros((4, 20))[middle((4, 20), 6)].shape == (4, 6)
    assert np.zeros((4, 20))[middle((4, 20), None)].shape == (4, 20)


@pytest.mark.parametrize("multi", [False, True])
def test_masks_whose_classes_are_counted_otherwise_are_brought_into_order(multi):
    single = np.array([[0, 1], [2, 1]], np.uint8)
    values = np.stack([single == index for index in range(3)]) if multi else single
    scores = np.stack([single == index for index in range(3)]).astype(np.float32) if multi else None
    mask = Mask(names=("a", "b", "c"), values=values, source=0, scores=scores, multi=multi)
    assert in_order(mask, ["a", "b", "c"]) is mask
    other = in_order(mask, ("c", "a", "b"))
    assert other.areas == {"c": 1, "a": 1, "b": 2}
    assert other.names == ("c", "a", "b")
    if multi:
        assert (other.scores == other.values).all()
    else:
        assert other.values.tolist() == [[1, 2], [0, 2]]
