"""Which explanation finds the object? Every method on composites whose objects are known.

    python benchmarks/explained.py [--only NAME] [--pictures 100]

A ViT, a Swin, a ResNet and an EfficientNet learn, from scratch, which of five kinds of drawing lies on a
photograph (`composites.py`). Then each method explains each network on drawings that it has learned, on
drawings that it has not, and on another style of drawing. What is trained is kept in the scratch folder, and
what was measured in `results/explained.json`; the table is made anew of it.
"""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command line does, before torch is imported

import argparse
import json
import time
from pathlib import Path

import composites
import record
import vitrail
from vitrail.explain import EXPLAINERS
from vitrail.explain.faithfulness import BASELINES
from vitrail.run.explain.benchmark import benchmark
from vitrail.run.explain.choice import default_method, explainer_of
from vitrail.run.folder import Run
from vitrail.run.launch import resume_run
from vitrail.run.progress import reporter

ROOT = Path(__file__).parent.parent
KEPT, TABLE = record.RESULTS / "explained.json", record.RESULTS / "explained.md"
NETWORKS = {
    "vit-pico8": {"epochs": 30},
    "vit-pico8 class": {"epochs": 30, "model.pool": "class"},
    "swin_tiny_patch4_window7_224": {"epochs": 6},
    "test_resnet": {"epochs": 30},
    "test_efficientnet": {"epochs": 30},
}
"""What is trained, and its words."""
PARTS = {"learned drawings": "main", "drawings not seen": "unseen", "another style": "other-style"}
PICTURES = 4000
ABOUT = f"""Made by `python benchmarks/explained.py`: five kinds of drawing on photographs, {PICTURES:,}
training pictures of 96 x 96, each network from scratch with one seed. Each picture's own answer is explained,
right or wrong. `inside` is the share of the heat on the object over the object's share of the picture (1: by
chance), `points` how often the hottest place is on it; insertion, deletion and ROAD are those of `vitrail
explain --benchmark`. Means with 95 % intervals over pictures."""


def train(name: str, data: Path, scratch: Path) -> Path:
    """Train a network, or go on with it, and return its run."""
    folder = scratch / f"explained-{name.replace(' ', '-')}"
    if not (folder / "recipe.json").exists():
        options = {"augment": "light"} | NETWORKS[name]
        vitrail.train(
            data / "main",
            model=name.split()[0],
            epochs=options.pop("epochs"),
            image_size=96,
            out=folder,
            options=options,
            progress=reporter(),
        )
    elif not Run(folder).finished:
        resume_run(folder, progress=reporter())
    return folder


def measure(run: Path, data: Path, pictures: int) -> dict:
    """Return what one network's methods came to on all parts."""
    predictor = vitrail.load(run)
    explainers = {method: explainer_of(predictor.model, method) for method in EXPLAINERS}
    parts = {}
    for title, part in PARTS.items():
        found = benchmark(
            predictor,
            str(data / part),
            explainers,
            pictures=pictures,
            masks=str(data / "masks"),
            progress=reporter(),
        )
        accuracy = vitrail.evaluate(run, data / part).quality.metrics["accuracy"]
        parts[title] = found.to_dict() | {"accuracy": accuracy.to_dict()}
    return {
        "date": time.strftime("%Y-%m-%d"),
        "hardware": record.machine(),
        "versions": record.versions("vitrail", "torch", "timm"),
        "default": default_method(predictor.model),
        "parts": parts,
    }


def write_table(kept: dict) -> None:
    """Make the table anew of what is kept."""
    lines = [
        "# Which explanation finds the object",
        "",
        ABOUT,
    ]
    for name, each in kept.items():
        lines += ["", f"## {name}", "", f"{each['date']}; {each['hardware']}; {each['versions']}."]
        for title, part in each["parts"].items():
            found = {row["method"]: row for row in part["methods"]}
            ordered = sorted(found, key=lambda row: (row in BASELINES, -found[row]["inside"]["value"]))
            lines += [
                "",
                f"{title.capitalize()}: {part['pictures']} pictures, accuracy {percent(part['accuracy'])}.",
                "",
                "| method | inside | points, % | ROAD | insertion | deletion | shuffled | ms a picture |",
                "| --- | --- | --- | --- | --- | --- | --- | --- |",
            ]
            lines += [row(found[method], method == each["default"]) for method in ordered]
    TABLE.write_text("\n".join(lines) + "\n", encoding="utf-8")


def row(found: dict, default: bool) -> str:
    marks = found["marks"]
    cells = [
        f"**{found['method']}** (default)" if default else found["method"],
        number(found["inside"]),
        percent(found["points"]),
        *(number(marks[name]) for name in ("road", "insertion", "deletion")),
        "" if found["alike"] is None else f"{found['alike']:.2f}",
        "" if found["seconds"] is None else f"{1e3 * found['seconds']:.1f}",
    ]
    return "| " + " | ".join(cells) + " |"


def number(value: dict) -> str:
    return f"{value['value']:.2f} ({value['low']:.2f} to {value['high']:.2f})"


def percent(value: dict) -> str:
    return f"{100 * value['value']:.0f} ({100 * value['low']:.0f} to {100 * value['high']:.0f})"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default="", help="only networks whose name contains this")
    parser.add_argument("--pictures", type=int, default=100)
    parser.add_argument("--again", action="store_true", help="measure again what is measured already")
    parser.add_argument("--scratch", type=Path, default=ROOT / ".data" / "bench")
    arguments = parser.parse_args()
    data = arguments.scratch / "composites"
    if not (data / "masks").exists():
        composites.write(data, ROOT / ".data/emoji", ROOT / ".data/emoji-twitter", pictures=PICTURES)
    for name in NETWORKS:
        if arguments.only in name and (name not in read_kept() or arguments.again):
            found = measure(train(name, data, arguments.scratch), data, arguments.pictures)
            kept = read_kept() | {name: found}
            kept = {name: kept[name] for name in NETWORKS if name in kept}
            KEPT.write_text(json.dumps(kept, separators=(",", ":")) + "\n")
    write_table(read_kept())


def read_kept() -> dict:
    return json.loads(KEPT.read_text()) if KEPT.exists() else {}


if __name__ == "__main__":
    main()
