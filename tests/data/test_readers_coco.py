"""COCO annotations as masks, and the drawing of outlines and runs."""

import itertools
import json
import random

import numpy as np
import pytest

from vitrail.data.readers import ReaderOptions, open_data
from vitrail.data.readers.shapes import Cover, Shape, fill, fill_runs, paint, unite, unpack_runs
from vitrail.data.split import complete
from vitrail.errors import UsageError, VitrailError
from vitrail.values import IGNORED

SIZE = (6, 8)


def box(left, top, right, bottom):
    return [left, top, right, top, right, bottom, left, bottom]


def drawn(image, category, *outline, **more):
    return {"image_id": image, "category_id": category, "segmentation": list(outline)} | more


def coco(path, objects, names=("1.jpg",), size=SIZE, categories=("cat", "dog"), **more):
    path.parent.mkdir(parents=True, exist_ok=True)
    file = {
        "info": {"year": 2026},
        "images": [
            {"id": number, "file_name": name, "height": size[0], "width": size[1]}
            for number, name in enumerate(names)
        ],
        "categories": [{"id": 3 * number + 1, "name": name} for number, name in enumerate(categories)],
        "annotations": [{"id": number} | each for number, each in enumerate(objects)],
    }
    path.write_text(json.dumps(file | more))


@pytest.fixture
def one(picture):
    def make(root, objects, **more):
        picture(root / "images/1.jpg")
        coco(root / "annotations/instances_default.json", objects, **more)
        return root

    return make


def painted(*boxes, size=SIZE):
    mask = np.zeros(size, np.uint8)
    for value, left, top, right, bottom in boxes:
        mask[top:bottom, left:right] = value
    return mask


# ---------------------------------------------------------------------------------- outlines and runs


def whole(cover, size):
    mask = np.zeros(size, np.uint8)
    cover.of(mask)[cover.inside] = 1
    return mask


def inside(rings, x, y):
    """Count the crossings of a ray to the right: an odd number is inside."""
    crossings = 0
    for ring in rings:
        for (x0, y0), (x1, y1) in zip(ring, [*ring[1:], ring[0]], strict=True):
            if (y0 <= y) != (y1 <= y) and x < x0 + (y - y0) * (x1 - x0) / (y1 - y0):
                crossings += 1
    return crossings % 2 == 1


def test_a_pixel_is_inside_when_its_centre_is():
    seed = random.randrange(2**32)
    print("seed", seed)
    rng = np.random.default_rng(seed)
    for _ in range(60):
        rings = [rng.uniform(-4, 14, (rng.integers(3, 9), 2)) for _ in range(rng.integers(1, 4))]
        expected = [[inside(rings, x + 0.5, y + 0.5) for x in range(10)] for y in range(9)]
        assert whole(fill(rings, (9, 10)), (9, 10)).tolist() == np.array(expected, int).tolist()


def test_boxes_on_whole_numbers_are_exact_and_holes_are_left():
    outer, hole = (np.array(box(*sides), float).reshape(-1, 2) for sides in ((1, 1, 7, 5), (2, 2, 4, 4)))
    assert (whole(fill([outer, hole], SIZE), SIZE) == painted((1, 1, 1, 7, 5), (0, 2, 2, 4, 4))).all()
    assert (whole(fill([outer - 100], SIZE), SIZE) == 0).all()
    assert fill([], SIZE).area == fill([outer[:2]], SIZE).area == 0
    apart = [np.array(box(*sides), float).reshape(-1, 2) for sides in ((0, 0, 2, 2), (5, 3, 8, 6))]
    both = unite([fill([ring], SIZE) for ring in (*apart, apart[0] - 50)])
    assert (whole(both, SIZE) == painted((1, 0, 0, 2, 2), (1, 5, 3, 8, 6))).all()
    assert unite([]).area == 0


def pack(runs):
    """Pack runs as pycocotools does (rleToString)."""
    text = ""
    for place, run in enumerate(runs):
        value = run - runs[place - 2] if place > 2 else run
        more = True
        while more:
            code = value & 31
            value >>= 5
            more = value != -1 if code & 16 else value != 0
            text += chr((code | 32 if more else code) + 48)
    return text


def test_runs_come_back():
    seed = random.randrange(2**32)
    print("seed", seed)
    rng = np.random.default_rng(seed)
    for number in range(100):
        runs = rng.integers(0, 10 ** (1 + number % 7), rng.integers(1, 12)).tolist()
        assert unpack_runs(pack(runs)).tolist() == runs
        mask = rng.random((5, 7)) < rng.random()
        flat = mask.T.ravel().tolist()
        lengths = [len(list(group)) for _, group in itertools.groupby(flat)]
        runs = np.array([0, *lengths] if flat[0] else lengths)
        assert (whole(fill_runs(runs, (5, 7)), (5, 7)) == mask).all()


