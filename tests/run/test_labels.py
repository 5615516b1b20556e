"""Several labels a picture, groups, and classes by name, from a table to the report."""

import csv
import json

import numpy as np
import pytest

import vitrail
from vitrail.cli import main


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """Pictures that have stripes, dots, both or neither, from eight sites."""
    from PIL import Image

    folder = tmp_path_factory.mktemp("table")
    draw = np.random.default_rng(0)
    with (folder / "labels.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file_name", "labels", "group"])
        for number in range(160):
            pixels = draw.integers(0, 40, (12, 12), dtype=np.uint8)
            names = [name for name in ("stripes", "dots") if draw.random() < 0.5]
            if "stripes" in names:
                pixels[:, ::3] += 120
            if "dots" in names:
                pixels[6:9, 6:9] += 90
            Image.fromarray(pixels).save(folder / f"{number:03d}.png")
            writer.writerow([f"{number:03d}.png", "|".join(names), f"site {number % 8}"])
    return folder / "labels.csv"


def test_many_labels_with_groups(table, tmp_path, capsys):
    words = ["train", str(table), "--model", "vit-pico4", "--model.depth", "2", "--epochs", "25"]
    more = ["--head.hidden", "32", "--head.smoothing", "0.05", "--augment.cutmix", "0.5"]
    assert main([*words, *more, "--out", str(tmp_path / "run"), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["chosen_by"] == "map"
    assert result["test"]["metrics"]["map"]["value"] > 0.9
    answer = vitrail.load(tmp_path / "run")(table.parent / "000.png")[0]
    assert answer.multi
    assert set(answer.to_dict()["scores"]) == {"stripes", "dots"}
    assert isinstance(answer.to_dict()["label"], list)
    page = (tmp_path / "run" / "report.html").read_text()
    assert "groups of" in page
    assert main(["evaluate", str(tmp_path / "run"), "--json"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert again["metrics"] == result["test"]["metrics"]
