"""A cache that is always right or silent: through kills, full disks, other processes and changed files."""

import json
import os
import random
import resource
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from vitrail.data.cache import ENTRY, PixelCache
from vitrail.data.home import cache_home
from vitrail.data.preprocess import Loaded, Preprocess
from vitrail.errors import UsageError

DATA = SimpleNamespace(home="/somewhere/pictures")
PREPROCESS = Preprocess(size=(32, 32))


def picture(row, side=None):
    """Return the same picture for the same row, in any process."""
    noise = np.random.default_rng(row)
    height, width = (side, side) if side else noise.integers(20, 60, 2).tolist()
    pixels = noise.integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Loaded(pixels, (height * 3, width * 3), (-1, 0, width * 3 - 1, height * 3))


def same(one, two):
    return one.size == two.size and one.covers == two.covers and np.array_equal(one.picture, two.picture)


@pytest.fixture
def cache():
    with PixelCache.open(DATA, PREPROCESS) as cache:
        assert cache.state == "writing"
        yield cache


def test_what_is_put_is_got(cache):
    for row in (0, 5, 70_000):
        assert cache.get(row, 9) is None
        cache.put(row, 9, picture(row))
        assert same(cache.get(row, 9), picture(row))
    assert cache.get(1, 9) is None
    assert not cache.get(0, 9).picture.flags.writeable
    cache.close()
    with PixelCache.open(DATA, PREPROCESS) as again:
        for row in (0, 5, 70_000):
            assert same(again.get(row, 9), picture(row))
        again.put(8, 9, picture(8))
        assert same(again.get(5, 9), picture(5))
        assert same(again.get(8, 9), picture(8))


def test_a_changed_file_is_decoded_again(cache):
    cache.put(3, 1, picture(3))
    assert cache.get(3, 2) is None
    cache.put(3, 2, picture(4))
    assert same(cache.get(3, 2), picture(4))
    assert cache.get(3, 1) is None


def test_the_folder_depends_on_data_and_working_pictures_only(cache):
    assert PixelCache.open(DATA, PREPROCESS) is cache
    assert PixelCache.open(DATA, Preprocess(size=(32, 32), mean=(0, 0, 0))) is cache
    others = [
        PixelCache.open(SimpleNamespace(home="/elsewhere"), PREPROCESS),
        PixelCache.open(DATA, Preprocess(size=(48, 32))),
        PixelCache.open(DATA, Preprocess(size=(32, 32), channels=1)),
    ]
    assert len({each.folder for each in (cache, *others)}) == 4
    assert all(each.folder.parent == cache_home() / "pixels" for each in others)
    assert json.loads((cache.folder / "about").read_text())["data"] == DATA.home
    assert cache.folder.stat().st_mode & 0o077 == 0
    for each in others:
        each.close()


@pytest.mark.parametrize("name", ["heap", "index"])
def test_a_flipped_byte_is_found(cache, name):
    for row in range(12):
        cache.put(row, 7, picture(row))
    cache.close()
    path = cache.folder / name
    good = bytearray(path.read_bytes())
    end = 12 * ENTRY.size if name == "index" else len(good)
    seed = random.randrange(1 << 32)
    print("seed", seed)
    for place in random.Random(seed).sample(range(end), 60):
        bad = good.copy()
        bad[place] ^= 1 << place % 8
        path.write_bytes(bad)
        with PixelCache.open(DATA, PREPROCESS) as again:
            got = [again.get(row, 7) for row in range(12)]
        assert all(each is None or same(each, picture(row)) for row, each in enumerate(got))
        assert sum(each is None for each in got) <= 1
        assert name == "heap" or sum(each is None for each in got) == 1


