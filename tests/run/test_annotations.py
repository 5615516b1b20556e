"""Masks that are written as GeoJSON and COCO, and read by our own readers as if others had drawn them."""

import json

import numpy as np
import pytest
from PIL import Image

from vitrail.data.readers import ReaderOptions, open_data
from vitrail.errors import VitrailError
from vitrail.run import annotations
from vitrail.run.annotations import coco_file, to_coco, to_geojson, write_geojson
from vitrail.values import Mask

NAMES = ("background", "gland", "nucleus: round", 'odd "name"')


def mask_of(values, names=NAMES, **others):
    return Mask(names=names, values=values, source=0, **others)


def masks():
    random = np.random.default_rng(0)
    for shape in ((1, 1), (9, 14), (40, 31)):
        for share in (0.3, 0.6, 0.9):
            values = random.integers(1, 4, shape) * (random.random(shape) < share)
            yield np.ascontiguousarray(values.astype(np.uint8))
    rings = np.zeros((15, 15), np.uint8)
    for side in range(0, 8, 2):  # islands in holes of islands, from the edge on
        rings[side : 15 - side, side : 15 - side] = 1 + side // 2 % 3
        rings[side + 1 : 14 - side, side + 1 : 14 - side] = 0
    yield rings
    yield np.full((6, 7), 2, np.uint8)


def planes():
    random = np.random.default_rng(1)
    return [random.random((2, 12, 17)) < share for share in (0.2, 0.5, 0.8)]


def pictures(folder, found):
    folder.mkdir(parents=True, exist_ok=True)
    for number, mask in enumerate(found):
        Image.new("L", mask.size[::-1]).save(folder / f"{number}.png")
    return folder


def read_back(where, names, *, multi=False):
    """Return the masks of a table by the indices of ``names``."""
    table = open_data(where, ReaderOptions(overlap=multi))
    data = table.splits()["all"]
    order = [names.index(name) if name in names else 0 for name in table.classes]
    for row in range(len(data)):
        mask = data.mask(row)
        if multi:
            again = np.zeros((len(names), *mask.shape[1:]), bool)
            again[order] = mask == 1
            yield again
        else:
            yield np.array(order, np.uint8)[mask]


def test_geojson_is_read_as_it_was(tmp_path):
    found = [mask_of(values) for values in masks()]
    pictures(tmp_path, found)
    for number, mask in enumerate(found):
        write_geojson(tmp_path / f"{number}.geojson", mask)
    names = sorted(f"{number}" for number in range(len(found)))
    for name, again in zip(names, read_back(tmp_path, NAMES), strict=True):
        assert np.array_equal(again, found[int(name)].values)


def test_geojson_of_overlapping_classes_is_read_as_it_was(tmp_path):
    found = [mask_of(values, ("a", "b"), multi=True) for values in planes()]
    pictures(tmp_path, found)
    for number, mask in enumerate(found):
        write_geojson(tmp_path / f"{number}.geojson", mask)
    for mask, again in zip(found, read_back(tmp_path, ("a", "b"), multi=True), strict=True):
        assert np.array_equal(again, mask.values)


def test_geojson_is_as_qupath_has_it(monkeypatch):
    values = np.zeros((8, 9), np.uint8)
    values[1:6, 1:6] = 1
    values[2:4, 2:5] = 0
    values[2, 3] = 2
    whole = to_geojson(mask_of(values))
    assert whole["type"] == "FeatureCollection"
    outer, island = whole["features"]
    assert outer["type"] == "Feature"
    assert outer["geometry"]["type"] == "Polygon"
    assert outer["geometry"]["coordinates"][0] == [[1, 1], [6, 1], [6, 6], [1, 6], [1, 1]]
    assert len(outer["geometry"]["coordinates"]) == 2
    assert outer["properties"]["objectType"] == "annotation"
    assert outer["properties"]["classification"] == {"name": "gland", "color": [0, 114, 178]}
    assert island["properties"]["classification"]["name"] == "nucleus: round"
    monkeypatch.setattr(annotations, "POINTS", 2)
    assert to_geojson(mask_of(values)) == whole


