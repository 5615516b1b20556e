"""Labelling pixels: U-Net against another's, `masks` against its backbone, windows against a whole picture.

`python benchmarks/segment.py [unet] [masks] [windows]`, all three unless some are named; float32.

`unet`: the head on timm's ResNet-34 and segmentation-models-pytorch's, of the same widths (ours has the
picture beside whole pixels, theirs has not):
a training step (cross-entropy and Dice, AdamW) and an answer's logits. Theirs is measured in both memory
formats, and enlarges by repeating, its default; ours is bilinear. `masks`: that head on ViT-S/16 with its
backbone against the backbone alone. `windows`: how many pixels of a large picture a `Predictor` answers a
second, seen in windows and seen at once.
"""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command line does, before torch is imported

import argparse
import statistics
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

import record
from vitrail.backbones import configure
from vitrail.data.preprocess import Preprocess
from vitrail.heads import HEADS
from vitrail.models.vision import Vision
from vitrail.run.compose import compose
from vitrail.run.contract import Contract
from vitrail.run.engine import answering_engine, choose_device, likes_channels_last
from vitrail.run.predict import Predictor
from vitrail.values import IGNORED, Batch

PEER = "segmentation-models-pytorch"
CLASSES = ("ground", "road", "roof", "tree")
STEP, ANSWER = "training step", "answer"
CHEAPER, DEARER, RATE = 1.0, 1.35, 0.8
"""Wanted: times as fast as the peer, times the backbone alone at most, and of the rate at once at least."""