def test_runs_as_the_original_packs_them():
    """A picture of 9 x 10, packed by pycocotools."""
    assert unpack_runs("61X13mN000`0").tolist() == [6, 1, 40, 4, 5, 4, 5, 4, 21]


@pytest.mark.parametrize("text", ["", "!", "P", "o", "ooooooooooooooooooo0"])
def test_text_that_holds_no_runs(text):
    with pytest.raises(ValueError):
        unpack_runs(text)


def test_runs_that_do_not_fit():
    with pytest.raises(ValueError, match="sum to 5"):
        fill_runs(np.array([2, 3]), (2, 2))
    with pytest.raises(ValueError, match="shorter than nothing"):
        fill_runs(np.array([-1, 5]), (2, 2))


def test_smaller_objects_lie_above():
    large = Cover(0, 0, np.ones((4, 4), bool))
    small, later = Cover(1, 1, np.ones((1, 2), bool)), Cover(1, 2, np.ones((1, 2), bool))
    shapes = [Shape(index=2, cover=small), Shape(index=3, cover=later), Shape(index=1, cover=large)]
    shapes += [Shape(index=1, cover=Cover(0, 0, np.ones((6, 1), bool)), crowd=True)]
    mask = paint(shapes, SIZE)
    expected = painted((255, 0, 0, 1, 6), (1, 0, 0, 4, 4), (2, 1, 1, 3, 2), (3, 2, 1, 4, 2))
    assert (mask == expected).all()
    planes = paint([*shapes, Shape(index=IGNORED, cover=Cover(5, 7, np.ones((1, 1), bool)))], SIZE, 4)
    assert planes.shape == (4, *SIZE)
    assert planes[:, 1, 2].tolist() == [0, 1, 1, 1]
    assert planes[:, 5, 0].tolist() == [0, 255, 0, 0]
    assert planes[:, 5, 7].tolist() == [255] * 4


# ---------------------------------------------------------------------------------- files


def test_outlines_by_category(tmp_path, one):
    one(tmp_path, [drawn(0, 4, box(0, 0, 2, 2)), drawn(0, 1, box(1, 1, 5, 6), box(6, 0, 8, 1))])
    table = open_data(tmp_path)
    assert table.classes == ("background", "cat", "dog")
    assert table.notes == ()
    assert list(table.keys) == ["images/1.jpg"]
    assert table.targets["labels"].tolist() == [[1, 1, 1]]
    expected = painted((1, 1, 1, 5, 6), (1, 6, 0, 8, 1), (2, 0, 0, 2, 2))
    assert (table.splits()["all"].mask(0) == expected).all()
    assert (table.matched(("dog", "background", "cat")).masks[0] == np.array([1, 2, 0])[expected]).all()


def test_crowds_are_ignored_and_runs_are_read(tmp_path, one):
    flat = painted((1, 2, 1, 4, 5)).T.ravel()
    runs = [len(list(group)) for _, group in itertools.groupby(flat.tolist())]
    objects = [
        drawn(0, 1, box(2, 1, 3, 2)),
        {"image_id": 0, "category_id": 4, "iscrowd": 1, "segmentation": {"size": SIZE, "counts": runs}},
    ]
    expected = painted((255, 2, 1, 4, 5), (1, 2, 1, 3, 2))
    table = open_data(one(tmp_path, objects))
    assert (table.masks[0] == expected).all()
    assert table.targets["labels"].tolist() == [[1, 1, 0]]
    objects[1]["segmentation"]["counts"] = pack(runs)
    assert (open_data(one(tmp_path, objects)).masks[0] == expected).all()


def test_objects_may_overlap(tmp_path, one):
    one(tmp_path, [drawn(0, 4, box(0, 0, 2, 2)), drawn(0, 1, box(1, 1, 5, 6))])
    table = open_data(tmp_path, ReaderOptions(overlap=True))
    assert table.classes == ("cat", "dog")
    assert table.masks[0].shape == (2, *SIZE)
    assert (table.masks[0][0] == painted((1, 1, 1, 5, 6))).all()
    assert (table.masks[0][1] == painted((1, 0, 0, 2, 2))).all()
    swapped = table.matched(("dog", "owl", "cat"))
    assert swapped.masks[0].sum((1, 2)).tolist() == [4, 0, 20]
    assert swapped.targets["labels"].tolist() == [[1, 0, 1]]


