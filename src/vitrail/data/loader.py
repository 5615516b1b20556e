"""Samples to batches, on threads: Pillow and torch let go of Python's lock while they decode and resample.

What a batch holds is a pure function of (seed, epoch, number): neither the number of threads, nor the cache,
nor resuming in the middle of an epoch changes it.
"""

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from vitrail.contracts import Samples
from vitrail.data.augment import Augment
from vitrail.data.cache import PixelCache
from vitrail.data.chance import order
from vitrail.data.faults import Unreadable
from vitrail.data.preprocess import Loaded, Preprocess
from vitrail.errors import VitrailError
from vitrail.values import Batch

AHEAD = 2
"""Batches that are prepared or ready for each thread, beyond the one in use: memory is bounded by them."""


class Loader:
    """Batches of pictures, uint8 ``b c h w`` under ``"image"``, with the targets that ``collate`` makes.

    With ``augment`` pictures are varied (and carry no frames); without it they are what a model is asked
    about. ``workers`` threads work ahead (0: none, in the caller's own). A picture that cannot be read is
    left out of its batch and noted in ``broken`` (key -> what is wrong); a batch without any is left out.
    """

    def __init__(
        self,
        samples: Samples,
        preprocess: Preprocess,
        *,
        batch: int,
        seed: int,
        collate: Callable[[Mapping[str, np.ndarray]], Mapping[str, Tensor]],
        augment: Augment | None = None,
        workers: int = 0,
        cache: PixelCache | None = None,
        shuffle: bool = False,
        drop_last: bool = False,
    ) -> None:
        self.samples, self.preprocess, self.augment, self.cache = samples, preprocess, augment, cache
        self.batch, self.seed, self.workers = batch, seed, workers
        self.shuffle, self.drop_last = shuffle, drop_last
        self.broken: dict[str, str] = {}
        self._collate = collate

    def __len__(self) -> int:
        """Return the number of batches in an epoch, broken ones included."""
        return len(self.samples) // self.batch if self.drop_last else -(-len(self.samples) // self.batch)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """Yield the batches of one epoch from number ``start`` on, each with its ``number``.

        Raises VitrailError at the end when no picture of the epoch could be read.
        """
        count = len(self.samples)
        places = order(self.seed, epoch, count) if self.shuffle else np.arange(count)
        cuts = [(number, places[number * self.batch :][: self.batch]) for number in range(start, len(self))]
        readable = False
        for batch, broken in self._made(cuts, epoch):
            self.broken |= broken
            if batch is not None:
                readable = True
                yield batch
        if cuts and not readable and start == 0:
            key, reason = next(iter(self.broken.items()))
            raise VitrailError(f"None of {count} pictures can be read; the first one, {key}: {reason}")

    def _made(
        self, cuts: list[tuple[int, np.ndarray]], epoch: int
    ) -> Iterator[tuple[Batch | None, dict[str, str]]]:
        """Make batches in their order, some of them ahead of time."""
        if not self.workers:
            for number, indices in cuts:
                yield self._make(number, indices, epoch)
            return
        waiting: deque[Future[tuple[Batch | None, dict[str, str]]]] = deque()
        pool = ThreadPoolExecutor(self.workers, "vitrail-loader")
        try:
            for number, indices in cuts:
                waiting.append(pool.submit(self._make, number, indices, epoch))
                if len(waiting) > AHEAD * self.workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:  # also when the caller stops early, or is interrupted
            pool.shutdown(cancel_futures=True)

    def _make(self, number: int, indices: np.ndarray, epoch: int) -> tuple[Batch | None, dict[str, str]]:
        """Load, vary and stack the pictures of one batch."""
        loaded, kept, broken = [], [], {}
        keys = self.samples.keys
        for index in indices.tolist():
            try:
                loaded.append(self._load(index))
                kept.append(index)
            except Unreadable as fault:
                broken[keys[index]] = fault.reason
        if not loaded:
            return None, broken
        rows = np.array(kept)
        frames = []
        if self.augment is None:
            canvases, frames = zip(*map(self.preprocess.canvas, loaded), strict=True)
            pixels = np.ascontiguousarray(np.stack(canvases).transpose(0, 3, 1, 2))
        else:
            pixels = self.augment.pictures(loaded, self.preprocess, seed=self.seed, epoch=epoch, indices=rows)
        batch = Batch(
            keys=[keys[index] for index in kept],
            pixels={"image": torch.from_numpy(pixels)},
            frames=frames,
            targets=self._collate({name: column[rows] for name, column in self.samples.targets.items()}),
            number=number,
        )
        return batch, broken

    def _load(self, index: int) -> Loaded:
        """Return one working picture, from the cache when it is there."""
        source = self.samples.source(index)
        if self.cache is None or (
            isinstance(source, np.ndarray) and source.shape[:2] == self.preprocess.size
        ):
            return self.preprocess.load(source)
        row, stamp = int(self.samples.rows[index]), int(self.samples.stamps[index])
        loaded = self.cache.get(row, stamp)
        if loaded is None:
            loaded = self.preprocess.load(source)
            self.cache.put(row, stamp, loaded)
        return loaded
