"""`vitrail.json`: what a model promises to whoever uses it, by name and never by position."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import torch

from vitrail import __version__
from vitrail.data.preprocess import Preprocess
from vitrail.errors import VitrailError
from vitrail.models.vision import Vision
from vitrail.nn.lora import merged
from vitrail.run.checkpoint import load_tensors, save_tensors
from vitrail.run.experiment import Experiment, build_model
from vitrail.run.files import read_json, write_json
from vitrail.run.recipe import Recipe, from_dict
from vitrail.tasks import Task

FILE, WEIGHTS, FORMAT = "vitrail.json", "model.safetensors", 1


@dataclass(frozen=True, kw_only=True)
class Contract:
    """Labels by name, preprocessing, task, head and backbone, calibration, and the data it was trained on."""

    recipe: Recipe
    classes: tuple[str, ...]
    preprocess: Preprocess
    fingerprint: str
    temperature: float = 1.0

    @property
    def task(self) -> Task:
        """What is asked, of which classes."""
        return self.recipe.task.build(self.classes)

    def build(self) -> Vision:
        """Build the network, its answers calibrated, without its weights."""
        recipe = replace(self.recipe, model=self.recipe.model.untrained())
        model = build_model(recipe, self.preprocess, self.classes)
        model.calibrate(self.temperature)
        return model


def contract_of(experiment: Experiment, temperature: float = 1.0) -> Contract:
    """Return the contract of an experiment."""
    return Contract(
        recipe=experiment.recipe,
        classes=tuple(experiment.splits.classes),
        preprocess=experiment.preprocess,
        fingerprint=experiment.splits.fingerprint,
        temperature=temperature,
    )


def write_contract(folder: Path, contract: Contract) -> None:
    """Write ``vitrail.json``."""
    plain = contract.recipe.to_dict()
    parts = {name: plain[name] for name in ("task", "head", "model")}
    write_json(
        folder / FILE,
        {
            "vitrail": __version__,
            "format": FORMAT,
            **parts,
            "classes": list(contract.classes),
            "preprocess": contract.preprocess.to_dict(),
            "temperature": contract.temperature,
            "data": {"where": Path(contract.recipe.where).name, "fingerprint": contract.fingerprint},
        },
    )


def read_contract(folder: Path) -> Contract:
    """Read ``vitrail.json``; a missing, broken or newer one is an error that says so."""
    path = folder / FILE
    plain = read_json(path, "a run folder that `vitrail train` finished holds it")
    if not isinstance(plain, Mapping) or plain.get("format", 0) > FORMAT:
        version = plain.get("vitrail") if isinstance(plain, Mapping) else None
        raise VitrailError(f"{path}: written by a newer Vitrail ({version}). Update: pip install -U vitrail.")
    try:
        data: Mapping[str, Any] = plain["data"]
        recipe = {name: plain[name] for name in ("task", "head", "model")} | {"where": data["where"]}
        return Contract(
            recipe=from_dict(recipe, str(path)),
            classes=msgspec.convert(plain["classes"], tuple[str, ...]),
            preprocess=Preprocess.from_dict(plain["preprocess"]),
            fingerprint=str(data["fingerprint"]),
            temperature=float(plain["temperature"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise VitrailError(
            f"{path}: incomplete or damaged ({error!r}). Copy it again from the run."
        ) from None


def save_weights(folder: Path, model: torch.nn.Module) -> None:
    """Write ``model.safetensors``, with what adapters have learned in the weights that they stand beside."""
    save_tensors(folder / WEIGHTS, merged(model))


def load_model(folder: Path, contract: Contract) -> Vision:
    """Build the contract's network with its trained weights, ready to answer."""
    model = contract.build()
    load_state(model, load_tensors(folder / WEIGHTS), folder / WEIGHTS)
    return model.eval()


def load_state(model: torch.nn.Module, tensors: Mapping[str, torch.Tensor], path: Path) -> None:
    """Put tensors into a model; names or shapes that do not fit are listed."""
    wanted = model.state_dict()
    wrong = [
        *(f"missing {name}" for name in wanted.keys() - tensors.keys()),
        *(f"unknown {name}" for name in tensors.keys() - wanted.keys()),
        *(
            f"{name} is {tuple(tensors[name].shape)}, not {tuple(wanted[name].shape)}"
            for name in wanted.keys() & tensors.keys()
            if tensors[name].shape != wanted[name].shape
        ),
    ]
    if wrong:
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise VitrailError(
            f"{path}: these are not the weights of this model: {'; '.join(sorted(wrong)[:3])}{more}."
        )
    model.load_state_dict(dict(tensors))
