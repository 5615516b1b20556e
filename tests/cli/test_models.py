import json

from vitrail.cli import main


def test_a_table_with_what_is_known(capsys):
    assert main(["models", "efficientnet_b0"]) == 0
    out, said = capsys.readouterr()
    (line,) = (line for line in out.splitlines() if line.startswith("efficientnet_b0 "))
    assert line.split() == ["efficientnet_b0", "timm", "224x224", "4.0", "M", "0.77", "G", "apache-2.0"]
    assert "models. Any of these names can follow --model" in said


def test_our_own(capsys):
    assert main(["models", "vit-l16"]) == 0
    out, said = capsys.readouterr()
    assert out.splitlines()[1].split() == ["vit-l16", "vitrail", "224x224", "303.3", "M", "123.1", "G"]
    assert "1 model. " in said


def test_a_word_that_no_name_contains(capsys):
    assert main(["models", "resnt50"]) == 0
    out, said = capsys.readouterr()
    assert out == ""
    assert said.startswith("No name contains 'resnt50'. Did you mean resnet50")
    assert main(["models", "resnt50", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"models": []}


def test_what_is_cached_is_marked(tmp_path, monkeypatch, capsys):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    kept = tmp_path / "models--timm--resnet50.a2_in1k"
    folder = kept / "snapshots" / "abc"
    folder.mkdir(parents=True)
    (kept / "refs").mkdir()
    (kept / "refs" / "main").write_text("abc")
    for file in ("config.json", "model.safetensors"):
        (folder / file).write_text("{}")
    assert main(["models", "resnet50"]) == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines() if line.strip()}
    assert lines["resnet50"].endswith("a2_in1k")
    assert "a2_in1k" not in lines["resnet50d"]
