"""Batches are a pure function of (seed, epoch, number), and broken pictures stop nothing."""

import hashlib
import io
import os
import shutil
import signal
import struct
import tempfile
import threading
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_sample_image

from vitrail.data.augment import PRESETS, Augment
from vitrail.data.cache import PixelCache
from vitrail.data.decode import decode
from vitrail.data.loader import AHEAD, Loader
from vitrail.data.preprocess import Preprocess
from vitrail.data.samples import Files, Table, Texts
from vitrail.data.stamps import digest
from vitrail.errors import VitrailError

PREPROCESS = Preprocess(size=(32, 32))


def collate(targets):
    return {"label": torch.nn.functional.one_hot(torch.from_numpy(targets["label"]).long(), 7).float()}


def samples_of(names, pictures, home="test"):
    count = len(names)
    return Table(
        home=home,
        classes=tuple("abcdefg"),
        keys=Texts.of(names),
        pictures=pictures,
        contents=np.zeros(count, np.uint64),
        stamps=np.array([digest(name.encode()) for name in names], np.uint64),
        targets={"label": np.arange(count, dtype=np.int32) % 7},
        split=np.zeros(count, np.int8),
    ).splits()["all"]


def crops(count, seed=0):
    """Return parts of a photograph, of different sizes."""
    photograph = load_sample_image("china.jpg")
    chance = np.random.default_rng(seed)
    for _ in range(count):
        height, width = chance.integers(30, 90, 2)
        y, x = chance.integers(0, 427 - height), chance.integers(0, 640 - width)
        yield photograph[y : y + height, x : x + width]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    for number, pixels in enumerate(crops(50)):
        Image.fromarray(pixels).save(folder / f"{number:02}.{'jpg' if number % 2 else 'png'}")
    return folder


@pytest.fixture(scope="module")
def samples(folder):
    names = sorted(path.name for path in folder.iterdir())
    return samples_of(names, Files(str(folder), Texts.of(names)), str(folder))


def load(samples, **options):
    given = {
        "batch": 8,
        "seed": 3,
        "collate": collate,
        "augment": PRESETS["strong"],
        "shuffle": True,
    } | options
    return Loader(samples, PREPROCESS, **given)


def identity(batch):
    """Return what two equal batches have in common, to the bit."""
    total = hashlib.sha256(batch.pixels["image"].numpy().tobytes())
    total.update(batch.targets["label"].numpy().tobytes())
    return batch.number, tuple(batch.keys), total.hexdigest(), tuple(batch.frames)


def identities(batches):
    return [identity(batch) for batch in batches]


# ---------------------------------------------------------------------------------- what is in a batch


def test_an_epoch_holds_every_picture_once(samples):
    loader = load(samples, workers=2)
    batches = list(loader.epoch(0))
    assert len(loader) == len(batches) == 7
    assert [len(batch) for batch in batches] == [8] * 6 + [2]
    assert [batch.number for batch in batches] == list(range(7))
    keys = [key for batch in batches for key in batch.keys]
    assert sorted(keys) == list(samples.keys)
    assert keys != list(samples.keys)
    label = {key: samples.targets["label"][index] for index, key in enumerate(samples.keys)}
    for batch in batches:
        assert batch.pixels["image"].dtype == torch.uint8
        assert batch.pixels["image"].shape == (len(batch), 3, 32, 32)
        assert batch.pixels["image"].is_contiguous()
        assert batch.targets["label"].argmax(1).tolist() == [label[key] for key in batch.keys]
    other = [key for batch in loader.epoch(1) for key in batch.keys]
    assert sorted(other) == sorted(keys)
    assert other != keys
    assert not loader.broken


@pytest.mark.parametrize("augment", [None, PRESETS["strong"], Augment(flip=True, shift=2)])
@pytest.mark.parametrize("cached", [False, True])
def test_workers_and_cache_change_nothing(samples, augment, cached):
    wanted = [identities(load(samples, augment=augment).epoch(epoch)) for epoch in (0, 1)]
    assert wanted[0] != wanted[1]
    for workers in (0, 1, 4):
        cache = PixelCache.open(samples, PREPROCESS) if cached else None
        loader = load(samples, augment=augment, workers=workers, cache=cache)
        for epoch in (0, 1, 0):
            assert identities(loader.epoch(epoch)) == wanted[epoch]
        if cache:
            assert all(cache.get(row, int(samples.stamps[row])) is not None for row in range(50))
            cache.close()


