"""What explaining costs beside a plain forward pass, pytorch-grad-cam, and covering places one by one.

`python benchmarks/explain.py`. ViT-S/16 and ResNet-50 of timm (random weights) at 224 pixels, float32, in
batches; each picture's own answer is explained. Grad-CAM is at the layer that Vitrail finds, which is the one
that the README of pytorch-grad-cam names. That package explains Vitrail's network, wrapped so that it returns
logits, and timm's own, as its README has it: the weights and the maps are the same, and that is checked.
"""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command line does, before torch is imported

import argparse
import statistics
import tempfile
from collections.abc import Callable, Sequence

import numpy as np
import timm
import torch
from captum import attr
from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.utils.image import scale_cam_image
from torch import Tensor, nn

import record
import vitrail
from vitrail.backbones.layers import layers
from vitrail.contracts import Explainer
from vitrail.explain import EXPLAINERS
from vitrail.explain.occlusion import Occlusion
from vitrail.models.vision import Vision
from vitrail.values import Batch

SIDE, CELLS = 224, 4
FORWARD, OURS, WRAPPED, THEIRS = "plain forward", "grad-cam", "pytorch-grad-cam", "pytorch-grad-cam, timm's"
ONE_BY_ONE, COVERED = "captum's occlusion, one at a time", "occlusion"
FASTER, DEARER = 2.5, 1.3
"""Wanted: so many times as fast as pytorch-grad-cam, and at most so many times a plain forward."""


class Logits(nn.Module):
    """A model of ours as others want it: pictures in, logits out."""

    def __init__(self, model: Vision) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixels: Tensor) -> Tensor:
        logits: Tensor = self.model.outputs(batch_of(pixels))
        return logits


def batch_of(pixels: Tensor) -> Batch:
    return Batch(keys=[""] * len(pixels), pixels={"image": pixels})


def tokens(output: Tensor) -> Tensor:
    """Lay a ViT's tokens on their grid, as the README of pytorch-grad-cam does."""
    side = SIDE // 16
    result = output[:, 1:, :].reshape(output.size(0), side, side, output.size(2))
    return result.transpose(2, 3).transpose(1, 2)


NETWORKS = {
    "ViT-S/16": ("vit_small_patch16_224", lambda net: net.blocks[-1].norm1, tokens),
    "ResNet-50": ("resnet50", lambda net: net.layer4[-1], None),
}
ATTENTION = {"ViT-S/16": ("attention", "rollout", "relevance"), "ResNet-50": ()}


def pair(name: str) -> tuple[Vision, nn.Module]:
    """Return timm's network as Vitrail loads it, and as it is."""
    theirs = timm.create_model(name).eval()
    with tempfile.TemporaryDirectory() as folder:
        timm.models.save_for_hf(theirs, folder, safe_serialization=True)
        ours = vitrail.load(folder).model
    pixels = torch.randn(1, 3, SIDE, SIDE)
    torch.testing.assert_close(Logits(ours)(pixels), theirs(pixels), atol=1e-4, rtol=1e-4)
    return ours, theirs


def over(batches: Sequence[Tensor], do: Callable[[Tensor], object]) -> Callable[[], None]:
    """Return a run over all batches."""

    def run() -> None:
        for pixels in batches:
            do(pixels)

    return run


def explaining(model: Vision, explainer: Explainer) -> Callable[[Tensor], np.ndarray]:
    return lambda pixels: np.stack([heat.values for heat in explainer(model, batch_of(pixels))])


def peer(
    network: nn.Module, layer: nn.Module, lay: Callable[[Tensor], Tensor] | None
) -> Callable[[Tensor], np.ndarray]:
    def explain(pixels: Tensor) -> np.ndarray:
        with GradCAM(network, [layer], reshape_transform=lay) as cam:  # its hooks are gone afterwards
            maps: np.ndarray = cam(pixels, None)
        return maps

    return explain


