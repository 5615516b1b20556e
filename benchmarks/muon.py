"""Muon on stacks of matrices beside torch's, which takes them one by one: optimizer steps and training steps.

    python benchmarks/muon.py [--rounds 15]

Both optimizers hold the same network with the same gradients; they take turns in one process.
"""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command line does, before torch is imported

import argparse
import copy
import statistics
import time
from collections.abc import Callable

import torch
from torch import nn

import record
from vitrail.backbones import configure
from vitrail.heads.linear import LinearConfig
from vitrail.models.vision import Vision
from vitrail.run import optim
from vitrail.run.muon import Muon
from vitrail.run.recipe import TrainConfig
from vitrail.values import Batch

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
CASES = [("vit-pico2", 8, 32), ("vit-pico4", 28, 64), ("vit-ti16", 96, 16)]
"""Network, side of the pictures, pictures a batch."""
CASES += [("vit-s16", 224, 64)] if DEVICE == "cuda" else []  # one step of torch's takes minutes elsewhere


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    lines = [
        f"Medians of {arguments.rounds} rounds in turn, on {DEVICE}; a whole step is the network's two "
        "passes and the optimizers' steps (AdamW for what is no hidden matrix).",
        "",
        "| network | pixels | batch | matrices | torch's Muon, ms | ours, ms | times as fast | whole step |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    lines += [measure(*case, arguments.rounds) for case in CASES]
    body = "\n".join(lines)
    print(body)
    record.write_result("muon", "Muon, a stack of matrices at a time", body, "vitrail")


def measure(name: str, side: int, batch: int, rounds: int) -> str:
    """Return a row: the medians of both optimizers' steps, and how much faster a whole training step is."""
    torch.manual_seed(0)
    backbone = configure(name).build((side, side), 3)
    model = Vision(backbone, LinearConfig().build(backbone, list("abcdefghij"))).to(DEVICE)
    theirs = copy.deepcopy(model)
    ours_steps, theirs_steps = optimizers(model, Muon), optimizers(theirs, torch.optim.Muon)
    pixels = torch.randn(batch, 3, side, side, device=DEVICE)
    label = torch.eye(10, device=DEVICE)[torch.arange(batch) % 10]
    given = Batch(keys=["x"] * batch, pixels={"image": pixels}, targets={"label": label})
    learn(theirs, given)
    times: dict[str, list[float]] = {"pass": [], "ours": [], "theirs": [], "rest": []}
    for turn in range(rounds + 2):
        took = {
            "pass": seconds(lambda: learn(model, given)),
            "theirs": seconds(theirs_steps[-1].step),
            "ours": seconds(ours_steps[-1].step),
            "rest": seconds(ours_steps[0].step),
        }
        for key, value in took.items():
            times[key] += [value] if turn > 1 else []
    median = {key: 1e3 * statistics.median(values) for key, values in times.items()}
    shared = median["pass"] + median["rest"]
    whole = (shared + median["theirs"]) / (shared + median["ours"])
    matrices = sum(len(group["params"]) for group in ours_steps[-1].param_groups)
    return (
        f"| {name} | {side} | {batch} | {matrices} | {median['theirs']:.1f} | {median['ours']:.1f} "
        f"| {median['theirs'] / median['ours']:.1f} | {whole:.2f} times as fast |"
    )


def optimizers(model: nn.Module, kind: type[torch.optim.Optimizer]) -> list[torch.optim.Optimizer]:
    """Return a recipe's optimizers, their Muon of this kind."""
    *others, muon = optim.build_optimizers(model, TrainConfig(optimizer="muon", lr=1e-3))
    groups = [{"params": group["params"], "lr": group["lr"]} for group in muon.param_groups]
    return [*others, kind(groups, lr=1e-3)]


def learn(model: Vision, batch: Batch) -> None:
    model.zero_grad()
    model.loss(batch, 0.0).total.backward()


def seconds(do: Callable[[], object]) -> float:
    if DEVICE == "cuda":
        torch.cuda.synchronize()
    started = time.perf_counter()
    do()
    if DEVICE == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
