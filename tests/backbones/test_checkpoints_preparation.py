"""How pictures are prepared comes along with a checkpoint of transformers."""

import json
import logging
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vitrail.backbones.checkpoints.preparation import USUAL, read_preparation
from vitrail.data.preprocess import Preprocess
from vitrail.errors import VitrailError

LAYOUTS = Path(__file__).parent / "layouts"


def picture(height, width):
    coarse = np.random.default_rng(0).integers(0, 255, (6, 6, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


SQUARE = {"size": {"height": 16, "width": 24}}
CUT = {"size": {"shortest_edge": 32}, "crop_size": {"height": 28, "width": 28}}


@pytest.mark.parametrize(
    ("family", "processor", "stated", "size"),
    [
        ("vit", "ViTImageProcessorPil", SQUARE, (90, 70)),
        ("vit", "ViTImageProcessorPil", SQUARE | {"do_normalize": False}, (90, 70)),
        ("vit", "ViTImageProcessorPil", SQUARE | {"do_rescale": False, "resample": 3}, (90, 70)),
        ("vit_mae", "ViTImageProcessorPil", SQUARE | {"rescale_factor": 1 / 127.5}, (48, 48)),
        ("siglip", "SiglipImageProcessorPil", SQUARE | {"resample": 1}, (50, 90)),
        ("clip", "CLIPImageProcessorPil", CUT | {"size": {"shortest_edge": 28}}, (112, 84)),
        ("dinov2", "BitImageProcessorPil", CUT, (64, 96)),
        ("deit", "DeiTImageProcessorPil", CUT | {"size": {"height": 32, "width": 32}}, (64, 64)),
        ("resnet", "ConvNextImageProcessorPil", {"size": {"shortest_edge": 28}}, (64, 96)),
        ("resnet", "ConvNextImageProcessorPil", {"size": {"shortest_edge": 36}, "crop_pct": 0.75}, (96, 72)),
        ("resnet", "ConvNextImageProcessorPil", {"size": {"shortest_edge": 384}}, (90, 70)),
    ],
)
def test_pictures_become_what_transformers_makes_of_them(family, processor, stated, size, tmp_path):
    import transformers

    theirs = getattr(transformers, processor)(**stated)
    theirs.save_pretrained(tmp_path)
    prepared = read_preparation(tmp_path, family, (16, 16), 3)
    values, _ = Preprocess(**prepared)(picture(*size))
    expected = theirs(Image.fromarray(picture(*size)), return_tensors="np")["pixel_values"][0]
    np.testing.assert_allclose(values, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("stated", "size", "fit", "share"),
    [
        ({"size": 24, "resample": 2}, (24, 24), "squash", 1.0),
        ({"size": {"height": 24, "width": 32}}, (24, 32), "squash", 1.0),
        ({"size": {"shortest_edge": 24}, "do_center_crop": False}, (24, 24), "crop", 1.0),
        ({"size": {"shortest_edge": 32}, "do_center_crop": True, "crop_size": 24}, (24, 24), "crop", 0.75),
        ({"size": 32, "do_center_crop": True, "crop_size": 24}, (24, 24), "crop", 0.75),
        ({"size": {"shortest_edge": 16}, "do_center_crop": True, "crop_size": 24}, (24, 24), "crop", 1.0),
        ({"size": 32, "do_center_crop": False, "crop_size": 24}, (32, 32), "squash", 1.0),
        ({"do_resize": False}, (8, 8), "squash", 1.0),
    ],
)
def test_forms_of_size(stated, size, fit, share, tmp_path):
    """Files of before 2023 have numbers, later ones a mapping."""
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(stated))
    found = read_preparation(tmp_path, "vit", (8, 8), 3)
    assert (found["size"], found["fit"], found["crop_pct"]) == (size, fit, share)
    assert found["mean"] == (0.5, 0.5, 0.5)  # what a file leaves out is as usual
    Preprocess(**found)


def test_a_number_is_the_shorter_side_where_that_is_usual(tmp_path):
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({"size": 224, "do_center_crop": False}))
    assert read_preparation(tmp_path, "clip", (8, 8), 3)["fit"] == "crop"


@pytest.mark.parametrize(
    ("stated", "fit", "share"),
    [
        (
            {"feature_extractor_type": "ConvNextFeatureExtractor", "size": 224, "crop_pct": 0.875},
            "crop",
            0.875,
        ),
        ({"image_processor_type": "ConvNextImageProcessor", "size": {"shortest_edge": 224}}, "crop", 0.875),
        ({"size": {"shortest_edge": 224}, "crop_pct": 0.95}, "crop", 224 / 235),
        ({"size": 384, "crop_pct": 0.875}, "squash", 1.0),
        ({"size": 224}, "crop", 1.0),
        ({"size": 224, "do_center_crop": True, "crop_size": 192, "crop_pct": 0.9}, "crop", 192 / 224),
    ],
)
def test_what_is_cut_without_saying_so(stated, fit, share, tmp_path):
    """ConvNeXt's processor, which ResNets have, in the forms of before 2023 and after."""
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({"resample": 3, **stated}))
    found = read_preparation(tmp_path, "resnet", (224, 224), 3)
    assert (found["fit"], found["crop_pct"], found["resample"]) == (fit, share, "bicubic")
    assert found["mean"] == (0.485, 0.456, 0.406)


def test_a_processor_of_pictures_and_words_names_it_too(tmp_path):
    stated = {"image_processor": {"size": {"height": 20, "width": 20}, "image_mean": 0.4}, "text": {}}
    (tmp_path / "processor_config.json").write_text(json.dumps(stated))
    found = read_preparation(tmp_path, "siglip", (8, 8), 3)
    assert (found["size"], found["mean"], found["resample"]) == ((20, 20), (0.4,) * 3, "bicubic")


@pytest.mark.parametrize("family", USUAL)
def test_without_a_file_it_is_as_usual_and_said_once(family, tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        first, second = (read_preparation(tmp_path, family, (8, 12), 3) for _ in range(2))
    assert first == second
    assert first["size"] == (8, 12)
    assert [record.message.split(": ", 1)[1] for record in caplog.records] == [
        "no preprocessor_config.json: pictures are prepared as is usual for its kind."
    ]
    Preprocess(**first)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"size": ', "preprocessor_config.json: cannot be read"),
        ('{"size": {}}', "preprocessor_config.json: cannot be understood"),
        ('{"size": "large"}', "preprocessor_config.json: cannot be understood"),
        ('{"size": 24, "resample": 5}', "resample 5 is none of nearest, lanczos, bilinear, bicubic"),
        ("[]", "preprocessor_config.json: holds no JSON object"),
    ],
)
def test_bad_files_are_named(content, message, tmp_path):
    (tmp_path / "preprocessor_config.json").write_text(content)
    with pytest.raises(VitrailError, match=message):
        read_preparation(tmp_path, "vit", (8, 8), 3)


def test_the_fixtures_tell_it():
    for name in ("vit", "deit", "dinov2", "clip", "siglip", "vit-mae"):
        assert (LAYOUTS / name / "preprocessor_config.json").exists()