@pytest.mark.parametrize("workers", [0, 3])
def test_an_epoch_goes_on_where_it_was_left(samples, workers):
    whole = identities(load(samples).epoch(4))
    for start in range(8):
        assert identities(load(samples, workers=workers).epoch(4, start=start)) == whole[start:]


@pytest.mark.parametrize("workers", [0, 3])
def test_a_last_picture_goes_into_the_batch_before_it_in_training(samples, workers):
    data = samples.take(np.arange(49))
    loader = load(data, workers=workers)
    batches = list(loader.epoch(0))
    assert len(loader) == 6
    assert [len(batch) for batch in batches] == [8] * 5 + [9]
    assert [batch.number for batch in batches] == list(range(6))
    assert sorted(key for batch in batches for key in batch.keys) == sorted(data.keys)
    whole = identities(batches)
    for start in range(7):
        assert identities(load(data, workers=workers).epoch(0, start=start)) == whole[start:]
    for options in ({"augment": None}, {"shuffle": False}):  # nothing is learned from these
        batches = list(load(data, workers=workers, **options).epoch(0))
        assert [len(batch) for batch in batches] == [8] * 6 + [1]
        assert len(load(data, **options)) == 7


@pytest.mark.parametrize(
    ("count", "batch", "sizes"), [(1, 8, [1]), (3, 1, [1, 1, 1]), (2, 8, [2]), (3, 2, [3]), (9, 8, [9])]
)
def test_few_pictures_in_training(samples, count, batch, sizes):
    loader = load(samples.take(np.arange(count)), batch=batch)
    assert [len(each) for each in loader.epoch(0)] == sizes
    assert len(loader) == len(sizes)


def test_another_seed_is_another_order(samples):
    first, second = (next(iter(load(samples, seed=seed).epoch(0))).keys for seed in (1, 2))
    assert first != second


def test_without_augmentation_it_is_the_answering_path(samples):
    """Training's evaluation and a served model see the same tensor, difference 0."""
    for batch in load(samples, augment=None, shuffle=False, workers=2).epoch(0):
        numbers = PREPROCESS.normalise(batch.pixels["image"]).numpy()
        for key, mine, frame in zip(batch.keys, numbers, batch.frames, strict=True):
            index = list(samples.keys).index(key)
            answered, where = PREPROCESS(samples.source(index))
            assert np.array_equal(mine.view(np.uint32), answered.view(np.uint32))
            assert frame == where


def test_deep_grey_pictures_are_the_same_in_training_and_in_answering():
    ramp = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    stored = []
    for values in (ramp, ramp.astype(">u2"), ramp.astype(np.float32)):
        file = io.BytesIO()
        Image.fromarray(values.astype(values.dtype.newbyteorder("="))).save(file, "TIFF")
        stored.append(file.getvalue())
    preprocess = Preprocess(size=(256, 256), channels=1)
    data = samples_of(["a", "b", "c"], stored)
    with PixelCache.open(data, preprocess) as cache:
        for _ in range(2):
            loader = Loader(data, preprocess, batch=3, seed=0, collate=collate, cache=cache)
            pixels = next(iter(loader.epoch(0))).pixels["image"]
            assert all(len(pixels[number].unique()) == 256 for number in range(3))
            for number in range(3):
                answered = preprocess(stored[number])[0]
                assert np.array_equal(preprocess.normalise(pixels[number]).numpy(), answered)


def test_pictures_in_memory_that_need_no_resizing_bypass_the_cache():
    arrays = np.random.default_rng(0).integers(0, 256, (20, 32, 32, 3), dtype=np.uint8)
    data = samples_of([str(number) for number in range(20)], arrays)
    with PixelCache.open(data, PREPROCESS) as cache:
        for batch in load(data, augment=None, cache=cache).epoch(0):
            for key, pixels in zip(batch.keys, batch.pixels["image"], strict=True):
                assert np.array_equal(pixels.permute(1, 2, 0).numpy(), arrays[int(key)])
        assert not (cache.folder / "heap").stat().st_size


# ---------------------------------------------------------------------------------- threads


def others():
    return [thread for thread in threading.enumerate() if thread.name.startswith("vitrail")]


