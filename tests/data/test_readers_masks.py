"""Folders of masks: what is paired, what values mean, and what is said when they mean nothing."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vitrail.data.readers import READERS, ReaderOptions, open_data
from vitrail.data.readers import maskfile as maskfile_module
from vitrail.data.split import complete
from vitrail.errors import UsageError, VitrailError
from vitrail.values import IGNORED

SIZE = (6, 8)


def filled(*values, size=SIZE, dtype=np.uint8):
    """Return a mask with one row of each value, and the first below."""
    mask = np.full(size, values[0], dtype)
    for row, value in enumerate(values):
        mask[row] = value
    return mask


def mask(path, values, palette=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(np.asarray(values))
    if palette:
        image.putpalette([part for colour in palette for part in colour] + [0] * (768 - 3 * len(palette)))
    image.save(path)


@pytest.fixture
def make(picture):
    def make_masks(root, **masks):
        for name, values in masks.items():
            picture(root / "images" / f"{name}.jpg")
            mask(root / "masks" / f"{name}.png", values)
        return root

    return make_masks


def colours(*rows, size=SIZE):
    values = np.zeros((*size, 3), np.uint8)
    values[:] = rows[0]
    for row, colour in enumerate(rows):
        values[row] = colour
    return values


# ---------------------------------------------------------------------------------- pictures and masks


def test_class_numbers(tmp_path, make):
    make(tmp_path, a=filled(0, 1), b=filled(2, 255), c=filled(0))
    (tmp_path / "classes.txt").write_text("sky\nroad\ncar\n")
    table = open_data(tmp_path)
    assert table.classes == ("sky", "road", "car")
    assert list(table.keys) == ["images/a.jpg", "images/b.jpg", "images/c.jpg"]
    assert table.targets["labels"].tolist() == [[1, 1, 0], [0, 0, 1], [1, 0, 0]]
    assert table.notes == ()
    samples = table.splits()["all"]
    assert samples.mask(1).dtype == np.uint8
    assert (samples.mask(1) == filled(2, 255)).all()
    assert (samples.take([2, 0]).mask(1) == filled(0, 1)).all()
    assert samples.source(0) == f"{os.path.realpath(tmp_path)}/images/a.jpg"
    assert [each.shape for each in table.masks[:2]] == [SIZE, SIZE]
    assert (table.masks[-1] == filled(0)).all()


@pytest.mark.parametrize(
    ("pictures", "masks"),
    [
        ("images", "masks"), ("Image", "Mask"), ("img", "labels"), ("imgs", "label"), ("pictures", "gt"),
        ("JPEGImages", "SegmentationClass"), ("img_dir", "ann_dir"), ("images", "annotations"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("form", ["{side}/{name}", "{side}/{split}/{name}", "{split}/{side}/deep/{name}"])
def test_folders_by_many_names(tmp_path, pictures, masks, form, picture):
    for split, name in (("train", "a"), ("Validation", "b"), ("test", "c")):
        picture(tmp_path / form.format(side=pictures, split=split, name=f"{name}.jpg"))
        mask(tmp_path / form.format(side=masks, split=split, name=f"{name}.png"), filled(0, 1, 2))
    table = open_data(tmp_path)
    assert len(table) == 3
    assert tuple(table.splits()) == (("train", "val", "test") if "split" in form else ("all",))
    for samples in table.splits().values():
        assert (samples.mask(0) == filled(0, 1, 2)).all()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("1", "1_mask"), ("1", "1-mask"), ("1", "1_masks"), ("1", "1_label"), ("1", "1_labels"),
        ("1", "1_labelIds"), ("1", "1_seg"), ("1", "1_gt"), ("1_leftImg8bit", "1_gtFine_labelIds"),
        ("1_image", "1"), ("1_img", "1_mask"), ("1_mask", "1_mask"), ("x.y", "x.y"), ("x.y", "x.y_mask"),
    ],
)  # fmt: skip
def test_names_may_have_endings(tmp_path, one, other, picture):
    picture(tmp_path / "images" / f"{one}.jpg")
    mask(tmp_path / "masks" / f"{other}.png", filled(0, 1))
    assert len(open_data(tmp_path)) == 1


def test_the_name_that_is_the_same_wins(tmp_path, picture):
    for name in ("a", "a_img"):
        picture(tmp_path / "images" / f"{name}.jpg")
    mask(tmp_path / "masks" / "a_mask.png", filled(0))
    mask(tmp_path / "masks" / "a_img_mask.png", filled(0, 1))
    table = open_data(tmp_path)
    assert list(table.keys) == ["images/a.jpg", "images/a_img.jpg"]
    assert table.targets["labels"].tolist() == [[1, 0], [1, 1]]


def test_a_folder_around_the_masks_alone(tmp_path, picture):
    picture(tmp_path / "images/1.jpg")
    mask(tmp_path / "annotations/trimaps/1.png", filled(1, 2))
    (tmp_path / "annotations/list.txt").write_text("1")
    assert len(open_data(tmp_path)) == 1


def test_what_has_no_partner_is_left_out_and_said(tmp_path, make, picture):
    make(tmp_path, a=filled(0, 1))
    for name in "bcdef":
        picture(tmp_path / "images" / f"{name}.jpg")
    mask(tmp_path / "masks/z.png", filled(0, 1))
    table = open_data(tmp_path)
    assert table.notes == (
        "5 pictures have no mask: left out (images/b.jpg, images/c.jpg, images/d.jpg and 2 more).",
        "1 mask has no picture: left out (masks/z.png).",
    )


def test_a_split_without_masks_is_left_out_and_said(tmp_path, picture):
    for form in ("train/images/1.jpg", "test/images/2.jpg"):
        picture(tmp_path / form)
    mask(tmp_path / "train/masks/1.png", filled(0, 1))
    table = open_data(tmp_path)
    assert list(table.splits()) == ["train"]
    assert table.notes == ("1 picture has no mask: left out (test/images/2.jpg).",)


def test_groups_by_the_folders_below(tmp_path, make, picture):
    for name in ("p1/1", "p1/2", "p2/1"):
        picture(tmp_path / "images" / f"{name}.jpg")
        mask(tmp_path / "masks" / f"{name}.png", filled(0, 1))
    table = open_data(tmp_path, ReaderOptions(group="folder"))
    assert [table.group_names[code] for code in table.group] == ["p1", "p1", "p2"]
    make(tmp_path, stray=filled(0, 1))
    with pytest.raises(VitrailError, match=r"stray\.jpg lies outside of any sub-folder"):
        open_data(tmp_path, ReaderOptions(group="folder"))
    with pytest.raises(UsageError, match="no column 'patient'"):
        open_data(tmp_path, ReaderOptions(group="patient"))


@pytest.mark.parametrize(
    ("masks", "pictures", "says"),
    [
        (("1.png", "1_mask.png"), ("1.jpg",), r"1\.jpg has 2 masks \(masks/1\.png, masks/1_mask\.png\)"),
        (("1.png",), ("1.jpg", "1.png"), r"1\.png could belong to images/1\.jpg, images/1\.png\. Rename"),
        (("1.png",), ("a.jpg",), r"no mask is named like.* is images/a\.jpg, a mask masks/1\.png\."),
    ],
)  # fmt: skip
def test_what_does_not_belong_together_is_said(tmp_path, masks, pictures, says, picture):
    for name in pictures:
        picture(tmp_path / "images" / name)
    for name in masks:
        mask(tmp_path / "masks" / name, filled(0, 1))
    with pytest.raises(VitrailError, match=says) as error:
        open_data(tmp_path)
    assert str(error.value).count("\n") <= 1
    assert str(tmp_path) in str(error.value)


def test_several_folders_for_one_side_are_an_error(tmp_path, make):
    make(tmp_path, a=filled(0, 1))
    mask(tmp_path / "labels/a.png", filled(0, 1))
    with pytest.raises(UsageError, match="has labels, masks, of which one is wanted"):
        open_data(tmp_path)
    with pytest.raises(UsageError, match="no folder of pictures"):
        READERS["masks"](str(tmp_path / "masks"), ReaderOptions())


def test_two_folders_for_one_split_are_an_error(tmp_path, picture):
    for split in ("val", "valid"):
        picture(tmp_path / f"images/{split}/1.jpg")
        mask(tmp_path / f"masks/{split}/1.png", filled(0, 1))
    with pytest.raises(VitrailError, match=r"two folders for one split: val, valid\. Keep one"):
        open_data(tmp_path)
    for split in ("val", "valid"):
        picture(tmp_path / f"b/{split}/images/1.jpg")
        mask(tmp_path / f"b/{split}/masks/1.png", filled(0, 1))
    with pytest.raises(VitrailError, match=r"several folders for one split: val/images, valid/images\."):
        open_data(tmp_path / "b")


def test_class_folders_are_not_taken_for_masks(tmp_path, picture):
    picture(tmp_path / "images/1.jpg")
    picture(tmp_path / "drawings/1.jpg")
    assert open_data(tmp_path).classes == ("drawings", "images")


# ---------------------------------------------------------------------------------- what values mean


@pytest.mark.parametrize("top", [1, 255])
def test_background_and_object(tmp_path, top, make):
    table = open_data(make(tmp_path, a=filled(0, top), b=filled(0)))
    assert table.classes == ("background", "object")
    assert (table.masks[0] == filled(0, 1)).all()
    (tmp_path / "classes.txt").write_text("tumour\n")
    assert open_data(tmp_path).classes == ("background", "tumour")
    (tmp_path / "classes.txt").write_text("skin\nmole")
    assert open_data(tmp_path).classes == ("skin", "mole")


def test_masks_of_one_bit_and_of_grey_in_colour(tmp_path, make):
    make(tmp_path, a=filled(0, 1).astype(bool))
    assert (open_data(tmp_path).masks[0] == filled(0, 1)).all()
    make(tmp_path, b=colours((0, 0, 0), (255, 255, 255)), a=colours((255,) * 3))
    table = open_data(tmp_path)
    assert table.classes == ("background", "object")
    assert (table.masks[1] == filled(0, 1)).all()


@pytest.mark.parametrize("bits", [2, 4])
def test_grey_in_few_bits_is_numbers_and_not_shades(tmp_path, bits, make):
    make(tmp_path, a=filled(0, 1, 2, 3))
    values = np.asarray(Image.open(tmp_path / "masks/a.png"))
    packed = np.packbits(
        np.unpackbits(values.reshape(-1, 1), axis=1)[:, 8 - bits :].reshape(SIZE[0], -1), axis=1
    )
    import struct
    import zlib

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    lines = b"".join(b"\0" + row.tobytes() for row in packed)
    header = struct.pack(">IIBBBBB", SIZE[1], SIZE[0], bits, 0, 0, 0, 0)
    (tmp_path / "masks/a.png").write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(lines))
        + chunk(b"IEND", b"")
    )
    assert (open_data(tmp_path).masks[0] == values).all()


def test_a_palette_is_its_indices(tmp_path, picture):
    picture(tmp_path / "images/1.jpg")
    mask(tmp_path / "masks/1.png", filled(0, 1, 2, 255), palette=[(0, 0, 0), (9, 9, 9), (200, 0, 0)])
    table = open_data(tmp_path)
    assert table.classes == ("class 0", "class 1", "class 2")
    assert (table.masks[0] == filled(0, 1, 2, 255)).all()
    assert table.notes[0].startswith(
        "The 3 classes have no names, and are called class 0, class 1 and 1 more."
    )
    (tmp_path / "labelmap.txt").write_text(
        "# label:color_rgb:parts:actions\nroad:9,9,9::\nsky:0,0,0::\ncar:1,1,1::\n"
    )
    assert open_data(tmp_path).classes == ("road", "sky", "car")
    assert (open_data(tmp_path).masks[0] == filled(0, 1, 2, 255)).all()


@pytest.mark.parametrize("suffix", ["png", "tif", "bmp"])
def test_formats_without_loss(tmp_path, suffix, picture):
    picture(tmp_path / "images/1.jpg")
    mask(tmp_path / f"masks/1.{suffix}", filled(0, 3))
    assert (open_data(tmp_path).masks[0] == filled(0, 3)).all()


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.float32])
def test_sixteen_bits_with_small_values_are_class_numbers(tmp_path, dtype, picture):
    picture(tmp_path / "images/1.jpg")
    mask(tmp_path / "masks/1.tif", filled(0, 3, 2, dtype=dtype))
    table = open_data(tmp_path)
    assert len(table.classes) == 4
    assert (table.masks[0] == filled(0, 3, 2)).all()


@pytest.mark.parametrize(
    "values",
    [filled(0, 300, 7, dtype=np.uint16), np.arange(48, dtype=np.uint8).reshape(SIZE)],
    ids=["deep", "many"],
)
def test_numbered_objects(tmp_path, values, make):
    table = open_data(make(tmp_path, a=values))
    assert table.classes == ("background", "object")
    assert (table.masks[0] == (values != 0)).all()
    assert "taken to number objects" in table.notes[0]
    table = open_data(tmp_path, ReaderOptions(masks="instances"))
    assert table.notes == ()
    (tmp_path / "classes.txt").write_text("cell")
    assert open_data(tmp_path, ReaderOptions(masks="instances")).classes == ("background", "cell")


def test_numbered_objects_of_which_two_classes_are_named(tmp_path, make):
    values = (np.arange(48, dtype=np.uint16) * 3).reshape(SIZE)
    make(tmp_path, a=values)
    (tmp_path / "classes.txt").write_text("ground\nnucleus")
    table = open_data(tmp_path)
    assert table.classes == ("ground", "nucleus")
    assert (table.masks[0] == (values != 0)).all()
    assert "each of which is 'nucleus'" in table.notes[0]
    (tmp_path / "classes.txt").write_text("ground\nnucleus\nother")
    with pytest.raises(VitrailError, match="is the number of none of the 3 classes"):
        open_data(tmp_path)


def test_many_numbers_with_gaps_are_classes(tmp_path, make):
    values = np.array([(3 * i) % 150 for i in range(48)], np.uint8).reshape(SIZE)
    assert len(open_data(make(tmp_path, a=values)).classes) == 142


@pytest.mark.parametrize(
    ("values", "says"),
    [
        (filled(0, 128, 255), r"hold the values 0, 128, 255\. Say which classes they are in classes\.csv"),
        (np.linspace(0, 255, 48).astype(np.uint8).reshape(SIZE), "48 shades up to 255, as smoothed edges"),
    ],
)
def test_values_that_hardly_number_classes_are_asked_about(tmp_path, values, says, make):
    with pytest.raises(VitrailError, match=says):
        open_data(make(tmp_path, a=values))
    assert len(open_data(tmp_path, ReaderOptions(masks="instances")).classes) == 2
    assert len(open_data(tmp_path, ReaderOptions(masks="index")).classes) > 100


def test_a_palette_made_by_a_program_is_told_by_its_colours(tmp_path, picture):
    """CVAT's folders, after a program has shrunk the files: the indices are no longer those of the table."""
    text = "# label:color_rgb:parts:actions\nbackground:0,0,0::\nred:200,0,0::\ngreen:0,200,0::\n"
    (tmp_path / "labelmap.txt").write_text(text)
    for name, rows in (("a", (BLACK, RED)), ("b", (GREEN, BLACK, RED))):
        picture(tmp_path / f"JPEGImages/{name}.jpg")
        mask(tmp_path / f"SegmentationClass/{name}.png", colours(*rows))
        mask(tmp_path / f"SegmentationObject/{name}.png", colours(*rows))
    table = open_data(tmp_path)
    assert table.classes == ("background", "red", "green")
    expected = [each.tolist() for each in table.masks]
    mask(tmp_path / "SegmentationClass/a.png", filled(1, 0), palette=[RED, BLACK])
    mask(tmp_path / "SegmentationClass/b.png", filled(2, 0, 1), palette=[BLACK, RED, GREEN])
    assert [each.tolist() for each in open_data(tmp_path).masks] == expected


