"""From photographs to a folder that other libraries answer with, in a process of their own."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from vitrail.cli import main

THEIRS = """
import json, sys
import timm, torch, transformers
from PIL import Image

out, pictures = sys.argv[1], sys.argv[2:]
opened = [Image.open(picture).convert("RGB") for picture in pictures]
pipe = transformers.pipeline("image-classification", model=out + "/transformers", device="cpu")
found = {"transformers": [{each["label"]: each["score"] for each in answer} for answer in pipe(opened)]}
net = timm.create_model("local-dir:" + out + "/timm", pretrained=True).eval()
transform = timm.data.create_transform(**timm.data.resolve_data_config(model=net))
with torch.no_grad():
    scores = net(torch.stack([transform(picture) for picture in opened])).softmax(dim=1).tolist()
names = net.pretrained_cfg["label_names"]
found["timm"] = [dict(zip(names, row)) for row in scores]
assert "vitrail" not in sys.modules
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run on crops of real photographs and textures, by a ViT with a class token."""
    import skimage.data
    from sklearn.datasets import load_sample_image

    folder = tmp_path_factory.mktemp("data")
    sources = {"brick": skimage.data.brick(), "flower": load_sample_image("flower.jpg")}
    draw = np.random.default_rng(0)
    for name, pixels in sources.items():
        (folder / name).mkdir()
        for number in range(24):
            top, left = (int(draw.integers(0, side - 48)) for side in pixels.shape[:2])
            crop = Image.fromarray(pixels[top : top + 48, left : left + 48]).convert("RGB")
            crop.save(folder / name / f"{number:02d}.png")
    out = tmp_path_factory.mktemp("runs") / "run"
    words = ["train", str(folder), "--model", "vit-pico16", "--image-size", "48", "--epochs", "6"]
    words += ["--model.stem", "patch", "--model.pool", "class", "--train.batch", "16", "--out", str(out)]
    assert main([*words, "--json"]) == 0
    return out, folder


def test_other_libraries_answer_alike_without_us(run, tmp_path, capsys):
    run, folder = run
    pictures = [str(folder / name / "03.png") for name in ("brick", "flower")]
    for form in ("transformers", "timm"):
        assert main(["export", str(run), "--format", form, "--out", str(tmp_path / form)]) == 0
        said = capsys.readouterr()
        assert said.out == ""
        assert f"of {form}, compared on" in said.err
    assert main(["predict", str(run), *pictures]) == 0
    ours = [json.loads(line)["scores"] for line in capsys.readouterr().out.splitlines()]
    assert {max(each, key=each.get) for each in ours} == {"brick", "flower"}
    command = [sys.executable, "-c", THEIRS, str(tmp_path), *pictures]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr
    for answers in json.loads(done.stdout.splitlines()[-1]).values():
        for theirs, each in zip(answers, ours, strict=True):
            assert theirs == {name: pytest.approx(score, abs=1e-5) for name, score in each.items()}


def test_json_says_what_was_compared(run, tmp_path, capsys):
    capsys.readouterr()
    assert main(["export", str(run[0]), "--format", "timm", "--out", str(tmp_path / "out"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["format"], found["architecture"]) == ("timm", "vit_base_patch16_224")
    assert found["compared_on"].endswith("test pictures")
    assert len(found["differences"]) == 2
    assert max(found["differences"].values()) <= 1e-5


@pytest.mark.parametrize(
    ("words", "said", "status"),
    [
        (["--format", "tim"], "--format tim: not one of transformers, timm. Did you mean timm", 2),
        ([], "--format is missing", 2),
        (["--format", "timm", "--out", "here"], "here exists. Choose another --out.", 2),
        (["--format", "timm", "--out", "file/out"], "file/out: cannot write", 1),
        (["--format", "timm", "--where", "out"], "--where: unknown flag", 2),
    ],
)
def test_bad_words_are_two_lines_at_most_and_leave_nothing(
    run, words, said, status, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").mkdir()
    (tmp_path / "file").touch()
    assert main(["export", str(run[0]), *words]) == status
    shown = capsys.readouterr().err
    assert said in shown
    assert len(shown.strip().splitlines()) <= 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "here"]


def test_what_is_no_finished_run(run, tmp_path, capsys):
    assert main(["export", str(tmp_path), "--format", "timm"]) == 2
    assert "is not a run folder" in capsys.readouterr().err
    assert main(["export", str(tmp_path / "none"), "--format", "timm"]) == 2
    assert "does not exist" in capsys.readouterr().err
    (tmp_path / "recipe.json").write_text((run[0] / "recipe.json").read_text())
    assert main(["export", str(tmp_path), "--format", "timm", "--out", str(tmp_path / "out")]) == 1
    said = capsys.readouterr().err
    assert "vitrail.json: not found" in said
    assert not (tmp_path / "out").exists()
