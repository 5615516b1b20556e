"""What it costs to label a picture by classifying the patch around each pixel, beside one pass of an FCN.

`python benchmarks/patchwise.py`. Mosaics of three textures that scikit-image brings along (brick, grass,
gravel): learned from their left halves, asked about their right ones. The same small network of timm learns
both ways: as a classifier of patches, and with the head `fcn`. Time by patches is extrapolated from a sample
of pixels: all of them would take too long, which is what this measures.
"""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command line does, before torch is imported

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import skimage.data
import torch
import torch.nn.functional as F
from torch import Tensor

import record
from vitrail.backbones import configure
from vitrail.heads import HEADS
from vitrail.models.vision import Vision
from vitrail.values import Batch

TEXTURES = ("brick", "grass", "gravel")
MODEL, PATCH, CELLS = "test_resnet", 32, 10
MOSAICS, LEARNED = 8, 128
"""Mosaics in a step of the FCN, and their side; the classifier has as many pixels in as many patches."""


def halves() -> tuple[np.ndarray, np.ndarray]:
    """Return the left and right halves of the textures, ``k h w``, each with mean 0 and deviation 1."""
    whole = np.stack([getattr(skimage.data, name)() for name in TEXTURES]).astype(np.float32)
    whole = (whole - whole.mean((1, 2), keepdims=True)) / whole.std((1, 2), keepdims=True)
    return whole[:, :, :256], whole[:, :, 256:]


@dataclass(frozen=True)
class Mosaics:
    """Pictures in cells of a texture each, drawn from some of the textures' pixels."""

    textures: np.ndarray
    draw: np.random.Generator

    def __call__(self, count: int, side: int) -> tuple[Tensor, Tensor]:
        """Return pictures ``n 1 h w`` and the texture of each pixel, ``n h w``."""
        made = [self._one(side) for _ in range(count)]
        pictures, masks = (np.stack(each) for each in zip(*made, strict=True))
        return torch.from_numpy(pictures)[:, None], torch.from_numpy(masks)

    def _one(self, side: int) -> tuple[np.ndarray, np.ndarray]:
        middles, of = self.draw.uniform(0, side, (CELLS, 2)), self.draw.integers(0, len(TEXTURES), CELLS)
        places = np.stack(np.mgrid[:side, :side], -1)[:, :, None]
        mask = of[((places - middles) ** 2).sum(-1).argmin(-1)].astype(np.uint8)
        y, x = (self.draw.integers(0, room - side + 1) for room in self.textures.shape[1:])
        return np.take_along_axis(self.textures[:, y : y + side, x : x + side], mask[None], 0)[0], mask


def model(head: str, task: str, side: int) -> Vision:
    torch.manual_seed(0)
    backbone = configure(MODEL).build((side, side), 1)
    made = Vision(backbone, HEADS[task][head]().build(backbone, TEXTURES))
    return made.to(memory_format=torch.channels_last)


