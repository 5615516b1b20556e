"""Core-seconds until a small ViT is right on 85 % of Fashion-MNIST's held-out tenth.

`python benchmarks/time_to_85.py`. Ours is `vit-pico4` with its default recipe, through Vitrail's own loop.
The plain recipe is timm's ViT of the same width, depth, heads and patch in a bare loop on tensors in memory:
class token, timm's initialisation, AdamW at 1e-3, batch 256, warm-up, cosine, flips and shifts of one pixel.
Both are looked at every quarter of an epoch; looking is not counted.
"""

import argparse
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

import record
from vitrail.backbones.names import SIZES
from vitrail.run.answer import answer_all
from vitrail.run.engine import start_engine
from vitrail.run.experiment import Experiment, prepare
from vitrail.run.job import start_job
from vitrail.run.launch import compose
from vitrail.run.optim import rate
from vitrail.run.train import learn

GOAL, LOOKS = 0.85, 4


def ours(epochs: int, seed: int) -> tuple[float | None, float]:
    """Return the core-seconds to the goal (None: not reached), and the last accuracy."""
    recipe = compose(".data/fashion-mnist", "vit-pico4", None, {"epochs": epochs, "augment.flip": True})
    experiment = prepare(replace(recipe, seed=seed))
    job = start_job(experiment, Path("unused"), start_engine(experiment.recipe))
    every, spent, accuracy = len(job.training) // LOOKS, 0.0, 0.0
    for epoch in range(epochs):
        started = time.process_time()
        for batch in job.training.epoch(epoch):
            learn(job, batch)
            job.state.step += 1
            if job.state.step % every == 0:
                spent += time.process_time() - started
                metric = experiment.task.metric()
                answer_all(
                    job.answering, job.validation, job.engine, experiment.preprocess, experiment.task, metric
                )
                accuracy = metric.points()["accuracy"]
                print(f"ours {spent:.0f} s {accuracy:.4f}", flush=True)
                if accuracy >= GOAL:
                    return spent, accuracy
                started = time.process_time()
    return None, accuracy


def plain(experiment: Experiment, epochs: int, seed: int) -> tuple[float | None, float, float]:
    """Return the core-seconds to the goal (None: not reached), those spent in all, and the last accuracy."""
    from timm.models.vision_transformer import VisionTransformer

    shape = SIZES["pico"]
    torch.manual_seed(seed)
    model = VisionTransformer(
        img_size=28,
        patch_size=4,
        in_chans=1,
        num_classes=10,
        embed_dim=shape.width,
        depth=shape.depth,
        num_heads=shape.heads,
        mlp_ratio=shape.mlp / shape.width,
    )
    pixels, labels = tensors(experiment, "train")
    shown, truth = tensors(experiment, "val")
    padded = nn.functional.pad(pixels, (1, 1, 1, 1))
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3, weight_decay=0.05, fused=True)
    draw = np.random.default_rng(seed)
    steps = len(labels) // 256
    schedule = replace(experiment.recipe.train, lr=1e-3, warmup=0.05)
    spent, accuracy, step = 0.0, 0.0, 0
    for _ in range(epochs):
        started = time.process_time()
        order = torch.from_numpy(draw.permutation(len(labels)))
        for number in range(steps):
            for group in optimizer.param_groups:
                group["lr"] = rate(schedule, step, steps * epochs)
            rows = order[number * 256 : (number + 1) * 256]
            down, across = draw.integers(0, 3, 2)
            batch = padded[rows, :, down : down + 28, across : across + 28]
            turned = torch.from_numpy(draw.random(len(rows)) < 0.5)[:, None, None, None]
            batch = torch.where(turned, batch.flip(-1), batch)
            nn.functional.cross_entropy(model(batch), labels[rows]).backward()
            optimizer.step()
            optimizer.zero_grad()
            step += 1
            if step % (steps // LOOKS) == 0:
                spent += time.process_time() - started
                model.eval()
                with torch.inference_mode():
                    right = [(model(part).argmax(1)) for part in shown.split(500)]
                model.train()
                accuracy = float((torch.cat(right) == truth).float().mean())
                print(f"plain {spent:.0f} s {accuracy:.4f}", flush=True)
                if accuracy >= GOAL:
                    return spent, spent, accuracy
                started = time.process_time()
    return None, spent, accuracy


def tensors(experiment: Experiment, split: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Return a split as normalised pictures and labels in memory."""
    samples = getattr(experiment.splits, split)
    pictures = np.stack([samples.source(row) for row in range(len(samples))])
    labels = torch.from_numpy(samples.targets["label"].astype(np.int64))
    return (torch.from_numpy(pictures)[:, None].float() / 255 - 0.286) / 0.353, labels


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=3, help="length of our schedule")
    parser.add_argument("--plain-epochs", type=int, default=10, help="length of the plain schedule")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # core-seconds: threads that wait for each other would count too
    fast, reached = ours(arguments.epochs, arguments.seed)
    experiment = prepare(compose(".data/fashion-mnist", "vit-pico4", None, {"epochs": 1}))
    slow, spent, last = plain(experiment, arguments.plain_epochs, arguments.seed)
    slowly = f"{slow:.0f}" if slow else f"not within {spent:.0f} ({100 * last:.1f} % by then)"
    share = f"{fast / (slow or spent):.2f}" + ("" if slow else " or less") if fast else "not reached"
    quickly = f"{fast:.0f}" if fast else f"not reached ({100 * reached:.1f} %)"
    body = (
        f"One thread, seed {arguments.seed}; schedules of {arguments.epochs} and {arguments.plain_epochs} "
        "epochs.\n\n| recipe | core-seconds to 85 % |\n| --- | --- |\n"
        f"| `vit-pico4`, default recipe | {quickly} |\n"
        f"| the same ViT, plain recipe | {slowly} |\n\nRatio: {share}"
    )
    print(body)
    record.write_result("time-to-85", "Core-seconds to 85 % on Fashion-MNIST", body, "vitrail", "timm")


if __name__ == "__main__":
    main()
