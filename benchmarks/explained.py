"""Which explanation finds the object? Every method on composites whose objects are known. `make bench`.

    python benchmarks/explained.py [--only NAME] [--minutes 30]

Transformers, a Swin, a ResNet and an EfficientNet learn, from scratch, which of six kinds of drawing lies on
a photograph (`composites.py`). Then each method explains each network, on drawings that it has learned, on
drawings that it has not, and on another style of drawing; and methods that look at a layer do so at each.
What is trained is kept in the scratch folder and gone on with; each network that is measured is a line of
`results/explained.jsonl`, of which `explained_table.py` makes the tables anew.
"""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command line does, before torch is imported

import argparse
import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

import composites
import explained_table
import record
import small_swin
import vitrail
from vitrail.backbones.layers import layers, telling
from vitrail.explain import EXPLAINERS
from vitrail.explain.faithfulness import Judge
from vitrail.models.vision import Vision
from vitrail.run.explain.benchmark import benchmark
from vitrail.run.explain.choice import explainer_of, kind_of
from vitrail.run.folder import Run
from vitrail.run.launch import resume_run
from vitrail.run.predict import Predictor
from vitrail.run.progress import reporter

ROOT = Path(__file__).parent.parent
SIZE, TRAINING, SEEDS = 96, 4000, (0, 1, 2)
PARTS = {"learned": "main", "unseen": "unseen", "style": "other-style"}
PICTURES = {"learned": 48, "unseen": 32, "style": 32, "layers": 32}
"""How many are explained of each part, and at each layer."""
WHOLE, ROAD = Judge(steps=7), Judge(steps=1)
"""With one step insertion and deletion keep their ends only, which saves most of the answers."""
BY_LAYER = ("grad-cam", "layer-cam")


@dataclass(frozen=True, kw_only=True)
class Network:
    """What is trained: a name of `vitrail models`, how long, and with which other words."""

    model: str
    epochs: int
    options: Mapping[str, Any] = field(default_factory=dict)


NETWORKS = {
    "ViT, mean of patches": Network(model="vit-pico8", epochs=6),
    "ViT, class token": Network(model="vit-pico8", epochs=6, options={"model.pool": "class"}),
    "Swin": Network(model=small_swin.NAME, epochs=12, options={"train.optimizer": "muon"}),
    "ViT of timm": Network(model="test_vit", epochs=16, options={"train.optimizer": "muon"}),
    "ResNet": Network(model="test_resnet", epochs=10),
    "EfficientNet": Network(model="test_efficientnet", epochs=10),
}
ALL = {"augment.shift": 8}
"""Pictures are shifted and mirrored; a cut might leave the object out."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One network of one seed."""

    name: str
    seed: int

    @property
    def digest(self) -> str:
        """What identifies a measurement: with other words or other pictures it is another one."""
        return digest(asdict(NETWORKS[self.name]), ALL, PICTURES, data_digest())

    @property
    def done(self) -> bool:
        return any(
            (line["network"], line["seed"], line["digest"]) == (self.name, self.seed, self.digest)
            for line in explained_table.read()
        )


def digest(*plain: Any) -> str:
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:12]


def data_digest() -> str:
    made_of = (composites.KINDS, composites.PHOTOGRAPHS, composites.SIDES, composites.UNSEEN)
    return digest(made_of, SIZE, TRAINING)


def data_folder(scratch: Path) -> Path:
    """Return the folder of composites, which are made if need be."""
    folder = scratch / f"composites-{data_digest()}"
    if not folder.exists():
        fresh = folder.with_suffix(".part")  # whole, or not at all
        data = ROOT / ".data"
        composites.write(fresh, data / "emoji", data / "emoji-twitter", pictures=TRAINING, size=SIZE)
        fresh.rename(folder)
    return folder


def train(entry: Entry, data: Path, scratch: Path) -> Path:
    """Train a network, or go on with it, and return its run."""
    network = NETWORKS[entry.name]
    words = "-".join(entry.name.replace(",", "").split())
    folder = scratch / f"explained-{words}-{digest(asdict(network), ALL, data_digest())}-{entry.seed}"
    if Run(folder).begun:
        return folder if Run(folder).finished else resume_run(folder, progress=reporter()).path
    run = vitrail.train(
        data / "main",
        model=network.model,
        epochs=network.epochs,
        seed=entry.seed,
        image_size=SIZE,
        out=folder,
        options=ALL | dict(network.options),
        progress=reporter(),
    )
    return run.path


