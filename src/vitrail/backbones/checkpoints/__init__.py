"""Other people's checkpoints as networks here: by the names on disk, both ways, and nothing left over."""

from pathlib import Path

from vitrail.backbones.checkpoints.big_vision import read_big_vision
from vitrail.backbones.checkpoints.kinds import kind_of
from vitrail.backbones.checkpoints.pretrained import Pretrained, Reader
from vitrail.backbones.checkpoints.resnet import read_resnet
from vitrail.backbones.checkpoints.runs import read_run
from vitrail.backbones.checkpoints.timm import read_timm
from vitrail.backbones.checkpoints.transformers import read_transformers
from vitrail.backbones.vit import ViTConfig

__all__ = ["READERS", "Pretrained", "read_pretrained"]

READERS: dict[str, Reader] = {
    "transformers": read_transformers,
    "resnet": read_resnet,
    "timm": read_timm,
    "big_vision": read_big_vision,
    "run": read_run,
}
"""Who reads which kind of checkpoint."""


def read_pretrained(path: Path, *, like: ViTConfig | None = None, values: bool = True) -> Pretrained:
    """Return the checkpoint of a file or folder, understood.

    ``like`` is the network that was asked for: a file without a config does not tell all of its own. Without
    ``values`` its tensors have shapes only, and all is checked that can be without reading them.
    Raises VitrailError, naming what is wrong, when it is broken or no network that is known here.
    """
    kind, source = kind_of(path)
    return READERS[kind](source, like, values)
