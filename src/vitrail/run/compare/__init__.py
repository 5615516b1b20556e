"""Several models on the same data, with the same care and budget, and how sure a difference is."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vitrail.draw.page import csv_text
from vitrail.errors import UsageError, VitrailError
from vitrail.run.compare.field import entrants_of, set_side_by_side
from vitrail.run.compare.outcome import Outcome, find_out
from vitrail.run.compare.page import write_page
from vitrail.run.compare.plan import Comparison, read_comparison
from vitrail.run.compare.race import Entrant, Race
from vitrail.run.compare.tables import tables
from vitrail.run.files import first_free, locked, read_json, write_atomic, write_json
from vitrail.run.progress import Progress, Silent

__all__ = ["Comparison", "Outcome", "carry_out", "compare", "compare_runs", "read_comparison"]

FILE, FIGURES = "compare.json", "figures"


def compare(
    where: str | Path | Sequence[str | Path],
    *,
    models: Sequence[str] = (),
    recipes: Sequence[str | Path] = (),
    task: str | None = None,
    heads: Sequence[str] = (),
    seeds: int | None = None,
    budget: str | None = None,
    fractions: Sequence[float] = (1.0,),
    tries: int | None = None,
    also: Sequence[str | Path] = (),
    options: dict[str, Any] | None = None,
    out: str | Path | None = None,
    offline: bool = False,
    progress: Progress | None = None,
) -> Outcome:
    """Compare models on one data set, or runs that are trained already; return what came of it.

    With ``models``, ``where`` is the data: each model is trained with every seed on the same pictures, after
    a search with as many ``tries`` for each, within the same ``budget`` (``30ep``, ``20min``, ``5e15flop``).
    ``task`` is what is asked, and ``heads`` are one for all, one for each, or several of a single model.
    Without them, it names two or more run folders. The folder ``out`` gets ``report.html``, ``compare.json``
    and every figure as CSV; one that holds a part of the same comparison is gone on with.

    Raises `UsageError` when the words are wrong and `VitrailError` when the work fails.
    """
    if not models:
        folders = [where] if isinstance(where, str | Path) else list(where)
        return compare_runs(folders, also=also, out=out, offline=offline, progress=progress)
    if not isinstance(where, str | Path):
        raise UsageError("models are compared on one data set: name one.")
    given: dict[str, Any] = {"seeds": seeds, "budget": budget, "tries": tries}
    comparison = Comparison(
        where=str(where),
        models=tuple(models),
        recipes=tuple(map(str, recipes)),
        heads=tuple(heads),
        fractions=tuple(fractions),
        also=tuple(map(str, also)),
        options=(options or {}) | ({"task.name": task} if task else {}),
        **{name: value for name, value in given.items() if value is not None},
    )
    return carry_out(comparison, out=out, offline=offline, progress=progress)


def carry_out(
    comparison: Comparison,
    *,
    out: str | Path | None = None,
    offline: bool = False,
    progress: Progress | None = None,
) -> Outcome:
    """Train and compare in the folder ``out`` (default: the next free one below ``runs``), or go on there."""
    progress = progress or Silent()
    folder = Path(out) if out is not None else _next_free(comparison.where)
    frozen = _frozen(folder, comparison)
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder):
        race = Race(comparison=comparison, folder=folder, progress=progress, offline=offline, frozen=frozen)
        race.keep = lambda: _begin(folder / FILE, comparison, race.frozen)
        progress.say(f"into {folder}; cut off, it goes on with: vitrail compare --resume {folder}")
        entrants = race.carry_out()
        return _finish(
            entrants,
            folder,
            progress,
            comparison=comparison,
            epochs=race.frozen,
            also=comparison.also,
            device=str(comparison.options.get("device", "auto")),
            offline=offline,
        )


def compare_runs(
    folders: Sequence[str | Path],
    *,
    also: Sequence[str | Path] = (),
    out: str | Path | None = None,
    offline: bool = False,
    device: str = "auto",
    progress: Progress | None = None,
) -> Outcome:
    """Compare runs that are trained already, on the test pictures that they share.

    Runs whose recipes differ in the seed alone count as seeds of one model. Raises VitrailError, with the
    reason, for runs that cannot be compared: other test pictures, classes, labels or task, or one that
    learned from pictures that another is tested on.
    """
    progress = progress or Silent()
    entrants = entrants_of(folders)
    folder = Path(out) if out is not None else _next_free(str(entrants[0].whole[0].recipe().where))
    around = all(folder in Path(each).parents for each in folders)  # the folder that the runs lie in will do
    if (folder / FILE).exists():
        if read_json(folder / FILE, "a comparison").get("plan"):
            raise UsageError(f"{folder} holds a comparison that was trained there. Choose another --out.")
    elif folder.exists() and any(folder.iterdir()) and not around:
        raise UsageError(f"{folder} exists and holds no comparison. Choose another --out.")
    folder.mkdir(parents=True, exist_ok=True)
    return _finish(entrants, folder, progress, also=tuple(map(str, also)), device=device, offline=offline)


def _finish(entrants: Sequence[Entrant], folder: Path, progress: Progress, **given: Any) -> Outcome:
    """Compare what was trained, and write it down."""
    outcome = find_out(set_side_by_side(entrants), folder, progress, **given)
    for name, table in tables(outcome).items():
        file = folder / FIGURES / f"{name}.csv"
        file.parent.mkdir(exist_ok=True)
        write_atomic(file, csv_text(table.columns, table.rows))
    write_page(outcome)
    write_json(folder / FILE, outcome.to_dict())
    return outcome


def _begin(file: Path, comparison: Comparison, epochs: Mapping[str, int]) -> None:
    """Write down what is about to be done; what was found out before stays until there is something new."""
    before = read_json(file, "a comparison") if file.exists() else {}
    write_json(file, {**before, "plan": comparison.to_dict(), "epochs": dict(epochs)})


def _frozen(folder: Path, comparison: Comparison) -> dict[str, int]:
    """Return the epochs that a comparison in this folder was given before, if its budget is the same.

    Raises UsageError for a folder that holds something else.
    """
    file = folder / FILE
    if not file.exists():
        if folder.exists() and any(folder.iterdir()):
            raise UsageError(f"{folder} exists and holds no comparison. Choose another --out.")
        return {}
    plain = read_json(file, "a comparison")
    before = read_comparison(file) if plain.get("plan") else None
    if before is None:
        raise UsageError(f"{folder} holds a comparison of other runs. Choose another --out.")
    for name in ("where", "budget", "tries", "options"):
        old, new = getattr(before, name), getattr(comparison, name)
        if old != new:
            raise UsageError(
                f"{folder} holds another comparison: {name} {old!r}, not {new!r}. Choose another --out."
            )
    epochs = plain.get("epochs")
    if not isinstance(epochs, dict):
        raise VitrailError(f"{file}: damaged, it does not say how many epochs. Choose another --out.")
    return {str(name): int(number) for name, number in epochs.items()}


def _next_free(where: str) -> Path:
    name = Path(where).name or "data"
    return first_free(lambda number: Path("runs") / f"{name}-compare-{number}")
