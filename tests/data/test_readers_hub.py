"""Pictures inside parquet files, as the Hub has them, and the Hub itself, through a client that is faked."""

import io
import json
import sys
from pathlib import Path
from unittest.mock import MagicMock

import huggingface_hub
import numpy as np
import pytest
from huggingface_hub import constants, errors
from PIL import Image

from vitrail.data.readers import ReaderOptions, embedded, open_data
from vitrail.data.split import complete
from vitrail.errors import UsageError, VitrailError


def encoded(shade):
    file = io.BytesIO()
    Image.new("L", (4, 3), shade).save(file, "png")
    return file.getvalue()


def write(
    path, labels, *, names=("cat", "dog"), column="label", paths=True, first=0, kind="ClassLabel", group=4
):
    """Write pictures and numbers of classes as the datasets library does, with names in the schema."""
    import pyarrow as pa
    from pyarrow import parquet

    pictures = [
        {"bytes": encoded(first + i), "path": f"{path.stem}-{i}.png" if paths else None}
        for i in range(len(labels))
    ]
    table = pa.table({"image": pictures, column: labels})
    feature = {"names": list(names), "_type": "ClassLabel"}
    if kind == "List":
        feature = {"feature": feature, "_type": "List"}
    features = {"image": {"_type": "Image"}, column: feature}
    if names is not None:
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(table, path, row_group_size=group)
    return path


def shades(samples):
    return [np.asarray(Image.open(io.BytesIO(samples.source(i))))[0, 0] for i in range(len(samples))]


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A data set in the Hub's layout, a client that finds it, and a list of what the client is asked."""
    root = tmp_path / "snapshots" / "abc123"
    write(root / "data" / "train-00000-of-00002.parquet", [0, 1, 0, 1, 1])
    write(root / "data" / "train-00001-of-00002.parquet", [1, 0, 0], first=5)
    write(root / "data" / "test-00000-of-00001.parquet", [0, 1], first=8)
    asked = []

    def snapshot(repository, **options):
        asked.append((repository, options))
        return str(root)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    return root, asked


def test_a_data_set_of_the_hub(hub):
    _, asked = hub
    table = open_data("hf://someone/pets")
    assert table.classes == ("cat", "dog")
    assert table.home == "hf://someone/pets@abc123"
    train, test = table.splits()["train"], table.splits()["test"]
    assert train.targets["label"].tolist() == [0, 1, 0, 1, 1, 1, 0, 0]
    assert shades(train) == list(range(8))
    assert shades(test) == [8, 9]
    assert len(set(table.stamps.tolist())) == 10
    assert asked == [
        (
            "someone/pets",
            {
                "repo_type": "dataset",
                "revision": None,
                "allow_patterns": "*.parquet",
                "local_files_only": False,
            },
        )
    ]
    assert complete(table, seed=0).test.keys[0] == "test-00000-of-00001-0.png"


def test_the_same_files_in_a_folder_of_ones_own(hub):
    root, _ = hub
    here, there = open_data(root), open_data("hf://someone/pets")
    assert here.splits()["train"].fingerprint == there.splits()["train"].fingerprint


def test_pictures_that_are_many_lie_in_the_cache(hub, monkeypatch):
    small = open_data("hf://someone/pets").splits()["train"]
    monkeypatch.setattr(embedded, "IN_MEMORY", 0)
    for _ in range(2):
        mapped = open_data("hf://someone/pets").splits()["train"]
        assert shades(mapped) == list(range(8))
        assert mapped.fingerprint == small.fingerprint
    (kept,) = (embedded.cache_home() / "pictures").iterdir()
    assert kept.suffix == ".bin"
    root, _ = hub
    write(root / "data" / "train-00001-of-00002.parquet", [1, 0, 0], first=50)
    assert shades(open_data("hf://someone/pets").splits()["train"])[5:] == [50, 51, 52]