def gradients(label: str, batches: Sequence[Tensor], rounds: int) -> list[str]:
    """Measure one network's Grad-CAM and maps of attention; return the rows of a table."""
    name, module, lay = NETWORKS[label]
    ours, theirs = pair(name)
    layer = list(layers(ours.backbone).values())[-1].module

    @torch.inference_mode()
    def forward(pixels: Tensor) -> None:
        ours.outputs(batch_of(pixels))

    does: dict[str, Callable[[Tensor], object]] = {
        FORWARD: forward,
        WRAPPED: peer(Logits(ours), layer, lay),
        THEIRS: peer(theirs, module(theirs), lay),
        **{each: explaining(ours, EXPLAINERS[each]()) for each in (OURS, *ATTENTION[label])},
    }
    maps = scale_cam_image(scale_cam_image(does[OURS](batches[0]), (SIDE, SIDE)))
    for each in (WRAPPED, THEIRS):
        np.testing.assert_allclose(does[each](batches[0]), maps, atol=1e-3)
    seconds = record.interleave({each: over(batches, do) for each, do in does.items()}, rounds)
    pictures = sum(map(len, batches))
    rows = []
    for each in does:
        median = statistics.median(seconds[each])
        faster = " | ".join(
            f"{record.ratio(seconds, other, each):.2f}" if each == OURS else "" for other in (WRAPPED, THEIRS)
        )
        cost = "" if each == FORWARD else f"{record.ratio(seconds, each, FORWARD):.2f}"
        rows.append(f"| {label} | {each} | {pictures / median:.2f} | {cost} | {faster} |")
    return rows


def covering(label: str, pixels: Tensor, rounds: int) -> list[str]:
    """Measure covering the places of one picture, together and one by one; return the rows of a table."""
    ours, _ = pair(NETWORKS[label][0])
    window = SIDE // CELLS
    about = int(Logits(ours)(pixels).argmax())
    theirs = attr.Occlusion(Logits(ours))

    def one_by_one() -> None:
        with torch.inference_mode():
            theirs.attribute(pixels, (3, window, window), (3, window, window), baselines=0, target=about)

    explainer = Occlusion(cells=CELLS, window=1)
    runs = {ONE_BY_ONE: one_by_one, COVERED: lambda: explainer(ours, batch_of(pixels), about)}
    seconds = record.interleave(runs, rounds)
    faster = record.ratio(seconds, ONE_BY_ONE, COVERED)
    return [
        f"| {label} | {each} | {statistics.median(seconds[each]):.2f} "
        f"| {f'{faster:.2f}' if each == COVERED else ''} |"
        for each in runs
    ]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--pictures", type=int, default=32)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    pixels = torch.randn(arguments.pictures, 3, SIDE, SIDE)
    batches = pixels.split(arguments.batch)
    lines = [
        f"{arguments.pictures} pictures of {SIDE} pixels in batches of {arguments.batch}, float32, "
        f"{arguments.rounds} rounds in turn; ratios of medians. Wanted: grad-cam at least {FASTER} times as "
        f"fast as pytorch-grad-cam, grad-cam and attention at most {DEARER} times a plain forward.\n",
        "| network | | pictures a second | times a plain forward | times as fast as pytorch-grad-cam | "
        "as with timm's own network |",
        "| --- | --- | --- | --- | --- | --- |",
        *(row for label in NETWORKS for row in gradients(label, batches, arguments.rounds)),
        f"\nOne picture, {CELLS * CELLS} places covered in turn.\n",
        "| network | | seconds | times as fast |",
        "| --- | --- | --- | --- |",
        *(row for label in NETWORKS for row in covering(label, pixels[:1], arguments.rounds)),
    ]
    print("\n".join(lines))
    title = "Explaining answers beside answering, pytorch-grad-cam and captum"
    record.write_result("explain", title, "\n".join(lines), "timm", "grad-cam", "captum", "vitrail")


if __name__ == "__main__":
    main()