def patches(pictures: Tensor, places: Tensor) -> Tensor:
    """Return the patch around each of some places (``m 3``: picture, y, x), whose middle it is."""
    padded = F.pad(pictures, (PATCH // 2,) * 4, mode="reflect")
    window = torch.arange(PATCH)
    rows, columns = places[:, 1, None] + window, places[:, 2, None] + window
    found = padded[places[:, 0, None, None], 0, rows[:, :, None], columns[:, None, :]]
    return found[:, None].contiguous(memory_format=torch.channels_last)


def somewhere(count: int, shape: torch.Size, draw: np.random.Generator) -> Tensor:
    """Return random places of masks ``n h w``."""
    return torch.from_numpy(np.stack([draw.integers(0, side, count) for side in shape], 1))


def learn(network: Vision, batch: Callable[[], Batch], steps: int) -> float:
    """Train a network; return the seconds it took."""
    optimizer = torch.optim.AdamW(network.parameters(), 3e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps)
    started = time.perf_counter()
    for _ in range(steps):
        network.train().loss(batch(), 0.0).total.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        schedule.step()
    network.eval()
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=200, help="of training, for each of both")
    parser.add_argument("--side", type=int, default=256, help="of the picture, at most 256")
    parser.add_argument("--sample", type=int, default=4096, help="pixels labelled by their patches")
    parser.add_argument("--batch", type=int, default=256, help="patches at a time")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    left, right = halves()
    seen = Mosaics(left, np.random.default_rng(0))
    unseen = Mosaics(right, np.random.default_rng(1))
    draw = np.random.default_rng(2)

    def masked() -> Batch:
        pictures, masks = seen(MOSAICS, LEARNED)
        return Batch(keys=(), pixels={"image": last(pictures)}, targets={"mask": masks})

    def labelled() -> Batch:
        pictures, masks = seen(MOSAICS, LEARNED)
        places = somewhere(MOSAICS * LEARNED**2 // PATCH**2, masks.shape, draw)
        hot = F.one_hot(masks[tuple(places.T)].long(), len(TEXTURES)).float()
        return Batch(keys=(), pixels={"image": patches(pictures, places)}, targets={"label": hot})

    classifier, fcn = model("linear", "classify", PATCH), model("fcn", "segment", LEARNED)
    training = {
        "patches": learn(classifier, labelled, arguments.steps),
        "fcn": learn(fcn, masked, arguments.steps),
    }
    picture, mask = unseen(1, arguments.side)
    places = somewhere(arguments.sample, mask.shape, draw)
    answers: dict[str, Tensor] = {}

    @torch.inference_mode()
    def by_patches() -> None:
        some = [patches(picture, part) for part in places.split(arguments.batch)]
        logits = [classifier.outputs(Batch(keys=(), pixels={"image": each})) for each in some]
        answers["patches"] = torch.cat(logits).argmax(1)

    @torch.inference_mode()
    def at_once() -> None:
        output = fcn.outputs(Batch(keys=(), pixels={"image": last(picture)}))
        answers["fcn"] = output.logits.argmax(1)

    seconds = record.interleave({"patches": by_patches, "fcn": at_once}, arguments.rounds)
    pixels = arguments.side**2
    whole = {
        "patches": statistics.median(seconds["patches"]) * pixels / arguments.sample,
        "fcn": statistics.median(seconds["fcn"]),
    }
    right_of = {
        "patches": (answers["patches"] == mask[tuple(places.T)]).float().mean(),
        "fcn": (answers["fcn"] == mask).float().mean(),
    }
    words = {"patches": f"the patch of {PATCH} pixels around each pixel", "fcn": "`fcn`, all at once"}
    rows = [
        f"| {words[way]} | {right_of[way]:.1%} | {whole[way]:.3g} | {training[way]:.0f} |" for way in words
    ]
    body = "\n".join(
        [
            f"A mosaic of {arguments.side} x {arguments.side} pixels, three textures, timm's `{MODEL}`; both "
            f"learned {arguments.steps} steps of {MOSAICS * LEARNED**2:,} pixels. Patches were answered for "
            f"{arguments.sample:,} random pixels, {arguments.batch} at a time, and their seconds multiplied "
            f"by {pixels / arguments.sample:g}: extrapolated, not measured. Medians of {arguments.rounds} "
            "rounds in turn.\n",
            "| | pixels right | seconds a picture | seconds of training |",
            "| --- | --- | --- | --- |",
            *rows,
            f"\nBy patches it takes **{whole['patches'] / whole['fcn']:,.0f} times** as long.",
        ]
    )
    print(body)
    title = "A picture labelled patch by patch, and at once"
    record.write_result("patchwise", title, body, "timm", "scikit-image", "vitrail")


def last(pictures: Tensor) -> Tensor:
    return pictures.contiguous(memory_format=torch.channels_last)


if __name__ == "__main__":
    main()
