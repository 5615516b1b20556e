"""How far a heat map can be trusted: does the answer hang on the places that it points at?

A map says which places matter. So take them away, or bring them back, in its order, and watch how sure the
model stays of what was explained. What a map is worth shows beside two that know nothing of the model: one at
random, and the picture's own edges (Adebayo et al. 2018, "Sanity checks for saliency maps").
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from vitrail.errors import UsageError
from vitrail.explain.about import ask, taken
from vitrail.explain.fill import blank, blurred, filled
from vitrail.explain.places import edge_map, grid_of, on_grid, random_map, ranks, spread
from vitrail.explain.surety import as_share, surety
from vitrail.explain.tap import at_rest
from vitrail.models.vision import Vision
from vitrail.values import Batch, Size

MEASURES: dict[str, Literal["max", "min"]] = {"insertion": "max", "deletion": "min", "road": "max"}
"""The measures, and which way each is better."""
HEAT, BASELINES = "heat", ("random", "edge")
"""What the maps are called: the one that is judged, and those that know nothing of the model."""
STANDARD = 224
"""The side in pixels of the pictures that ``at_once`` counts."""
SHARES = (0.1, 0.3, 0.5, 0.7, 0.9)
"""The shares of a picture that ROAD takes away."""


@dataclass(frozen=True, kw_only=True)
class Course:
    """How sure a model stays of its answer while a picture comes and goes in the order of one map.

    ``insertion`` and ``deletion`` are ``s + 1`` values over even shares of the picture, from none to all.
    ``least`` and ``most`` have one for each of `SHARES` that ROAD took away, the least relevant places first
    and the most relevant first.
    """

    insertion: np.ndarray
    deletion: np.ndarray
    least: np.ndarray
    most: np.ndarray

    @property
    def marks(self) -> dict[str, float]:
        """The measures: the areas under insertion and deletion, and how far ``least`` is above ``most``."""
        steps = len(self.insertion) - 1
        return {
            "insertion": float(np.trapezoid(self.insertion) / steps),
            "deletion": float(np.trapezoid(self.deletion) / steps),
            "road": float((self.least - self.most).mean()),
        }


@dataclass(frozen=True, kw_only=True)
class Trust:
    """The courses of one picture's heat map and, beside it, of the `BASELINES`."""

    heat: Course
    random: Course
    edge: Course

    @property
    def marks(self) -> dict[str, dict[str, float]]:
        """The measures by map."""
        return {name: getattr(self, name).marks for name in (HEAT, *BASELINES)}

    def beats(self, baseline: str) -> list[str]:
        """Return the measures by which the heat map is better than one of the `BASELINES`."""
        marks = self.marks
        ours, theirs = marks[HEAT], marks[baseline]
        signs = {name: 1 if order == "max" else -1 for name, order in MEASURES.items()}
        return [name for name, sign in signs.items() if sign * (ours[name] - theirs[name]) > 0]


@dataclass(frozen=True, kw_only=True)
class Judge:
    """Insertion, deletion and ROAD of heat maps.

    Insertion brings a blurred picture back and deletion blanks it, what a map calls most relevant first, in
    ``steps`` (Petsiuk, Das and Saenko 2018, "RISE"). ROAD fills what is taken away with what is around it, so
    that neither holes nor their outlines give anything away (Rong et al. 2022), once with the least relevant
    places first and once with the most: the difference is 0 on average for a map at random.

    All maps are judged on the same ``cells``, so many along the longer side of the canvas. The order of a
    finer map would scatter what is taken away, and single pixels upset a network more than one hole of the
    same size, whatever they show. ``at_once`` changed pictures of 224 x 224 are answered together, fewer
    larger ones, which bounds the memory. Chance comes from ``seed`` and the picture, so that no number
    depends on the batch.
    """

    steps: int = 14
    cells: int = 14
    at_once: int = 64
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.steps, self.cells, self.at_once) < 1:
            raise UsageError(
                f"{self.steps} steps, {self.cells} cells, {self.at_once} pictures at once: take 1 or more."
            )

    def __call__(
        self, model: Vision, batch: Batch, maps: Mapping[str, Sequence[np.ndarray]], about: Any = None
    ) -> dict[str, list[Course]]:
        """Return the course of each of the ``maps``, by name and one a sample (``h w``, on any grid)."""
        with at_rest(model, batch) as ready, torch.no_grad():
            trial = _Trial(self, model, ready, ask(model, ready, about)[1])
            return {name: trial.courses(each) for name, each in maps.items()}

    def trust(
        self, model: Vision, batch: Batch, maps: Sequence[np.ndarray], about: Any = None
    ) -> list[Trust]:
        """Return how one heat map a sample does beside the `BASELINES`."""
        found = self(model, batch, {HEAT: maps} | self.baselines(batch), about)
        return [
            Trust(heat=heat, random=random, edge=edge)
            for heat, random, edge in zip(found[HEAT], found["random"], found["edge"], strict=True)
        ]

    def baselines(self, batch: Batch) -> dict[str, list[np.ndarray]]:
        """Return a map at random and the edges of each picture."""
        pixels = batch.pixels["image"]
        grid = grid_of(_size(pixels), self.cells)
        return {
            "random": [random_map(each, grid, self.seed) for each in pixels],
            "edge": [edge_map(each) for each in pixels],
        }


