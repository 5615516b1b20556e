"""ViT-S/16 answering on a processor, or ViT-B/16 learning on a GPU, against the same network of others.

`python benchmarks/forward.py` is on the processor: pictures of 224 pixels, batches of 8, float32, in turn:
ours, timm's with the same weights, transformers' with scaled-dot-product attention, and nothing but the
matrix products that all of them have to do, on tensors that are ready.

`python benchmarks/forward.py --device cuda` is a whole training step, in bf16 and compiled: ours and timm's,
as shares of the arithmetic a second that a large matrix product reached in the same run.
"""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command line does, before torch is imported

import argparse
import statistics
import tempfile
from collections.abc import Callable, Mapping

import timm
import torch
import transformers
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import record
from vitrail.backbones.names import SIZES, Shape
from vitrail.backbones.vit import ViTConfig

SIDE, PATCH = 224, 16
OURS, TIMM, HUGGING, PRODUCTS = "vitrail", "timm", "transformers", "matrix products alone"
WANTED = {TIMM: 0.95, HUGGING: 1.0, PRODUCTS: 0.8}
LARGE = 8192


def pair(size: str, side: int = SIDE, **changes: int) -> tuple[nn.Module, nn.Module]:
    """Return our network and timm's, with the same weights."""
    names = {"ti": "tiny", "s": "small", "b": "base"}
    theirs = timm.create_model(f"vit_{names[size]}_patch16_224", num_classes=0, img_size=side, **changes)
    with tempfile.TemporaryDirectory() as folder:
        timm.models.save_for_hf(theirs, folder, safe_serialization=True)
        ours = ViTConfig(size=size, weights=folder, **changes).build((side, side), 3)
    pixels = torch.randn(1, 3, side, side)
    torch.testing.assert_close(ours.eval()(pixels).summary, theirs.eval()(pixels), atol=1e-4, rtol=1e-4)
    return ours, theirs


