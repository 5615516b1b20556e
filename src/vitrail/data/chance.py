"""Random numbers without a generator: each is a pure function of (seed, epoch, index, stream).

So there is no state to save, to share between threads or to advance, and a resumed run draws what it would
have drawn. A stream is SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators",
OOPSLA 2014), used as a counter: element ``i`` is the finalised sum of a key and ``i + 1`` golden gammas. The
key is made of the seed, the epoch and the stream's name by the same finaliser.
"""

import hashlib
from collections.abc import Sequence

import numpy as np

GAMMA = 0x9E3779B97F4A7C15
MASK = (1 << 64) - 1


def key(*parts: int | str) -> int:
    """Return one 64-bit number for some integers and words, in that order: a seed for other generators."""
    state = 0
    for part in parts:
        if isinstance(part, str):
            part = int.from_bytes(hashlib.blake2b(part.encode(), digest_size=8).digest(), "little")
        state = int(_mixed(np.array([(state ^ part & MASK) + GAMMA & MASK], np.uint64))[0])
    return state


def hashed(seed: int, epoch: int, indices: np.ndarray | Sequence[int], stream: str) -> np.ndarray:
    """Return uint64 of the shape of ``indices``; any two streams, epochs or seeds are independent."""
    counters = np.asarray(indices).astype(np.uint64) + np.uint64(1)
    return _mixed(counters * np.uint64(GAMMA) + np.uint64(key(stream, seed, epoch)))


def _mixed(values: np.ndarray) -> np.ndarray:
    """SplitMix64's finaliser (variant 13 of David Stafford's), modulo 2**64."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: np.ndarray = values ^ (values >> np.uint64(31))
    return mixed


def uniform(
    seed: int, epoch: int, indices: np.ndarray | Sequence[int], stream: str, draws: int | None = None
) -> np.ndarray:
    """Return float64 in [0, 1), one for each index (``n``), or ``draws`` for each (``n draws``)."""
    bits = hashed(seed, epoch, indices, stream)
    if draws is not None:
        bits = _mixed((bits[:, None] ^ np.arange(draws, dtype=np.uint64)) + np.uint64(GAMMA))
    values: np.ndarray = (bits >> np.uint64(11)) * 2.0**-53
    return values


def order(seed: int, epoch: int, n: int) -> np.ndarray:
    """Return a permutation of ``range(n)``, int64, another one for each epoch."""
    return np.argsort(hashed(seed, epoch, np.arange(n), "order"), kind="stable")
