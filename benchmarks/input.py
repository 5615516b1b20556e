"""JPEG files to training batches: the loader against PIL with torchvision's transforms.

`python benchmarks/input.py`

Both read the same 480 x 640 files (parts of real photographs), take a random 224 x 224 crop, flip, normalise
and stack batches of 16, in one process, on one thread, in turn. The first epoch (which also fills the cache)
should be 1.2 times as fast, later ones 6 times.
"""

import itertools
import os
import statistics
import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from skimage import data as photographs
from sklearn.datasets import load_sample_images
from torchvision import transforms

import record
from vitrail.data.augment import Augment
from vitrail.data.cache import PixelCache
from vitrail.data.loader import Loader
from vitrail.data.preprocess import Preprocess
from vitrail.data.samples import Files, Table, Texts

PICTURES, ROUNDS, BATCH, SIDE, QUALITY = 64, 15, 16, 224, 90
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
PEER, FIRST, LATER = "PIL + torchvision", "first epoch", "later epochs"
TARGETS = {FIRST: 1.2, LATER: 6.0}


def write_pictures(folder):
    """Write parts of photographs as 480 x 640 JPEGs and return their names."""
    sources = [photographs.astronaut(), photographs.coffee(), photographs.chelsea(), photographs.rocket()]
    sources += [photographs.retina(), *load_sample_images().images]
    chance = np.random.default_rng(0)
    names = [f"{number:03}.jpg" for number in range(PICTURES)]
    for name, pixels in zip(names, itertools.cycle(sources), strict=False):
        source = Image.fromarray(pixels)
        width = chance.uniform(0.6, 1.0) * min(source.width, source.height * 4 / 3)
        height = width * 3 / 4
        left, top = chance.uniform(0, source.width - width), chance.uniform(0, source.height - height)
        box = (left, top, left + width, top + height)
        source.resize((640, 480), Image.Resampling.LANCZOS, box=box).save(folder / name, quality=QUALITY)
    return names


def table(folder, names):
    """Return the files as samples without labels."""
    stamps = np.array([(folder / name).stat().st_mtime_ns for name in names], np.uint64)
    files = Texts.of(names)
    split = np.zeros(len(names), np.int8)
    columns = {"pictures": Files(str(folder), files), "contents": stamps, "stamps": stamps, "split": split}
    return Table(home=str(folder), classes=(), keys=files, targets={}, **columns).splits()["all"]


def peer(folder, names):
    """Return one epoch of what most training scripts do."""
    chain = transforms.Compose(
        [
            transforms.RandomResizedCrop(SIDE),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize(MEAN, STD),
        ]
    )

    def read(name):
        with (folder / name).open("rb") as file:
            return chain(Image.open(file).convert("RGB"))

    def epoch():
        order = torch.randperm(len(names)).tolist()
        for start in range(0, len(order), BATCH):
            torch.stack([read(names[index]) for index in order[start : start + BATCH]])

    return epoch


def ours(folder, names):
    """Return a first epoch, with a new cache each time, and a later one, with the cache of the last first."""
    samples = table(folder, names)
    preprocess = Preprocess(size=(SIDE, SIDE), mean=MEAN, std=STD)
    augment = Augment(crop_scale=(0.08, 1.0), flip=True)
    caches = []

    def epoch(number):
        options = {"augment": augment, "collate": lambda _: {}, "cache": caches[-1], "shuffle": True}
        for batch in Loader(samples, preprocess, batch=BATCH, seed=0, **options).epoch(number):
            preprocess.normalise(batch.pixels["image"])

    def first():
        os.environ["VITRAIL_CACHE"] = str(folder / f"cache{len(caches)}")
        caches.append(PixelCache.open(samples, preprocess))
        epoch(0)

    return first, lambda: epoch(1)


def main():
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        names = write_pictures(folder)
        size = sum((folder / name).stat().st_size for name in names) / PICTURES / 1000
        first, later = ours(folder, names)
        seconds = record.interleave({PEER: peer(folder, names), FIRST: first, LATER: later}, rounds=ROUNDS)
    rows = []
    for name, times in seconds.items():
        rate = PICTURES / statistics.median(times)
        faster = f"{record.ratio(seconds, PEER, name):.2f}" if name in TARGETS else ""
        spread = f"{PICTURES / max(times):.0f} to {PICTURES / min(times):.0f}"
        rows.append(f"| {name} | {rate:.0f} | {spread} | {faster} | {TARGETS.get(name, '')} |")
    lines = [
        f"{PICTURES} JPEG files of 480 x 640 (parts of photographs of scikit-image and scikit-learn, quality",
        f"{QUALITY}, {size:.0f} kB on average) to normalised float32 batches of {BATCH}: a random crop to",
        f"{SIDE} x {SIDE}, flipped. One process, one thread, in turn; medians of {ROUNDS} rounds.",
        "",
        "| | pictures a second | slowest to fastest | times as fast | wanted |",
        "| --- | --- | --- | --- | --- |",
        *rows,
        "",
        f"*{PEER}*: `Image.open`, `RandomResizedCrop`, `RandomHorizontalFlip`, `ToTensor`, `Normalize`",
        f"of version 1. *{FIRST}*: the loader decodes and fills its cache. *{LATER}*: it reads its cache.",
    ]
    body = "\n".join(lines)
    print(body)
    record.write_result("input", "Input", body, "torchvision", "pillow", "numpy")


if __name__ == "__main__":
    main()
