"""A trained model as a folder that another library loads: what each format writes, and who reads it back."""

import copy
from collections.abc import Callable, Mapping
from contextlib import redirect_stderr
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitrail.backbones import configure
from vitrail.backbones.checkpoints import read_pretrained
from vitrail.backbones.checkpoints.express import as_timm, as_transformers
from vitrail.backbones.checkpoints.preparation import RESAMPLE
from vitrail.backbones.trial import round_up
from vitrail.backbones.vit import ViTConfig
from vitrail.data.preprocess import Preprocess
from vitrail.errors import UsageError, VitrailError
from vitrail.heads.linear import Linear
from vitrail.models.vision import Vision
from vitrail.run.checkpoint import save_tensors
from vitrail.run.contract import Contract
from vitrail.run.files import read_json, write_json

CONFIG, WEIGHTS, PREPARATION = "config.json", "model.safetensors", "preprocessor_config.json"

Answer = Callable[[Tensor], Tensor]
"""Normalised pixels ``b c h w`` of the run's own channels to logits."""


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A run's network with its one-layer classifier, whose logits are the run's at its own temperature."""

    contract: Contract
    model: Vision

    def __post_init__(self) -> None:
        head = self.model.head
        if not isinstance(head, Linear) or sum(isinstance(layer, nn.Linear) for layer in head.layers) != 1:
            raise UsageError(
                "other libraries' classifiers have one layer: a run with --head linear and without "
                "--head.hidden can be exported."
            )

    @property
    def classifier(self) -> tuple[Tensor, Tensor]:
        """Weight and bias; what divides the logits after training divides them."""
        (layer,) = (layer for layer in self.model.head.layers if isinstance(layer, nn.Linear))
        temperature = self.contract.temperature
        return layer.weight.detach() / temperature, layer.bias.detach() / temperature

    @torch.inference_mode()
    def __call__(self, pixels: Tensor) -> Tensor:
        """Return the logits at the run's temperature."""
        return F.linear(self.model.backbone(pixels, levels=False).summary, *self.classifier)


@dataclass(frozen=True, kw_only=True)
class Format:
    """``write`` fills a folder and returns the architecture's name there; ``read`` are readers by name."""

    write: Callable[[Trained, Path], str]
    readers: Callable[[Trained, Path], Mapping[str, Answer]]


# ---------------------------------------------------------------- transformers


def write_transformers(trained: Trained, folder: Path) -> str:
    """Write what ``AutoModelForImageClassification`` and ``AutoImageProcessor`` load.

    Their pipelines open every picture in colour. A network for grey pictures is written as one whose map of
    patches weighs red, green and blue as grey does.
    """
    contract, model = trained.contract, trained.model
    config, preprocess = contract.recipe.model, contract.preprocess
    if not isinstance(config, ViTConfig):
        raise UsageError(
            f"{config.name} is timm's: take --format timm, whose folders transformers loads too "
            "(AutoModelForImageClassification, from 4.49 on)."
        )
    tensors = {name: tensor.detach() for name, tensor in model.backbone.state_dict().items()}
    preparation = _preparation(preprocess)
    if preprocess.channels == 1 and "embed.weight" in tensors:  # else it is refused below
        tensors["embed.weight"] = tensors["embed.weight"] * torch.tensor(LUMA).view(1, 3, 1, 1)
    found = as_transformers(config, preprocess.size, tensors, trained.classifier)
    multi = bool(contract.recipe.task.multi)
    save_tensors(folder / WEIGHTS, found.tensors)
    write_json(
        folder / CONFIG,
        {
            **found.arguments,
            "id2label": {str(index): name for index, name in enumerate(contract.classes)},
            "label2id": {name: index for index, name in enumerate(contract.classes)},
            "problem_type": "multi_label_classification" if multi else "single_label_classification",
            "torch_dtype": "float32",
        },
    )
    write_json(folder / PREPARATION, preparation)
    return found.architecture


LUMA = (0.299, 0.587, 0.114)
"""How much of red, green and blue makes grey (ITU-R 601-2, as in Pillow)."""


def _preparation(preprocess: Preprocess) -> dict[str, Any]:
    """Return the image processor of transformers that does the same, up to how its library rounds.

    Raises UsageError for what no processor of transformers does.
    """
    height, width = preprocess.size
    if preprocess.channels not in (1, 3):
        raise UsageError(
            f"transformers reads no pictures of {preprocess.channels} channels. Take --format timm, whose "
            "networks take any tensor."
        )
    filters = {name: number for number, name in RESAMPLE.items()}
    share = 3 if preprocess.channels == 1 else 1
    common = {
        "do_resize": True,
        "resample": filters[preprocess.resample],
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": [*preprocess.mean] * share,
        "image_std": [*preprocess.std] * share,
    }
    if preprocess.fit == "squash":
        return {
            "image_processor_type": "ViTImageProcessor",
            "size": {"height": height, "width": width},
            **common,
        }
    if preprocess.fit == "pad" or height != width:
        what = "--data.fit pad" if preprocess.fit == "pad" else f"--data.fit crop to {height}x{width}"
        raise UsageError(
            f"transformers has no {what}: a run with --data.fit squash can be exported; or --format timm."
        )
    return {
        "image_processor_type": "BitImageProcessor",
        "size": {"shortest_edge": round(height / preprocess.crop_pct)},
        "do_center_crop": True,
        "crop_size": {"height": height, "width": width},
        "do_convert_rgb": True,
        **common,
    }


