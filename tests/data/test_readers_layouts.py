"""Exports and data sets as they really lie on disk: who wrote them, and what is read of them."""

import json

import numpy as np
import pytest
from PIL import Image

from vitrail.data.readers import ReaderOptions, open_data
from vitrail.errors import VitrailError

SIZE = (6, 8)
VOC = [(0, 0, 0), (128, 0, 0), (0, 128, 0)]
ROWS = np.repeat(np.array([0, 1, 2, 0, 0, 255], np.uint8)[:, None], SIZE[1], 1)
"""A row of each class, and one that is ignored."""


def mask(path, values, palette=()):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(values)
    if palette:
        image.putpalette([part for colour in palette for part in colour] + [0] * (768 - 3 * len(palette)))
    image.save(path)


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def coco(path, pictures, categories, number=0):
    """Write COCO with one box of each category on each picture."""
    box = [[0, 0, 8, 0, 8, 3, 0, 3]]
    annotations = [
        {"id": 10 * i + c["id"], "image_id": i, "category_id": c["id"], "segmentation": box, "iscrowd": 0}
        for i in range(len(pictures))
        for c in categories[number:]
    ]
    images = [{"id": i, "file_name": name, "height": 6, "width": 8} for i, name in enumerate(pictures)]
    write(path, json.dumps({"images": images, "categories": categories, "annotations": annotations}))


def splits_of(table):
    return {name: list(samples.keys) for name, samples in table.splits().items()}


# ---------------------------------------------------------------------------------- Pascal VOC and CVAT


def test_pascal_voc(tmp_path, picture):
    """JPEGImages holds more pictures than have masks; the lists of ImageSets are the splits."""
    for name in ("a", "b", "c", "d"):
        picture(tmp_path / f"JPEGImages/{name}.jpg")
    for name in ("a", "b", "c"):
        mask(tmp_path / f"SegmentationClass/{name}.png", ROWS, VOC)
        mask(tmp_path / f"SegmentationObject/{name}.png", ROWS, VOC)
    write(tmp_path / "ImageSets/Segmentation/train.txt", "a\n")
    write(tmp_path / "ImageSets/Segmentation/val.txt", "b\nd\n")
    write(tmp_path / "ImageSets/Segmentation/trainval.txt", "a\nb\n")
    write(tmp_path / "ImageSets/Main/train.txt", "d\nc\n")
    write(tmp_path / "Annotations/a.xml", "<annotation/>")
    table = open_data(tmp_path)
    assert splits_of(table) == {"train": ["JPEGImages/a.jpg"], "val": ["JPEGImages/b.jpg"]}
    assert len(table.classes) == 3
    assert (table.masks[0] == ROWS).all()
    assert "1 picture has no mask: left out (JPEGImages/d.jpg)." in table.notes
    assert "1 picture with a mask is in no list of ImageSets: left out (JPEGImages/c.jpg)." in table.notes
    write(tmp_path / "ImageSets/Segmentation/test.txt", "a\n")
    with pytest.raises(VitrailError, match=r"train\.txt: a is in the list of test, too"):
        open_data(tmp_path)
    for name in ("test", "train", "val"):
        write(tmp_path / f"ImageSets/Segmentation/{name}.txt", "z\n" if name == "val" else "")
    with pytest.raises(VitrailError, match=r"no list of ImageSets has a picture with a mask"):
        open_data(tmp_path)


@pytest.mark.parametrize("lists", [["default"], ["Train", "Validation"], ["Train", "Validation", "Test"]])
def test_cvat_segmentation_mask(tmp_path, lists, picture):
    text = "# label:color_rgb:parts:actions\nbackground:0,0,0::\nroad:128,64,128::\ncar:0,0,142::\n"
    write(tmp_path / "labelmap.txt", text)
    colours = np.zeros((*SIZE, 3), np.uint8)
    colours[1], colours[2] = (128, 64, 128), (0, 0, 142)
    for name in lists:
        picture(tmp_path / f"JPEGImages/sub/{name}.jpg")
        mask(tmp_path / f"SegmentationClass/sub/{name}.png", colours)
        mask(tmp_path / f"SegmentationObject/sub/{name}.png", colours)
        write(tmp_path / f"ImageSets/Segmentation/{name}.txt", f"sub/{name}\n")
    table = open_data(tmp_path)
    assert table.classes == ("background", "road", "car")
    assert table.masks[0][:3, 0].tolist() == [0, 1, 2]
    assert list(splits_of(table)) == (
        ["all"] if lists == ["default"] else ["train", "val", "test"][: len(lists)]
    )
    assert table.notes == ()


