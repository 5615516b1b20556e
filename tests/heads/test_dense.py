"""What heads for pixels have in common: size, loss, the way home to the picture, and what can be asked."""

import numpy as np
import pytest
import torch
from scipy.ndimage import map_coordinates
from torch import nn

from vitrail.errors import UsageError
from vitrail.heads import dense
from vitrail.heads.dense import Dense, Pixelwise, Region
from vitrail.heads.fcn import FCNConfig
from vitrail.heads.pixel_losses import PixelLoss
from vitrail.values import IGNORED, Features, Frame, Given

NAMES = ("floor", "cat", "dog")


class Fixed(nn.Module):
    """A net that says the same whatever it sees."""

    def __init__(self, logits, aux=None):
        super().__init__()
        self.logits, self.aux = logits, aux or {}

    def forward(self, features, given):
        return Pixelwise(logits=self.logits, aux=self.aux)


def head(logits=None, aux=None, multi=False, losses=("cross_entropy",)):
    return Dense(Fixed(logits, aux), NAMES, loss_of=PixelLoss(names=losses, multi=multi), aux_weight=0.5)


def given(size, mask=None):
    return Given(pixels={"image": torch.zeros(2, 3, *size)}, targets=None if mask is None else {"mask": mask})


def features():
    return Features(levels=(), strides=(), summary=torch.zeros(2, 1))


def drawn(*size, seed=0):
    return torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(seed))


def test_logits_have_the_size_of_the_canvas():
    coarse = drawn(4, 5)
    output = head(coarse)(features(), given((8, 10)))
    assert output.logits.shape == (2, 3, 8, 10)
    torch.testing.assert_close(output.logits[:, :, 0, 0], coarse[:, :, 0, 0])
    assert head(coarse)(features(), given((4, 5))).logits is coarse


def test_auxiliary_logits_count_in_training_only_and_by_their_weight():
    logits, extra, mask = drawn(8, 10), drawn(4, 5, seed=1), torch.randint(0, 3, (2, 8, 10))
    module = head(logits, {"aux": extra})
    losses = module.loss(module(features(), given((8, 10))), given((8, 10), mask), 0.0)
    assert list(losses.terms) == ["cross_entropy", "aux_cross_entropy"]
    large = nn.functional.interpolate(extra, size=(8, 10), mode="bilinear")
    torch.testing.assert_close(
        losses.terms["aux_cross_entropy"], 0.5 * nn.functional.cross_entropy(large, mask)
    )
    assert module.eval()(features(), given((8, 10))).aux == {}


def test_a_batch_that_nobody_knows_anything_about():
    logits = drawn(8, 10).requires_grad_()
    losses = head(losses=("cross_entropy", "dice", "lovasz")).loss(
        Pixelwise(logits=logits), given((8, 10), torch.full((2, 8, 10), IGNORED, dtype=torch.uint8)), 0.0
    )
    losses.total.backward()
    assert losses.total.item() == 0
    assert not logits.grad.any()


@pytest.mark.parametrize("multi", [False, True])
@pytest.mark.parametrize(
    "frame",
    [
        Frame(size=(23, 31), matrix=(0.4, 0.0, 1.5, 0.0, 0.35, -0.7)),
        Frame(size=(9, 7), matrix=(1.7, 0.0, -2.0, 0.0, 2.1, 0.25)),
        Frame(size=(14, 12), matrix=(0.0, 1.0, 0.0, -1.0, 0.0, 12.0), pixel_size=1e-6),
        Frame(size=(10, 14)),
    ],
    ids=["shrunk", "enlarged", "turned", "larger"],
)
def test_an_answer_finds_its_way_home(frame, multi, monkeypatch):
    monkeypatch.setattr(dense, "STRIP", 3 * frame.size[1] * 4)  # four rows at once
    logits = drawn(8, 10)
    module = head(multi=multi)
    module.temperature = 1.5
    for source, mask in enumerate(module.decode(Pixelwise(logits=logits), [frame, frame])):
        y, x = np.mgrid[: frame.size[0], : frame.size[1]] + 0.5
        a, b, c, d, e, f = frame.matrix
        at = np.stack([d * x + e * y + f - 0.5, a * x + b * y + c - 0.5])
        plain = [map_coordinates(plane.numpy(), at, order=1, mode="nearest") for plane in logits[source]]
        sure = torch.tensor(np.stack(plain)) / 1.5
        chances = (sure.sigmoid() if multi else sure.softmax(dim=0)).numpy()
        assert (mask.names, mask.source, mask.multi, mask.pixel_size) == (
            NAMES,
            source,
            multi,
            frame.pixel_size,
        )
        near = np.abs(chances - 0.5) if multi else np.diff(np.sort(chances, axis=0), axis=0)[-1]
        clear = near > 1e-4
        expected = chances >= 0.5 if multi else chances.argmax(axis=0)
        assert clear.mean() > 0.95
        assert mask.values.dtype == (bool if multi else np.uint8)
        assert (mask.values == expected)[clear].all()
        assert mask.scores.dtype == np.float16
        np.testing.assert_allclose(mask.scores, chances if multi else chances.max(axis=0), atol=1e-3)


