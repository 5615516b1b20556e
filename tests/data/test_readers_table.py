"""Tables: csv, jsonl and parquet, one or many labels, and every way to get them wrong."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from vitrail.data.readers import ReaderOptions, open_data
from vitrail.data.split import complete
from vitrail.errors import UsageError, VitrailError

NAMES = ["a.png", "b.png", "sub/c.png", "sub/d.png"]


@pytest.fixture
def root(tmp_path):
    for name in NAMES:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    return tmp_path


def csv(root, text, name="table.csv", encoding="utf-8"):
    path = root / name
    path.write_bytes(text.encode(encoding))
    return path


def labelled(table, split="all"):
    samples = table.splits()[split]
    return {
        key: table.classes[label] for key, label in zip(samples.keys, samples.targets["label"], strict=True)
    }


RIGHT = {"a.png": "cat", "b.png": "dog", "sub/c.png": "cat", "sub/d.png": "dog"}
TEXT = "file_name,label\na.png,cat\nb.png,dog\nsub/c.png,cat\nsub/d.png,dog\n"


@pytest.mark.parametrize(
    ("text", "name", "encoding"),
    [
        (TEXT, "t.csv", "utf-8"),
        (TEXT, "t.csv", "utf-8-sig"),
        (TEXT.replace("\n", "\r\n"), "t.csv", "utf-8-sig"),
        (TEXT.replace(",", ";"), "t.csv", "utf-8"),
        (TEXT.replace(",", "\t"), "t.csv", "utf-8"),
        (TEXT.replace(",", "\t"), "t.tsv", "utf-8"),
        (TEXT.replace("\na", '\n"a').replace(",cat", '","cat"', 1), "t.CSV", "utf-8"),
        (TEXT.replace("sub/", "sub\\"), "t.csv", "utf-8"),
        (TEXT.replace("a.png", "./a.png"), "t.csv", "utf-8"),
        (TEXT.replace("file_name", "image"), "t.csv", "utf-8"),
        (TEXT.replace("file_name", "path") + "\n\n", "t.csv", "utf-8"),
        ("n," + TEXT.replace("\n", "\n7,")[:-2], "t.csv", "utf-8"),
    ],
)  # fmt: skip
def test_csv(root, text, name, encoding):
    table = open_data(csv(root, text, name, encoding))
    assert labelled(table) == RIGHT
    assert table.splits()["all"].source(2) == os.path.realpath(root / "sub" / "c.png")


def test_jsonl_and_parquet(root):
    import pyarrow as pa
    from pyarrow import parquet

    rows = [{"file_name": name, "label": label} for name, label in RIGHT.items()]
    (root / "t.jsonl").write_text("\ufeff" + "\n\n".join(map(json.dumps, rows)), encoding="utf-8")
    parquet.write_table(pa.Table.from_pylist(rows), root / "t.parquet")
    assert labelled(open_data(root / "t.jsonl")) == labelled(open_data(root / "t.parquet")) == RIGHT


def test_absolute_paths_and_links_elsewhere(root, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "x.png"
    elsewhere.touch()
    table = open_data(
        csv(root, f"file_name,label\n{root}/a.png,cat\n{elsewhere},dog\n../{root.name}/b.png,cat\n")
    )
    assert list(table.keys)[:2] == ["a.png", str(elsewhere)]
    assert [Path(path).exists() for path in table.pictures] == [True] * 3


def test_numbers_are_names_too(root):
    (root / "t.jsonl").write_text(
        "\n".join(json.dumps({"path": n, "label": v}) for n, v in zip(NAMES, [1, 10.0, 2, True], strict=True))
    )
    assert open_data(root / "t.jsonl").classes == ("1", "10", "2", "true")
    table = open_data(csv(root, "path,label\na.png,1\nb.png,10\nsub/c.png,2\nsub/d.png,01\n"))
    assert table.classes == ("01", "1", "10", "2")


@pytest.mark.parametrize("between", ["|", ";", " | ", "|;"])
def test_several_labels_in_a_cell(root, between):
    text = "file_name,labels\na.png,cat+dog\nb.png,\nsub/c.png,dog\nsub/d.png,emu+cat+dog\n"
    table = open_data(csv(root, text.replace("+", between)))
    assert table.classes == ("cat", "dog", "emu")
    assert table.targets["labels"].tolist() == [[1, 1, 0], [0, 0, 0], [0, 1, 0], [1, 1, 1]]
    assert table.targets["labels"].dtype == np.uint8


def test_several_labels_in_a_list(root):
    lists = [["cat", "dog"], [], ["dog"], ["emu", "cat", "dog"]]
    (root / "t.jsonl").write_text(
        "\n".join(json.dumps({"image": n, "labels": v}) for n, v in zip(NAMES, lists, strict=True))
    )
    table = open_data(root / "t.jsonl")
    assert table.targets["labels"].tolist() == [[1, 1, 0], [0, 0, 0], [0, 1, 0], [1, 1, 1]]
    (root / "t.jsonl").write_text((root / "t.jsonl").read_text().replace("labels", "tags"))
    named = open_data(root / "t.jsonl", ReaderOptions(labels=("tags",)))
    assert (named.targets["labels"] == table.targets["labels"]).all()
    with pytest.raises(
        VitrailError, match=r"t\.jsonl, lines 1, 2, 3, 4: a list of labels\. Say --data\.labels"
    ):
        open_data(root / "t.jsonl", ReaderOptions(label="tags"))


def test_a_column_of_zeros_and_ones_for_each_class(root):
    text = "file_name,cat,dog\na.png,1,0\nb.png,0,0\nsub/c.png,1,1\nsub/d.png,true,False\n"
    table = open_data(csv(root, text), ReaderOptions(labels=("dog", "cat")))
    assert table.classes == ("dog", "cat")
    assert table.targets["labels"].tolist() == [[0, 1], [0, 0], [1, 1], [0, 1]]
    with pytest.raises(VitrailError, match=r"line 3: the column 'cat' holds '2' where 0 or 1 is expected"):
        open_data(csv(root, text.replace("b.png,0", "b.png,2")), ReaderOptions(labels=("dog", "cat")))


def test_columns_by_other_names(root):
    text = "photo,species,part,patient\na.png,cat,train,1\nb.png,dog,train,2\n"
    text += "sub/c.png,cat,test,3\nsub/d.png,dog,Validation,4\n"
    options = ReaderOptions(file="photo", label="species", split="part", group="patient")
    table = open_data(csv(root, text), options)
    assert labelled(table, "train") == {"a.png": "cat", "b.png": "dog"}
    assert list(table.splits()) == ["train", "val", "test"]
    assert table.group_names == ("1", "2", "3", "4")
    usual = open_data(csv(root, text.replace("photo,species,part,patient", "img,label,split,group")))
    assert usual.splits()["train"].fingerprint == table.splits()["train"].fingerprint
    assert usual.group.tolist() == table.group.tolist()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"file": "photo", "label": "specis"}, "but photo, species, group. Did you mean species?"),
        ({"file": "phot"}, "no column phot for the pictures, but photo, species, group. Did you mean photo?"),
        ({"label": "species"}, "no column file_name or image or path for the pictures, but photo"),
        ({"file": "photo"}, "no column label for the labels, but photo, species, group. Choose"),
        ({"file": "photo", "label": "species", "split": "fold"}, "has no column fold for the splits"),
        ({"file": "photo", "label": "species", "group": "groups"}, "has no column groups for the groups"),
        ({"file": "photo", "labels": ("species", "group", "x")}, "has no column x for a class"),
    ],
)  # fmt: skip
def test_a_column_that_is_not_there(root, options, says):
    path = csv(root, "photo,species,group\na.png,cat,1\nb.png,dog,2\n")
    with pytest.raises(UsageError) as error:
        open_data(path, ReaderOptions(**options))
    assert says in str(error.value)


H = "file_name,label"
MANY_MISSING = f"{H}\na.png,cat\n" + "".join(f"{i}.png,{'cat' if i % 2 else 'dog'}\n" for i in range(60))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (MANY_MISSING, r"60 of 61 files are missing: 0\.png, 1\.png, 2\.png and 57 more\.\nPaths are"),
        (H + "\na.png,cat\nb.png,\nsub/c.png,dog\nsub/d.png,\n", r"t\.csv, lines 3, 5: no label \(2 rows\)"),
        (H + "\na.png,\nb.png,\n", r"there are no classes"),
        (H + "\na.png,cat\n,dog\n", r"t\.csv, line 3: no file in the column 'file_name'"),
        (H + "\na.png,cat\nb.png,cat\n", r"one class only \(cat\)"),
        (H + "\na.png,cat\nb.png,Cat\n", r"'Cat' and 'cat' differ only by case"),
        (H + "\na.png,cat\nb.png,dog,3\n", r"t\.csv, line 3: 3 values under 2 columns\. Quote"),
        (H + "\na.png,cat\nb.png\n", r"t\.csv, line 3: 1 values under 2 columns"),
        ('file_name,label\na.png,"cat\nb.png,dog\n', r"t\.csv, line 3: unexpected end of data"),
        (H + ",label\na.png,cat,cat\n", r"t\.csv, line 1: a column is named twice"),
        (H + "\n", r"t\.csv has no rows"),
        ("", r"t\.csv has no rows"),
        (H + "\na.png,cat\nb.png,dog\n./a.png,dog\n", r"t\.csv, lines 2, 4: a\.png is listed twice"),
        (H + ",split\na.png,cat,train\nb.png,dog,trian\n", r"line 3: the column 'split' holds 'trian' where"),
        (H + ",split\na.png,cat,train\nb.png,dog,\n", r"line 3: the column 'split' holds '' where"),
        (H + ",group\na.png,cat,1\nb.png,dog,\n", r"line 3: no group \(1 rows\) in the column 'group'"),
        (H + ",labels\na.png,cat,x\nb.png,dog,y\n", r"has both label and labels\. Choose"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_its_line(root, text, says):
    path = csv(root, text, "t.csv")
    with pytest.raises(VitrailError, match=says) as error:
        open_data(path)
    assert str(error.value).count("\n") <= 1
    assert str(path) in str(error.value) or str(root) in str(error.value)


def test_text_in_another_encoding_is_said(root):
    path = root / "t.csv"
    path.write_bytes("file_name,label\na.png,été\nb.png,cat\n".encode("latin-1"))
    with pytest.raises(VitrailError, match=r"t\.csv is not UTF-8 text \(byte 22\)\. Save it as UTF-8"):
        open_data(path)
    path.write_bytes(TEXT.encode("utf-16"))
    with pytest.raises(VitrailError, match="not UTF-8 text"):
        open_data(path)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("{'a': 1}", "line 2 is not JSON"),
        ("[1, 2]", "line 2: expected one JSON object a line"),
        ('{"label": "x"}', "line 2: no file"),
    ],
)
def test_broken_jsonl(root, line, says):
    (root / "t.jsonl").write_text(f'{{"image": "a.png", "label": "cat"}}\n{line}\n')
    with pytest.raises(VitrailError, match=says):
        open_data(root / "t.jsonl")


def test_half_a_character_is_named_with_its_line(root):
    """JSON can spell what UTF-8 cannot: such a class name could not be stored."""
    text = '{"file_name": "a.png", "label": "caf\\u00e9"}\n{"file_name": "b.png", "label": "x\\ud800"}\n'
    with pytest.raises(VitrailError, match=r"line 2: half a character"):
        open_data(csv(root, text, "table.jsonl"))


def test_broken_parquet(root):
    (root / "t.parquet").write_bytes(b"PAR1 and then nothing of the kind")
    with pytest.raises(VitrailError, match=r"t\.parquet is no parquet file, or a broken one"):
        open_data(root / "t.parquet")


def test_dangling_links_and_folders_are_rows(root):
    (root / "gone.png").symlink_to(root / "nowhere.png")
    (root / "folder.png").mkdir()
    os.mkfifo(root / "pipe.png")
    table = open_data(csv(root, TEXT + "gone.png,cat\nfolder.png,dog\npipe.png,cat\n"))
    assert list(table.keys)[4:] == ["gone.png", "folder.png", "pipe.png"]


def test_a_bar_in_single_labels_is_mentioned(root):
    table = open_data(csv(root, TEXT.replace("a.png,cat", "a.png,cat|dog")))
    assert table.notes == (
        "Classes with | in their names: cat|dog. If that separates classes, say --data.labels label.",
    )


def test_a_split_without_labels_is_left_out_and_said(root):
    text = "file_name,label,split\na.png,cat,train\nb.png,dog,train\nsub/c.png,,test\nsub/d.png,,test\n"
    table = open_data(csv(root, text))
    assert table.notes == ("test has 2 pictures without labels: left out.",)
    assert list(table.splits()["train"].keys) == ["a.png", "b.png"]
    assert "test" not in table.splits()


def test_metadata_in_a_folder_and_in_its_splits(root, tmp_path_factory):
    csv(root, TEXT, "metadata.csv")
    assert labelled(open_data(root)) == RIGHT
    both = tmp_path_factory.mktemp("both")
    for split in ("train", "validation"):
        (both / split).mkdir()
        for name in ("x.png", "y.png"):
            (both / split / name).write_bytes(split.encode())
        (both / split / "metadata.jsonl").write_text(
            '{"file_name": "x.png", "label": "cat"}\n{"file_name": "y.png", "label": "dog"}\n'
        )
    table = open_data(both)
    assert labelled(table, "train") == {"train/x.png": "cat", "train/y.png": "dog"}
    assert labelled(table, "val") == {"validation/x.png": "cat", "validation/y.png": "dog"}
    (both / "train" / "metadata.csv").touch()
    with pytest.raises(UsageError, match=r"has train/metadata\.csv, train/metadata\.jsonl\. Keep one"):
        open_data(both)


def test_a_class_that_is_only_tested_is_an_error(root):
    text = "file_name,label,split\na.png,cat,train\nb.png,dog,train\nsub/c.png,cat,val\nsub/d.png,emu,test\n"
    with pytest.raises(VitrailError, match="no training picture of emu"):
        complete(open_data(csv(root, text)), seed=0)


@pytest.mark.slow
def test_a_table_of_a_million_rows(tmp_path):
    (tmp_path / "x.png").touch()
    rows = "".join(f"sub{'/' * (i % 7)}/../{'./' * (i % 9)}x{i}.png,{i % 1000}\n" for i in range(1_000_000))
    with pytest.raises(VitrailError, match="1000000 of 1000000 files are missing"):
        open_data(csv(tmp_path, "file_name,label\n" + rows))