def test_cvat_without_the_pictures_says_so(tmp_path):
    """ "Save images" is a switch of its own there."""
    write(tmp_path / "labelmap.txt", "# label:color_rgb:parts:actions\nbackground:0,0,0::\nroad:9,9,9::\n")
    mask(tmp_path / "SegmentationClass/a.png", ROWS, VOC)
    mask(tmp_path / "SegmentationObject/a.png", ROWS, VOC)
    write(tmp_path / "ImageSets/Segmentation/default.txt", "a\n")
    with pytest.raises(VitrailError, match=r"has masks \(SegmentationClass\) and no folder.*JPEGImages"):
        open_data(tmp_path)


@pytest.mark.parametrize("place", ["images/default", "images"])
def test_cvat_coco(tmp_path, place, picture):
    picture(tmp_path / place / "a.jpg")
    coco(
        tmp_path / "annotations/instances_default.json",
        ["a.jpg"],
        [{"id": 1, "name": "road", "supercategory": ""}],
    )
    table = open_data(tmp_path)
    assert splits_of(table) == {"all": [f"{place}/a.jpg"]}
    assert table.classes == ("background", "road")


def test_cvat_coco_by_subset(tmp_path, picture):
    for name in ("Train", "Validation"):
        picture(tmp_path / f"images/{name}/a{name}.jpg")
        coco(tmp_path / f"annotations/instances_{name}.json", [f"a{name}.jpg"], [{"id": 1, "name": "road"}])
    assert list(splits_of(open_data(tmp_path))) == ["train", "val"]


# ---------------------------------------------------------------------------------- Roboflow


def test_roboflow_coco(tmp_path, picture):
    """Category 0 is the heading of the others, and of no object."""
    categories = [
        {"id": 0, "name": "things", "supercategory": "none"},
        {"id": 1, "name": "car", "supercategory": "things"},
        {"id": 2, "name": "road", "supercategory": "things"},
    ]
    for split in ("train", "valid", "test"):
        picture(tmp_path / split / "a_jpg.rf.0123.jpg")
        coco(tmp_path / split / "_annotations.coco.json", ["a_jpg.rf.0123.jpg"], categories, number=1)
    write(tmp_path / "README.roboflow.txt", "exported")
    table = open_data(tmp_path)
    assert table.classes == ("background", "car", "road")
    assert list(splits_of(table)) == ["train", "val", "test"]
    coco(tmp_path / "valid/_annotations.coco.json", ["a_jpg.rf.0123.jpg"], categories)  # drawn all the same
    assert open_data(tmp_path).classes == ("background", "things", "car", "road")


def test_roboflow_masks(tmp_path, picture):
    for split in ("train", "valid"):
        picture(tmp_path / split / "a_jpg.rf.0123.jpg")
        picture(tmp_path / split / "b_jpg.rf.0123.jpg")
        for name in "ab":
            mask(tmp_path / split / f"{name}_jpg.rf.0123_mask.png", ROWS * (ROWS < 255))
        write(tmp_path / split / "_classes.csv", "Pixel Value, Class\n0, background\n1, car\n2, road\n")
    write(tmp_path / "README.dataset.txt", "exported")
    table = open_data(tmp_path)
    assert table.classes == ("background", "car", "road")
    assert splits_of(table) == {
        name: [f"{folder}/{each}_jpg.rf.0123.jpg" for each in "ab"]
        for name, folder in (("train", "train"), ("val", "valid"))
    }
    assert table.masks[0][:3, 0].tolist() == [0, 1, 2]
    assert table.notes == ()
    write(tmp_path / "valid/_classes.csv", "Pixel Value, Class\n0, background\n1, road\n2, car\n")
    with pytest.raises(VitrailError, match=r"train/_classes\.csv and .*valid/_classes\.csv list different"):
        open_data(tmp_path)