@dataclass(frozen=True, kw_only=True)
class _Copy:
    """One sample, of which the places below ``share`` of its order are taken away or brought back."""

    sample: int
    kind: str
    share: float


class _Trial:
    """One batch before the judge: what is asked of it, and what its pictures are changed to."""

    def __init__(self, judge: Judge, model: Vision, batch: Batch, about: Any) -> None:
        self.judge, self.model, self.batch, self.about = judge, model, batch, about
        self.pixels = batch.pixels["image"]
        self.at_once = max(1, judge.at_once * STANDARD**2 // max(STANDARD**2, math.prod(_size(self.pixels))))
        self.grounds = {"insertion": blurred(self.pixels), "deletion": blank(self.pixels)}
        every = range(len(self.pixels))
        self.whole, self.sure = self._ask(self.pixels, every)
        self.ends = {kind: self._ask(ground, every)[0] for kind, ground in self.grounds.items()}

    def courses(self, maps: Sequence[np.ndarray]) -> list[Course]:
        """Return the course of one map a sample."""
        grid = grid_of(_size(self.pixels), self.judge.cells)
        ordered = np.stack([ranks(on_grid(each, grid), self.judge.seed) for each in maps])
        orders = spread(torch.from_numpy(ordered).to(self.pixels.device), _size(self.pixels))
        steps = [step / self.judge.steps for step in range(1, self.judge.steps)]
        wanted = {"insertion": steps, "deletion": steps, "least": SHARES, "most": SHARES}
        copies = [
            _Copy(sample=sample, kind=kind, share=share)
            for kind, shares in wanted.items()  # alike beside each other, so that they are made together
            for share in shares
            for sample in range(len(maps))
        ]
        values = []
        for first in range(0, len(copies), self.at_once):
            some = copies[first : first + self.at_once]
            values.append(self._ask(self._changed(some, orders), [copy.sample for copy in some])[0])
        answers = torch.cat(values) if values else self.whole[:0]
        by_kind = {kind: [i for i, copy in enumerate(copies) if copy.kind == kind] for kind in wanted}
        table = {kind: answers[places].view(len(wanted[kind]), len(maps)) for kind, places in by_kind.items()}
        table["insertion"] = torch.cat([self.ends["insertion"][None], table["insertion"], self.whole[None]])
        table["deletion"] = torch.cat([self.whole[None], table["deletion"], self.ends["deletion"][None]])
        if not self.sure:
            nothing = self.ends["deletion"]
            table = {kind: as_share(rows, nothing, self.whole) for kind, rows in table.items()}
        found = {kind: rows.double().numpy() for kind, rows in table.items()}
        return [
            Course(**{kind: rows[:, sample] for kind, rows in found.items()}) for sample in range(len(maps))
        ]

    def _changed(self, copies: Sequence[_Copy], orders: Tensor) -> Tensor:
        """Return the pixels of copies, each kind of them at once."""
        made = []
        for kind in dict.fromkeys(copy.kind for copy in copies):
            some = [copy for copy in copies if copy.kind == kind]
            samples = [copy.sample for copy in some]
            shares = orders.new_tensor([copy.share for copy in some])[:, None, None]
            # Half a place of room, so that a rank never falls on the wrong side by its rounding.
            rows, columns = grid_of(_size(self.pixels), self.judge.cells)
            room = 0.5 / (rows * columns)
            first = orders[samples] < shares - room
            pixels = self.pixels[samples]
            if kind == "insertion":
                pixels = torch.where(first[:, None], pixels, self.grounds[kind][samples])
            elif kind == "deletion":
                pixels = torch.where(first[:, None], self.grounds[kind][samples], pixels)
            else:
                missing = first if kind == "most" else orders[samples] >= 1 - shares - room
                pixels = filled(pixels, missing, self.judge.seed)
            made.append(pixels)
        return torch.cat(made)

    def _ask(self, pixels: Tensor, samples: Sequence[int]) -> tuple[Tensor, bool]:
        """Return how sure the model is of its answers to ``samples``, with other pixels, and in what unit."""
        batch, chosen = self.batch, [*samples]
        others = {role: each[chosen] for role, each in batch.pixels.items() if role != "image"}
        asked = Batch(
            keys=[batch.keys[sample] for sample in chosen],
            pixels={"image": pixels, **others},
            frames=[batch.frames[sample] for sample in chosen] if batch.frames else (),
            valid=None if batch.valid is None else batch.valid[chosen],
            prompt=None if batch.prompt is None else [batch.prompt[sample] for sample in chosen],
        )
        return surety(self.model, asked, taken(self.about, chosen))


def _size(pixels: Tensor) -> Size:
    return pixels.shape[2], pixels.shape[3]
