"""A run of Vitrail's own as a checkpoint: the names are ours already."""

from dataclasses import replace
from pathlib import Path

import msgspec

from vitrail.backbones.checkpoints.pretrained import Pretrained
from vitrail.backbones.runs import CONTRACT, backbone_of, run_model, run_preprocessing
from vitrail.backbones.vit import ViTConfig
from vitrail.backbones.weights import read_weights
from vitrail.errors import VitrailError


def read_run(path: Path, like: ViTConfig | None, values: bool) -> Pretrained:  # noqa: ARG001
    """Return the backbone of a run folder; its head is what `classifier_of` reads.

    Raises VitrailError for a run of another network than a Transformer of ours, or a damaged one.
    """
    try:
        config = msgspec.convert(run_model(path), ViTConfig)
    except msgspec.ValidationError as error:
        raise VitrailError(f"{path / CONTRACT}: this run is of no Transformer of ours ({error}).") from None
    return Pretrained(
        title="a run of Vitrail",
        config=replace(config, weights=None),
        tensors=backbone_of(read_weights(path, values=values)),
        preprocessing=run_preprocessing(path),
    )