def test_masks_beside_pictures_without_splits(tmp_path, picture):
    for name in ("a", "b", "c"):
        picture(tmp_path / f"{name}.jpg")
    for name in ("a", "b"):
        mask(tmp_path / f"{name}_mask.png", ROWS)
    table = open_data(tmp_path)
    assert list(table.keys) == ["a.jpg", "b.jpg"]
    assert "1 picture has no mask: left out (c.jpg)." in table.notes


# ---------------------------------------------------------------------------------- Label Studio


@pytest.mark.parametrize(
    "name", ["images/0a1b2c3d-a.jpg", "images\\0a1b2c3d-a.jpg", "/data/upload/1/0a1b2c3d-a.jpg"]
)
def test_label_studio_coco(tmp_path, name, picture):
    picture(tmp_path / "images/0a1b2c3d-a.jpg")
    coco(tmp_path / "result.json", [name], [{"id": 0, "name": "car"}, {"id": 1, "name": "road"}])
    table = open_data(tmp_path)
    assert table.classes == ("background", "car", "road")
    assert list(table.keys) == ["images/0a1b2c3d-a.jpg"]


def brushes(root, tasks, shape="full"):
    """Write masks of two labels on each task's picture; the second task has one label in two parts."""
    for task in tasks:
        for label, first in (("car", 1), ("traffic-light", 3)):
            values = np.zeros(SIZE, np.uint8)
            values[first] = 255
            mask(root / f"task-{task}-annotation-{task + 4}-by-1-tag-{label}-0.png", values)
    values = np.zeros(SIZE, np.uint8)
    values[5] = 255
    mask(root / f"task-{tasks[-1]}-annotation-{tasks[-1] + 4}-by-1-tag-car-1.png", values)
    forms = {
        "full": lambda task: {"id": task, "file_upload": f"0a1b2c3d-p{task}.jpg", "data": {"image": "x"}},
        "min": lambda task: {"id": task, "image": f"/data/upload/1/0a1b2c3d-p{task}.jpg", "tag": []},
        "local": lambda task: {"id": task, "data": {"img": f"/data/local-files/?d=in/p{task}.jpg"}},
    }
    write(root / "project.json", json.dumps([forms[shape](task) for task in tasks]))


@pytest.mark.parametrize("shape", ["full", "min", "local"])
@pytest.mark.parametrize("uploaded", [True, False])
def test_label_studio_brushes(tmp_path, shape, uploaded, picture):
    brushes(tmp_path / "export", [7, 12], shape)
    (tmp_path / "export/project.json").rename(tmp_path / "project.json")
    before = "0a1b2c3d-" if uploaded and shape != "local" else ""
    for task in (7, 12, 99):
        picture(tmp_path / f"pictures/{before}p{task}.jpg")
    table = open_data(tmp_path)
    assert table.classes == ("background", "car", "traffic-light")
    assert list(table.keys) == [f"pictures/{before}p{task}.jpg" for task in (7, 12)]
    assert table.masks[0][:, 0].tolist() == [0, 1, 0, 2, 0, 0]
    assert table.masks[1][:, 0].tolist() == [0, 1, 0, 2, 0, 1]
    planes = open_data(tmp_path, ReaderOptions(overlap=True))
    assert planes.classes == ("car", "traffic-light")
    assert planes.masks[1][0, :, 0].tolist() == [0, 1, 0, 0, 0, 1]


def test_label_studio_brushes_that_lack_something(tmp_path, picture):
    brushes(tmp_path, [7, 12])
    with pytest.raises(VitrailError, match=r"pictures of its tasks are not there \(task 7, task 12\)"):
        open_data(tmp_path)
    picture(tmp_path / "p7.jpg")
    assert open_data(tmp_path).notes == ("1 task shows a picture that is not there: left out (task 12).",)
    picture(tmp_path / "more/p7.jpg")
    with pytest.raises(VitrailError, match=r"task 7 could show any of more/p7\.jpg, p7\.jpg|task 7 could"):
        open_data(tmp_path)
    (tmp_path / "more/p7.jpg").unlink()
    mask(tmp_path / "task-7-annotation-20-by-2-tag-car-0.png", ROWS)
    with pytest.raises(
        VitrailError, match=r"task 7 has several annotations \(11, 20\)\. Keep the masks of one"
    ):
        open_data(tmp_path)
    (tmp_path / "task-7-annotation-20-by-2-tag-car-0.png").unlink()
    picture(tmp_path / "p7.jpg", size=(9, 9))
    with pytest.raises(
        VitrailError, match=r"p7\.jpg is 9 high and 9 wide, but was annotated as 6 high and 8"
    ):
        open_data(tmp_path)
    (tmp_path / "project.json").unlink()
    with pytest.raises(VitrailError, match="but not its JSON"):
        open_data(tmp_path)