def products(shape: Shape, batch: int) -> Callable[[], None]:
    """Return a run of all matrix products of a ViT, contiguous, each layer's with weights of its own."""
    places = (SIDE // PATCH) ** 2
    rows, heads, head = batch * (places + 1), batch * shape.heads, shape.width // shape.heads
    maps = [(shape.width, 3 * shape.width), (shape.width, shape.width)]
    maps += [(shape.width, shape.mlp), (shape.mlp, shape.width)]
    entering = {width: torch.randn(rows, width) for width in (shape.width, shape.mlp)}
    layers = [[torch.randn(pair) for pair in maps] for _ in range(shape.depth)]
    query, key = torch.randn(heads, places + 1, head), torch.randn(heads, head, places + 1)
    weights, value = torch.randn(heads, places + 1, places + 1), torch.randn(heads, places + 1, head)
    patches, embed = torch.randn(batch * places, 3 * PATCH**2), torch.randn(3 * PATCH**2, shape.width)

    def run() -> None:
        torch.mm(patches, embed)
        for layer in layers:
            torch.bmm(query, key)
            torch.bmm(weights, value)
            for matrix in layer:
                torch.mm(entering[len(matrix)], matrix)

    return run


def hugging(shape: Shape) -> nn.Module:
    """Return transformers' network of the same shape."""
    config = transformers.ViTConfig(
        hidden_size=shape.width,
        num_hidden_layers=shape.depth,
        num_attention_heads=shape.heads,
        intermediate_size=shape.mlp,
        attn_implementation="sdpa",
    )
    return transformers.ViTModel(config, add_pooling_layer=False).eval()


def answer(rounds: int, batch: int) -> str:
    """Measure forwards on the processor and return what was seen."""
    ours, theirs = pair("s")
    others, pixels = hugging(SIZES["s"]), torch.randn(batch, 3, SIDE, SIDE)
    with torch.inference_mode():
        seconds = record.interleave(
            {
                OURS: lambda: ours(pixels, levels=False),
                TIMM: lambda: theirs(pixels),
                HUGGING: lambda: others(pixels),
                PRODUCTS: products(SIZES["s"], batch),
            },
            rounds,
        )
    rows = [
        f"| {name} | {batch / statistics.median(seconds[name]):.1f} "
        f"| {batch / max(seconds[name]):.1f} to {batch / min(seconds[name]):.1f} "
        f"| {f'{record.ratio(seconds, name, OURS):.3f}' if name in WANTED else ''} | {WANTED.get(name, '')} |"
        for name in seconds
    ]
    return "\n".join(
        [
            f"ViT-S/16, {SIDE} pixels, batches of {batch}, float32, {rounds} rounds in turn.\n",
            "| | pictures a second (median) | slowest to fastest | ours: times as fast | wanted |",
            "| --- | --- | --- | --- | --- |",
            *rows,
        ]
    )


def learn(rounds: int, batch: int, *, steps: int = 10, size: str = "b", side: int = SIDE) -> str:
    """Measure training steps on the GPU and return what was seen."""
    width, pixels = SIZES[size].width, torch.randn(batch, 3, side, side, device="cuda")
    ours, theirs = (model.cuda() for model in pair(size, side))
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        theirs(pixels[:1])
    arithmetic = 3 * counter.get_total_flops() * batch * steps  # backward is twice a forward
    seconds = record.interleave(
        {
            OURS: training(ours, width, lambda model: model(pixels, levels=False).summary, steps),
            TIMM: training(theirs, width, lambda model: model(pixels), steps),
            PRODUCTS: largest(steps),
        },
        rounds,
    )
    peak = statistics.median(2 * LARGE**3 * steps / each for each in seconds.pop(PRODUCTS))
    faster = record.ratio(seconds, TIMM, OURS)
    rows = [
        f"| {name} | {batch * steps / statistics.median(times):.0f} "
        f"| {arithmetic / statistics.median(times) / 1e12:.0f} "
        f"| {arithmetic / statistics.median(times) / peak:.1%} "
        f"| {f'{faster:.3f}' if name == OURS else ''} |"
        for name, times in seconds.items()
    ]
    return "\n".join(
        [
            f"ViT-{size.upper()}/16, {side} pixels, batches of {batch}: forward, backward, AdamW, bf16,",
            f"compiled; {rounds} rounds of {steps} steps in turn. The peak is the product of two bf16",
            f"matrices of {LARGE} x {LARGE}: {peak / 1e12:.0f} TFLOP/s.\n",
            "| | pictures a second | TFLOP/s | of the peak | times as fast |",
            "| --- | --- | --- | --- | --- |",
            *rows,
        ]
    )


def training(
    model: nn.Module, width: int, summarise: Callable[[nn.Module], Tensor], steps: int
) -> Callable[[], None]:
    """Return some training steps of a network, with a classifier of 1,000 classes on it."""
    head = nn.Linear(width, 1000).cuda()
    compiled = torch.compile(model.train())
    parameters = [*model.parameters(), *head.parameters()]
    optimizer = torch.optim.AdamW(parameters, 1e-4, fused=True)

    def run() -> None:
        for _ in range(steps):
            with torch.autocast("cuda", torch.bfloat16):
                logits = head(summarise(compiled))
            nn.functional.cross_entropy(logits.float(), logits.detach().argmax(1)).backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        torch.cuda.synchronize()

    return run


def largest(steps: int) -> Callable[[], None]:
    """Return products of matrices so large that nothing else counts."""
    left, right = (torch.randn(LARGE, LARGE, device="cuda", dtype=torch.bfloat16) for _ in range(2))

    def run() -> None:
        for _ in range(steps):
            left @ right
        torch.cuda.synchronize()

    return run


CASES: Mapping[str, tuple[Callable[[int, int], str], int, str]] = {
    "cpu": (answer, 8, "forward"),
    "cuda": (learn, 256, "training-step-cuda"),
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", choices=CASES, default="cpu")
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--batch", type=int, help="pictures at a time (default: 8, on a GPU 256)")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    measure, batch, name = CASES[arguments.device]
    body = measure(arguments.rounds, arguments.batch or batch)
    print(body)
    title = "A Vision Transformer against others' and against its matrix products"
    record.write_result(name, title, body, "timm", "transformers", "vitrail")


if __name__ == "__main__":
    main()