def test_what_is_said_decides(tmp_path, make):
    make(tmp_path, a=filled(0, 1, 255))
    assert open_data(tmp_path).classes == ("class 0", "class 1")
    table = open_data(tmp_path, ReaderOptions(masks="binary"))
    assert table.classes == ("background", "object")
    assert (table.masks[0] == filled(0, 1, IGNORED)).all()
    assert (open_data(tmp_path, ReaderOptions(masks="instances")).masks[0] == filled(0, 1, 1)).all()
    with pytest.raises(VitrailError, match="in colour") as error:
        open_data(tmp_path, ReaderOptions(masks="colours"))
    assert "#000000" in str(error.value)


# ---------------------------------------------------------------------------------- colours and lists


RED, GREEN, BLACK = (200, 0, 0), (0, 200, 0), (0, 0, 0)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("classes.csv", "back,0,0,0\nred,200,0,0\ngreen,0,200,0\n"),
        ("classes.csv", "name,r,g,b\nback,0,0,0\nred,200,0,0\n\ngreen,0,200,0\n"),
        ("class_dict.csv", "r;g;b;name\n0;0;0;back\n200;0;0;red\n0;200;0;green\n"),
        ("classes.csv", "name,colour\nback,#000000\nred,#C80000\ngreen,#00c800\n"),
        ("classes.json", '{"back": "#000000", "red": [200, 0, 0], "green": "#00c800"}'),
        ("labelmap.txt", "# label:color_rgb:parts:actions\nback:0,0,0::\nred:200,0,0::\ngreen:0,200,0::\n"),
    ],
)  # fmt: skip
def test_colours_by_a_table(tmp_path, name, text, make):
    make(tmp_path, a=colours(BLACK, RED, GREEN), b=colours(GREEN), c=filled(0))
    (tmp_path / name).write_text(text)
    table = open_data(tmp_path)
    assert table.classes == ("back", "red", "green")
    assert [each[:3, 0].tolist() for each in table.masks] == [[0, 1, 2], [2, 2, 2], [0, 0, 0]]
    assert table.targets["labels"].tolist() == [[1, 1, 1], [0, 0, 1], [1, 0, 0]]