# ---------------------------------------------------------------------------------- well-known data sets


@pytest.fixture
def cityscapes(picture):
    def make(root, *kinds):
        for split, city in (("train", "aachen"), ("val", "ulm")):
            stem = f"{city}/{city}_000000_000019"
            picture(root / f"leftImg8bit/{split}/{stem}_leftImg8bit.png")
            mask(root / f"gtFine/{split}/{stem}_gtFine_color.png", np.zeros((*SIZE, 4), np.uint8))
            mask(root / f"gtFine/{split}/{stem}_gtFine_instanceIds.png", ROWS.astype(np.uint16) * 1000)
            write(root / f"gtFine/{split}/{stem}_gtFine_polygons.json", "{}")
            for kind, values in kinds:
                mask(root / f"gtFine/{split}/{stem}_gtFine_{kind}.png", values)

    return make


def test_cityscapes(tmp_path, cityscapes):
    numbers = np.where(ROWS == 255, 0, ROWS + 7).astype(np.uint8)
    cityscapes(tmp_path / "ids", ("labelIds", numbers))
    table = open_data(tmp_path / "ids")
    assert (table.masks[0] == numbers).all()
    assert list(splits_of(table)) == ["train", "val"]
    assert not any("left out" in note for note in table.notes)
    cityscapes(tmp_path / "both", ("labelIds", numbers), ("labelTrainIds", ROWS))
    write(tmp_path / "both/classes.txt", "road\nsidewalk\nbuilding\n")
    table = open_data(tmp_path / "both", ReaderOptions(group="folder"))
    assert table.classes == ("road", "sidewalk", "building")
    assert (table.masks[0] == ROWS).all()
    assert sorted(table.group_names) == ["aachen", "ulm"]


def test_ade20k(tmp_path, picture):
    """Number 0 is what nobody labelled, and 1 the first of 150 classes."""
    root = tmp_path / "ADEChallengeData2016"
    numbers = np.where(ROWS == 255, 150, ROWS).astype(np.uint8)
    for folder, name in (("training", "ADE_train_00000001"), ("validation", "ADE_val_00000001")):
        picture(root / f"images/{folder}/{name}.jpg")
        mask(root / f"annotations/{folder}/{name}.png", numbers)
    lines = [f"{index}\t0.1\t10\t2\t1\tname {index}, other\t" for index in range(1, 151)]
    write(root / "objectInfo150.txt", "\n".join(["Idx\tRatio\tTrain\tVal\tStuff\tName", *lines]))
    write(root / "sceneCategories.txt", "ADE_train_00000001 airport\n")
    table = open_data(root)
    assert len(table.classes) == 150
    assert table.classes[0] == "name 1, other"
    assert table.masks[0][:, 0].tolist() == [255, 0, 1, 255, 255, 149]
    assert list(splits_of(table)) == ["train", "val"]


# ---------------------------------------------------------------------------------- what is wrong with them


def test_masks_in_another_order_or_with_other_suffixes_are_matched_by_name(tmp_path, picture):
    for number, name in enumerate(("z", "a", "m")):
        picture(tmp_path / f"images/{name}.jpg")
        mask(tmp_path / f"masks/{name}.{('png', 'tif', 'bmp')[number]}", np.full(SIZE, number, np.uint8))
    table = open_data(tmp_path)
    assert list(table.keys) == ["images/a.jpg", "images/m.jpg", "images/z.jpg"]
    assert [int(each[0, 0]) for each in table.masks] == [1, 2, 0]
    mask(tmp_path / "masks/a_mask.png", ROWS)
    mask(tmp_path / "masks/m_mask.png", ROWS)
    with pytest.raises(VitrailError, match=r"images/a\.jpg has 2 masks \(masks/a\.tif, masks/a_mask\.png\)"):
        open_data(tmp_path)
