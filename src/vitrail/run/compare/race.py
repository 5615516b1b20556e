"""Carrying a comparison out: the same care and budget for each model, run by run, resumable at any moment."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from vitrail.errors import Interrupted, UsageError, VitrailError
from vitrail.run.compare.budget import epochs_within, parse_budget
from vitrail.run.compare.plan import Comparison, Contestant, candidates, contestants, searched_epochs, told
from vitrail.run.engine import choose_environment
from vitrail.run.experiment import Experiment, prepare
from vitrail.run.folder import Run
from vitrail.run.launch import placed, resume_run, run_recipe
from vitrail.run.optim import rank
from vitrail.run.progress import Progress
from vitrail.run.recipe import Recipe, differences

RUNS, SEARCH = "runs", "search"


@dataclass(frozen=True, kw_only=True)
class Try:
    """A setting that was tried: in words, what it came to on validation pictures, whether it was taken."""

    words: str
    settings: str
    value: float
    taken: bool
    run: str

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return dict(vars(self))


@dataclass(kw_only=True)
class Entrant:
    """A model with its finished runs, a seed each, by the fraction of the training pictures that they saw.

    ``failed`` says why there are fewer than there should be.
    """

    name: str
    runs: dict[float, list[Run]] = field(default_factory=dict)
    tries: list[Try] = field(default_factory=list)
    failed: str = ""

    @property
    def fraction(self) -> float:
        """The largest fraction: what the verdict is about."""
        return max(self.runs, default=1.0)

    @property
    def whole(self) -> list[Run]:
        """The runs on the largest fraction."""
        return self.runs.get(self.fraction, [])


class Within:
    """Reports the work of one run as a part of many: its notes, which are about all of them, once only."""

    def __init__(self, progress: Progress, title: str) -> None:
        self._progress, self._title = progress, title

    def begin(self, title: str, total: int, done: int = 0) -> None:
        """Start a piece of work of a run."""
        self._progress.begin(f"{self._title}, {title}", total, done)

    def step(self, shown: Mapping[str, float] | None = None) -> None:
        """One more part is done."""
        self._progress.step(shown)

    def end(self, line: str = "") -> None:  # noqa: ARG002
        """The piece of work is finished: its line is one of too many."""
        self._progress.end()

    def say(self, line: str) -> None:
        """Pass warnings on."""
        if line.startswith("warning"):
            self._progress.say(line)


@dataclass(kw_only=True)
class Race:
    """A comparison under way in its folder. ``frozen`` is what was measured once: epochs by model."""

    comparison: Comparison
    folder: Path
    progress: Progress
    offline: bool = False
    frozen: dict[str, int] = field(default_factory=dict)
    keep: Callable[[], None] = lambda: None

    def carry_out(self) -> list[Entrant]:
        """Search, then train every model with every seed on every fraction, in turn; return what came of it.

        A run that is finished is not made again, and one that was cut off goes on. A model whose run fails
        drops out, and the others go on. Raises UsageError for a model that cannot be had or cannot take the
        pictures, before anything is trained, and Interrupted when somebody asked to stop.
        """
        starters = self._settled()
        entrants = {name: Entrant(name=name) for name in starters}
        recipes = self._search(starters, entrants)
        shares = sorted(self.comparison.fractions, reverse=True)
        jobs = [
            (name, share, seed)
            for seed in range(self.comparison.seeds)
            for share in shares
            for name in recipes
        ]
        for number, (name, share, seed) in enumerate(jobs, 1):
            part = f", {100 * share:g} % of the pictures" if share < 1 else ""
            recipe = replace(recipes[name], seed=seed, data=replace(recipes[name].data, fraction=share))
            slug = f"{starters[name].slug}-{100 * share:g}pc" if share < 1 else starters[name].slug
            title = f"[{number}/{len(jobs)}] {name}, seed {seed}{part}"
            run = self._run(entrants[name], recipe, self.folder / RUNS / f"{slug}-seed{seed}", title)
            if run is not None:
                entrants[name].runs.setdefault(share, []).append(run)
        return list(entrants.values())

    def _settled(self) -> dict[str, Contestant]:
        """Return the contestants with recipes that leave nothing open, their epochs within the budget."""
        given = {each.name: each for each in contestants(self.comparison, offline=self.offline)}
        budget = parse_budget(self.comparison.budget) if self.comparison.budget else None
        prepared = prepared_for(given, offline=self.offline)
        for note in dict.fromkeys(note for each in prepared.values() for note in each.notes):
            self.progress.say(f"note: {note}")
        if new := {name: each for name, each in prepared.items() if name not in self.frozen}:
            # What was frozen stays: a model that joins gets what the others had, or the same budget.
            same = dict.fromkeys(new, next(iter(self.frozen.values()), 0))
            joins = bool(self.frozen) and budget is None
            self.frozen |= same if joins else epochs_within(budget, new)
        self.keep()
        return {
            name: replace(
                given[name], recipe=replace(each.recipe, epochs=self.frozen[name], environment=None)
            )
            for name, each in prepared.items()
        }

    def _search(
        self, starters: Mapping[str, Contestant], entrants: Mapping[str, Entrant]
    ) -> dict[str, Recipe]:
        """Return each model's recipe with the settings that did best on validation pictures."""
        tries = self.comparison.tries
        if tries == 1:
            return {name: each.recipe for name, each in starters.items()}
        settings = {name: candidates(each.recipe, tries) for name, each in starters.items()}
        tried: dict[str, list[tuple[list[float], float, Run, Recipe]]] = {name: [] for name in starters}
        for number in range(tries):
            for index, (name, options) in enumerate(settings.items()):
                words, recipe = options[number]
                part = replace(recipe.data, fraction=max(self.comparison.fractions))
                short = replace(recipe, epochs=searched_epochs(recipe.epochs or 1), data=part)
                place = number * len(settings) + index + 1
                title = f"[search {place}/{tries * len(settings)}] {name}, {words}"
                run = self._run(
                    entrants[name], short, self.folder / SEARCH / f"{starters[name].slug}-{number}", title
                )
                if run is not None:
                    ranked, value = _validated(run)
                    tried[name].append((ranked, value, run, recipe))
        chosen = {}
        for name, found in tried.items():
            if not found:
                continue
            best = max(range(len(found)), key=lambda place: found[place][0])
            taken = found[best][2].recipe()
            chosen[name] = replace(found[best][3], train=taken.train)
            entrants[name].tries = [
                Try(
                    words=settings[name][place][0],
                    settings=told(run.recipe()),
                    value=value,
                    taken=place == best,
                    run=str(run.path.relative_to(self.folder)),
                )
                for place, (_, value, run, _) in enumerate(found)
            ]
        return chosen

    def _run(self, entrant: Entrant, recipe: Recipe, folder: Path, title: str) -> Run | None:
        """Return the finished run of a recipe: made, resumed or found; None once its model is out."""
        if entrant.failed:
            return None
        run = Run(folder)
        try:
            if run.begun:
                _same_recipe(run, recipe)
                if run.finished:
                    return run
                self.progress.say(f"{title}: goes on")
                return resume_run(folder, offline=self.offline, progress=Within(self.progress, title))
            found = run_recipe(
                recipe, out=folder, offline=self.offline, progress=Within(self.progress, title)
            )
            _, value = _validated(found)
            seconds = found.result["train_seconds"]
            self.progress.say(
                f"{title}: {found.result['chosen_by']} {value:.4f} on validation, {seconds:.0f} s"
            )
            return found
        except (Interrupted, UsageError):
            raise
        except (VitrailError, RuntimeError, MemoryError) as error:
            entrant.failed = (
                f"{folder.name}: {str(error).splitlines()[0] if str(error) else type(error).__name__}"
            )
            self.progress.say(f"warning: {title} failed, and the others go on: {entrant.failed}")
            return None