def test_alpha_is_no_part_of_a_colour(tmp_path, make):
    make(tmp_path, a=np.dstack([colours(BLACK, RED), filled(0, 255)]))
    (tmp_path / "classes.csv").write_text("a,#000000\nb,#c80000")
    assert (open_data(tmp_path).masks[0] == filled(0, 1)).all()


def test_colours_without_a_table_are_listed(tmp_path, make):
    make(tmp_path, a=colours(RED, GREEN), b=colours(RED))
    with pytest.raises(VitrailError, match=r"in colour \(#c80000, #00c800\), and there is no table") as error:
        open_data(tmp_path)
    assert "Write classes.csv" in str(error.value)
    (tmp_path / "classes.txt").write_text("a\nb")
    with pytest.raises(VitrailError, match=r"classes\.txt gives no colours"):
        open_data(tmp_path)
    with pytest.raises(UsageError, match=r"in colour, so that --data\.masks index cannot be"):
        open_data(tmp_path, ReaderOptions(masks="index"))


def test_an_unknown_colour_is_named_with_its_place(tmp_path, make):
    values = colours(BLACK, RED)
    values[3, 5] = (190, 9, 0)
    make(tmp_path, a=values)
    (tmp_path / "classes.csv").write_text("back,#000000\nred,#c80000\ngreen,#00c800")
    with pytest.raises(VitrailError, match=r"a\.png: the colour #be0900 at \(y 3, x 5\)") as error:
        open_data(tmp_path)
    assert "the nearest is #c80000 (red)" in str(error.value)


