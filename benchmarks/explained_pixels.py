"""Which explanation of pixels lies on their object? Every method on segmenters of scenes.

    python benchmarks/explained_pixels.py RUN... [--pictures 24]

`RUN` are runs on the scenes of `scenes.py`, as `accuracy.py` leaves them in `.data/bench`. Of each test
picture the class of most pixels but the background is explained. How much of the heat lies on its objects,
over the share of the picture that they take: 1 is what chance gives.
"""

import argparse
import time
from pathlib import Path

import numpy as np
from PIL import Image

import record
import vitrail
from vitrail.errors import UsageError
from vitrail.explain import EXPLAINERS
from vitrail.explain.inside import share_inside
from vitrail.run.explain.choice import OF_PIXELS
from vitrail.run.predict import Predictor

TEST = Path(__file__).parent.parent / ".data" / "scenes" / "main" / "test"


def shares(predictor: Predictor, method: str, files: list[Path]) -> list[float]:
    """Return the share of each picture's heat on what is explained, over its share of the picture."""
    found = []
    for file, each in zip(files, predictor.explain(files, method), strict=True):
        true = np.asarray(Image.open(TEST / "masks" / file.name))
        label = each.answer.names.index(each.about)
        if label and (true == label).any():
            found.append(share_inside(each.heat.values, true == label))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--pictures", type=int, default=24)
    arguments = parser.parse_args()
    files = sorted((TEST / "images").iterdir())[: arguments.pictures]
    rows = ["| network | method | heat on the object | seconds a picture |", "| --- | --- | --- | --- |"]
    for run in arguments.runs:
        predictor = vitrail.load(run)
        recipe = predictor.contract.recipe
        for method in EXPLAINERS:
            started = time.perf_counter()
            try:
                values = shares(predictor, method, files)
            except UsageError:
                continue
            took = (time.perf_counter() - started) / len(files)
            picks = np.random.default_rng(0).integers(0, len(values), (2000, len(values)))
            low, high = np.percentile(np.array(values)[picks].mean(1), (2.5, 97.5))
            name = f"**{method}**" if method == OF_PIXELS[0] else method
            said = f"{np.mean(values):.1f} ({low:.1f} to {high:.1f})"
            rows.append(f"| {recipe.model.name}, {recipe.head.name} | {name} | {said} | {took:.2f} |")
            print(rows[-1], flush=True)
    body = (
        "How much of the heat lies on the objects whose pixels are explained, over the share of the picture\n"
        f"that they take (1: chance); means over {len(files)} test pictures of scenes, 95 % intervals over\n"
        "pictures, one seed. In bold: what explains pixels unless another method is named.\n\n"
    )
    record.write_result(
        "explained-pixels", "Which explanation of pixels lies on them", body + "\n".join(rows), "timm"
    )


if __name__ == "__main__":
    main()
