"""Pictures of any size: answered as a whole picture is, and never held as one."""

import tracemalloc

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image
from sklearn.datasets import load_sample_image
from torch import nn

from vitrail.cli.evaluate import EvaluateWords
from vitrail.data import regions
from vitrail.data.faults import Unreadable
from vitrail.data.preprocess import Preprocess
from vitrail.data.windows import overlap_of, windows_of
from vitrail.errors import UsageError
from vitrail.heads.dense import Dense, Pixelwise
from vitrail.heads.pixel_losses import PixelLoss
from vitrail.run import kept_masks
from vitrail.run.compose import compose
from vitrail.run.contract import Contract
from vitrail.run.engine import Engine
from vitrail.run.predict import Predictor
from vitrail.run.progress import Lines
from vitrail.run.seams import Seams, measure_seams
from vitrail.run.tiles import blended, logits_of
from vitrail.values import Batch, Mask

NAMES = ("background", "roof", "tree")
PICTURE = np.ascontiguousarray(load_sample_image("china.jpg")[:352, :480])
ENGINE = Engine(device=torch.device("cpu"))


class Convolutions(nn.Module):
    """A network that sees no further than its layers reach."""

    def __init__(self, reach, width=6):
        super().__init__()
        torch.manual_seed(0)
        layers = []
        for number in range(reach):
            layers += [nn.Conv2d(width if number else 3, width, 3, padding=1), nn.GELU()]
        self.net = nn.Sequential(*layers, nn.Conv2d(width if reach else 3, 3, 1))
        self.head = Dense(nn.Identity(), NAMES, loss_of=PixelLoss(names=("cross_entropy",), multi=False))
        self.eval().requires_grad_(False)
        last, seen = self.net[-1], Preprocess(size=PICTURE.shape[:2], fit="tile")(PICTURE)[0]
        logits = self.net(torch.from_numpy(seen)[None])  # so that each class is answered somewhere
        scale = 2 / logits.std(dim=(2, 3))[0]
        last.weight.mul_(scale[:, None, None, None])
        last.bias.copy_((last.bias - logits.mean(dim=(2, 3))[0]) * scale)

    def outputs(self, batch):
        return Pixelwise(logits=self.net(batch.pixels["image"]))


def contract(size, model="vit-pico4"):
    options = {"task.name": "segment", "data.fit": "tile", "head.name": "linear"}
    return Contract(
        recipe=compose("data", model, None, options),
        classes=NAMES,
        preprocess=Preprocess(size=size, fit="tile"),
        fingerprint="",
    )


def predictor(size=(128, 128), network=None, **words):
    made = contract(size)
    return Predictor(contract=made, model=network or Convolutions(4), engine=ENGINE, **words)


class Samples:
    def __init__(self, *pictures):
        self.pictures = pictures

    def __len__(self):
        return len(self.pictures)

    def source(self, row):
        return self.pictures[row]


@pytest.mark.parametrize("overlap", [32, 48])
@pytest.mark.parametrize("reach", [4, 8])
def test_windows_answer_as_the_whole_picture(overlap, reach):
    """To 1e-4 where a quarter of the overlap is as far as the network sees."""
    network, preprocess = Convolutions(reach), Preprocess(size=(128, 128), fit="tile")
    windows = windows_of(preprocess, preprocess.load(PICTURE), overlap)
    assert len(windows) > 11
    found = torch.full((3, *PICTURE.shape[:2]), float("nan"))
    parts = logits_of(network, windows, ENGINE, preprocess)
    for (top, left), logits in blended(windows.corners, parts, overlap):
        found[:, top : top + logits.shape[1], left : left + logits.shape[2]] = logits
    whole = Preprocess(size=PICTURE.shape[:2], fit="tile")
    pixels = torch.from_numpy(PICTURE.transpose(2, 0, 1)[None].copy())
    ready = ENGINE.ready(Batch(keys="a", pixels={"image": pixels}), whole)
    wanted = network.outputs(ready).logits[0]
    sure, again = network.head.probabilities(wanted), network.head.probabilities(found)
    assert len(sure.argmax(0).unique()) > 1
    assert (found - wanted).abs().max() < 1e-4 * wanted.abs().max()
    assert (sure - again).abs().max() < 1e-4


def test_seams_are_none_for_those_and_some_for_others():
    shown = Samples(PICTURE, PICTURE[:128, :128], b"nothing", PICTURE.transpose(1, 0, 2))
    preprocess = Preprocess(size=(128, 128), fit="tile")
    near = measure_seams(Convolutions(6), shown, ENGINE, preprocess, overlap=32)
    assert near.pictures == 2
    assert near.probability < 1e-5
    assert near.changed < 1e-3
    torch.manual_seed(0)
    far = measure_seams(contract((128, 128), "vit-pico16").build().eval(), shown, ENGINE, preprocess)
    assert far.probability > 1e-4
    assert far.to_dict() == {"pictures": 2, "probability": far.probability, "changed": far.changed}
    assert measure_seams(Convolutions(1), Samples(PICTURE[:100, :128]), ENGINE, preprocess) is None
    assert "1.50% of pixels" in Seams(pictures=2, probability=0.01, changed=0.015).in_words()


