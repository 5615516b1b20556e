import pytest
import torch

from vitrail.backbones.timm import TimmConfig
from vitrail.backbones.vit import ViTConfig
from vitrail.heads.linear import LinearConfig
from vitrail.models.vision import Vision
from vitrail.values import Batch

NAMES = ("a", "b", "c")


@pytest.fixture(scope="session")
def make():
    """Return who builds a small model: a Transformer of ours by its switches, or timm's by name."""

    def build(name="", size=(32, 32), head=None, **switches):
        torch.manual_seed(0)
        config = (
            TimmConfig(name=name)
            if name
            else ViTConfig(**{"size": "pico", "depth": 3, "patch": 8} | switches)
        )
        backbone = config.build(size, 3)
        model = Vision(backbone, (head or LinearConfig()).build(backbone, NAMES, False)).eval()
        torch.nn.init.normal_(model.head.layers[-1].weight)
        return model

    return build


@pytest.fixture
def pictures():
    """Return who draws two pictures of a size."""

    def draw(size=(32, 32)):
        generator = torch.Generator().manual_seed(1)
        return Batch(keys=["x", "y"], pixels={"image": torch.randn(2, 3, *size, generator=generator)})

    return draw
