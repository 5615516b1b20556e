"""The whole training loop against a bare loop on ready tensors and against transformers' Trainer.

`python benchmarks/train_loop.py [tiny|s16]`. Ours reads files, augments, averages weights, logs, reports
progress and checkpoints; the bare loop holds timm's model, fused AdamW and tensors in memory. The same number
of steps on the same number of pictures; medians of interleaved runs in one process.
"""

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import timm
import torch
from PIL import Image
from torch import nn

import record
from vitrail.data.augment import Augment
from vitrail.run.engine import start_engine
from vitrail.run.experiment import Experiment, prepare
from vitrail.run.job import start_job
from vitrail.run.progress import Silent
from vitrail.run.starts import start_recipe
from vitrail.run.train import fit

CASES = {
    "s16": {
        "model": "vit-s16",
        "size": 224,
        "batch": 16,
        "steps": 16,
        "timm": "vit_small_patch16_224",
        "options": {},
    },
    "tiny": {
        "model": "vit-ti4",
        "size": 28,
        "batch": 256,
        "steps": 4,
        "timm": "vit_tiny_patch16_224",
        "options": {"img_size": 28, "patch_size": 4, "depth": 6},
    },
}


def write_pictures(folder: Path, count: int, size: int) -> None:
    """Write ``count`` colour pictures of noise on a gradient in two classes, as JPEG files."""
    draw = np.random.default_rng(0)
    ramp = np.linspace(0, 127, size)[None, :, None]
    for number in range(count):
        pixels = (ramp + draw.integers(0, 128, (size, size, 3))).astype(np.uint8)
        path = folder / ("left" if number % 2 else "right") / f"{number:05d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path, quality=90)


def experiment_of(case: dict, data: Path) -> Experiment:
    recipe = start_recipe(case["model"], str(data))
    model = replace(
        recipe.model, depth=case["options"].get("depth"), init="normal", stem="patch", pool="class"
    )
    train = replace(recipe.train, optimizer="adamw", batch=case["batch"], ema=0.999, lr=1e-3)
    augment = Augment(flip=True, shift=case["size"] // 16)
    return prepare(
        replace(
            recipe,
            model=model,
            train=train,
            augment=augment,
            epochs=1,
            image_size=(case["size"],),
            data=replace(recipe.data, channels=3),
        )
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("case", choices=CASES, nargs="?", default="tiny")
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    case = CASES[arguments.case]
    count = case["batch"] * case["steps"]
    with tempfile.TemporaryDirectory() as scratch:
        data = Path(scratch) / "data"
        write_pictures(data / "train", count, case["size"])
        write_pictures(data / "val", 8, case["size"])
        write_pictures(data / "test", 8, case["size"])
        experiment = experiment_of(case, data)
        engine = start_engine(experiment.recipe)
        turn = iter(range(10_000))

        def ours() -> None:
            folder = Path(scratch) / f"run{next(turn)}"
            folder.mkdir()
            fit(start_job(experiment, folder, engine), Silent())

        bare_model = timm.create_model(case["timm"], num_classes=2, **case["options"])
        pixels = torch.randn(count, 3, case["size"], case["size"])
        labels = torch.arange(count) % 2

        def bare() -> None:
            model = timm.create_model(case["timm"], num_classes=2, **case["options"])
            model.load_state_dict(bare_model.state_dict())
            optimizer = torch.optim.AdamW(model.parameters(), 1e-3, fused=True)
            for start in range(0, count, case["batch"]):
                cut = slice(start, start + case["batch"])
                loss = nn.functional.cross_entropy(model(pixels[cut]), labels[cut])
                loss.backward()
                nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
                optimizer.zero_grad()
                loss.item()
            with torch.inference_mode():
                model(pixels[:8])

        trainer = trainer_run(case, pixels, labels, Path(scratch))
        seconds = record.interleave(
            {"vitrail": ours, "bare": bare, "transformers": trainer}, arguments.rounds
        )
    bare_ratio = record.ratio(seconds, "vitrail", "bare")
    trainer_ratio = record.ratio(seconds, "vitrail", "transformers")
    lines = [
        f"{case['steps']} steps of {case['batch']}, {case['size']} pixels, {arguments.rounds} rounds.\n",
        "| peer | vitrail's seconds / the peer's (medians) |",
        "| --- | --- |",
        f"| timm `{case['timm']}` in a bare loop on ready tensors | {bare_ratio:.3f} |",
        f"| transformers' Trainer with ViT on ready tensors | {trainer_ratio:.3f} |",
    ]
    print("\n".join(lines))
    record.write_result(
        f"train-loop-{arguments.case}", "The whole training loop", "\n".join(lines), "timm", "transformers"
    )


def trainer_run(case: dict, pixels: torch.Tensor, labels: torch.Tensor, scratch: Path):
    """Return a run of transformers' Trainer over the same shapes."""
    from transformers import Trainer, TrainingArguments, ViTConfig, ViTForImageClassification

    small = case["size"] == 28
    config = ViTConfig(
        hidden_size=192 if small else 384,
        num_hidden_layers=6 if small else 12,
        num_attention_heads=3 if small else 6,
        intermediate_size=768 if small else 1536,
        image_size=case["size"],
        patch_size=4 if small else 16,
        num_labels=2,
    )
    rows = [{"pixel_values": picture, "labels": label} for picture, label in zip(pixels, labels, strict=True)]
    arguments = TrainingArguments(
        output_dir=str(scratch / "trainer"),
        per_device_train_batch_size=case["batch"],
        num_train_epochs=1,
        save_strategy="epoch",
        save_only_model=False,
        save_total_limit=2,
        logging_steps=1,
        report_to=[],
        disable_tqdm=True,
        use_cpu=not torch.cuda.is_available(),
        optim="adamw_torch_fused",
    )

    def run() -> None:
        Trainer(model=ViTForImageClassification(config), args=arguments, train_dataset=rows).train()

    return run


if __name__ == "__main__":
    main()