def test_a_mask_comes_back_through_the_letterbox_it_left_by():
    truth = np.zeros((60, 90), np.uint8)
    truth[12:40, 20:50], truth[30:55, 60:84] = 1, 2
    frame = Frame(size=truth.shape, matrix=(0.5, 0.0, 3.0, 0.0, 0.5, 11.0))
    canvas = np.zeros((48, 48), np.uint8)
    canvas[11:41, 3:48] = truth[::2, ::2]
    logits = 9.0 * torch.nn.functional.one_hot(torch.tensor(canvas).long(), 3).permute(2, 0, 1).float()
    (answer,) = head().decode(Pixelwise(logits=logits[None]), [frame])
    assert (answer.values == truth).mean() > 0.97
    moved = Frame(size=truth.shape, matrix=(0.5, 0.0, 6.0, 0.0, 0.5, 11.0))
    (wrong,) = head().decode(Pixelwise(logits=logits[None]), [moved])
    assert (wrong.values == truth).mean() < 0.93


@pytest.mark.parametrize("multi", [False, True])
def test_the_canvas_itself_is_not_resampled(multi, monkeypatch):
    logits = drawn(8, 10)
    monkeypatch.setattr(dense.F, "grid_sample", None)
    module, frame = head(multi=multi), Frame(size=(8, 10), pixel_size=0.5)
    for frames in ((), [frame, frame]):
        for row, answer in zip(logits, module.decode(Pixelwise(logits=logits), frames), strict=True):
            expected = (row >= 0) if multi else row.argmax(dim=0).to(torch.uint8)
            np.testing.assert_array_equal(answer.values, expected.numpy())
            assert answer.pixel_size == (0.5 if frames else None)


def test_strips_change_nothing_and_stay_small(monkeypatch):
    logits, frame = drawn(8, 10), Frame(size=(400, 300), matrix=(10 / 300, 0.0, 0.0, 0.0, 8 / 400, 0.0))
    (whole, _) = head().decode(Pixelwise(logits=logits), [frame, frame])
    seen, sample = [], dense.F.grid_sample

    def watched(*args, **words):
        seen.append(sample(*args, **words))
        return seen[-1]

    monkeypatch.setattr(dense.F, "grid_sample", watched)
    monkeypatch.setattr(dense, "STRIP", 3 * 300 * 7 + 5)
    (answer, _) = head().decode(Pixelwise(logits=logits), [frame, frame])
    np.testing.assert_array_equal(answer.values, whole.values)
    assert max(strip.numel() for strip in seen) == 3 * 300 * 7
    assert sum(strip.shape[2] for strip in seen) == 2 * 400


def painted(*columns):
    """Return logits of one row a sample, each pixel clearly of one class."""
    values = torch.tensor(columns)
    return Pixelwise(logits=3.0 * nn.functional.one_hot(values, 3).permute(0, 2, 1)[:, :, None].float())