def test_a_category_may_be_the_background(tmp_path, one):
    one(
        tmp_path, [drawn(0, 1, box(0, 0, 2, 2)), drawn(0, 4, box(1, 0, 8, 6))], categories=("background", "x")
    )
    table = open_data(tmp_path)
    assert table.classes == ("background", "x")
    assert (table.masks[0] == painted((1, 1, 0, 8, 6), (0, 0, 0, 2, 2))).all()


@pytest.mark.parametrize(
    ("file", "place", "name", "split"),
    [
        ("annotations/instances_train2017.json", "train2017/1.jpg", "1.jpg", "train"),
        ("annotations/instances_val2017.json", "images/val2017/1.jpg", "1.jpg", "val"),
        ("annotations/instances_Train.json", "images/Train/1.jpg", "1.jpg", "train"),
        ("annotations/instances_default.json", "images/default/1.jpg", "1.jpg", "all"),
        ("valid/_annotations.coco.json", "valid/1.jpg", "1.jpg", "val"),
        ("_annotations.coco.json", "1.jpg", "1.jpg", "all"),
        ("result.json", "images/1.jpg", "images/1.jpg", "all"),
        ("result.json", "images/1.jpg", "images\\1.jpg", "all"),
        ("result.json", "images/1.jpg", "/elsewhere/upload/1.jpg", "all"),
    ],
)
def test_layouts(tmp_path, file, place, name, split, picture):
    picture(tmp_path / place)
    coco(tmp_path / file, [drawn(0, 1, box(0, 0, 2, 2))], names=(name,))
    for where in (tmp_path, tmp_path / file):
        table = open_data(where)
        assert len(table) == 1
        assert (table.masks[0] == painted((1, 0, 0, 2, 2))).all()
    assert list(open_data(tmp_path).splits()) == [split]
    assert list(open_data(tmp_path).keys) == [place]


def test_splits(tmp_path, picture):
    for split in ("train", "valid", "test"):
        picture(tmp_path / split / "1.jpg")
        coco(tmp_path / split / "_annotations.coco.json", [drawn(0, 4, box(0, 0, 2, 2))])
    splits = complete(open_data(tmp_path), seed=0)
    assert list(splits.val.keys) == ["valid/1.jpg"]
    assert "No mask has any of: cat." in splits.notes
    coco(tmp_path / "test/_annotations.coco.json", [], categories=("cat", "owl"))
    with pytest.raises(VitrailError, match=r"only in .*test/_annotations\.coco\.json: owl"):
        open_data(tmp_path)


def test_pictures_that_are_not_there_are_left_out_and_said(tmp_path, one):
    one(tmp_path, [drawn(1, 1, box(0, 0, 2, 2))], names=("1.jpg", "2.jpg", "3.jpg"))
    table = open_data(tmp_path)
    assert list(table.keys) == ["images/1.jpg"]
    assert "2 left out (2.jpg, 3.jpg)" in table.notes[0]
    assert (table.masks[0] == 0).all()
    (tmp_path / "images/1.jpg").unlink()
    with pytest.raises(VitrailError, match=r"its pictures are not there \(1\.jpg.*Looked in .*/images"):
        open_data(tmp_path)


def test_pictures_that_cannot_be_read_are_kept_while_their_size_is_known(tmp_path, one):
    one(tmp_path, [drawn(0, 1, box(0, 0, 2, 2))])
    (tmp_path / "images/1.jpg").write_bytes(b"x")
    assert (open_data(tmp_path).masks[0] == painted((1, 0, 0, 2, 2))).all()
    one(tmp_path, [], images=[{"id": 0, "file_name": "1.jpg"}])
    assert open_data(tmp_path).masks[0].shape == SIZE
    (tmp_path / "images/1.jpg").write_bytes(b"x")
    with pytest.raises(VitrailError, match=r"none of its pictures can be read\. images/1\.jpg"):
        open_data(tmp_path)


@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_the_annotated_picture_may_have_been_upright_or_not(tmp_path, orientation, one, picture):
    objects = [drawn(0, 1, box(0, 0, 2, 1))]
    upright = SIZE if orientation == 3 else SIZE[::-1]
    one(tmp_path, objects, size=upright)
    picture(tmp_path / "images/1.jpg", orientation=orientation)
    assert (open_data(tmp_path).masks[0] == painted((1, 0, 0, 2, 1), size=upright)).all()
    if orientation != 3:
        one(tmp_path, objects)
        picture(tmp_path / "images/1.jpg", orientation=orientation)
        turned = np.rot90(painted((1, 0, 0, 2, 1)), -1 if orientation == 6 else 1)
        assert (open_data(tmp_path).masks[0] == turned).all()