@pytest.mark.parametrize(
    ("name", "text"),
    [("c.csv", "a,0\nb,7\nc,200\nb,9"), ("c.json", '{"a": 0, "b": 7, "c": 200, "void": 9}')],
)
def test_numbers_by_a_table(tmp_path, name, text, make):
    make(tmp_path, a=filled(0, 7, 200, 9, 255))
    (tmp_path / name).write_text(text)
    table = open_data(tmp_path, ReaderOptions(classes=str(tmp_path / name)))
    assert table.classes == ("a", "b", "c")
    expected = 1 if name == "c.csv" else 255
    assert table.masks[0][:5, 0].tolist() == [0, 1, 2, expected, 255]
    assert table.notes == (() if expected == 1 else ("Pixels of void are ignored, and are no class.",))


@pytest.mark.parametrize(
    ("values", "options", "says"),
    [
        (filled(0, 1, 9), {}, r"a\.png: the value 9 at \(y 2, x 0\) is the number of none of the 3 classes"),
        (filled(0, 900, dtype=np.uint16), {}, r"the value 900 at \(y 1, x 0\)"),
        (filled(0, 9), {"masks": "instances"}, "has two classes, but .* lists 3"),
    ],
)
def test_unknown_values_are_named(tmp_path, values, options, says, make):
    make(tmp_path, a=values)
    (tmp_path / "classes.json").write_text('["x", "y", "z"]')
    with pytest.raises(VitrailError, match=says):
        open_data(tmp_path, ReaderOptions(**options))


