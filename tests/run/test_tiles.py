"""Windows laid over each other answer as the whole picture would."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from vitrail.data.windows import corners
from vitrail.heads.dense import Pixelwise
from vitrail.run.tiles import joined
from vitrail.values import Frame, Mask


class Given(nn.Module):
    """A head whose answer are the logits, as they are."""

    def decode(self, output: Pixelwise, frames):
        (frame,) = frames
        logits = output.logits[0]
        assert frame.size == tuple(logits.shape[1:])
        scores, values = logits.softmax(0).max(0)
        return [
            Mask(
                names=("a", "b", "c"),
                values=values.numpy().astype(np.uint8),
                scores=scores.numpy(),
                source=0,
                pixel_size=frame.pixel_size,
            )
        ]


class Model:
    head = Given()


def windows(network, picture, canvas, overlap):
    """Yield what a network says of each window, beyond the picture of nothing."""
    height, width = picture.shape[1:]
    for y, x in corners((height, width), (canvas, canvas), overlap, 8):
        part = torch.zeros(len(picture), canvas, canvas)
        piece = picture[:, y : y + canvas, x : x + canvas]
        part[:, : piece.shape[1], : piece.shape[2]] = piece
        yield Frame(size=(height, width), origin=(y, x), pixel_size=1e-6), network(part[None])[0]


def convolutions(reach):
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 3, 3, padding=1) for _ in range(reach)]
    return nn.Sequential(*layers).double().eval().requires_grad_(False)


@pytest.mark.parametrize("size", [(200, 136), (64, 64), (64, 304), (40, 200), (72, 64)])
def test_a_network_that_sees_less_than_a_quarter_of_the_overlap_answers_alike(size):
    network = convolutions(reach=6)
    torch.manual_seed(1)
    picture = torch.randn(3, *size, dtype=torch.float64)
    parts = windows(lambda part: network(part.double()), picture, 64, 32)
    found = joined(Model(), corners(size, (64, 64), 32, 8), parts, 32)
    whole = torch.zeros(3, max(64, size[0]), size[1], dtype=torch.float64)
    whole[:, : size[0]] = picture
    scores, values = network(whole[None])[0, :, : size[0]].softmax(0).max(0)
    assert found.size == size
    assert np.abs(found.scores - scores.numpy()).max() < 1e-6
    assert (found.values == values.numpy()).mean() > 0.9999
    assert found.pixel_size == 1e-6


def test_a_network_that_sees_further_shows_no_step_at_a_seam():
    """What a window says shifts with its place: the seam is to rise smoothly, not to jump."""
    size = (64, 200)
    picture = torch.zeros(3, *size)
    parts = [
        (frame, torch.full((3, 64, 64), 0.0).index_fill(0, torch.tensor([0]), float(number)))
        for number, (frame, _) in enumerate(windows(lambda p: p, picture, 64, 32))
    ]
    logits = []

    class Keeping(Given):
        def decode(self, output, frames):
            logits.append(output.logits[0, 0])
            return super().decode(output, frames)

    model = Model()
    model.head = Keeping()
    joined(model, corners(size, (64, 64), 32, 8), parts, 32)
    steps = torch.cat(logits, 1)[32].diff().abs()
    assert len(parts) > 3
    assert steps.max() < 0.15


def test_rows_are_answered_one_after_the_other():
    """Memory is one row of windows: when a row comes, what is above it is answered already."""
    network, seen = convolutions(1), []

    class Watching(Given):
        def decode(self, output, frames):
            seen.append(output.logits.shape[2])
            return super().decode(output, frames)

    model = Model()
    model.head = Watching()
    picture = torch.randn(3, 400, 64, dtype=torch.float64)
    parts = windows(lambda p: network(p.double()), picture, 64, 32)
    found = joined(model, corners((400, 64), (64, 64), 32, 8), parts, 32)
    assert found.size == (400, 64)
    assert len(seen) > 8
    assert max(seen) <= 64
    assert replace(found, source=3).source == 3