def prepared_for(given: Mapping[str, Contestant], *, offline: bool) -> dict[str, Experiment]:
    """Return each contestant's experiment: data, network and recipe, with nothing left open.

    Raises UsageError for a model that cannot be had or cannot take the pictures, and for recipes that are
    about different data.
    """
    prepared: dict[str, Experiment] = {}
    for name, each in given.items():
        try:
            prepared[name] = prepare(placed(each.recipe), offline=offline)
        except VitrailError as error:
            raise type(error)(f"{name}: {error}") from None
    if len({each.splits.fingerprint for each in prepared.values()}) > 1:
        raise UsageError("the recipes name different data, splits or labels: compare them on the same.")
    return prepared


def _validated(run: Run) -> tuple[list[float], float]:
    """Return a run's rank by its validation part, and the metric that it was chosen by."""
    result = run.result
    name = result["chosen_by"]
    values = {
        key: each["value"] if each["value"] is not None else float("nan")
        for key, each in result["val"]["metrics"].items()
    }
    order = run.recipe().task.build(result["classes"]).orders[name]
    return rank(values, name, order), values[name]


def _same_recipe(run: Run, recipe: Recipe) -> None:
    """Raise UsageError when a folder holds the run of another recipe."""
    theirs = replace(run.recipe(), environment=None)
    ours = replace(recipe, environment=None)
    changed = differences(theirs.to_dict(), _resolved(ours, theirs).to_dict())
    if changed:
        raise UsageError(
            f"{run.path} holds a run of another recipe: {'; '.join(changed[:3])}. Choose another --out."
        )


def _resolved(recipe: Recipe, like: Recipe) -> Recipe:
    """Return a recipe with the learning rate that it leaves open as it was resolved before."""
    if recipe.train.lr is None:
        return replace(recipe, train=replace(recipe.train, lr=like.train.lr))
    return recipe


def environment_of(entrants: Sequence[Entrant]) -> dict[str, Any]:
    """Return what the first finished run says of machine and versions."""
    for entrant in entrants:
        for run in entrant.whole:
            if (found := run.recipe().environment) is not None:
                return dict(vars(found))
    return dict(vars(choose_environment(entrants[0].whole[0].recipe())))