def test_values_that_a_wish_excludes(tmp_path, make):
    make(tmp_path, a=filled(0, 9))
    with pytest.raises(VitrailError, match=r"value 9 .* is neither 0 nor 1 or 255"):
        open_data(tmp_path, ReaderOptions(masks="binary"))
    make(tmp_path, a=filled(0, 900, dtype=np.uint16))
    with pytest.raises(VitrailError, match="the number 900, but there can be 255 classes"):
        open_data(tmp_path, ReaderOptions(masks="index"))
    make(tmp_path, a=filled(0))
    with pytest.raises(VitrailError, match="nothing but 0"):
        open_data(tmp_path, ReaderOptions(masks="index"))


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("classes.txt", "a\n\nb", "line 2 is empty"),
        ("classes.txt", "a\na\nb", "lists a twice"),
        ("classes.txt", "", "lists no classes"),
        ("classes.txt", "Cat\ncat", "differ only by case"),
        ("classes.json", "{", "is not JSON"),
        ("classes.json", '"a"', "neither a list of names nor"),
        ("classes.json", '{"a": true, "b": 1}', "True is neither a number nor a colour"),
        ("classes.json", '{"a": 1, "b": "#000000"}', "some classes numbers and others colours"),
        ("classes.json", '{"a": 1, "b": 1}', "a and b both have 1"),
        ("classes.json", '{"a": -1, "b": 1}', "the number -1"),
        ("classes.json", '{"a": [1, 2, 256], "b": [1, 2, 3]}', "three numbers from 0 to 255"),
        ("classes.csv", "a,red\nb,blue", "the columns above are a, red"),
        ("classes.csv", "name,value\na,x", "line 2: 'x' is neither"),
        ("classes.csv", "name,value\na", "line 2: expected name,value"),
        ("labelmap.txt", "a,0,0,0", "is not name:r,g,b:parts:actions"),
        ("classes.txt", "\n".join(map(str, range(300))), "lists 300 classes"),
    ],
)
def test_lists_that_are_wrong_are_named(tmp_path, name, text, says, make):
    make(tmp_path, a=filled(0, 1))
    (tmp_path / name).write_text(text)
    with pytest.raises(VitrailError, match=says) as error:
        open_data(tmp_path)
    assert name in str(error.value)


