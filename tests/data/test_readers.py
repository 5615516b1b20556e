"""Every reader in the list keeps the same promises; a newcomer is tested by being listed."""

import gzip
import json
import os
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vitrail.data.readers import READERS, ReaderOptions, open_data
from vitrail.data.split import complete
from vitrail.errors import UsageError, VitrailError
from vitrail.values import IGNORED


def draw(path, shade=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (3, 2), shade).save(path)


def make_folder(root):
    for number in range(24):
        draw(root / ("cat", "dog")[number % 2] / f"{number}.png", number)
    return str(root)


def make_table(root):
    make_folder(root)
    rows = [
        f"{path.relative_to(root).as_posix()},{path.parent.name}\n" for path in sorted(root.rglob("*.png"))
    ]
    (root / "labels.csv").write_text("file_name,label\n" + "".join(rows))
    return str(root / "labels.csv")


def make_idx(root):
    root.mkdir(parents=True)
    for part, count in (("train", 20), ("t10k", 8)):
        pixels = np.random.default_rng(count).integers(0, 256, (count, 4, 5), np.uint8)
        header = struct.pack(">HBBIII", 0, 8, 3, count, 4, 5)
        (root / f"{part}-images-idx3-ubyte.gz").write_bytes(gzip.compress(header + pixels.tobytes(), mtime=0))
        labels = struct.pack(">HBBI", 0, 8, 1, count) + bytes(i % 3 for i in range(count))
        (root / f"{part}-labels-idx1-ubyte").write_bytes(labels)
    return str(root)


def make_masks(root):
    for number in range(24):
        draw(root / "images" / f"{number}.png", number)
        draw(root / "masks" / f"{number}.png", number % 3)
    return str(root)


def make_coco(root):
    outlines = [[0, 0, 2, 0, 2, 2, 0, 2]]
    file = {
        "images": [{"id": number, "file_name": f"{number}.png"} for number in range(24)],
        "categories": [{"id": number, "name": name} for number, name in enumerate(("cat", "dog"))],
        "annotations": [
            {"image_id": number, "category_id": number % 2, "segmentation": outlines} for number in range(24)
        ],
    }
    for number in range(24):
        draw(root / "images" / f"{number}.png", number)
    (root / "annotations").mkdir()
    (root / "annotations/instances_default.json").write_text(json.dumps(file))
    return str(root)


def make_brushes(root):
    for number in range(24):
        draw(root / "images" / f"{number}.png", number)
        draw(root / f"task-{number}-annotation-{number}-by-1-tag-{('cat', 'dog')[number % 2]}-0.png", 255)
    tasks = [{"id": number, "data": {"image": f"/data/{number}.png"}} for number in range(24)]
    (root / "tasks.json").write_text(json.dumps(tasks))
    return str(root)


def make_geojson(root):
    for number in range(24):
        draw(root / f"{number}.png", number)
        geometry = {"type": "Polygon", "coordinates": [[[0, 0], [2, 0], [2, 2], [0, 0]]]}
        properties = {"classification": {"name": ("cat", "dog")[number % 2]}}
        feature = {"type": "Feature", "geometry": geometry, "properties": properties}
        (root / f"{number}.geojson").write_text(json.dumps([feature]))
    return str(root)


def make_hub(root, monkeypatch):
    import huggingface_hub
    import pyarrow as pa
    from pyarrow import parquet

    root.mkdir(parents=True)
    pictures = [{"bytes": struct.pack(">I", i), "path": None} for i in range(24)]
    labels = [("cat", "dog")[i % 2] for i in range(24)]
    parquet.write_table(pa.table({"image": pictures, "label": labels}), root / "train.parquet")
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *_, **__: str(root))
    return "hf://someone/pets"


@pytest.fixture(params=sorted(READERS))
def made(request, tmp_path, monkeypatch):
    """Return a function that makes the data of one reader in a folder, and returns where it is."""
    makers = {"folder": make_folder, "table": make_table, "idx": make_idx, "digits": lambda _: "digits"}
    makers |= {"masks": make_masks, "coco": make_coco, "geojson": make_geojson}
    makers["brushes"] = make_brushes
    makers["hub"] = lambda root: make_hub(root, monkeypatch)
    monkeypatch.chdir(tmp_path)
    return makers[request.param]


