"""What a token costs in the blocks of a ViT, from 64 tokens of a sequence to 1,024.

`python benchmarks/sequence_length.py`. As many tokens in every batch, in longer and longer sequences;
forward, float32, in turn. Attention compares all tokens of a sequence, so the arithmetic for each of them
grows with their number, by 4 x number x width in a layer, beside 24 x width x width for the rest. At the 384
of ViT-S this alone makes a token of 1,024 1.40 times as dear as one of 64. So the table has the cost over
the shortest's and over the mean of all lengths, and what the arithmetic would make of it.
"""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command line does, before torch is imported

import argparse
import statistics
from collections.abc import Callable

import torch

import record
from vitrail.backbones.names import SIZES, Shape
from vitrail.backbones.vit import ViTConfig

LENGTHS, TOKENS, WANTED = (64, 128, 256, 512, 1024), 4096, 0.25


def blocks(size: str, depth: int) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return the encoder of a ViT with fewer layers: all of them cost the same."""
    return ViTConfig(size=size, depth=depth).build((224, 224), 3).encoder.eval()


def arithmetic(shape: Shape, length: int) -> int:
    """Return the floating-point operations of one layer for one token."""
    dense = 2 * shape.width * (4 * shape.width + 2 * shape.mlp)
    return dense + 4 * length * shape.width


def measure(size: str, depth: int, rounds: int) -> list[str]:
    """Return the rows of a table."""
    encoder, shape = blocks(size, depth), SIZES[size]

    def forward(x: torch.Tensor) -> Callable[[], None]:
        return lambda: encoder(x)

    with torch.inference_mode():
        runs = {
            str(length): forward(torch.randn(TOKENS // length, length, shape.width)) for length in LENGTHS
        }
        seconds = record.interleave(runs, rounds)
    cost = {length: statistics.median(seconds[str(length)]) / TOKENS / depth for length in LENGTHS}
    mean = statistics.mean(cost.values())
    rows = []
    for length in LENGTHS:
        dearer = cost[length] / cost[LENGTHS[0]]
        alone = arithmetic(shape, length) / arithmetic(shape, LENGTHS[0])
        rows.append(
            f"| ViT-{size.upper()} | {length} | {1e6 * cost[length]:.2f} | {cost[length] / mean:.2f} "
            f"| {dearer:.2f} | {alone:.2f} | {dearer / alone:.2f} |"
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=["s", "b"])
    parser.add_argument("--depth", type=int, default=2, help="layers")
    parser.add_argument("--rounds", type=int, default=15)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    rows = [row for size in arguments.sizes for row in measure(size, arguments.depth, arguments.rounds)]
    lines = [
        f"{TOKENS:,} tokens a batch, {arguments.depth} layers, float32, {arguments.rounds} rounds in turn. "
        f"Wanted of ViT-S: a cost flat within {WANTED:.0%}.\n",
        "| blocks of | tokens a sequence | µs a token and layer (median) | over the mean "
        "| over the shortest's | the same of the arithmetic | cost over arithmetic |",
        "| --- | --- | --- | --- | --- | --- | --- |",
        *rows,
    ]
    print("\n".join(lines))
    record.write_result("sequence-length", "The cost of a token", "\n".join(lines), "vitrail")


if __name__ == "__main__":
    main()
