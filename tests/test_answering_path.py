"""A served model decodes as it was trained, where nothing but Pillow and NumPy is installed."""

import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from vitrail.data.preprocess import Preprocess

# What a server need not have. The child cannot import it, and so neither can anything that the child imports.
BLOCKED = [
    "torch",
    "torchvision",
    "timm",
    "pyarrow",
    "sklearn",
    "scipy",
    "matplotlib",
    "einops",
    "msgspec",
    "rich",
    "tyro",
]

CHILD = """
import importlib.abc, json, sys

class Blocked(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in words["blocked"]:
            raise ImportError(f"{name} is not installed here")

words = json.loads(sys.argv[1])
sys.meta_path.insert(0, Blocked())

import numpy as np
from vitrail.data.preprocess import Preprocess
from vitrail.values import Label

preprocess = Preprocess.from_dict(words["preprocess"])
answers = {}
for name, path in words["pictures"].items():
    pixels, frame = preprocess(path)
    answers[name] = pixels
    answers[name + " frame"] = np.array([*frame.size, *frame.matrix])
np.savez(words["out"], **answers)

label = Label(names=("a", "b"), scores=np.array([0.25, 0.75]), source=0)
assert label.to_dict()["label"] == "b"
assert not set(words["blocked"]) & set(sys.modules)
"""


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Pictures of the kinds that are easily read differently in two places."""
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(7)
    noise = rng.integers(0, 256, (97, 61, 4), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(noise[..., :3]).save(folder / "turned.jpg", exif=exif)
    Image.fromarray(noise[..., :3]).resize((640, 480)).save(folder / "large.jpg")
    Image.fromarray(noise[..., :3]).convert("CMYK").save(folder / "ink.jpg")
    Image.fromarray(noise).save(folder / "alpha.png")
    Image.fromarray(noise[..., 0]).save(folder / "grey.png")
    ramp = np.linspace(0, 65535, 97 * 61).reshape(97, 61).astype(np.uint16)
    Image.fromarray(ramp).save(folder / "deep.png")
    return {path.name: str(path) for path in sorted(folder.iterdir())}


@pytest.mark.parametrize("fit", ["crop", "squash", "pad"])
@pytest.mark.parametrize("channels", [1, 3])
def test_the_same_tensor_without_torch(pictures, tmp_path, fit, channels):
    import torch

    preprocess = Preprocess(
        size=(32, 40),
        channels=channels,
        fit=fit,
        crop_pct=0.875,
        resample="bicubic",
        mean=(0.485, 0.456, 0.406)[:channels],
        std=(0.229, 0.224, 0.225)[:channels],
    )
    plain = json.loads(json.dumps(preprocess.to_dict()))  # as vitrail.json keeps it
    words = {
        "blocked": BLOCKED,
        "pictures": pictures,
        "preprocess": plain,
        "out": str(tmp_path / "answers.npz"),
    }
    child = [sys.executable, "-c", CHILD, json.dumps(words)]
    done = subprocess.run(child, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr

    served = np.load(tmp_path / "answers.npz")
    for name, path in pictures.items():
        pixels, frame = preprocess(path)
        assert pixels.shape == (channels, 32, 40)
        assert pixels.dtype == np.float32
        np.testing.assert_array_equal(served[name], pixels, err_msg=name)
        np.testing.assert_array_equal(served[f"{name} frame"], [*frame.size, *frame.matrix], err_msg=name)
        # Training normalises batches of bytes with torch, on whatever device: the same numbers again.
        canvas, _ = preprocess.canvas(preprocess.load(path))
        trained = preprocess.normalise(torch.from_numpy(canvas.transpose(2, 0, 1).copy())[None])[0]
        np.testing.assert_array_equal(trained.numpy(), pixels, err_msg=name)
