"""Why these pixels: what is asked in pixels of a picture, of what the model sees of it."""

import json

import numpy as np
import pytest
from PIL import Image

import vitrail
from vitrail.cli import main
from vitrail.errors import UsageError
from vitrail.explain import Region, Versus
from vitrail.run.explain.question import in_words, on_canvas, pixels_of, settled, together
from vitrail.tasks.segment import Segment
from vitrail.values import Frame, Mask

NAMES = ("ground", "disc", "bar")
SIZE = 40


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    folder, random = tmp_path_factory.mktemp("data") / "shapes", np.random.default_rng(0)
    for split, count in (("train", 8), ("val", 2), ("test", 2)):
        for kind in ("images", "masks"):
            (folder / split / kind).mkdir(parents=True)
        for number in range(count):
            mask = np.zeros((SIZE, SIZE), np.uint8)
            mask[4:14, 4:14], mask[24:30] = 1, 2
            picture = np.clip(np.array([120, 220, 20])[mask] + random.normal(0, 8, mask.shape), 0, 255)
            Image.fromarray(picture.astype(np.uint8)).save(folder / split / "images" / f"{number}.png")
            Image.fromarray(mask).save(folder / split / "masks" / f"{number}.png")
    (folder / "classes.txt").write_text("\n".join(NAMES))
    return folder


def trained(shapes, tmp_path_factory, epochs=20, model="vit-pico4", **options):
    return vitrail.train(
        shapes,
        task="segment",
        model=model,
        epochs=epochs,
        image_size=32,
        out=tmp_path_factory.mktemp("runs") / "run",
        options={"head.name": "linear", "train.batch": 8, "train.lr": 3e-3} | options,
    )


@pytest.fixture(scope="module")
def run(shapes, tmp_path_factory):
    """A model that sees whole pictures, at 32 of their 40 pixels a side."""
    return trained(shapes, tmp_path_factory, **{"data.fit": "squash"})


@pytest.fixture(scope="module")
def tiled(shapes, tmp_path_factory):
    """A model that sees windows of 32 pixels of pictures of 40."""
    return trained(shapes, tmp_path_factory)


def answered(*columns):
    """Return a mask with a column of pixels of each class."""
    return Mask(names=NAMES, values=np.tile(np.array(columns, np.uint8), (4, 1)), source=0)


def test_what_is_asked_is_settled_by_the_answer():
    mask, usual = answered(0, 0, 2, 2, 1), Segment(classes=NAMES).about
    assert settled(None, mask, usual) == "bar"
    assert settled("disc", mask, usual) == "disc"
    assert settled(Region(label=None, box=(0, 0, 3, 4)), mask, usual).label == "bar"  # not what is behind
    assert settled(Region(label=None, box=(0, 0, 2, 4)), mask, usual).label == "ground"
    assert settled(Region(label=None, box=(4, 1, 9, 3)), mask, usual) == Region(
        label="disc", box=(4, 1, 5, 3)
    )
    assert settled(Region(label="bar", box=(-3, 0, 2, 2)), mask, usual).box == (0, 0, 2, 2)
    assert settled(Versus(None, "ground"), mask, usual) == Versus("bar", "ground")
    with pytest.raises(UsageError, match=r"box 7 0 9 4 .* no pixel of a picture 4 high and 5 wide"):
        settled(Region(label=None, box=(7, 0, 9, 4)), mask, usual)


def test_boxes_move_onto_the_canvas_and_rivals_are_asked_about_the_same_pixels():
    frame = Frame(size=(40, 40), matrix=(0.5, 0.0, 3.0, 0.0, 0.25, -1.0))
    assert on_canvas(Region(label="bar", box=(2, 4, 10, 20)), frame).box == (4.0, 0.0, 8.0, 4.0)
    assert on_canvas("bar", frame) == Region(label="bar")
    asked = on_canvas(Versus(Region(label="bar", box=(2, 4, 10, 20)), "disc"), frame)
    assert asked.b == Region(label="disc", box=(4.0, 0.0, 8.0, 4.0), where="bar")
    both = together([asked, asked])
    assert (both.a, both.b) == ([asked.a, asked.a], [asked.b, asked.b])


def test_the_outline_is_of_the_pixels_that_are_explained():
    mask = answered(0, 0, 2, 2, 1)
    assert pixels_of("bar", mask).sum(0).tolist() == [0, 0, 4, 4, 0]
    assert pixels_of(Region(label="bar", box=(3, 1, 5, 3)), mask).sum(0).tolist() == [0, 0, 0, 2, 0]
    assert pixels_of(Versus("disc", "bar"), mask).sum(0).tolist() == [0, 0, 0, 0, 4]


def test_words():
    box = Region(label="bar", box=(2, 4.5, 10, 20))
    assert in_words(box) == "bar in 2, 4.5 to 10, 20"
    assert in_words(Versus("a", "b")) == "a rather than b"