@pytest.mark.parametrize("name", ["heap", "index"])
def test_a_shortened_file_is_found(cache, name):
    for row in range(12):
        cache.put(row, 7, picture(row))
    cache.close()
    path = cache.folder / name
    os.truncate(path, path.stat().st_size // 2 if name == "heap" else 6 * ENTRY.size + 5)
    with PixelCache.open(DATA, PREPROCESS) as again:
        got = [again.get(row, 7) for row in range(12)]
        assert 3 < sum(each is None for each in got) < 9
        assert all(each is None or same(each, picture(row)) for row, each in enumerate(got))
        for row in range(12):
            again.put(row, 7, picture(row))
        assert all(same(again.get(row, 7), picture(row)) for row in range(12))


WRITER = """
import sys, threading
sys.path.insert(0, {tests!r})
from test_cache import DATA, PREPROCESS, picture
from vitrail.data.cache import PixelCache
cache = PixelCache.open(DATA, PREPROCESS)
pictures = [picture(row, 40) for row in range(50)]
print(cache.state, flush=True)
def fill(first):
    for row in range(first, 100_000, 2):
        cache.put(row, 7, pictures[row % 50])
threads = [threading.Thread(target=fill, args=(first,)) for first in (0, 1)]
[thread.start() for thread in threads]
"""


@pytest.mark.parametrize("trials", [4, pytest.param(40, marks=pytest.mark.slow)])
def test_a_kill_at_any_moment_leaves_only_whole_pictures(trials):
    seed = random.randrange(1 << 32)
    print("seed", seed)
    chance = random.Random(seed)
    wanted = [picture(row, 40) for row in range(50)]
    program = WRITER.format(tests=str(Path(__file__).parent))
    before = 0
    for _ in range(trials):
        writer = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
        assert writer.stdout.readline() == "writing\n"
        time.sleep(chance.uniform(0, 0.25))
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        writer.stdout.close()
        with PixelCache.open(DATA, PREPROCESS) as cache:
            assert cache.state == "writing"
            got = [cache.get(row, 7) for row in range(100_000)]
        there = [row for row, each in enumerate(got) if each is not None]
        assert all(same(got[row], wanted[row % 50]) for row in there)
        assert len(there) >= before
        before = len(there)
    assert before > 0


def test_a_second_process_reads_what_the_first_has_written():
    program = WRITER.format(tests=str(Path(__file__).parent)).split("cache =")[0] + (
        "import time\n"
        "cache = PixelCache.open(DATA, PREPROCESS)\n"
        "cache.put(0, 7, picture(0))\n"
        "print(cache.state, flush=True)\n"
        "sys.stdin.readline()\n"
        "cache.put(9_000, 7, picture(9_000))\n"
        "print('more', flush=True)\n"
        "sys.stdin.readline()\n"
    )
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", program], **pipes) as writer:
        assert writer.stdout.readline() == "writing\n"
        with PixelCache.open(DATA, PREPROCESS) as cache:
            assert cache.state == "reading"
            assert same(cache.get(0, 7), picture(0))
            cache.put(1, 7, picture(1))
            assert cache.get(1, 7) is None
            assert cache.get(9_000, 7) is None
            print("go on", file=writer.stdin, flush=True)
            assert writer.stdout.readline() == "more\n"
            assert same(cache.get(9_000, 7), picture(9_000))
        print("end", file=writer.stdin, flush=True)
    with PixelCache.open(DATA, PREPROCESS) as cache:
        assert cache.state == "writing"


def test_threads_share_it(cache):
    wrong = []

    def work(first):
        for row in range(first, 400, 4):
            cache.put(row, 7, picture(row))
            other = (row * 7) % 400
            got = cache.get(other, 7)
            if got is not None and not same(got, picture(other)):
                wrong.append(other)

    threads = [threading.Thread(target=work, args=(first,)) for first in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert all(same(cache.get(row, 7), picture(row)) for row in range(400))


def test_pictures_outlive_the_cache(cache):
    cache.put(0, 7, picture(0))
    got = cache.get(0, 7)
    cache.close()
    assert same(got, picture(0))
    assert cache.get(0, 7) is None
    cache.put(1, 7, picture(1))
    assert cache.state == "off"


# ---------------------------------------------------------------------------------- room


def test_beyond_the_limit_nothing_is_kept():
    size = picture(0, 40).picture.nbytes
    with PixelCache.open(DATA, PREPROCESS, limit=5 * size + 1000) as cache:
        for row in range(10):
            cache.put(row, 7, picture(row, 40))
        assert cache.full
        assert [cache.get(row, 7) is not None for row in range(10)] == [True] * 5 + [False] * 5
        assert (cache.folder / "heap").stat().st_size <= 5 * size + 1000


def test_the_longest_unused_cache_makes_room():
    homes = [SimpleNamespace(home=name) for name in ("old", "older", "in use")]
    caches = [PixelCache.open(home, PREPROCESS) for home in homes]
    for age, cache in enumerate(caches):
        for row in range(20):
            cache.put(row, 7, picture(row, 60))
        os.utime(cache.folder / "about", (age_to_time := 1e9 - age * 1000, age_to_time))
    for cache in caches[:2]:
        cache.close()
    weight = 20 * picture(0, 60).picture.nbytes
    with PixelCache.open(DATA, PREPROCESS, limit=int(3.9 * weight)) as cache:
        for row in range(30):
            cache.put(row, 7, picture(row, 60))
        assert not cache.full
        assert [each.folder.exists() for each in caches] == [True, False, True]
        for row in range(30, 200):
            cache.put(row, 7, picture(row, 60))
        assert cache.full
        assert [each.folder.exists() for each in caches] == [False, False, True]  # the last one is written to
        assert same(cache.get(29, 7), picture(29, 60))
        assert same(caches[2].get(3, 7), picture(3, 60))
    caches[2].close()


def test_a_cache_without_room_for_one_picture_removes_no_other(cache):
    cache.put(0, 7, picture(0))
    cache.close()
    with PixelCache.open(SimpleNamespace(home="other"), PREPROCESS, limit=0) as other:
        other.put(0, 7, picture(0))
        assert other.full
    assert cache.folder.exists()


def test_the_limit_comes_from_the_environment(monkeypatch):
    monkeypatch.setenv("VITRAIL_CACHE_BYTES", "12345")
    with PixelCache.open(DATA, PREPROCESS) as cache:
        assert cache.limit == 12345
    monkeypatch.setenv("VITRAIL_CACHE_BYTES", "many")
    with pytest.raises(UsageError, match="VITRAIL_CACHE_BYTES is a number of bytes, not 'many'"):
        PixelCache.open(DATA, PREPROCESS)
    monkeypatch.delenv("VITRAIL_CACHE_BYTES")
    with PixelCache.open(DATA, PREPROCESS) as cache:
        assert 0 < cache.limit <= 20_000_000_000


def test_a_full_disk_is_no_fault(cache):
    """A limit on the size of files stands for a full disk: a write takes a part, the next one fails."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096 * ENTRY.size, before[1]))
    try:
        for row in range(100):
            cache.put(row, 7, picture(row, 40))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert cache.full
    there = [row for row in range(100) if cache.get(row, 7) is not None]
    assert there == list(range(4096 * ENTRY.size // picture(0, 40).picture.nbytes))
    assert all(same(cache.get(row, 7), picture(row, 40)) for row in there)


def test_a_folder_that_cannot_be_written_is_no_fault(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("VITRAIL_CACHE", str(tmp_path / "file"))
    with PixelCache.open(DATA, PREPROCESS) as cache:
        assert cache.state == "off"
        cache.put(0, 7, picture(0))
        assert cache.get(0, 7) is None