def test_which_list_counts(tmp_path, make):
    make(tmp_path, a=filled(0, 1))
    (tmp_path / "classes.txt").write_text("a\nb")
    (tmp_path / "classes.json").write_text('["c", "d"]')
    with pytest.raises(UsageError, match=r"classes\.txt, classes\.json\. Keep one"):
        open_data(tmp_path)
    assert open_data(tmp_path, ReaderOptions(classes=str(tmp_path / "classes.json"))).classes == ("c", "d")
    with pytest.raises(UsageError, match="there is no file nowhere"):
        open_data(tmp_path, ReaderOptions(classes="nowhere"))
    (tmp_path / "classes.json").write_bytes(b"\xff")
    with pytest.raises(VitrailError, match="is not UTF-8"):
        open_data(tmp_path, ReaderOptions(classes=str(tmp_path / "classes.json")))


# ---------------------------------------------------------------------------------- files that are wrong


def test_jpeg_masks_are_refused(tmp_path, make, picture):
    make(tmp_path, a=filled(0, 1))
    mask(tmp_path / "masks/b.jpg", filled(0, 1))
    picture(tmp_path / "images/b.jpg")
    with pytest.raises(VitrailError, match=r"b\.jpg is a mask in a JPEG file: compression .* as PNG"):
        open_data(tmp_path)


