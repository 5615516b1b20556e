"""Draws that need no generator: pure, independent, evenly spread."""

import numpy as np
import pytest

from vitrail.data.chance import hashed, key, order, uniform

N = 50_000


def test_draws_are_a_pure_function_of_their_place():
    whole = uniform(3, 5, range(1000), "flip")
    shuffled = np.random.default_rng(0).permutation(1000)
    assert np.array_equal(uniform(3, 5, shuffled, "flip"), whole[shuffled])
    assert np.array_equal([uniform(3, 5, [i], "flip")[0] for i in range(50)], whole[:50])
    several = uniform(3, 5, range(100), "crop", draws=7)
    assert several.shape == (100, 7)
    assert np.array_equal(uniform(3, 5, [40], "crop", draws=7)[0], several[40])
    assert np.array_equal(uniform(3, 5, range(100), "crop", draws=3), several[:, :3])


def test_the_draws_are_those_of_every_version():
    """A run of an older version resumes to the same bits only while these stay."""
    assert hashed(0, 0, [0, 1], "order").tolist() == [8391500537456749470, 673654710812738935]
    assert order(1, 2, 6).tolist() == [5, 1, 0, 2, 4, 3]
    assert key(1, 2, 3) == 15020427595393229491
    assert len({key(a, b, word) for a in range(-9, 9) for b in range(9) for word in ("a", "b")}) == 18 * 9 * 2


@pytest.mark.parametrize("seed", [0, 1, 2**63, -7])
@pytest.mark.parametrize("stream", ["flip", "crop"])
def test_draws_are_even(seed, stream):
    values = uniform(seed, 0, range(N), stream)
    assert values.min() >= 0
    assert values.max() < 1
    assert abs(values.mean() - 0.5) < 5 / np.sqrt(12 * N)
    counts = np.histogram(values, 64, (0, 1))[0]
    chi2 = ((counts - N / 64) ** 2 / (N / 64)).sum()
    assert 20 < chi2 < 120  # 63 degrees of freedom: 5 sigma is 63 +- 56
    assert abs(np.corrcoef(values[:-1], values[1:])[0, 1]) < 5 / np.sqrt(N)
    bits = np.unpackbits(hashed(seed, 0, np.arange(N), stream).view(np.uint8).reshape(-1, 8), axis=1)
    assert np.abs(bits.mean(0) - 0.5).max() < 5 / (2 * np.sqrt(N))


def test_seeds_epochs_and_streams_are_independent():
    places = ((0, 0, "a"), (0, 1, "a"), (1, 0, "a"), (0, 0, "b"), (1, 1, "a"), (0, 2, "b"))
    columns = np.stack([uniform(*place[:2], range(N), place[2]) for place in places])
    columns = np.concatenate([columns, uniform(0, 0, range(N), "c", draws=4).T])
    correlation = np.corrcoef(columns) - np.eye(len(columns))
    assert np.abs(correlation).max() < 5 / np.sqrt(N)


def test_an_order_is_a_permutation_and_changes():
    first, second = order(0, 0, 1000), order(0, 1, 1000)
    assert np.array_equal(np.sort(first), np.arange(1000))
    assert (first == second).mean() < 0.02
    assert np.array_equal(first, order(0, 0, 1000))
    assert order(5, 5, 0).shape == (0,)
    places = np.stack([order(seed, 0, 5) for seed in range(4000)])
    counts = np.stack([np.bincount(column, minlength=5) for column in places.T])
    assert np.abs(counts - 800).max() < 5 * np.sqrt(800)