def measure(entry: Entry, scratch: Path) -> dict[str, Any]:
    """Return one network's line: what its methods came to on all parts, and at each layer."""
    data = data_folder(scratch)
    run = train(entry, data, scratch)
    started = time.process_time()
    predictor = vitrail.load(run)
    model = predictor.model
    methods = {name: explainer_of(model, name) for name in EXPLAINERS}
    at_layers = {
        f"{name} {layer}": explainer_of(model, name, layer)
        for layer in layers(model.backbone)
        for name in BY_LAYER
    }
    return {
        "network": entry.name,
        "seed": entry.seed,
        "digest": entry.digest,
        "date": time.strftime("%Y-%m-%d"),
        "hardware": record.machine(),
        "versions": f"vitrail {vitrail.__version__}, {record.versions('torch', 'timm')}",
        "model": NETWORKS[entry.name].model,
        "kind": kind_of(model),
        "parameters": sum(each.numel() for each in model.parameters()),
        "train_seconds": round(Run(run).result["train_seconds"]),
        "parts": {
            part: {
                "accuracy": accuracy(run, data / folder),
                "methods": stand(
                    predictor, methods, data / folder, PICTURES[part], WHOLE if part == "learned" else ROAD
                ),
            }
            for part, folder in PARTS.items()
        },
        "layers": stand(predictor, at_layers, data / PARTS["learned"], PICTURES["layers"], ROAD),
        **layer_facts(model),
        "core_seconds": round(time.process_time() - started),
    }


def accuracy(run: Path, where: Path) -> dict[str, float]:
    return brief(vitrail.evaluate(run, str(where)).quality.metrics["accuracy"].to_dict())


def stand(
    predictor: Predictor, explainers: Mapping[str, Any], where: Path, pictures: int, judge: Judge
) -> dict[str, Any]:
    """Return each method's measures on some pictures of a folder, by `vitrail explain --benchmark`."""
    found = benchmark(
        predictor,
        str(where),
        explainers,
        pictures=pictures,
        masks=str(where.parent / "masks"),
        judge=judge,
        progress=reporter(),
    )
    rows = {}
    for plain in found.to_dict()["methods"]:
        marks = plain["marks"] if judge != ROAD else {"road": plain["marks"]["road"]}
        numbers = {"inside": plain["inside"], "points": plain["points"], **marks}
        rows[plain["method"]] = {name: brief(value) for name, value in numbers.items()} | {
            name: None if plain[name] is None else round(plain[name], 5) for name in ("alike", "seconds")
        }
    return rows


def brief(value: Mapping[str, float]) -> dict[str, float]:
    return {name: round(value[name], 4) for name in ("value", "low", "high")}


def layer_facts(model: Vision) -> dict[str, Any]:
    """Return how many cells each layer's map has down and across, and which layer is taken unless told."""
    pixels = torch.zeros(1, 3, SIZE, SIZE)
    known = layers(model.backbone)
    return {
        "grids": {name: [*layer.grid(pixels)] for name, layer in known.items()},
        "found": telling(known, pixels),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default="", help="only networks whose name contains this")
    parser.add_argument("--seeds", type=int, default=len(SEEDS), help="no more seeds than this")
    parser.add_argument("--minutes", type=float, default=60, help="start no network after this many minutes")
    parser.add_argument("--scratch", type=Path, default=ROOT / ".data" / "bench")
    arguments = parser.parse_args()
    started = time.monotonic()
    for seed in SEEDS[: arguments.seeds]:
        for name in NETWORKS:
            entry = Entry(name=name, seed=seed)
            late = time.monotonic() - started > 60 * arguments.minutes
            if arguments.only in name and not entry.done and not late:
                explained_table.keep(measure(entry, arguments.scratch), [*NETWORKS])
    explained_table.write()


if __name__ == "__main__":
    main()