@pytest.mark.parametrize("ground", ["Background", "void"])
def test_any_background_is_left_out(ground):
    mask = mask_of(np.zeros((3, 4), np.uint8), (ground, "a"))
    assert to_geojson(mask)["features"] == []
    coco = to_coco({"a.png": mask})
    assert coco["annotations"] == []
    assert coco["categories"] == [{"id": 1, "name": "a"}]
    assert len(to_geojson(mask_of(mask.values, ("ground", "a")))["features"]) == 1


def decoded(segmentation):
    """Read compressed runs character by character, as the C of pycocotools does."""
    counts, place, text = [], 0, segmentation["counts"]
    while place < len(text):
        number, digit, more = 0, 0, True
        while more:
            code = ord(text[place]) - 48
            number |= (code & 31) << (5 * digit)
            more, place, digit = bool(code & 32), place + 1, digit + 1
            if not more and code & 16:
                number |= -1 << (5 * digit)
        counts.append(number + counts[-2] if len(counts) > 2 else number)
    height, width = segmentation["size"]
    flat = [index % 2 for index, count in enumerate(counts) for _ in range(count)]
    return np.array(flat, bool).reshape(width, height).T


@pytest.mark.parametrize("multi", [False, True])
def test_coco_says_where_each_class_is(multi, monkeypatch):
    monkeypatch.setattr(annotations, "PIXELS", 40)
    random = np.random.default_rng(2)
    for values in planes() if multi else masks():
        names = ("a", "b") if multi else NAMES
        scores = random.random(values.shape).astype(np.float16)
        coco = to_coco({"a.png": mask_of(values, names, scores=scores, multi=multi)})
        named = {each["id"]: each["name"] for each in coco["categories"]}
        there = {}
        for number, each in enumerate(coco["annotations"], 1):
            index = names.index(named[each["category_id"]])
            layer = values[index] if multi else values == index
            rows, columns = np.nonzero(layer)
            assert np.array_equal(decoded(each["segmentation"]), layer)
            box = [columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1]
            assert (each["id"], each["image_id"], each["iscrowd"]) == (number, 1, 0)
            assert (each["bbox"], each["area"]) == (box, layer.sum())
            mean = (scores[index] if multi else scores)[layer].astype(np.float64).mean()
            assert each["score"] == pytest.approx(mean, abs=1e-6)
            there[index] = True
        assert set(there) == (set(range(len(values))) if multi else set(np.unique(values).tolist()) - {0})
        assert "score" not in json.dumps(to_coco({"a.png": mask_of(values, names, multi=multi)}))


def test_coco_is_read_as_it_was(tmp_path):
    found = [mask_of(values) for values in masks()]
    pictures(tmp_path / "images", found)
    with coco_file(tmp_path / "answers.coco.json") as coco:
        for number, mask in enumerate(found):
            coco.add(f"{number}.png", mask)
    again = list(read_back(tmp_path / "answers.coco.json", NAMES))
    assert len(again) == len(found)
    for mask, values in zip(found, again, strict=True):
        assert np.array_equal(values, mask.values)
    whole = json.loads((tmp_path / "answers.coco.json").read_text())
    assert whole == to_coco({f"{number}.png": mask for number, mask in enumerate(found)})


def test_coco_of_overlapping_classes_is_read_as_it_was(tmp_path):
    found = [mask_of(values, ("a", "b"), multi=True) for values in planes()]
    pictures(tmp_path, found)
    with coco_file(tmp_path / "answers.coco.json") as coco:
        for number, mask in enumerate(found):
            coco.add(f"{number}.png", mask)
    again = read_back(tmp_path / "answers.coco.json", ("a", "b"), multi=True)
    for mask, values in zip(found, again, strict=True):
        assert np.array_equal(values, mask.values)


def test_a_coco_file_is_whole_or_not_there(tmp_path):
    def stopped():
        with coco_file(tmp_path / "answers.coco.json") as coco:
            coco.add("a.png", mask_of(np.ones((3, 3), np.uint8)))
            raise VitrailError("stopped")

    with pytest.raises(VitrailError, match="stopped"):
        stopped()
    assert list(tmp_path.iterdir()) == []