def read_by_transformers(trained: Trained, folder: Path) -> Mapping[str, Answer]:
    """Return what answers with a folder: our own reader, and transformers where it is installed."""
    colour = 3 // trained.contract.preprocess.channels
    own = _own_answer(trained, folder)
    readers: dict[str, Answer] = {"Vitrail": lambda pixels: own(pixels.repeat(1, colour, 1, 1))}
    if find_spec("transformers"):
        from transformers import AutoModelForImageClassification

        with redirect_stderr(StringIO()):  # bars that show how it loads
            net, found = AutoModelForImageClassification.from_pretrained(folder, output_loading_info=True)
        if left := [name for names in found.values() for name in names]:
            raise VitrailError(f"{folder}: transformers does not find, or does not know, {left[0]}.")
        net.eval()
        title = f"transformers {version('transformers')}"
        readers[title] = lambda pixels: net(pixels.repeat(1, colour, 1, 1)).logits
    return readers


def _own_answer(trained: Trained, folder: Path) -> Answer:
    """Return what answers with an exported ViT, read as anybody's checkpoint."""
    found = read_pretrained(folder)
    assert found.head is not None, "it was written with a classifier"
    assert found.classes == trained.contract.classes, "and with the names of its classes"
    weight, bias = found.head
    net = found.config.build(trained.contract.preprocess.size, found.preprocessing["channels"]).eval()
    net.load_state_dict(dict(found.tensors))
    return lambda pixels: F.linear(net(pixels, levels=False).summary, weight, bias)


# ---------------------------------------------------------------- timm


def write_timm(trained: Trained, folder: Path) -> str:
    """Write what ``timm.create_model("local-dir:FOLDER", pretrained=True)`` loads."""
    contract, model = trained.contract, trained.contract.recipe.model
    names, stated = list(contract.classes), _data_config(contract.preprocess)
    if not isinstance(model, ViTConfig):
        import timm

        net = _with_classifier(trained)
        timm.models.save_for_hf(
            net, folder, safe_serialization=True, model_config={"label_names": names}, data_config=stated
        )
        config = read_json(folder / CONFIG, "timm wrote it a moment ago")
        config["model_args"].pop("num_classes")  # said beside them, and transformers stumbles over it here
        write_json(folder / CONFIG, config)
        return model.name.partition(".")[0]
    tensors = {name: tensor.detach() for name, tensor in trained.model.backbone.state_dict().items()}
    found = as_timm(model, contract.preprocess.size, tensors, trained.classifier)
    stated |= {
        "fixed_input_size": True,
        "num_classes": len(names),
        "first_conv": "patch_embed.proj",
        "classifier": ["head", "head_dist"] if "head_dist.weight" in found.tensors else "head",
    }
    save_tensors(folder / WEIGHTS, found.tensors)
    write_json(
        folder / CONFIG,
        {
            "architecture": found.architecture,
            "num_classes": len(names),
            "num_features": found.arguments["embed_dim"],
            "global_pool": found.arguments["global_pool"],
            "label_names": names,
            "model_args": found.arguments,
            "pretrained_cfg": stated,
        },
    )
    return found.architecture


def _with_classifier(trained: Trained) -> Any:
    """Return timm's network with the run's classifier in the place of its own.

    Raises UsageError for one that is not a single layer, and for pictures that are padded or enlarged inside.
    """
    backbone, size = trained.model.backbone, trained.contract.preprocess.size
    within = (max(size[0], backbone.least[0]), max(size[1], backbone.least[1]))
    canvas = backbone.only or round_up(within, backbone.multiple)
    if canvas != size:
        height, width = canvas
        raise UsageError(
            f"{trained.contract.recipe.model.name} takes no pictures of {size[0]}x{size[1]} but enlarged: "
            f"a run with --image-size {height} {width} can be exported."
        )
    net = copy.deepcopy(backbone.net)
    weight, bias = trained.classifier
    net.reset_classifier(len(weight))
    layers = net.get_classifier()
    for layer in layers if isinstance(layers, tuple) else (layers,):  # two answer by their mean
        if getattr(layer, "bias", None) is None or layer.weight.numel() != weight.numel():
            raise UsageError(
                f"{trained.contract.recipe.model.name}: its classifier is no linear layer but a "
                f"{type(layer).__name__}, so its runs cannot be exported."
            )
        layer.weight.data.copy_(weight.view_as(layer.weight))
        layer.bias.data.copy_(bias)
    return net


def _data_config(preprocess: Preprocess) -> dict[str, Any]:
    """Return what timm's ``create_transform`` wants to know, to do the same up to how it rounds."""
    return {
        "input_size": [preprocess.channels, *preprocess.size],
        "interpolation": preprocess.resample,
        "crop_pct": preprocess.crop_pct if preprocess.fit == "crop" else 1.0,
        "crop_mode": {"crop": "center", "squash": "squash", "pad": "border"}[preprocess.fit],
        "mean": [*preprocess.mean],
        "std": [*preprocess.std],
    }


def read_by_timm(trained: Trained, folder: Path) -> Mapping[str, Answer]:
    """Return what answers with a folder: our own reader, and timm."""
    import timm

    net = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    contract, again = trained.contract, configure(str(folder), offline=True)
    if isinstance(again, ViTConfig):  # as some runs of timm's own networks are, when they are read
        own = _own_answer(trained, folder)
    else:
        backbone = again.build(contract.preprocess.size, contract.preprocess.channels).eval()

        def own(pixels: Tensor) -> Tensor:
            return F.linear(backbone(pixels, levels=False).summary, *trained.classifier)

    return {"Vitrail": own, f"timm {version('timm')}": net}


FORMATS = {
    "transformers": Format(write=write_transformers, readers=read_by_transformers),
    "timm": Format(write=write_timm, readers=read_by_timm),
}
"""Formats by name."""