def test_objects_without_an_outline_are_passed_over_and_said(tmp_path, one):
    boxed = {"image_id": 0, "category_id": 1, "bbox": [0, 0, 2, 2]}
    table = open_data(
        one(tmp_path, [boxed, drawn(0, 1), drawn(0, 1, [1, 1, 2, 2]), drawn(0, 4, box(0, 0, 2, 2))])
    )
    assert "3 of 4 objects have no outline, and are passed over" in table.notes[0]
    with pytest.raises(VitrailError, match="its 1 objects have boxes alone, and masks need outlines"):
        open_data(one(tmp_path, [boxed]))


@pytest.mark.parametrize(
    ("objects", "more", "says"),
    [
        ([drawn(0, 9, box(0, 0, 2, 2))], {}, "annotation 0 has the category 9, which"),
        ([drawn(7, 1, box(0, 0, 2, 2))], {}, "annotation 0 is on the picture 7, which"),
        ([drawn(0, 1, [1, 2, 3])], {}, r"on 1\.jpg \(cat\) is broken: 3 numbers are no pairs"),
        ([drawn(0, 1, ["a"])], {}, "annotation 0 has an outline that is none"),
        ([{"image_id": 0, "category_id": 1, "segmentation": "x"}], {}, "an outline that is none"),
        (
            [{"image_id": 0, "category_id": 1, "segmentation": {"size": [6, 8], "counts": [1, 2]}}],
            {},
            "its runs sum to 3 pixels, and 6 x 8 are 48",
        ),
        (
            [{"image_id": 0, "category_id": 1, "segmentation": {"size": [8, 6], "counts": [48]}}],
            {},
            "its runs are for 8 x 6 pixels, its picture has 6 x 8",
        ),
        (
            [{"image_id": 0, "category_id": 1, "segmentation": {"size": [6, 8], "counts": "\x7f"}}],
            {},
            "is broken: no runs",
        ),
        (
            [{"image_id": 0, "category_id": 1, "segmentation": {"size": [6, 8], "counts": [50, -2]}}],
            {},
            "a run is shorter than nothing",
        ),
        (
            [{"image_id": 0, "category_id": 1, "segmentation": {"size": [6, 8], "counts": [-(10**30), 48]}}],
            {},
            "a run is longer than any picture",
        ),
        ([], {"images": []}, "lists no pictures"),
        ([], {"categories": ()}, "lists no categories"),
        ([], {"size": (6, 9)}, "is 6 high and 8 wide, but was annotated as 6 high and 9 wide"),
        ([], {"names": ("1.jpg", "1.jpg")}, r"lists a picture twice \(images/1\.jpg\)"),
        ([], {"categories": ("Cat", "cat")}, "differ only by case"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, objects, more, says, one):
    with pytest.raises(VitrailError, match=says) as error:
        open_data(one(tmp_path, objects, **more))
    assert str(error.value).count("\n") <= 1
    assert str(tmp_path) in str(error.value)


@pytest.mark.parametrize("text", ["{", "[]", '{"images": 3}', "{}"])
def test_files_that_are_no_coco(tmp_path, text, one):
    one(tmp_path, [])
    (tmp_path / "annotations/instances_default.json").write_text(text)
    with pytest.raises(VitrailError, match=r"instances_default\.json is no COCO annotation file"):
        open_data(tmp_path)


def test_files_that_are_not_one_for_each_split(tmp_path, one):
    one(tmp_path, [])
    coco(tmp_path / "annotations/instances_train.json", [])
    with pytest.raises(VitrailError, match="which are not one for each split"):
        open_data(tmp_path)
    assert len(open_data(tmp_path / "annotations/instances_default.json")) == 1


def test_options_that_are_for_other_formats(tmp_path, one):
    one(tmp_path, [])
    for options, says in (
        (ReaderOptions(group="folder"), "leave out --data.group"),
        (ReaderOptions(classes="x"), "leave out --data.classes"),
        (ReaderOptions(masks="index"), "leave out --data.masks"),
    ):
        with pytest.raises(UsageError, match=says):
            open_data(tmp_path, options)


def test_the_fingerprint_knows_what_is_drawn(tmp_path, one):
    def fingerprint(*objects, where="a", **options):
        return open_data(one(tmp_path / where, objects), ReaderOptions(**options)).splits()["all"].fingerprint

    before = fingerprint(drawn(0, 1, box(0, 0, 2, 2)))
    assert fingerprint(drawn(0, 1, box(0, 0, 2, 2)), where="b") == before
    assert fingerprint(drawn(0, 1, box(0, 0, 2, 3))) != before