def test_a_mask_of_another_size_is_named_with_both(tmp_path, make):
    make(tmp_path, a=filled(0, 1), b=filled(0, 1, size=(5, 8)))
    with pytest.raises(VitrailError, match=r"b\.png is 5 high and 8 wide, .*b\.jpg is 6 high and 8 wide\."):
        open_data(tmp_path)


def test_masks_that_cannot_be_read_are_left_out_and_said(tmp_path, make):
    make(tmp_path, a=filled(0, 1), b=filled(0, 1), c=filled(0, 1))
    whole = (tmp_path / "masks/b.png").read_bytes()
    (tmp_path / "masks/b.png").write_bytes(whole[:-20])
    mask(tmp_path / "masks/c.tif", filled(0, 0.5, dtype=np.float32))
    (tmp_path / "masks/c.png").unlink()
    table = open_data(tmp_path)
    assert list(table.keys) == ["images/a.jpg"]
    assert table.notes[0].startswith(
        "2 masks cannot be read and are left out with the picture (masks/b.png: cut off"
    )
    assert "masks/c.tif: damaged: its numbers are not whole" in table.notes[0]
    for name in ("a.png", "b.png"):
        (tmp_path / "masks" / name).write_bytes(b"x")
    with pytest.raises(VitrailError, match=r"a\.png: not a picture.* No mask can be read"):
        open_data(tmp_path)
    (tmp_path / "masks/b.png").write_bytes(whole)
    assert list(open_data(tmp_path).keys) == ["images/b.jpg"]


def test_a_picture_that_cannot_be_read_stays_to_be_named_when_it_is_decoded(tmp_path, make):
    make(tmp_path, a=filled(0, 1), b=filled(0, 1))
    (tmp_path / "images/b.jpg").write_bytes(b"x")
    assert len(open_data(tmp_path)) == 2


def test_several_pages_are_no_mask(tmp_path, make, picture):
    make(tmp_path, a=filled(0, 1))
    picture(tmp_path / "images/b.jpg")
    pages = [Image.fromarray(filled(0, number)) for number in (1, 2)]
    pages[0].save(tmp_path / "masks/b.tif", save_all=True, append_images=pages[1:])
    assert "masks/b.tif: several frames: 2 of them" in open_data(tmp_path).notes[0]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_masks_lie_on_the_upright_picture(tmp_path, orientation, picture):
    upright = (8, 6) if orientation > 4 else SIZE
    picture(tmp_path / "images/1.jpg", SIZE, orientation)
    mask(tmp_path / "masks/1.png", filled(1, 2, 0, size=upright))
    assert (open_data(tmp_path).masks[0] == filled(1, 2, 0, size=upright)).all()


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_a_mask_on_the_stored_picture_is_turned_with_it(tmp_path, orientation, picture):
    from vitrail.data.decode import decode

    shades = np.arange(48, dtype=np.uint8).reshape(SIZE) * 5
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture(tmp_path / "images/1.jpg")
    Image.fromarray(shades).save(tmp_path / "images/1.png", exif=exif)
    (tmp_path / "images/1.jpg").unlink()
    mask(tmp_path / "masks/1.png", shades)
    expected, _ = decode(str(tmp_path / "images/1.png"), channels=1)
    table = open_data(tmp_path, ReaderOptions(masks="index"))
    assert (table.masks[0] == expected[:, :, 0]).all()