@pytest.mark.parametrize("obstacle", ["no room", "not writable"])
def test_a_cache_without_room_is_said(hub, monkeypatch, tmp_path, obstacle):
    monkeypatch.setattr(embedded, "IN_MEMORY", 0)
    if obstacle == "no room":
        usage = type("usage", (), {"free": 10})
        monkeypatch.setattr(embedded.shutil, "disk_usage", lambda _: usage)
        says = r"need 0\.0 GB in .*pictures, which has 0\.0 GB free\. Set VITRAIL_CACHE"
    else:
        (tmp_path / "file").touch()
        monkeypatch.setenv("VITRAIL_CACHE", str(tmp_path / "file"))
        says = r"file/pictures cannot be written: Not a directory\. Set VITRAIL_CACHE"
    with pytest.raises(VitrailError, match=says):
        open_data("hf://someone/pets")


def test_without_paths_keys_are_numbers(tmp_path):
    write(tmp_path / "train.parquet", [0, 1, 0, 1], paths=False)
    write(tmp_path / "validation.parquet", [0, 1], paths=False, first=9)
    table = open_data(tmp_path)
    assert list(table.keys) == ["train/0", "train/1", "train/2", "train/3", "val/4", "val/5"]
    assert list(table.splits()) == ["train", "val"]


def test_labels_below_zero_are_none(tmp_path):
    write(tmp_path / "train.parquet", [0, 1, 0, 1])
    write(tmp_path / "test.parquet", [-1, -1])
    table = open_data(tmp_path)
    assert table.notes == ("test has 2 pictures without labels: left out.",)
    assert [len(samples) for samples in table.splits().values()] == [4]
    write(tmp_path / "train.parquet", [0, 1, -1, 7])
    with pytest.raises(
        VitrailError, match=r"train\.parquet, row 4: 7 is not the number of one of the 2 classes"
    ):
        open_data(tmp_path)


def test_numbers_in_a_column_called_labels_are_single_labels(tmp_path):
    write(tmp_path / "a" / "train.parquet", [0, 1, 0, 1], column="labels")
    assert open_data(tmp_path / "a").targets["label"].tolist() == [0, 1, 0, 1]
    assert open_data(tmp_path / "a", ReaderOptions(labels=("labels",))).targets["labels"].sum() == 4


def test_lists_of_classes(tmp_path):
    write(tmp_path / "train.parquet", [[0], [0, 1], [], [1]], column="labels", kind="List")
    table = open_data(tmp_path)
    assert table.classes == ("cat", "dog")
    assert table.targets["labels"].tolist() == [[1, 0], [1, 1], [0, 0], [0, 1]]


def test_plain_bytes_are_pictures_too(tmp_path):
    import pyarrow as pa
    from pyarrow import parquet

    path = tmp_path / "some.parquet"
    parquet.write_table(pa.table({"image": [encoded(3), encoded(4), None], "label": ["x", "y", "x"]}), path)
    samples = open_data(path).splits()["all"]
    assert shades(samples.take([0, 1])) == [3, 4]
    assert samples.source(2) == b""  # named when it is decoded


def test_files_with_different_classes_are_an_error_with_both_lists(tmp_path):
    write(tmp_path / "train.parquet", [0, 1])
    write(tmp_path / "test.parquet", [0, 1], names=("dog", "cat"))
    with pytest.raises(
        VitrailError, match=r"different classes in 'label'\.\nThe first: .*cat.*\. The second: .*dog"
    ):
        open_data(tmp_path)


def test_configurations_are_chosen_by_name(tmp_path, monkeypatch):
    write(tmp_path / "easy" / "train-00000-of-00001.parquet", [0, 1])
    write(tmp_path / "hard" / "train" / "0000.parquet", [0, 1, 1])
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *_, **__: str(tmp_path))
    with pytest.raises(UsageError, match=r"holds 2 data sets \(easy, hard\)\. Choose one: add its name"):
        open_data("hf://someone/pets")
    assert len(open_data("hf://someone/pets/hard")) == 3
    assert len(open_data(tmp_path / "easy")) == 2
    with pytest.raises(VitrailError, match="has no parquet files under medium"):
        open_data("hf://someone/pets/medium")


