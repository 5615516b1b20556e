"""A training step that leaves half of the patches out, against one that looks at all of them.

`python benchmarks/patch_drop.py`. ViT-S/16, pictures of 224 pixels, batches of 8, on the processor in
float32: forward, backward and a step of AdamW, in turn.
"""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command line does, before torch is imported

import argparse
import statistics
from collections.abc import Callable

import torch
from torch import nn

import record
from vitrail.backbones.vit import ViTConfig

SIDE, CLASSES, WANTED = 224, 1000, 1.7


def training(patch_drop: float, pixels: torch.Tensor) -> Callable[[], None]:
    """Return a training step of a classifier."""
    vit = ViTConfig(size="s", patch=16, patch_drop=patch_drop).build((SIDE, SIDE), 3).train()
    head, labels = nn.Linear(vit.width, CLASSES), torch.arange(len(pixels))
    optimizer = torch.optim.AdamW([*vit.parameters(), *head.parameters()], 1e-4, fused=True)

    def run() -> None:
        nn.functional.cross_entropy(head(vit(pixels, levels=False).summary), labels).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return run


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--share", type=float, default=0.5, help="of the patches that is left out")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=15)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    pixels = torch.randn(arguments.batch, 3, SIDE, SIDE)
    names = {"all patches": 0.0, f"{arguments.share:.0%} left out": arguments.share}
    seconds = record.interleave(
        {name: training(share, pixels) for name, share in names.items()}, arguments.rounds
    )
    whole, fewer = names
    faster = record.ratio(seconds, whole, fewer)
    lines = [
        f"A training step of ViT-S/16, {SIDE} pixels, batches of {arguments.batch}, float32; "
        f"{arguments.rounds} rounds in turn.\n",
        "| | pictures a second (median) | slowest to fastest | times as fast | wanted |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, times in seconds.items():
        rate, low, high = (arguments.batch / find(times) for find in (statistics.median, max, min))
        told = f"{faster:.2f} | {WANTED if arguments.share == 0.5 else ''}" if name == fewer else " | "
        lines.append(f"| {name} | {rate:.1f} | {low:.1f} to {high:.1f} | {told} |")
    print("\n".join(lines))
    record.write_result("patch-drop", "Patch dropout in training", "\n".join(lines), "vitrail")


if __name__ == "__main__":
    main()