# ---------------------------------------------------------------------------------- memory, names, splits


def test_the_second_opening_looks_at_what_changed_alone(tmp_path, monkeypatch, make):
    make(tmp_path, a=filled(0, 1), b=filled(0, 2))
    before = open_data(tmp_path)
    read = []
    original = maskfile_module._read
    monkeypatch.setattr(
        maskfile_module, "_read", lambda file, where: read.append(where) or original(file, where)
    )
    again = open_data(tmp_path)
    assert read == []
    assert again.targets["labels"].tolist() == before.targets["labels"].tolist()
    assert again.splits()["all"].fingerprint == before.splits()["all"].fingerprint
    mask(tmp_path / "masks/b.png", filled(1, 2))
    os.utime(tmp_path / "masks/b.png", (1, 1))
    after = open_data(tmp_path)
    assert [Path(path).name for path in read] == ["b.png"]
    assert after.splits()["all"].fingerprint != before.splits()["all"].fingerprint
    assert (after.stamps != before.stamps).tolist() == [False, True]
    read.clear()
    open_data(tmp_path, ReaderOptions(rescan=True))
    assert len(read) == 2
    with pytest.raises(VitrailError, match=r"b\.png: .*has changed since the data were opened"):
        before.masks[1]


def test_a_broken_memory_is_no_failure(tmp_path, monkeypatch, make):
    make(tmp_path / "data", a=filled(0, 1))
    monkeypatch.setenv("VITRAIL_CACHE", str(tmp_path / "cache"))
    open_data(tmp_path / "data")
    (memory,) = (tmp_path / "cache/masks").iterdir()
    memory.write_bytes(b"broken")
    assert len(open_data(tmp_path / "data")) == 1
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("VITRAIL_CACHE", str(tmp_path / "file"))
    assert len(open_data(tmp_path / "data")) == 1


def test_masks_are_matched_by_name(tmp_path, make):
    make(tmp_path, a=filled(0, 1, 2, 255))
    (tmp_path / "classes.txt").write_text("sky\nroad\ncar\n")
    table = open_data(tmp_path)
    other = table.matched(("car", "tree", "sky", "road"))
    assert (other.masks[0] == filled(2, 3, 0, 255)).all()
    assert other.targets["labels"].tolist() == [[1, 0, 1, 1]]
    assert other.matched((*table.classes, "tree")).masks[0][:4, 0].tolist() == [0, 1, 2, 255]
    with pytest.raises(VitrailError, match="does not know: car"):
        table.matched(("sky", "road"))


def test_splits_note_what_no_mask_has(tmp_path, make):
    masks = {f"m{i:02}": filled(0, 1) for i in range(20)}
    make(tmp_path, **masks)
    (tmp_path / "classes.txt").write_text("sky\nroad\ncar\n")
    splits = complete(open_data(tmp_path), seed=0)
    assert (len(splits.train), len(splits.val), len(splits.test)) == (14, 2, 4)
    assert "No mask has any of: car." in splits.notes
    assert not any("No picture in" in note for note in splits.notes)
    assert (splits.test.mask(0) == filled(0, 1)).all()


def test_a_class_that_is_tested_alone_is_noted(tmp_path, picture):
    for split, top in (("train", 1), ("val", 1), ("test", 2)):
        for number in range(2):
            picture(tmp_path / f"images/{split}/{number}.jpg")
            mask(tmp_path / f"masks/{split}/{number}.png", filled(0, top))
    splits = complete(open_data(tmp_path), seed=0)
    assert "No training mask has any of: class 2. They cannot be learnt." in splits.notes


def test_data_without_masks_says_so(tmp_path, picture):
    picture(tmp_path / "a/1.jpg")
    picture(tmp_path / "b/1.jpg")
    with pytest.raises(VitrailError, match="has no masks"):
        open_data(tmp_path).splits()["all"].mask(0)
