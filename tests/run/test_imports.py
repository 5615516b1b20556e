"""What a command imports decides how long it takes to start."""

import subprocess
import sys

CODE = """
import sys
from vitrail.cli import main
assert main({words!r}) == 0
print("loaded", *sorted(sys.modules))
"""


def loaded_by(*words):
    code = CODE.format(words=[str(word) for word in words])
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split())


def test_our_transformer_needs_torch_alone(pictures, tmp_path):
    """Optimizers import torch's compiler themselves; answering does without it too."""
    out = tmp_path / "run"
    trained = loaded_by("train", pictures, "--model", "vit-pico4", "--epochs", "1", "--out", out)
    answered = loaded_by("predict", out, pictures / "dots")
    others = {
        "torchvision",
        "timm",
        "sklearn",
        "matplotlib",
        "transformers",
    }  # pyarrow takes pandas where it finds it
    assert "torch" in trained & answered
    assert not others & trained
    assert not (others | {"torch._dynamo", "torch._inductor", "sympy"}) & answered