def test_heat_is_where_the_asked_pixels_are(run, shapes):
    predictor = vitrail.load(run.path)
    picture = shapes / "test" / "images" / "0.png"
    heats = {}
    for name, box in (("left", (0, 24, 12, 30)), ("right", (28, 24, 40, 30))):
        (found,) = predictor.explain(picture, "saliency", Region(label=None, box=box))
        assert found.about == Region(label="bar", box=box)
        assert found.answer.size == (SIZE, SIZE)
        heats[name] = found.heat.values
    middle = {name: (heat.sum(0) @ np.arange(heat.shape[1])) / heat.sum() for name, heat in heats.items()}
    assert middle["left"] + 5 < middle["right"]
    (found,) = predictor.explain(picture, "saliency", Versus(None, "ground"))
    assert found.about == Versus("bar", "ground")


def test_the_command_line(run, shapes, tmp_path, capsys):
    picture = str(shapes / "test" / "images" / "0.png")
    words = [
        "explain",
        str(run.path),
        picture,
        "--box",
        "0",
        "20",
        "20",
        "34",
        "--out",
        str(tmp_path / "out"),
    ]
    assert main([*words, "--method", "saliency", "occlusion", "--heads", "--animate"]) == 0
    capsys.readouterr()
    lines = [json.loads(each) for each in (tmp_path / "out" / "explanations.jsonl").read_text().splitlines()]
    assert [line["about"] for line in lines] == ["bar in 0, 20 to 20, 34"] * 2
    for name in ("picture", "heads", "animation", "sheet"):
        with Image.open(tmp_path / "out" / lines[0][name]) as drawn:
            drawn.load()
    assert main(["explain", str(run.path), picture, "--box", "50", "0", "60", "9"]) == 2
    assert "has no pixel of a picture 40 high and 40 wide" in capsys.readouterr().err


def test_of_a_large_picture_the_window_with_the_class_or_around_the_box_is_explained(tiled, shapes, tmp_path):
    with Image.open(shapes / "test" / "images" / "0.png") as small:
        large = Image.new("L", (160, 120), 120)
        large.paste(small, (100, 60))
    large.save(tmp_path / "large.png")
    predictor = vitrail.load(tiled.path)
    (answer,) = predictor(tmp_path / "large.png")
    seen = {}
    for about in ("bar", "disc", Region(label=None, box=(104, 64, 112, 74)), Versus("disc", "bar")):
        (found,) = predictor.explain(tmp_path / "large.png", "saliency", about)
        assert np.array_equal(found.answer.values, answer.values)
        assert found.canvas.shape[:2] == (32, 32)
        top, left = found.frame.origin
        assert np.array_equal(found.canvas[:, :, 0], np.asarray(large)[top : top + 32, left : left + 32])
        seen[str(about)] = (
            pixels_of(about, answer)[top : top + 32, left : left + 32].sum()
            if isinstance(about, str)
            else (top, left)
        )
    assert seen["bar"] > 0.6 * answer.areas["bar"]
    assert seen["disc"] > 0.9 * answer.areas["disc"]
    assert seen[str(Region(label=None, box=(104, 64, 112, 74)))] == (53, 92)
    with pytest.raises(UsageError, match=r"40 wide and 8 high, and the model sees 32 x 32 pixels at once"):
        predictor.explain(tmp_path / "large.png", "saliency", Region(label=None, box=(90, 60, 130, 68)))


def test_the_window_that_was_explained_is_drawn(tiled, shapes, tmp_path, capsys):
    words = ["explain", str(tiled.path), str(shapes / "test" / "images" / "0.png"), "--about", "bar"]
    assert main([*words, "--heads", "--animate", "--method", "saliency", "--out", str(tmp_path / "out")]) == 0
    (line,) = [
        json.loads(each) for each in (tmp_path / "out" / "explanations.jsonl").read_text().splitlines()
    ]
    assert (line["canvas"], line["frame"]["size"]) == ([32, 32], [40, 40])
    for name in ("picture", "heads", "animation"):
        with Image.open(tmp_path / "out" / line[name]) as drawn:
            drawn.load()


def test_a_box_is_followed_through_the_layers_of_a_convolutional_network(
    shapes, tmp_path_factory, tmp_path, capsys
):
    run = trained(shapes, tmp_path_factory, epochs=1, model="test_resnet", **{"head.name": "unet"})
    words = ["explain", str(run.path), str(shapes / "test" / "images" / "0.png"), "--about", "bar"]
    words += ["--box", "36", "24", "40", "30", "--animate", "--out", str(tmp_path / "out")]
    assert main(words) == 0, capsys.readouterr().err
    assert main(["explain", str(run.path), "--benchmark", str(shapes), "--pictures", "2"]) == 2
    assert "larger than the 32 x 32 pixels" in capsys.readouterr().err