def test_every_reader_gives_whole_samples(made, tmp_path):
    table = open_data(made(tmp_path / "data"))
    assert len(table.classes) >= 2
    assert all(isinstance(name, str) for name in table.classes)
    every = [samples for samples in table.splits().values() for samples in [samples]]
    assert sum(map(len, every)) == len(table) > 0
    for samples in every:
        assert len(set(samples.keys)) == len(samples)
        if table.masks is None:
            assert samples.targets["label"].dtype == np.int32
            assert set(samples.targets["label"].tolist()) <= set(range(len(table.classes)))
        else:
            assert samples.targets["labels"].shape == (len(samples), len(table.classes))
            found = {value for index in range(len(samples)) for value in np.unique(samples.mask(index))}
            assert found <= {*range(len(table.classes)), IGNORED}
        assert samples.stamps.dtype == np.uint64
        assert samples.rows.dtype == np.int64
        sample = samples[len(samples) - 1]
        assert sample.key == samples.keys[-1]
        source = sample.pictures["image"]
        assert isinstance(source, bytes | np.ndarray) or Path(source).is_absolute()
        if isinstance(source, np.ndarray):
            assert source.dtype == np.uint8
            assert source.ndim in (2, 3)


def test_every_reader_gives_the_same_again_and_elsewhere(made, tmp_path):
    here = complete(open_data(made(tmp_path / "data")), seed=0)
    again = complete(open_data(made(tmp_path / "moved" / "elsewhere")), seed=0)
    assert here.fingerprint == again.fingerprint
    assert [list(part.keys) for part in (here.train, here.val)] == [
        list(part.keys) for part in (again.train, again.val)
    ]


def test_no_reader_writes_into_the_data(made, tmp_path, monkeypatch):
    monkeypatch.setattr("vitrail.data.index.LEAST", 1)
    monkeypatch.setattr("vitrail.data.readers.embedded.IN_MEMORY", 0)
    where = made(tmp_path / "data")

    def state():
        walk = [(folder, *folders, *files) for folder, folders, files in os.walk(tmp_path / "data")]
        files = [path for path in (tmp_path / "data").rglob("*") if path.is_file()]
        times = {path: path.stat().st_mtime_ns for path in (tmp_path / "data").rglob("*")}
        return walk, times, {path: path.read_bytes() for path in files}

    before = state()
    splits = complete(open_data(where), seed=0)
    assert splits.train.source(0) is not None
    assert state() == before


def test_numbers_of_the_digits():
    from sklearn.datasets import load_digits

    table, right = open_data("digits"), load_digits()
    assert table.classes == tuple("0123456789")
    assert (table.targets["label"] == right.target).all()
    pixels = np.stack([table.pictures[i] for i in range(len(table))])
    assert pixels.max() == 255
    assert np.abs(pixels / 255 * 16 - right.images).max() < 0.04
    assert table.splits().keys() == {"all"}


def test_the_digits_are_found_even_if_their_file_moves(monkeypatch):
    usual = open_data("digits")
    monkeypatch.setattr("vitrail.data.readers.digits.find_spec", lambda _: None)
    other = open_data("digits")
    assert other.splits()["all"].fingerprint == usual.splits()["all"].fingerprint


def test_a_path_that_exists_wins_over_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_folder(tmp_path / "digits")
    assert open_data("digits").classes == ("cat", "dog")


@pytest.mark.parametrize(
    ("where", "says"),
    [
        ("digit", "There is no data at digit. Did you mean digits? Give a folder with a folder of pictures"),
        ("nowhere/at/all", "There is no data at nowhere/at/all. Give a folder"),
        ("scan.mat", "scan.mat is a file that is not understood as data. Give a folder"),
        ("matrices", "matrices holds a.mat, b.mat, c.mat and 1 more, and nothing that is understood as data"),
        ("hf://", "hf:// is no data set on the Hub: expected hf://owner/name."),
    ],
)
def test_what_is_not_understood_is_said(tmp_path, monkeypatch, where, says):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "scan.mat").touch()
    (tmp_path / "matrices").mkdir()
    for name in "abcd":
        (tmp_path / "matrices" / f"{name}.mat").touch()
    with pytest.raises(UsageError) as error:
        open_data(where)
    assert says in str(error.value)
    assert str(error.value).count("\n") <= 1


def test_an_empty_folder_is_said(tmp_path):
    with pytest.raises(VitrailError, match=r"holds nothing\. Expected a folder of pictures for each class"):
        open_data(tmp_path)


def test_reading_starts_without_heavy_libraries():
    heavy = "torch torchvision timm sklearn scipy matplotlib pyarrow huggingface_hub"
    code = f"""
import sys
from vitrail.data.readers import open_data
from vitrail.data.split import complete
complete(open_data("digits"), seed=0)
sys.exit(" ".join(name for name in {heavy.split()!r} if name in sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert not done.stderr.strip()


def test_options_are_frozen():
    with pytest.raises(AttributeError):
        ReaderOptions().label = "x"
