"""A model seen from within, as pictures, numbers and a page: positions, filters, features, reach."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from vitrail.data.faults import Unreadable
from vitrail.data.names import storable
from vitrail.draw.chart import Axis, Chart
from vitrail.draw.html import Html, element, embed, join
from vitrail.draw.mosaic import filter_grid, map_grid
from vitrail.draw.page import Section, Shown, brand, csv_text, download, facts, figure, gallery, page
from vitrail.draw.sheet import to_image
from vitrail.errors import UsageError
from vitrail.explain import model as inside
from vitrail.run.explain.explanation import AT_ONCE
from vitrail.run.files import free_name, write_atomic, write_json
from vitrail.run.folder import REPORT
from vitrail.run.report import foot

if TYPE_CHECKING:
    from vitrail.run.asked import Picture
    from vitrail.run.predict import Predictor

WIDE, SIDE = 1000, 336
"""The widest picture on the page, and the longer side of a picture beside its features, in pixels."""
REACH = ("layer", "head", "pixels")


@dataclass(kw_only=True)
class Within:
    """What was found in a model: numbers by name, and why the rest is not there.

    ``positions`` is ``h w h w`` (cosines), ``filters`` ``k c p q``, ``reach`` ``layers heads`` (pixels).
    ``features`` are pictures (uint8 ``h w c``) and the colours of their features (``h w 3``, 0 to 1) by name.
    """

    model: str
    positions: np.ndarray | None = None
    filters: np.ndarray | None = None
    reach: np.ndarray | None = None
    features: dict[str, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    broken: dict[str, str] = field(default_factory=dict)


def look_within(predictor: Predictor, pictures: Sequence[Picture] = ()) -> Within:
    """Look into a model; what needs pictures is found on at most the first `AT_ONCE` that can be read.

    Raises UsageError for a model in which there is nothing to see.
    """
    found = Within(model=predictor.contract.recipe.model.name)
    backbone: Any = predictor.model.backbone
    found.positions = _try(found, "positions", lambda: inside.position_similarity(backbone))
    found.filters = _try(found, "filters", lambda: inside.patch_filters(backbone))
    loaded = next(predictor.batches(pictures[:AT_ONCE], AT_ONCE), [])
    good = [(str(name), each) for name, each in loaded if not isinstance(each, Unreadable)]
    found.broken = {storable(str(name)): each.reason for name, each in loaded if isinstance(each, Unreadable)}
    if good:
        batch, model = predictor.ready([each for _, each in good]), predictor.model
        found.reach = _try(found, "reach", lambda: inside.attention_distance(model, batch))
        colours = _try(found, "features", lambda: inside.feature_colours(model, batch))
        taken: set[str] = set()
        for index, (name, (canvas, _)) in enumerate(good if colours is not None else ()):
            assert colours is not None
            found.features[free_name(storable(Path(name).stem), taken)] = canvas, colours[index]
    if found.positions is None and found.filters is None and found.reach is None and not found.features:
        raise UsageError(f"{found.model}: {' '.join(found.refused.values())}")
    return found


def _try(found: Within, name: str, look: Callable[[], Any]) -> np.ndarray | None:
    try:
        numbers: np.ndarray = look().cpu().numpy()
    except UsageError as reason:
        found.refused[name] = str(reason)
        return None
    return numbers


def write_within(found: Within, folder: Path) -> list[str]:
    """Write pictures, numbers (``.npy``, ``reach.csv``), and a page of them all; return the files' names."""
    pictures: dict[str, tuple[Image.Image, np.ndarray]] = {}
    if found.positions is not None:
        pictures["positions"] = map_grid(found.positions), found.positions
    if found.filters is not None:
        pictures["filters"] = filter_grid(found.filters), found.filters
    for name, (canvas, colours) in found.features.items():
        pictures[f"{name}.features"] = _beside(canvas, colours), colours
    written = []
    for name, (picture, numbers) in pictures.items():
        file, array = io.BytesIO(), io.BytesIO()
        picture.save(file, "PNG")
        np.save(array, numbers.astype(np.float32))
        write_atomic(folder / f"{name}.png", file.getvalue())
        write_atomic(folder / f"{name}.npy", array.getvalue())
        written += [f"{name}.png", f"{name}.npy"]
    if found.reach is not None:
        write_atomic(folder / "reach.csv", csv_text(REACH, _reach_rows(found.reach)))
        written.append("reach.csv")
    parts = [_positions(found), _filters(found), _reach(found), _features(found)]
    title = f"Inside {found.model}"
    told = {"Model": found.model} | ({"Pictures": str(len(found.features))} if found.features else {})
    missing = [element("p", f"Without {each}: {why}", class_="quiet") for each, why in found.refused.items()]
    head = join([brand("Explanations"), element("h1", title), facts(told), *missing])
    text = page(f"{title} · Vitrail", head, [each for each in parts if each], foot(time.strftime("%Y-%m-%d")))
    write_atomic(folder / REPORT, text)
    write_json(folder / "within.json", {"model": found.model, "refused": found.refused, "files": written})
    return [*written, "within.json", REPORT]


