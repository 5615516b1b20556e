"""Runs that cannot be compared are refused, with the reason."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from vitrail.errors import UsageError, VitrailError
from vitrail.run.compare.field import entrants_of, set_side_by_side
from vitrail.run.launch import train


def learn(where, out, **options):
    given = {"train.batch": 8, "data.workers": 0, "model.depth": 1} | options
    return train(where, model="vit-pico4", epochs=1, out=out, options=given, offline=True)


def draw(folder, kinds=("stripes", "dots", "plain"), each=20, seed=0):
    random = np.random.default_rng(seed)
    for number, kind in enumerate(kinds):
        (folder / kind).mkdir(parents=True)
        for index in range(each):
            pixels = random.integers(0, 60, (12, 12), dtype=np.uint8)
            pixels[:, number :: number + 2] += 150
            Image.fromarray(pixels).save(folder / kind / f"{index:03d}.png")
    return folder


@pytest.fixture(scope="module")
def runs(pictures, tmp_path_factory):
    base = tmp_path_factory.mktemp("runs")
    return {
        "zero": learn(pictures, base / "zero"),
        "same split": learn(pictures, base / "same", **{"seed": 1, "data.split_seed": 0}),
        "twin": learn(pictures, base / "twin", **{"seed": 2, "data.split_seed": 0}),
        "other split": learn(pictures, base / "other", seed=1),
    }


def side_by_side(*runs):
    return set_side_by_side(entrants_of([run.path for run in runs]))


def test_runs_on_one_split_are_set_side_by_side(runs):
    found = side_by_side(runs["zero"], runs["same split"])
    answers = list(found.answers.values())
    assert answers[0].keys == answers[1].keys == list(found.keys)
    assert np.array_equal(answers[0].targets, answers[1].targets)


def test_data_is_opened_once_for_all_seeds(runs, monkeypatch):
    from vitrail.run.compare import field

    asked = []
    real = field.open_splits
    monkeypatch.setattr(
        field, "open_splits", lambda recipe, **given: asked.append(1) or real(recipe, **given)
    )
    side_by_side(runs["zero"], runs["same split"])
    assert len(asked) == 2  # one split was named, the other came with the seed
    asked.clear()
    set_side_by_side(entrants_of([runs["same split"].path, runs["twin"].path]))
    assert len(asked) == 1


def test_other_test_pictures_are_refused_with_a_cure(runs):
    with pytest.raises(VitrailError, match=r"tested on different pictures.*\n.*--data.split-seed 0"):
        side_by_side(runs["zero"], runs["other split"])


def test_one_run_an_unfinished_one_and_none_at_all(runs, tmp_path):
    with pytest.raises(UsageError, match="one run cannot be compared"):
        entrants_of([runs["zero"].path])
    half = tmp_path / "half"
    shutil.copytree(runs["zero"].path, half)
    (half / "result.json").unlink()
    with pytest.raises(UsageError, match="not finished"):
        entrants_of([runs["zero"].path, half])
    with pytest.raises(UsageError, match="does not exist"):
        entrants_of([runs["zero"].path, tmp_path / "nowhere"])


def test_other_classes_are_refused_with_both_lists(runs, tmp_path):
    other = learn(draw(tmp_path / "data", ("stripes", "waves", "plain")), tmp_path / "run")
    with pytest.raises(VitrailError, match="different classes") as error:
        side_by_side(runs["zero"], other)
    assert "waves" in str(error.value)
    assert "dots" in str(error.value)


def test_other_labels_of_the_same_pictures_are_refused(runs, pictures, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(pictures, data)
    held = min(side_by_side(runs["zero"], runs["same split"]).keys)
    relabelled = learn(data, tmp_path / "run")
    path = relabelled.path / "predictions.parquet"
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pq.read_table(path).to_pylist()
    for row in table:
        if row["key"] == held and row["split"] == "test":
            row["label"] = ["plain"] if row["label"] != ["plain"] else ["dots"]
    pq.write_table(pa.Table.from_pylist(table), path)
    with pytest.raises(VitrailError, match="different labels of 1 pictures"):
        side_by_side(runs["zero"], relabelled)


def test_a_run_that_learned_from_the_others_test_pictures_is_found_by_content(tmp_path):
    """The same test part by name, but one data set has its pictures under other names in training."""
    clean = draw(tmp_path / "clean" / "all")
    for name in ("clean", "leaky"):
        root = tmp_path / name
        for part in ("train", "test"):
            for kind in ("stripes", "dots", "plain"):
                (root / part / kind).mkdir(parents=True)
        for kind in ("stripes", "dots", "plain"):
            for index in range(20):
                part = "test" if index < 5 else "train"
                shutil.copy(clean / kind / f"{index:03d}.png", root / part / kind / f"{index:03d}.png")
    shutil.rmtree(clean)
    stolen = tmp_path / "leaky" / "test" / "dots" / "002.png"
    shutil.copy(stolen, tmp_path / "leaky" / "train" / "dots" / "renamed.png")
    honest = learn(tmp_path / "clean", tmp_path / "honest")
    leaky = learn(tmp_path / "leaky", tmp_path / "leaked", seed=1)
    with pytest.raises(VitrailError, match=r"learned from 1 pictures that .* is tested on .*002.png"):
        side_by_side(honest, leaky)
    (tmp_path / "leaky" / "train" / "dots" / "renamed.png").unlink()
    fixed = learn(tmp_path / "leaky", tmp_path / "fixed", seed=1)
    assert len(side_by_side(honest, fixed).keys) == 15


def test_data_that_is_gone_is_said(runs, tmp_path):
    data = draw(tmp_path / "data")
    one, two = (
        learn(data, tmp_path / f"run{seed}", **{"seed": seed, "data.split_seed": 0}) for seed in (0, 1)
    )
    shutil.rmtree(data)
    found = side_by_side(one, two)
    assert found.splits is None
    assert "not there any more" in found.notes[0]


def test_another_question_is_refused(runs, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(runs["same split"].path, copy)
    contract = json.loads((copy / "vitrail.json").read_text())
    contract["task"]["multi"] = True
    (copy / "vitrail.json").write_text(json.dumps(contract))
    from vitrail.run.folder import Run

    with pytest.raises(VitrailError, match="the same question"):
        side_by_side(runs["zero"], Run(copy))
