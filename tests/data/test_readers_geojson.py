"""GeoJSON beside pictures, as QuPath writes it."""

import json

import numpy as np
import pytest

from vitrail.data.readers import READERS, ReaderOptions, open_data
from vitrail.errors import UsageError, VitrailError
from vitrail.values import IGNORED

SIZE = (6, 8)


def ring(left, top, right, bottom):
    return [[left, top], [right, top], [right, bottom], [left, bottom], [left, top]]


def feature(coordinates, name=None, kind="Polygon", **properties):
    if name is not None:
        properties["classification"] = {"name": name, "color": [200, 0, 0]}
    geometry = {"type": kind, "coordinates": coordinates}
    return {"type": "Feature", "id": "x", "geometry": geometry, "properties": properties}


def write(path, *features):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"type": "FeatureCollection", "features": list(features)}))


def painted(*boxes, size=SIZE):
    mask = np.zeros(size, np.uint8)
    for value, left, top, right, bottom in boxes:
        mask[top:bottom, left:right] = value
    return mask


@pytest.fixture
def one(picture):
    def make(root, *features):
        picture(root / "1.png")
        write(root / "1.geojson", *features)
        return root

    return make


def test_polygons_with_holes_by_class(tmp_path, one):
    one(
        tmp_path,
        feature([ring(0, 0, 2, 2)], "Tumor"),
        feature([ring(1, 1, 7, 6), ring(3, 2, 5, 4)], "Stroma"),
        feature([[ring(7, 0, 8, 1)], [ring(7, 2, 8, 6), ring(7, 3, 8, 4)]], kind="MultiPolygon"),
    )
    table = open_data(tmp_path)
    assert table.classes == ("background", "Stroma", "Tumor", "object")
    expected = painted((1, 1, 1, 7, 6), (0, 3, 2, 5, 4), (2, 0, 0, 2, 2), (3, 7, 0, 8, 1), (3, 7, 2, 8, 6))
    expected[3, 7] = 0
    assert (table.splits()["all"].mask(0) == expected).all()
    assert table.targets["labels"].tolist() == [[1, 1, 1, 1]]
    assert table.notes == ()
    planes = open_data(tmp_path, ReaderOptions(overlap=True))
    assert planes.classes == ("Stroma", "Tumor", "object")
    assert (planes.masks[0][1] == painted((1, 0, 0, 2, 2))).all()
    assert planes.masks[0][0].sum() == 26


@pytest.mark.parametrize(
    ("properties", "name"),
    [
        ({"classification": {"name": "Tumor", "colorRGB": -3670016}}, "Tumor"),
        ({"classification": {"names": ["Tumor", "Positive"]}}, "Tumor: Positive"),
        ({"classification": "Tumor"}, "Tumor"),
        ({"classification": None, "objectType": "annotation"}, "object"),
        ({"class": "Tumor"}, "Tumor"),
        ({"name": "Tumor"}, "Tumor"),
        ({}, "object"),
        (None, "object"),
    ],
)
def test_classes_are_written_in_many_ways(tmp_path, properties, name, one):
    one(tmp_path, feature([ring(0, 0, 2, 2)]) | {"properties": properties})
    assert open_data(tmp_path).classes == ("background", name)


def test_what_is_to_be_ignored(tmp_path, one):
    one(tmp_path, feature([ring(0, 0, 4, 4)], "Cell"), feature([ring(1, 1, 2, 2)], "Ignore*"))
    table = open_data(tmp_path)
    assert table.classes == ("background", "Cell")
    assert (table.masks[0] == painted((1, 0, 0, 4, 4), (IGNORED, 1, 1, 2, 2))).all()


@pytest.mark.parametrize("form", ["list", "single", "collection"])
def test_forms_of_files(tmp_path, form, one):
    one(tmp_path)
    whole = feature([ring(0, 0, 2, 2)], "x")
    if form == "collection":
        whole["geometry"] = {"type": "GeometryCollection", "geometries": [whole["geometry"]]}
    (tmp_path / "1.geojson").write_text(json.dumps([whole] if form == "list" else whole))
    assert (open_data(tmp_path).masks[0] == painted((1, 0, 0, 2, 2))).all()


@pytest.mark.parametrize("beside", ["1.geojson", "1.png.geojson", "1.json"])
@pytest.mark.parametrize("folder", ["", "train/", "slides/deep/", "Validation/p1/"])
def test_places(tmp_path, beside, folder, picture):
    picture(tmp_path / f"{folder}1.png")
    write(tmp_path / f"{folder}{beside}", feature([ring(0, 0, 2, 2)], "x"))
    table = open_data(tmp_path)
    assert list(table.keys) == [f"{folder}1.png"]
    split = {"train/": "train", "Validation/p1/": "val"}.get(folder, "all")
    assert list(table.splits()) == [split]
    if "/" in folder.rstrip("/"):
        assert open_data(tmp_path, ReaderOptions(group="folder")).group_names == (
            folder.split("/")[-2 if split == "val" else 0],
        )