def test_seams_where_a_pixel_may_be_of_many_classes():
    network, preprocess = Convolutions(6), Preprocess(size=(128, 128), fit="tile")
    network.head.multi = True
    assert measure_seams(network, Samples(PICTURE), ENGINE, preprocess, overlap=32).probability < 1e-5
    assert measure_seams(network, Samples(PICTURE), ENGINE, preprocess, overlap=0).probability > 1e-5


def test_the_overlap_is_asked_for_and_checked():
    tile, pad = Preprocess(size=(64, 96), fit="tile"), Preprocess(size=(64, 96), fit="pad")
    assert [overlap_of(tile), overlap_of(tile, 0), overlap_of(tile, 63), overlap_of(pad)] == [8, 0, 63, 8]
    for wanted in (-1, 64):
        with pytest.raises(UsageError, match=rf"--overlap {wanted}: windows of 64 x 96 pixels share 0 to 63"):
            overlap_of(tile, wanted)
    with pytest.raises(UsageError, match="whole pictures"):
        overlap_of(pad, 8)
    few, many = (predictor(overlap=overlap).views(PICTURE) for overlap in (0, 96))
    assert len(many) > 4 * len(few)
    assert EvaluateWords(run="run").overlap is None


class Listening(Lines):
    def __init__(self):
        super().__init__()
        self.told = []

    def begin(self, title, total, done=0):
        self.told.append([title, total, 0])
        super().begin(title, total, done)

    def step(self, shown=None):
        self.told[-1][2] += 1
        super().step(shown)


@pytest.fixture
def files(tmp_path, monkeypatch):
    """A large picture in two formats between small ones, and one that is broken in its midst."""
    monkeypatch.setattr(regions, "LARGE", 100_000)
    small = tmp_path / "small.png"
    Image.fromarray(PICTURE[:90, :70]).save(small)
    large, again = tmp_path / "large.tif", tmp_path / "large.png"
    tifffile.imwrite(large, PICTURE, tile=(64, 64), photometric="rgb", compression="zlib")
    Image.fromarray(PICTURE).save(again)
    broken = tmp_path / "broken.tif"
    broken.write_bytes(large.read_bytes()[:-9_000])
    return [small, large, small, broken, again]


def test_parts_that_are_read_are_answered_as_the_whole(files):
    progress = Listening()
    found = dict(predictor(batch=16).stream(files, progress))
    small, large, _, broken, again = files
    assert isinstance(found[broken], Unreadable)
    assert found[broken].where == str(broken)
    assert found[small].size == (90, 70)
    assert np.array_equal(found[large].values, found[again].values)
    assert np.array_equal(found[large].scores, found[again].scores)
    assert len(np.unique(found[large].values)) > 1
    names = [title for title, _, _ in progress.told]
    assert names[:2] == [str(large), str(broken)]
    assert progress.told[0][1] == progress.told[0][2] > 16
    assert not progress._works
    quiet = dict(predictor(scores=False).stream(files))
    assert quiet[large].scores is None
    assert np.array_equal(quiet[large].values, found[large].values)


def test_a_large_picture_is_never_held(tmp_path, monkeypatch):
    """Not as a whole: what NumPy holds is the answer, and rows."""
    monkeypatch.setattr(regions, "LARGE", 1_000_000)
    side = (4096, 1536)
    path = tmp_path / "large.tif"
    tile = np.ascontiguousarray(PICTURE[:256, :256])
    tifffile.imwrite(
        path, iter([tile] * 96), shape=(*side, 3), dtype=np.uint8, tile=(256, 256), photometric="rgb"
    )
    asked = predictor((256, 256), Convolutions(0), scores=False)
    list(asked.stream([PICTURE]))
    tracemalloc.start()
    ((_, answer),) = asked.stream([path])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert answer.size == side
    assert peak - answer.values.size < 0.6 * 3 * side[0] * side[1]


def test_pictures_in_colours_are_reduced(files, monkeypatch):
    monkeypatch.setattr(kept_masks, "SHOWN", 20_000)
    _, large, *_, again = files
    values = np.zeros(PICTURE.shape[:2], np.uint8)
    values[100:200] = 1
    mask = Mask(names=NAMES, values=values, source=0)
    for path in (large, again):
        picture, smaller = kept_masks.reduced(str(path), mask, Preprocess(size=(32, 32)))
        assert picture.shape == (118, 160, 3)
        assert smaller.size == (118, 160)
        assert np.array_equal(picture, np.asarray(Image.fromarray(PICTURE).reduce(3)))
        assert np.array_equal(smaller.values[:-1], values[1:-1:3, 1::3])
    keeper = kept_masks.MaskKeeper(folder=large.parent / "out", preprocess=Preprocess(size=(32, 32)))
    told = keeper.keep(str(large), "large.tif", mask)
    with Image.open(keeper.folder / told["overlay"]) as overlay:
        assert overlay.size == (160, 118)
    with Image.open(keeper.folder / told["mask"]) as kept:
        assert np.array_equal(np.asarray(kept), values)


def test_areas_are_counted_in_strips(monkeypatch):
    values = np.random.default_rng(0).integers(0, 3, (50, 40)).astype(np.uint8)
    areas = Mask(names=NAMES, values=values, source=0).areas
    monkeypatch.setattr("vitrail.values.STRIP", 40 * 7)
    assert Mask(names=NAMES, values=values, source=0).areas == areas
    assert areas == {name: int((values == index).sum()) for index, name in enumerate(NAMES)}