def _beside(canvas: np.ndarray, colours: np.ndarray) -> Image.Image:
    """Return a picture as the model saw it beside its features' colours, cell by cell."""
    scale = max(1, SIDE // max(canvas.shape[:2]))
    size = (canvas.shape[1] * scale, canvas.shape[0] * scale)
    seen = to_image(canvas).convert("RGB")
    painted = Image.fromarray(np.round(255 * colours).astype(np.uint8))
    both = Image.new("RGB", (2 * size[0] + 8, size[1]), "white")
    both.paste(seen.resize(size, Image.Resampling.NEAREST), (0, 0))
    both.paste(painted.resize(size, Image.Resampling.NEAREST), (size[0] + 8, 0))
    return both


def _positions(found: Within) -> Section | None:
    if found.positions is None:
        return None
    rows, columns = found.positions.shape[:2]
    shown = embed(map_grid(found.positions), f"{rows} x {columns} maps of likeness", side=WIDE)
    lead = (
        "For each place on the grid of patches, at that place: how like its position is to every other "
        f"(cosine), from {found.positions.min():.2f}, dark, to 1, light. A model that knows where things are "
        "shows a light spot in each map that moves with it."
    )
    return Section(title="Positions", lead=lead, content=[figure(shown)])


def _filters(found: Within) -> Section | None:
    if found.filters is None:
        return None
    count, _, height, width = found.filters.shape
    shown = embed(filter_grid(found.filters), f"{count} filters", side=WIDE)
    lead = (
        f"The {count} strongest principal components of the first filters, of {height} x {width} pixels. "
        "Edges and colours are what trained networks look at first; noise is what untrained ones do."
    )
    return Section(title="First filters", lead=lead, content=[figure(shown)])


def _reach(found: Within) -> Section | None:
    if found.reach is None:
        return None
    layers = found.reach.shape[0]
    chart = Chart(
        x=Axis(low=-0.5, high=layers - 0.5, title="layer", whole=True, most=12),
        y=Axis(low=0, high=1.08 * float(found.reach.max()), title="pixels"),
        width=660,
        height=320,
        left=58,
    )
    chart.line([(index, float(row.mean())) for index, row in enumerate(found.reach)], "s2")
    for layer, head, pixels in _reach_rows(found.reach):
        chart.dot(layer, pixels, "s1", f"layer {layer}, head {head}: {pixels:.1f} pixels")
    lead = (
        "How far each head looks on average, from the middle of a patch to that of another: a dot a head, "
        "the line their mean. Low layers often have heads that look near and heads that look far."
    )
    alt = "Mean distance of attention by layer: " + ", ".join(f"{row.mean():.1f}" for row in found.reach)
    link = download("reach.csv", REACH, _reach_rows(found.reach))
    return Section(
        title="How far it looks", lead=lead, content=[figure(chart.svg(alt, large=True), link=link)]
    )


def _reach_rows(reach: np.ndarray) -> list[tuple[int, int, float]]:
    return [(layer, head, float(pixels)) for (layer, head), pixels in np.ndenumerate(reach)]


def _features(found: Within) -> Section | None:
    if not found.features:
        return None
    shown = [Shown(picture=_beside(*each), caption=name) for name, each in found.features.items()]
    lead = (
        "Three principal components of the last features as red, green and blue, shared by all pictures: "
        "what has one colour is alike to the model, also from one picture to the next."
    )
    content: list[Html] = [gallery(shown, side=2 * SIDE + 8, wide=True)]
    return Section(title="Features as colours", lead=lead, content=content)
