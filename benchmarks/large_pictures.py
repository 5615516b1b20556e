"""The memory that `vitrail predict` takes for a picture of 20,000 x 20,000 pixels.

`python benchmarks/large_pictures.py [--side 20000] [--formats tiff png jpeg]`

The picture is made of photographs, scaled and turned; the run is of one epoch, for its weights do not matter
here. A tiled TIFF should be answered within 2 GB (10^9 bytes each), any other format within 4. Everything is
in a temporary folder, which goes away.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_sample_images

import record
import vitrail

WINDOW, TILE, LIMITS = 512, 512, {"tiff": 2.0, "png": 4.0, "jpeg": 4.0}
NAMES = {"tiff": "TIFF, tiles of 512 x 512, deflate", "png": "PNG", "jpeg": "JPEG"}
MEASURED = """
import json, re, sys
from pathlib import Path
from vitrail.cli import main
code = main(sys.argv[1:])
peak = re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]
print(json.dumps({"code": code, "peak": int(peak) * 1024}))
"""
"""Linux only. (The peak of getrusage may be that of the process that started this one.)"""
MAKE = "import sys, pathlib, large_pictures as it; it.write(pathlib.Path(sys.argv[1]), int(sys.argv[2]))"


def tiles(side):
    """Yield the tiles of a picture row by row: photographs, each turned and shaded in another way."""
    photographs = [Image.fromarray(each).resize((TILE, TILE)) for each in load_sample_images().images]
    count = -(-side // TILE)
    for number in range(count * count):
        pixels = np.asarray(photographs[number % len(photographs)])
        pixels = np.rot90(pixels, number // len(photographs) % 4)
        yield np.ascontiguousarray(pixels // 2 + np.uint8(number % 128))


def write_tiff(path, side):
    import tifffile

    options = {"tile": (TILE, TILE), "compression": "zlib", "photometric": "rgb"}
    tifffile.imwrite(path, tiles(side), shape=(side, side, 3), dtype=np.uint8, **options)


def write(path, side):
    (write_tiff if path.suffix == ".tiff" else write_other)(path, side)


def write_other(path, side):
    whole, given = Image.new("RGB", (side, side)), tiles(side)
    for top in range(0, side, TILE):
        for left in range(0, side, TILE):
            whole.paste(Image.fromarray(next(given)), (left, top))
    options = {"compress_level": 1} if path.suffix == ".png" else {"quality": 90}
    whole.save(path, **options)


def train(folder):
    """Return a run that knows two classes, light and dark."""
    chance = np.random.default_rng(0)
    for split in ("train", "val", "test"):
        for kind in ("images", "masks"):
            (folder / "data" / split / kind).mkdir(parents=True)
        for number in range(4):
            pixels = np.asarray(
                Image.fromarray(chance.integers(0, 255, (8, 8), np.uint8)).resize((WINDOW,) * 2)
            )
            Image.fromarray(pixels).convert("RGB").save(folder / "data" / split / "images" / f"{number}.png")
            Image.fromarray((pixels > 127).astype(np.uint8)).save(
                folder / "data" / split / "masks" / f"{number}.png"
            )
    (folder / "data" / "classes.txt").write_text("dark\nlight\n")
    run = vitrail.train(
        folder / "data",
        task="segment",
        model="test_resnet",
        head="linear",
        epochs=1,
        image_size=WINDOW,
        out=folder / "run",
        options={"train.batch": 2, "data.workers": 0},
    )
    return run.path


def measure(run, picture, out):
    """Return the peak memory in GB and the seconds of one prediction in a process of its own."""
    words = ["predict", str(run), str(picture), "--out", str(out), "--device", "cpu", "--json"]
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, *words], capture_output=True, text=True, check=False, env=os.environ
    )
    seconds = time.perf_counter() - started
    lines = done.stdout.splitlines()
    if done.returncode or json.loads(lines[-1])["code"]:
        raise SystemExit(f"{picture.name}: {done.stderr[-2000:]}")
    return json.loads(lines[-1])["peak"] / 1e9, seconds


def main():
    words = argparse.ArgumentParser()
    words.add_argument("--side", type=int, default=20_000)
    words.add_argument("--formats", nargs="+", choices=list(LIMITS), default=["tiff", "png", "jpeg"])
    words = words.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run = train(folder)
        for each in words.formats:
            picture = folder / f"large.{each}"
            here = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
            subprocess.run([sys.executable, "-c", MAKE, str(picture), str(words.side)], check=True, env=here)
            size = picture.stat().st_size / 1e6
            peak, seconds = measure(run, picture, folder / "answers")
            picture.unlink()
            rows.append(f"| {NAMES[each]} | {size:,.0f} | {peak:.2f} | {LIMITS[each]:.0f} | {seconds:,.0f} |")
            print(rows[-1], flush=True)
    side = f"{words.side:,}"
    lines = [
        f"A picture of {side} x {side} pixels, made of photographs, answered by `vitrail predict --out` in a",
        f"process of its own: windows of {WINDOW} x {WINDOW} with an overlap of {WINDOW // 4}, a linear head",
        "on the tiny `test_resnet`, two classes. The peak is the most memory that the process held, PyTorch",
        "included; the mask is written at full size.",
        "",
        "| file | MB | peak memory, GB | limit, GB | seconds |",
        "| --- | --- | --- | --- | --- |",
        *rows,
    ]
    body = "\n".join(lines)
    print(record.write_result("large-pictures", "Memory for large pictures", body, "pillow", "numpy"))


if __name__ == "__main__":
    main()