def test_what_is_passed_over_is_said(tmp_path, one, picture):
    one(tmp_path, feature([ring(0, 0, 2, 2)], "x"), feature([1, 1], "y", kind="Point"))
    picture(tmp_path / "2.png")
    table = open_data(tmp_path)
    assert table.classes == ("background", "x")
    assert table.notes == (
        "Pictures without GeoJSON beside them: 1 left out (2.png).",
        "1 points, lines and objects without a place were passed over.",
    )


def test_pictures_that_cannot_be_read_are_left_out_and_said(tmp_path, one):
    one(tmp_path, feature([ring(0, 0, 2, 2)], "x"))
    (tmp_path / "2.png").write_bytes(b"x")
    write(tmp_path / "2.geojson")
    table = open_data(tmp_path)
    assert list(table.keys) == ["1.png"]
    assert table.notes == ("Pictures that cannot be read, so that nothing can be drawn on them: 2.png.",)


def lone(geometry):
    return json.dumps([{"type": "Feature", "geometry": geometry}])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "is not JSON"),
        ("3", "expected a FeatureCollection"),
        ('[{"type": "Polygon"}]', "object 1 is no Feature"),
        (lone({"type": "Circle", "coordinates": []}), "feature 1 .* type 'Circle'"),
        (lone({"type": "Polygon", "coordinates": [[1, 2]]}), "feature 1 cannot"),
        (lone({"type": "Polygon", "coordinates": [[[1]]]}), "not pairs of numbers"),
        (lone({"type": "Polygon", "coordinates": [[["a", 1]]]}), "feature 1 cannot"),
        (lone({}), "feature 1 cannot"),
        ('[{"type": "Feature", "geometry": null, "properties": {"class": [1]}}]', r"its class is \[1\]"),
        ("[]", "there is one class only"),
    ],
)  # fmt: skip
def test_files_that_are_wrong_are_named(tmp_path, text, says, one):
    one(tmp_path)
    (tmp_path / "1.geojson").write_text(text)
    with pytest.raises(VitrailError, match=says) as error:
        open_data(tmp_path)
    assert str(tmp_path) in str(error.value)


def test_what_belongs_to_what_must_be_plain(tmp_path, one, picture):
    one(tmp_path, feature([ring(0, 0, 2, 2)], "x"))
    write(tmp_path / "1.png.geojson")
    with pytest.raises(VitrailError, match=r"1\.png has 1\.geojson, 1\.png\.geojson beside it\. Keep one"):
        open_data(tmp_path)
    (tmp_path / "1.png.geojson").unlink()
    picture(tmp_path / "1.tif")
    with pytest.raises(VitrailError, match=r"1\.geojson could belong to several pictures"):
        open_data(tmp_path)
    (tmp_path / "1.tif").unlink()
    with pytest.raises(UsageError, match="no column 'patient'"):
        open_data(tmp_path, ReaderOptions(group="patient"))
    with pytest.raises(VitrailError, match="outside of any sub-folder"):
        open_data(tmp_path, ReaderOptions(group="folder"))
    for split in ("val", "valid"):
        picture(tmp_path / "b" / split / "1.png")
    with pytest.raises(VitrailError, match="several folders for one split"):
        READERS["geojson"](str(tmp_path / "b"), ReaderOptions())
    with pytest.raises(VitrailError, match=r"no picture has GeoJSON beside it, such as 1\.geojson"):
        READERS["geojson"](str(tmp_path / "b/val"), ReaderOptions())
    (tmp_path / "c").mkdir()
    with pytest.raises(VitrailError, match="c has no pictures"):
        READERS["geojson"](str(tmp_path / "c"), ReaderOptions())


def test_a_file_that_changes_is_noticed(tmp_path, one):
    table = open_data(one(tmp_path, feature([ring(0, 0, 2, 2)], "x")))
    write(tmp_path / "1.geojson", feature([ring(0, 0, 3, 3)], "x"))
    with pytest.raises(VitrailError, match=r"1\.geojson has changed since the data were opened"):
        table.masks[0]
    again = open_data(tmp_path)
    assert again.splits()["all"].fingerprint != table.splits()["all"].fingerprint
    (tmp_path / "1.geojson").unlink()
    with pytest.raises(VitrailError, match=r"1\.geojson cannot be read"):
        again.masks[0]


def test_json_of_other_kinds_is_not_taken_for_it(tmp_path, picture):
    for name in ("cat", "dog"):
        picture(tmp_path / name / "1.png")
        (tmp_path / name / "1.json").write_text('{"shapes": []}')
    assert open_data(tmp_path).classes == ("cat", "dog")
