"""Which method explains a model best: all of them on the same pictures, beside maps that know no model."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vitrail.contracts import Explainer
from vitrail.data.chance import order
from vitrail.data.faults import Unreadable
from vitrail.data.readers import ReaderOptions, open_data
from vitrail.errors import UsageError, VitrailError
from vitrail.explain.about import taken
from vitrail.explain.faithfulness import BASELINES, Judge
from vitrail.explain.sanity import sanity_check
from vitrail.run.asked import find_pictures
from vitrail.run.explain.explanation import AT_ONCE, Explained, Explanation, ask_methods, question_of
from vitrail.run.explain.objects import Objects
from vitrail.run.explain.standing import Found, Standing, stand
from vitrail.run.predict import Predictor
from vitrail.run.progress import Progress, Silent, follow
from vitrail.values import Batch, Heat, Source

PICTURES, SHUFFLED, SHOWN = 64, 4, 6
"""Pictures measured, those whose maps are asked again of a shuffled model, and those shown on the page."""


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """What came of a benchmark: the methods, the best by ROAD first, then the maps that know no model."""

    model: str
    data: str
    pictures: int
    standings: Sequence[Standing]
    refused: Mapping[str, str]
    broken: Mapping[str, str]
    shown: Sequence[tuple[str, Explained]]
    made: str

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "model": self.model,
            "data": self.data,
            "pictures": self.pictures,
            "methods": [each.to_dict() for each in self.standings],
            "refused": dict(self.refused),
            "broken": dict(self.broken),
        }


def benchmark(
    predictor: Predictor,
    where: str,
    explainers: Mapping[str, Explainer],
    *,
    pictures: int = PICTURES,
    about: Any = None,
    masks: str | None = None,
    judge: Judge | None = None,
    offline: bool = False,
    progress: Progress | None = None,
) -> Benchmark:
    """Measure methods (by name) on so many pictures of a data set, or of a folder without classes.

    Each picture's own answer is explained unless ``about`` says otherwise. ``masks`` is a folder with a mask
    for each picture. Raises VitrailError when no picture can be read or no method is for this model.
    """
    if pictures < 2:
        raise UsageError(f"--pictures {pictures}: an interval needs 2 or more.")
    judge, progress = judge or Judge(), progress or Silent()
    sources = choose_sources(where, pictures, offline=offline)
    tally = _Tally(predictor, explainers, judge, about, Objects.within(masks) if masks else None)
    loading = predictor.batches((source for _, source in sources), min(predictor.batch, AT_ONCE))
    names = iter([name for name, _ in sources])
    for batch in follow(progress, "measuring", loading, -(-len(sources) // min(predictor.batch, AT_ONCE))):
        tally.add([(next(names), found) for _, found in batch])
    if not tally.count:
        raise VitrailError(f"{where}: none of {len(sources)} pictures could be read.")
    return tally.settle(where)


def choose_sources(where: str, most: int, *, offline: bool = False) -> list[tuple[str, Source]]:
    """Return pictures by name, drawn alike by everybody: of the test part where there is one."""
    try:
        parts = open_data(where, ReaderOptions(offline=offline)).splits()
    except VitrailError:
        if where.startswith("hf://") or not Path(where).exists():
            raise
        files = find_pictures([where])  # a folder of pictures without classes is enough
        chosen = np.sort(order(0, 0, len(files))[:most]).tolist()
        return [(files[index], files[index]) for index in chosen]
    samples = parts[next((name for name in ("test", "all", "val") if name in parts), next(iter(parts)))]
    chosen = np.sort(order(0, 0, len(samples))[:most]).tolist()
    return [(samples.keys[index], samples.source(index)) for index in chosen]


class _Tally:
    """Adds up batch by batch."""

    def __init__(
        self,
        predictor: Predictor,
        explainers: Mapping[str, Explainer],
        judge: Judge,
        about: Any,
        objects: Objects | None,
    ) -> None:
        self.predictor, self.explainers, self.judge, self.about = predictor, dict(explainers), judge, about
        self.objects = objects
        self.found: dict[str, Found] = {}
        self.refused: dict[str, str] = {}
        self.broken: dict[str, str] = {}
        self.shown: list[tuple[str, Explained]] = []
        self.count = 0

    def add(self, loaded: Sequence[tuple[str, Any]]) -> None:
        """Measure all methods on some pictures."""
        self.broken |= {name: found.reason for name, found in loaded if isinstance(found, Unreadable)}
        good = [(name, found) for name, found in loaded if not isinstance(found, Unreadable)]
        if not good:
            return
        batch = self.predictor.ready([found for _, found in good])
        answers = self.predictor.model.answer(batch)
        settled = question_of(self.predictor, batch, answers, self.about)[0]
        heats = self._timed(batch, settled)
        if not heats:
            raise VitrailError(f"no method is for this model. {next(iter(self.refused.values()), '')}")
        maps = self.judge.baselines(batch) | {
            name: [heat.values for heat in each] for name, each in heats.items()
        }
        for name, courses in self.judge(self.predictor.model, batch, maps, settled).items():
            self.found.setdefault(name, Found()).courses += courses
        self._point(maps, good)
        if self.count == 0:
            self._shuffle(batch, settled, [*heats])
        self._show(good, batch, heats)
        self.count += len(good)

    def _timed(self, batch: Batch, about: Any) -> dict[str, Sequence[Heat]]:
        heats: dict[str, Sequence[Heat]] = {}
        for name, explainer in self.explainers.items():
            started = time.perf_counter()
            done, refused = ask_methods(self.predictor, batch, {name: explainer}, about)
            self.refused |= refused
            if done:
                heats |= done
                found = self.found.setdefault(name, Found())
                found.seconds = (found.seconds or 0.0) + time.perf_counter() - started
        for name in self.refused:
            self.explainers.pop(name, None)
        return heats

    def _point(self, maps: Mapping[str, Sequence[np.ndarray]], good: Sequence[tuple[str, Any]]) -> None:
        """Compare with the objects, of the pictures of which they are known."""
        if self.objects is None:
            return
        for index, (name, (canvas, frame)) in enumerate(good):
            for method, values in maps.items():
                judged = self.objects.judge(name, values[index], frame, (canvas.shape[0], canvas.shape[1]))
                if judged is not None:
                    self.found[method].inside.append(judged[0])
                    self.found[method].points.append(judged[1])

    def _shuffle(self, batch: Batch, about: Any, methods: Sequence[str]) -> None:
        """Ask the methods again of a shuffled model, on a few pictures."""
        few = range(min(SHUFFLED, len(batch)))
        pixels = {role: each[: len(few)] for role, each in batch.pixels.items()}
        part = batch.with_(keys=batch.keys[: len(few)], pixels=pixels, frames=batch.frames[: len(few)])
        for name in methods:
            rungs = sanity_check(
                self.predictor.model, self.explainers[name], part, taken(about, [*few]), rungs=2
            )
            self.found[name].alike = float(rungs[-1].alike.mean())

    def _show(
        self, good: Sequence[tuple[str, Any]], batch: Batch, heats: Mapping[str, Sequence[Heat]]
    ) -> None:
        if len(self.shown) >= SHOWN:
            return
        answers = self.predictor.model.answer(batch)
        for index, (name, (canvas, frame)) in enumerate(good[: SHOWN - len(self.shown)]):
            by_method = {
                method: Explanation(
                    answer=answers[index],
                    about=each[index].about,
                    heat=each[index],
                    canvas=canvas,
                    frame=frame,
                )
                for method, each in heats.items()
            }
            self.shown.append((name, Explained(by_method=by_method)))

    def settle(self, where: str) -> Benchmark:
        """Return the means with their intervals."""
        standings = [stand(name, each, self.found["random"]) for name, each in self.found.items()]
        standings.sort(key=lambda each: (each.method in BASELINES, -each.marks["road"].value))
        contract = self.predictor.contract
        return Benchmark(
            model=contract.recipe.model.name,
            data=where if where.startswith("hf://") else Path(where).name,
            pictures=self.count,
            standings=standings,
            refused=self.refused,
            broken=self.broken,
            shown=self.shown,
            made=time.strftime("%Y-%m-%d"),
        )
