"""Features to output to answers: one file a head, its loss beside it."""

from collections.abc import Mapping

from vitrail.heads.dpt import DPTConfig
from vitrail.heads.fcn import FCNConfig
from vitrail.heads.linear import LinearConfig
from vitrail.heads.masks import MasksConfig
from vitrail.heads.pixel_linear import PixelLinearConfig
from vitrail.heads.unet import UNetConfig

HeadConfig = LinearConfig | UNetConfig | FCNConfig | PixelLinearConfig | MasksConfig | DPTConfig

HEADS: Mapping[str, Mapping[str, type[HeadConfig]]] = {
    "classify": {"linear": LinearConfig},
    "segment": {
        "unet": UNetConfig,
        "fcn": FCNConfig,
        "linear": PixelLinearConfig,
        "masks": MasksConfig,
        "dpt": DPTConfig,
    },
}
"""The heads of each task, by the name that their configs carry."""