def test_the_answer_is_about_what_covers_most_and_is_no_background():
    output = painted([0, 0, 0, 2, 1, 2], [0, 0, 0, 0, 0, 0], [1, 1, 0, 0, 0, 2])
    assert head().about(output) == ["dog", "floor", "cat"]
    yes = Pixelwise(logits=output.logits - 1)
    assert head(multi=True).about(yes) == ["floor", "floor", "floor"]
    assert head(multi=True).about(Pixelwise(logits=yes.logits[:1, :, :, 3:])) == ["dog"]


def test_the_score_is_the_mean_logit_where_the_class_is_answered():
    logits = torch.tensor([[[5.0, 1.0, 0.0, 0.0]], [[0.0, 4.0, 2.0, 0.5]], [[1.0, 0.0, 6.0, 0.0]]])
    output, module = Pixelwise(logits=logits[None].repeat(2, 1, 1, 1)), head()
    assert module.score(output, "cat").tolist() == [2.25, 2.25]  # 4 and 0.5 are answered as cats
    assert module.score(output, [2, "floor"]).tolist() == [6, 5]
    torch.testing.assert_close(module.score(output, None), module.score(output, ["cat", "cat"]))
    asked = [Region(label="cat", box=(0, 0, 2, 1)), Region(label="dog")]
    assert module.score(output, asked).tolist() == [4, 6]
    nowhere = Region(label="dog", box=(0, 0, 2, 1))
    assert module.score(output, nowhere).tolist() == [0.5, 0.5]
    assert module.score(output, Region(label="cat", box=(0.6, 0.0, 2.4, 9.0))).tolist() == [4, 4]
    assert module.score(output, Region(label="floor", where="cat")).tolist() == [0.5, 0.5]  # 1 and 0
    assert head(multi=True).score(output, "floor").tolist() == [3, 3]


def test_fixed_pixels_stay_when_the_answer_changes():
    logits = torch.tensor([[[5.0, 1.0, 0.0, 0.0]], [[0.0, 4.0, 2.0, 0.5]], [[1.0, 0.0, 6.0, 0.0]]])
    output, module = Pixelwise(logits=logits[None].repeat(2, 1, 1, 1)), head()
    asked = [Region(label="cat"), Region(label="floor", where="cat", box=(0, 0, 2, 1))]
    now = module.fixed(output, asked)
    assert module.score(output, now).equal(module.score(output, asked))
    flat = Pixelwise(logits=torch.zeros_like(output.logits))
    flat.logits[:, 1, 0] = torch.tensor([9.0, 8.0, 0.0, 6.0])
    flat.logits[:, 0, 0] = torch.tensor([1.0, 2.0, 3.0, 4.0])
    assert module.score(flat, now).tolist() == [7, 2]  # the second and the fourth pixel; the second alone


def test_the_score_can_be_differentiated():
    logits = drawn(4, 5).requires_grad_()
    head().score(Pixelwise(logits=logits), "dog").sum().backward()
    answered = logits.argmax(dim=1) == 2
    assert (logits.grad[:, 2] != 0).equal(answered)
    assert not logits.grad[:, :2].any()


def test_bad_questions():
    output = Pixelwise(logits=drawn(4, 5))
    with pytest.raises(UsageError, match=r"no class 'dgo'\. Did you mean dog"):
        head().score(output, "dgo")
    with pytest.raises(UsageError, match="no class 3: classes are 0 to 2"):
        head().score(output, 3)
    with pytest.raises(UsageError, match=r"no class 'bird'"):
        head().score(output, [Region(label="bird"), "cat"])
    with pytest.raises(UsageError, match="a region needs a class"):
        head().score(output, Region(label=None))
    with pytest.raises(UsageError, match=r"the box \(5, 0, 9, 9\) has no pixel of a canvas \(4, 5\)"):
        head().score(output, Region(label="cat", box=(5, 0, 9, 9)))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"losses": ("dcie",)}, r"no loss 'dcie'\. Did you mean dice"),
        ({"losses": ()}, "at least one loss"),
        ({"losses": ("dice", "dice")}, "each once"),
        ({"smoothing": 1.0}, "smoothing is a share"),
        ({"gamma": -1.0}, "0 or more"),
        ({"balance": (-1.0,)}, "0 or more"),
    ],
)
def test_bad_words(words, message):
    with pytest.raises(UsageError, match=message):
        FCNConfig(**words)
