"""Samples to batches, on threads: Pillow and torch let go of Python's lock while they decode and resample.

What a batch holds is a pure function of (seed, epoch, number): neither the number of threads, nor the cache,
nor resuming in the middle of an epoch changes it.
"""

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from vitrail.contracts import Samples
from vitrail.data.augment import Augment
from vitrail.data.cache import PixelCache
from vitrail.data.chance import order
from vitrail.data.faults import Unreadable
from vitrail.data.lay import with_mask
from vitrail.data.preprocess import Loaded, Preprocess
from vitrail.data.windows import windows_of
from vitrail.errors import VitrailError
from vitrail.values import Batch

AHEAD = 2
"""Batches that are prepared or ready for each thread, beyond the one in use: memory is bounded by them."""


def stack(canvases: Sequence[np.ndarray]) -> Tensor:
    """Return canvases ``h w c`` of one size as one batch ``b c h w``."""
    return torch.from_numpy(np.ascontiguousarray(np.stack(canvases).transpose(0, 3, 1, 2)))


class Loader:
    """Batches of pictures, uint8 ``b c h w`` under ``"image"``, with the targets that ``collate`` makes.

    With ``augment`` pictures are varied (and carry no frames); without it they are what a model is asked
    about. ``workers`` threads work ahead (0: none, in the caller's own). A picture that cannot be read is
    left out of its batch and noted in ``broken`` (key -> what is wrong); a batch without any is left out.

    With ``masked`` samples come with their masks: in training ``collate`` gets ``mask`` too, uint8
    ``b k h w`` on the canvas, else they are the ``truths``, as the originals have them. Where the canvas is a
    window (``fit`` "tile"), an epoch of training sees ``windows`` of each picture, somewhere; who asks for
    answers gets windows that cover it, with an ``overlap`` (None: an eighth), cut out when they are answered.

    Training (``augment`` with ``shuffle``) wants two pictures a batch, because batch normalisation has no
    variance of one: a last batch of one goes into the batch before it, and a batch of which one picture is
    left is left out. With a ``batch`` of 1, or a single picture, there is nothing to be done.
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
        masked: bool = False,
        windows: int = 1,
        overlap: int | None = None,
    ) -> None:
        self.samples, self.preprocess, self.augment, self.cache = samples, preprocess, augment, cache
        self.batch, self.seed, self.workers, self.shuffle = batch, seed, workers, shuffle
        self.masked, self.windows, self.overlap = masked, windows if augment else 1, overlap
        self.broken: dict[str, str] = {}
        self._collate = collate

    def __len__(self) -> int:
        """Return the number of batches in an epoch, those included that will be left out."""
        whole, rest = divmod(len(self.samples) * self.windows, self.batch)
        merged = self.training and rest == 1 and whole > 0
        return whole + (rest > 0 and not merged)

    @property
    def training(self) -> bool:
        """Whether batches are there to be learned from: varied, and in another order each epoch."""
        return self.shuffle and self.augment is not None

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """Yield the batches of one epoch from number ``start`` on, each with its ``number``.

        Raises VitrailError at the end when no picture of the epoch could be read, or too few for a batch.
        """
        count = len(self.samples) * self.windows
        places = order(self.seed, epoch, count) if self.shuffle else np.arange(count)
        borders = [*range(0, len(self) * self.batch, self.batch), count]  # the last batch takes what is left
        cuts = [(number, places[borders[number] : borders[number + 1]]) for number in range(start, len(self))]
        readable = False
        for batch, broken in self._made(cuts, epoch):
            self.broken |= broken
            if batch is not None:
                readable = True
                yield batch
        if cuts and not readable and start == 0:
            key, reason = next(iter(self.broken.items()))
            count = len(self.samples)
            number = count - len(self.broken)
            some = f"Only {number} of {count} pictures can be read, and no two in one batch" if number else ""
            raise VitrailError(
                f"{some or f'None of {count} pictures can be read'}; the first one, {key}: {reason}"
            )

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

    def _make(self, number: int, places: np.ndarray, epoch: int) -> tuple[Batch | None, dict[str, str]]:
        """Load, vary and stack the pictures of one batch."""
        keys, broken = self.samples.keys, {}
        loaded: dict[int, Loaded] = {}
        for index in dict.fromkeys((places // self.windows).tolist()):
            try:
                loaded[index] = self._load(index)
            except Unreadable as fault:
                broken[keys[index]] = fault.reason
        wanted = len(places)
        places = places[np.isin(places // self.windows, list(loaded))]
        if not loaded or (self.training and len(places) == 1 < wanted):
            return None, broken
        rows = places // self.windows
        batch = Batch(keys=[keys[row] for row in rows.tolist()], pixels={}, number=number)
        seen = [loaded[row] for row in rows.tolist()]
        if self.augment is None:
            return self._asked(batch, rows, seen), broken
        return self._varied(batch, places, seen, epoch), broken

    def _targets(self, rows: np.ndarray, **more: np.ndarray) -> Mapping[str, Tensor]:
        columns = {name: column[rows] for name, column in self.samples.targets.items()}
        return self._collate(columns | more)

    def _asked(self, batch: Batch, rows: np.ndarray, loaded: Sequence[Loaded]) -> Batch:
        """Return pictures as a model is asked about them, with the masks of the originals."""
        batch = batch.with_(
            targets=self._targets(rows),
            truths=[self.samples.mask(row) for row in rows.tolist()] if self.masked else (),
        )
        if self.preprocess.fit == "tile":
            return batch.with_(windows=[windows_of(self.preprocess, each, self.overlap) for each in loaded])
        canvases, frames = zip(*map(self.preprocess.canvas, loaded), strict=True)
        return batch.with_(pixels={"image": stack(canvases)}, frames=frames)

    def _varied(self, batch: Batch, places: np.ndarray, loaded: Sequence[Loaded], epoch: int) -> Batch:
        """Return pictures as they are learned from, with their masks."""
        assert self.augment is not None, "what is learned from is varied"
        pixels = self.augment.pictures(loaded, self.preprocess, seed=self.seed, epoch=epoch, indices=places)
        more = {}
        if self.masked:
            more["mask"] = self.augment.masks(
                loaded, self.preprocess, seed=self.seed, epoch=epoch, indices=places
            )
        targets = self._targets(places // self.windows, **more)
        return batch.with_(pixels={"image": torch.from_numpy(pixels)}, targets=targets)

    def _load(self, index: int) -> Loaded:
        """Return one working picture, with its mask if that is to be learned."""
        loaded = self._picture(index)
        if not (self.masked and self.augment):
            return loaded
        return with_mask(loaded, self.samples.mask(index), self.samples.keys[index])

    def _picture(self, index: int) -> Loaded:
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
