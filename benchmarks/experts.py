"""What a mixture of experts costs: a whole block with 8 experts, 1 for each token, against the dense block.

`python benchmarks/experts.py`. Both blocks have attention and feed-forward parts of the same width; the
tokens are the same, and so is the arithmetic of each but for the router. Medians of interleaved runs in one
process: a forward in evaluation, a forward and backward in training, and a whole training step with AdamW.
"""

import argparse
from collections.abc import Callable

import torch
from torch import nn

import record
from vitrail.nn.attention import Attention
from vitrail.nn.block import Block, PreNorm
from vitrail.nn.experts import Experts, take_routing
from vitrail.nn.feedforward import MLP

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def block(width: int, feed: nn.Module) -> Block:
    """Return a layer of the Vision Transformer with heads of 64 features."""
    return Block(
        around_mix=PreNorm(nn.LayerNorm(width)),
        mix=Attention(width, width // 64),
        around_feed=PreNorm(nn.LayerNorm(width)),
        feed=feed,
    ).to(DEVICE)


def answer(layer: Block, x: torch.Tensor) -> Callable[[], None]:
    def run() -> None:
        layer.eval()
        with torch.inference_mode():
            layer(x)
        wait()

    return run


def learn(layer: Block, x: torch.Tensor, *, step: bool) -> Callable[[], None]:
    optimizer = torch.optim.AdamW(layer.parameters(), 1e-6, fused=True)

    def run() -> None:
        layer.train()
        loss = layer(x).square().mean()
        losses, _ = take_routing([layer])
        sum(losses.values(), start=loss).backward()
        if step:
            optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        wait()

    return run


def wait() -> None:
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()


def spread(layer: Block, x: torch.Tensor, steps: int = 100) -> str:
    """Let the balance loss even out the fresh router, as training does; return what each expert then gets."""
    feed = layer.feed
    assert isinstance(feed, Experts)
    optimizer = torch.optim.Adam([feed.router.weight], 1e-3)
    layer.train()
    for _ in range(steps):
        layer(x)
        assert feed.routing is not None
        usage, dropped = feed.routing.usage.tolist(), float(feed.routing.dropped)
        feed.routing.losses["expert_balance"].backward()
        optimizer.step()
        layer.zero_grad(set_to_none=True)
    return f"{min(usage):.1%} to {max(usage):.1%} of the tokens, {dropped:.1%} dropped in training"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--width", type=int, default=384)
    parser.add_argument("--tokens", type=int, default=196)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--experts", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=25)
    arguments = parser.parse_args()
    width = arguments.width
    torch.manual_seed(0)
    dense = block(width, MLP(width, 4 * width))
    mixed = block(width, Experts([MLP(width, 4 * width) for _ in range(arguments.experts)], width))
    x = torch.randn(arguments.batch, arguments.tokens, width, device=DEVICE)
    usage = spread(mixed, x)
    count = arguments.batch * arguments.tokens
    cases = {
        "forward, evaluation": {"experts": answer(mixed, x), "dense": answer(dense, x)},
        "forward and backward": {
            "experts": learn(mixed, x, step=False),
            "dense": learn(dense, x, step=False),
        },
        "training step with AdamW": {
            "experts": learn(mixed, x, step=True),
            "dense": learn(dense, x, step=True),
        },
    }
    sizes = [sum(parameter.numel() for parameter in layer.parameters()) for layer in (mixed, dense)]
    lines = [
        f"A block of width {width}, {arguments.batch} x {arguments.tokens} tokens; top 1 of "
        f"{arguments.experts} experts; {arguments.rounds} rounds. Parameters: {sizes[0] / 1e6:.2f} M and "
        f"{sizes[1] / 1e6:.2f} M, {sizes[0] / sizes[1]:.2f} times as many. Each expert gets {usage}.\n",
        "| | dense, µs a token | experts, µs a token | ratio of medians |",
        "| --- | --- | --- | --- |",
    ]
    for name, runs in cases.items():
        seconds = record.interleave(runs, arguments.rounds)
        each = [1e6 * sorted(seconds[kind])[arguments.rounds // 2] / count for kind in ("dense", "experts")]
        times = record.ratio(seconds, "experts", "dense")
        lines.append(f"| {name} | {each[0]:.1f} | {each[1]:.1f} | {times:.3f} |")
    print("\n".join(lines))
    record.write_result("experts", "A mixture of experts against the dense block", "\n".join(lines))


if __name__ == "__main__":
    main()