@dataclass(frozen=True)
class Known:
    """Pictures and masks that are ready, in the memory format that a network likes."""

    pixels: Tensor
    masks: Tensor

    @classmethod
    def drawn(cls, batch: int, side: int) -> "Known":
        classes = torch.randint(0, len(CLASSES), (batch, side // 8, side // 8), dtype=torch.uint8)
        masks = classes.repeat_interleave(8, 1).repeat_interleave(8, 2)
        return cls(torch.randn(batch, 3, side, side), masks)

    def laid(self, layout: torch.memory_format) -> "Known":
        return Known(self.pixels.contiguous(memory_format=layout), self.masks)

    @property
    def batch(self) -> Batch:
        return Batch(keys=(), pixels={"image": self.pixels}, targets={"mask": self.masks})


def network(model: str, head: str, side: int) -> Vision:
    """Return one of ours, in the memory format that its engine chooses."""
    recipe = compose("pictures", model, None, {"task.name": "segment", "head.name": head})
    backbone = configure(model).build((side, side), 3)
    made = Vision(backbone, HEADS["segment"][head]().build(backbone, CLASSES))
    return made.to(memory_format=layout_of(likes_channels_last(recipe)))


def layout_of(last: bool) -> torch.memory_format:
    return torch.channels_last if last else torch.contiguous_format


def step(model: nn.Module, loss: Callable[[], Tensor]) -> Callable[[], None]:
    """Return a training step."""
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3, fused=True)

    def run() -> None:
        model.train()
        loss().backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return run


def answer(model: nn.Module, forward: Callable[[], object]) -> Callable[[], None]:
    """Return a forward pass without gradients."""

    def run() -> None:
        model.eval()
        with torch.inference_mode():
            forward()

    return run


def unet(rounds: int, batch: int, side: int) -> list[str]:
    """Measure U-Net on ResNet-34 against the peer's."""
    try:
        import segmentation_models_pytorch as peer
    except ModuleNotFoundError:
        sys.exit(f"The peer is not installed: pip install {PEER}, or leave `unet` out.")
    ours, known = network("resnet34", "unet", side), Known.drawn(batch, side)
    seen = known.laid(torch.channels_last)
    steps = {"vitrail": step(ours, lambda: ours.loss(seen.batch, 0.0).total)}
    answers = {"vitrail": answer(ours, lambda: ours.outputs(seen.batch))}
    weights = {"vitrail": count(ours)}
    cross_entropy = nn.CrossEntropyLoss(ignore_index=IGNORED)
    dice = peer.losses.DiceLoss("multiclass", ignore_index=IGNORED)
    layouts = {PEER: torch.contiguous_format, f"{PEER}, channels last": torch.channels_last}
    for name, layout in layouts.items():
        theirs = peer.Unet("resnet34", encoder_weights=None, classes=len(CLASSES)).to(memory_format=layout)
        pixels, truth = known.laid(layout).pixels, known.masks.long()

        def loss(theirs: nn.Module = theirs, pixels: Tensor = pixels, truth: Tensor = truth) -> Tensor:
            logits = theirs(pixels)
            total: Tensor = cross_entropy(logits, truth) + dice(logits, truth)
            return total

        steps[name] = step(theirs, loss)
        answers[name] = answer(theirs, lambda theirs=theirs, pixels=pixels: theirs(pixels))
        weights[name] = count(theirs)
    rows = [
        f"U-Net on ResNet-34, {weights['vitrail']:,} weights (theirs: {weights[PEER]:,}), {batch} pictures "
        f"of {side} pixels, {len(CLASSES)} classes, {rounds} rounds in turn. "
        f"Wanted: at least {CHEAPER} times as fast.\n",
        "| | | pictures a second (median) | slowest to fastest | ours: times as fast |",
        "| --- | --- | --- | --- | --- |",
    ]
    for what, runs in ((ANSWER, answers), (STEP, steps)):
        seconds = record.interleave(runs, rounds)
        for name, times in seconds.items():
            faster = "" if name == "vitrail" else f"{record.ratio(seconds, name, 'vitrail'):.3f}"
            rows.append(
                f"| {what} | {name} | {batch / statistics.median(times):.2f} "
                f"| {batch / max(times):.2f} to {batch / min(times):.2f} | {faster} |"
            )
    return rows


def count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def masks(rounds: int, batch: int, side: int) -> list[str]:
    """Measure the head `masks` on ViT-S/16 against its backbone alone, at this side and a larger one."""
    rows = [
        f"ViT-S/16 and the head `masks`, {len(CLASSES)} classes, {rounds} rounds in turn; the backbone alone "
        f"gives its summary. Wanted: at most {DEARER} times the backbone.\n",
        "| pixels | pictures at a time | | backbone, pictures a second | with `masks` | times the cost |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for size, together in ((224, batch), (2 * side, max(1, batch // 4))):
        model, seen = network("vit-s16", "masks", size), Known.drawn(together, size)
        alone = configure("vit-s16").build((size, size), 3)

        def summary(alone: nn.Module = alone, seen: Known = seen) -> Tensor:
            found: Tensor = alone(seen.pixels, levels=False).summary
            return found

        kinds = {
            ANSWER: {
                "alone": answer(alone, summary),
                "masks": answer(model, lambda model=model, seen=seen: model.outputs(seen.batch)),
            },
            STEP: {
                "alone": step(alone, lambda summary=summary: summary().square().mean()),
                "masks": step(model, lambda model=model, seen=seen: model.loss(seen.batch, 0.0).total),
            },
        }
        for what, runs in kinds.items():
            seconds = record.interleave(runs, rounds)
            both = " | ".join(f"{together / statistics.median(times):.2f}" for times in seconds.values())
            rows.append(
                f"| {size} | {together} | {what} | {both} | {record.ratio(seconds, 'masks', 'alone'):.3f} |"
            )
    return rows


def windows(rounds: int, batch: int, side: int) -> list[str]:  # noqa: ARG001
    """Measure a picture of six windows a side, seen in windows and at once."""
    whole = 6 * side
    picture = np.random.default_rng(0).integers(0, 256, (whole, whole, 3), dtype=np.uint8)
    rows = [
        f"A picture of {whole} x {whole} pixels, {rounds} rounds in turn, with the overlap that a "
        f"`Predictor` chooses. Wanted: at least {RATE} of the pixels a second that it answers at once.\n",
        "| model | window | pixels a second (median) | of those at once |",
        "| --- | --- | --- | --- |",
    ]
    for name in ("resnet18", "vit-s16"):
        at_once = predictor(name, whole)
        runs = {"at once": at_once}
        for size in (side, 2 * side):
            runs[str(size)] = replace(at_once, contract=contract(name, size))
        seconds = record.interleave(
            {kind: (lambda ask=ask: ask([picture])) for kind, ask in runs.items()}, rounds
        )
        for kind, times in seconds.items():
            share = "" if kind == "at once" else f"{record.ratio(seconds, 'at once', kind):.3f}"
            rows.append(f"| {name} | {kind} | {whole**2 / statistics.median(times):,.0f} | {share} |")
    return rows


def contract(model: str, side: int) -> Contract:
    head = "masks" if model.startswith("vit") else "unet"
    recipe = compose("pictures", model, None, {"task.name": "segment", "head.name": head})
    preprocess = Preprocess(size=(side, side), fit="tile")
    return Contract(recipe=recipe, classes=CLASSES, preprocess=preprocess, fingerprint="")


def predictor(model: str, side: int) -> Predictor:
    """Return one with random weights, which see pictures of this side at once."""
    asked = contract(model, side)
    engine = answering_engine(asked.recipe, choose_device("cpu"))
    network = asked.build().eval()
    engine.place(network)
    return Predictor(contract=asked, model=network, engine=engine)


PARTS: dict[str, Callable[[int, int, int], list[str]]] = {"unet": unet, "masks": masks, "windows": windows}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("parts", nargs="*", help=f"{', '.join(PARTS)} (default: all)")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--side", type=int, default=256)
    arguments = parser.parse_args()
    if unknown := set(arguments.parts) - PARTS.keys():
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    torch.manual_seed(0)
    chosen = [name for name in PARTS if name in arguments.parts or not arguments.parts]
    parts = [PARTS[name](arguments.rounds, arguments.batch, arguments.side) for name in chosen]
    body = "\n\n".join("\n".join(rows) for rows in parts)
    print(body)
    peers = [PEER] if "unet" in chosen else []
    name = "-".join(["segment", *arguments.parts])
    record.write_result(name, "Labelling every pixel: speed", body, "timm", "vitrail", *peers)


if __name__ == "__main__":
    main()