def test_the_branch_that_the_hub_makes(tmp_path, monkeypatch):
    write(tmp_path / "converted" / "default" / "train" / "0000.parquet", [0, 1, 1])
    (tmp_path / "main").mkdir()
    folders = {None: tmp_path / "main", "refs/convert/parquet": tmp_path / "converted"}
    monkeypatch.setattr(
        huggingface_hub, "snapshot_download", lambda *_, revision, **__: str(folders[revision])
    )
    assert list(open_data("hf://someone/pets").splits()) == ["train"]


def test_a_table_of_the_hub_cannot_read_other_files(tmp_path, monkeypatch):
    import pyarrow as pa
    from pyarrow import parquet

    (tmp_path / "secret.png").touch()
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *_, **__: str(tmp_path / "set"))
    (tmp_path / "set").mkdir()
    for path in ("../secret.png", str(tmp_path / "secret.png"), "x/../../secret.png", "..\\secret.png"):
        rows = pa.table({"file_name": [path, "b.png"], "label": ["x", "y"]})
        parquet.write_table(rows, tmp_path / "set" / "train.parquet")
        with pytest.raises(
            VitrailError, match=r"train\.parquet, row 1: .* leads out of the data set's folder"
        ):
            open_data("hf://someone/pets")


def failing(error):
    def snapshot(*_, **options):
        raise error

    return snapshot


def response(status):
    return MagicMock(status_code=status, headers={})


@pytest.mark.parametrize(
    ("error", "offline", "says"),
    [
        (lambda: errors.LocalEntryNotFoundError("x"), True, "not in the cache (CACHE), and the network"),
        (lambda: errors.LocalEntryNotFoundError("x"), False, "(CACHE), and the Hub cannot"),
        (lambda: errors.RepositoryNotFoundError("x", response=response(404)), False, "not exist"),
        (lambda: errors.GatedRepoError("", response=response(403)), False, "asks for its terms"),
        (lambda: errors.HfHubHTTPError("no\nmore", response=response(500)), False, "not be fetched: no"),
        (lambda: errors.HFValidationError("bad name"), False, "hf://someone/pets: bad name"),
        (lambda: OSError("disk"), False, "could not be fetched: disk"),
    ],
)  # fmt: skip
def test_what_the_hub_refuses_is_one_line(monkeypatch, error, offline, says):
    monkeypatch.setattr(huggingface_hub, "snapshot_download", failing(error()))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    with pytest.raises(VitrailError) as caught:
        open_data("hf://someone/pets", ReaderOptions(offline=offline))
    cache = Path(constants.HF_HUB_CACHE, "datasets--someone--pets")
    assert says.replace("CACHE", str(cache)) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_oldest_data_sets_have_no_owner(hub):
    _, asked = hub
    assert open_data("hf://food101").home == "hf://food101@abc123"
    assert asked[0][0] == "food101"


@pytest.mark.parametrize("by", ["option", "variable"])
def test_offline_asks_the_cache_only(hub, monkeypatch, by):
    _, asked = hub
    if by == "variable":
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    open_data("hf://someone/pets", ReaderOptions(offline=by == "option"))
    assert [options["local_files_only"] for _, options in asked] == [True]


def test_the_real_client_is_asked_rightly_when_offline():
    """No fake: the client itself finds nothing in its empty cache, and says so without a network."""
    with pytest.raises(
        VitrailError, match=r"hf://someone/nothing is not in the cache .* network is forbidden"
    ):
        open_data("hf://someone/nothing", ReaderOptions(offline=True))


def test_without_the_client_one_sentence_with_the_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(
        VitrailError, match=r'^Data from the Hub needs one more package: pip install "vitrail\[hub\]"$'
    ):
        open_data("hf://someone/pets")