def test_no_thread_is_left_behind(samples):
    assert not others()
    loader = load(samples, workers=4)
    epoch = loader.epoch(0)
    next(epoch)
    assert others()
    epoch.close()
    assert not others()
    for _ in loader.epoch(0):
        break
    assert not others()
    assert len(list(loader.epoch(0))) == 7


@pytest.mark.parametrize("workers", [0, 3])
def test_an_interrupt_ends_it_at_once(workers):
    pictures = Slow(crops(200))
    loader = load(samples_of([str(number) for number in range(200)], pictures), workers=workers, batch=2)
    timer = threading.Timer(0.2, lambda: os.kill(os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        list(loader.epoch(0))
    timer.join()
    assert not others()
    assert 0 < pictures.asked < 100


class Slow(list):
    """Pictures that come from far away."""

    asked = 0

    def __getitem__(self, index):
        self.asked += 1
        threading.Event().wait(0.02)
        return super().__getitem__(index)


class Watched(list):
    """Pictures that note in which order they were asked for, and can fail in a way that is no broken file."""

    def __init__(self, pictures, fails=None):
        super().__init__(pictures)
        self.asked, self.fails = [], fails

    def __getitem__(self, index):
        self.asked.append(index)
        if index == self.fails:
            raise ZeroDivisionError("a fault of the program")
        return super().__getitem__(index)


def test_only_so_many_batches_are_made_ahead():
    pictures = Watched(crops(200))
    loader = load(
        samples_of([str(number) for number in range(200)], pictures), batch=4, workers=2, shuffle=False
    )
    epoch = loader.epoch(0)
    for _ in range(3):
        next(epoch)
    bound = 4 * (3 + AHEAD * 2 + 1)
    threading.Event().wait(0.3)
    assert len(pictures.asked) <= bound
    epoch.close()
    assert len(pictures.asked) <= bound


@pytest.mark.parametrize("workers", [0, 2])
def test_faults_of_the_program_are_not_hidden(workers):
    pictures = Watched(crops(40), fails=21)
    loader = load(samples_of([str(number) for number in range(40)], pictures), workers=workers, shuffle=False)
    seen = []
    with pytest.raises(ZeroDivisionError):
        seen.extend(batch.number for batch in loader.epoch(0))
    assert seen == [0, 1]
    assert not others()


# ---------------------------------------------------------------------------------- broken pictures (F13)


def chunk(name, data):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def break_one(path, way, jpeg, png):
    """Make one file that is broken in one of fifteen ways, or only looks so; return the kind of its fault."""
    header = struct.pack(">IIBBBBB", 40_000, 40_000, 8, 2, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
    place = png.index(b"IDAT") - 4
    end = place + 8 + int.from_bytes(png[place : place + 4])
    contents = {
        "empty": b"",
        "text": b"<html><body>404 not found</body></html>",
        "cut at 5 %": jpeg[: len(jpeg) // 20],
        "cut at 50 %": jpeg[: len(jpeg) // 2],
        "cut at 95 %": jpeg[: len(jpeg) * 95 // 100],
        "cut at 99.9 %": jpeg[: len(jpeg) * 999 // 1000],
        "checksum": png[:end] + bytes([png[end] ^ 1]) + png[end + 1 :],
        "bomb": bomb,
        "closed": jpeg,
        "png named jpg": png,
    }
    if way == "folder":
        path.mkdir()
    elif way == "link":
        path.symlink_to(path.with_name("nowhere.jpg"))
    elif way in ("cmyk", "1x1", "long"):
        image = Image.open(io.BytesIO(jpeg)).convert("CMYK" if way == "cmyk" else "RGB")
        image = image if way == "cmyk" else image.resize((1, 1) if way == "1x1" else (20_000, 1))
        image.save(path, "JPEG")
    else:
        path.write_bytes(contents[way])
    if way == "closed":
        path.chmod(0)
    return KINDS_BY_WAY[way]


KINDS_BY_WAY = {
    "empty": "empty",
    "text": "not a picture",
    "cut at 5 %": "cut off",
    "cut at 50 %": "cut off",
    "cut at 95 %": "cut off",
    "cut at 99.9 %": "cut off",
    "checksum": "bad checksum",
    "folder": "a folder",
    "link": "dangling link",
    "closed": "no permission",
    "bomb": "too large",
    # these look odd and are good
    "png named jpg": None,
    "cmyk": None,
    "1x1": None,
    "long": None,
}


@pytest.fixture
def nobody():
    """Be an ordinary user for a while, whom permissions stop, in a folder that such a user can enter."""
    folder = Path(tempfile.mkdtemp(prefix="vitrail-"))
    folder.chmod(0o755)
    root = os.geteuid() == 0
    yield folder, lambda: os.seteuid(65534) if root else None
    if root:
        os.seteuid(0)
    shutil.rmtree(folder)


def prints(folder):
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.iterdir())
        if path.is_file()
    }


@pytest.mark.parametrize(("count", "spoilt"), [(100, 15), pytest.param(1000, 60, marks=pytest.mark.slow)])
def test_broken_pictures_are_named_and_the_rest_is_used(count, spoilt, nobody, monkeypatch):
    folder, become = nobody
    ways = list(KINDS_BY_WAY)
    wanted, names = {}, []
    numbers = set(np.random.default_rng(5).permutation(count)[:spoilt].tolist())
    for number, pixels in enumerate(crops(count, seed=1)):
        name = f"{number:04}.jpg"
        file, png = io.BytesIO(), io.BytesIO()
        Image.fromarray(pixels).save(file, "JPEG", quality=90)
        Image.fromarray(pixels).save(png, "PNG")
        if number in numbers:
            kind = break_one(folder / name, ways[len(wanted) % len(ways)], file.getvalue(), png.getvalue())
            wanted[name] = kind
        else:
            (folder / name).write_bytes(file.getvalue())
        names.append(name)
    assert set(wanted.values()) == set(KINDS_BY_WAY.values())
    before = prints(folder)
    store = folder / "cache"
    store.mkdir(mode=0o777)
    store.chmod(0o777)
    monkeypatch.setenv("VITRAIL_CACHE", str(store))
    decode(
        str(folder / next(name for name in names if name not in wanted))
    )  # its plugins, while they may be read
    data = samples_of(names, Files(str(folder), Texts.of(names)), str(folder))
    become()
    with PixelCache.open(data, PREPROCESS) as cache:
        assert cache.state == "writing"
        loader = load(data, batch=16, workers=2, cache=cache)
        epochs = [list(loader.epoch(epoch)) for epoch in (0, 1)]
    if os.getuid() == 0:
        os.seteuid(0)
    found = {key: reason.split(":")[0] for key, reason in loader.broken.items()}
    assert found == {name: kind for name, kind in wanted.items() if kind}
    for batches in epochs:
        seen = sorted(key for batch in batches for key in batch.keys)
        assert seen == sorted(set(names) - set(found))
    assert prints(folder) == before


@pytest.mark.parametrize("workers", [0, 2])
def test_a_batch_without_a_picture_is_left_out(workers):
    pictures = [next(crops(1)) if number // 4 != 2 else b"nothing" for number in range(20)]
    loader = load(
        samples_of([str(number) for number in range(20)], pictures), batch=4, workers=workers, shuffle=False
    )
    assert [batch.number for batch in loader.epoch(0)] == [0, 1, 3, 4]
    assert [batch.number for batch in loader.epoch(0, start=2)] == [3, 4]
    assert loader.broken == dict.fromkeys(["8", "9", "10", "11"], "not a picture: of no format that is known")


def test_a_training_batch_of_which_one_picture_is_left_is_left_out():
    pictures = [next(crops(1)), b"nothing"]
    data = samples_of([str(number) for number in range(20)], (pictures * 10))
    sizes = {}
    for shuffle in (True, False):
        loader = load(data, batch=2, shuffle=shuffle)
        sizes[shuffle] = {batch.number: len(batch) for batch in loader.epoch(0)}
        assert len(loader.broken) == 10
    assert set(sizes[False].values()) == {1}  # nothing is learned from an order that never changes
    assert set(sizes[True].values()) == {2}
    assert 0 < len(sizes[True]) < len(loader) == 10
    loader = load(samples_of(["one", "two"], pictures))
    with pytest.raises(VitrailError, match="Only 1 of 2 pictures can be read, and no two in one batch; the"):
        list(loader.epoch(0))


def test_nothing_but_broken_pictures_is_an_error():
    loader = load(samples_of(["one", "two"], [b"nothing", b""]), shuffle=False)
    with pytest.raises(
        VitrailError, match=r"None of 2 pictures can be read; the first one, one: not a picture"
    ):
        list(loader.epoch(0))
    assert list(loader.epoch(0, start=1)) == []
