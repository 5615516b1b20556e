"""What is kept of explanations: pictures, heat maps as numbers, and a line for each."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from vitrail.data.names import storable
from vitrail.draw.explained import explained, explained_sheet, large
from vitrail.draw.masks import enlarged, outlined
from vitrail.draw.mosaic import animation
from vitrail.draw.sheet import Pixels, to_image
from vitrail.explain import EXPLAINERS
from vitrail.explain.faithfulness import BASELINES, HEAT, MEASURES, Trust
from vitrail.run.content import percent
from vitrail.run.explain.depth import by_head, through_depth
from vitrail.run.explain.explanation import Explained, Explanation
from vitrail.run.explain.question import in_words, pixels_of
from vitrail.run.files import free_name, write_atomic
from vitrail.values import Answer, Frame, Label, Mask

if TYPE_CHECKING:
    from vitrail.run.predict import Predictor

TITLES = {"insertion": "insertion", "deletion": "deletion", "road": "ROAD"}
"""What the measures are called."""
MOVING = 360
"""The longer side of a picture that moves, in pixels, so that its file stays small."""
BESIDE = {"random": "random map", "edge": "edges"}
"""What the baselines are called."""
EVEN = 0.5
"""A heat map whose coolest cell has more of the hottest than this is called nearly even."""


class Keeper:
    """Writes explanations into a folder, under names that no two of them share.

    With ``heads`` also a sheet of the heads of a layer, and with ``animate`` a picture that moves through
    the depth of the network.
    """

    def __init__(
        self,
        folder: Path,
        predictor: Predictor,
        *,
        contours: bool = False,
        heads: int | None = None,
        animate: bool = False,
    ) -> None:
        self.folder, self.predictor, self.contours = folder, predictor, contours
        self.heads, self.animate = heads, animate
        self._taken: set[str] = set()

    def keep(self, file: str, found: Explained) -> list[dict[str, Any]]:
        """Write what was found out about a picture; return one line a method.

        Of each method a picture and the heat map as ``.npy`` (float32 ``h w``, on the method's grid); with
        several methods also a sheet of them all. Raises Unreadable when the file is gone.
        """
        stem = free_name(storable(Path(file).stem), self._taken)
        first = next(iter(found.by_method.values()))
        windowed = window_of(first) is not None  # the picture may be too large to be decoded
        source = first.canvas if windowed else self.predictor.contract.preprocess.original(file)
        lines = []
        for method, each in found.by_method.items():
            picture, heat = f"{stem}.{method}.png", f"{stem}.{method}.npy"
            self._save(picture, draw(source, each, contours=self.contours))
            numbers = io.BytesIO()
            np.save(numbers, each.heat.values.astype(np.float32))
            write_atomic(self.folder / heat, numbers.getvalue())
            lines.append({"file": storable(file), **each.to_dict(), "picture": picture, "heat": heat})
        if len(found.by_method) > 1:
            sheet = f"{stem}.png"
            self._save(sheet, draw_sheet(source, found.by_method, contours=self.contours))
            lines = [line | {"sheet": sheet} for line in lines]
        more = self._closer(stem, source, first)
        return [line | more for line in lines]

    def _closer(self, stem: str, source: Pixels, first: Explanation) -> dict[str, str]:
        """Write what shows an explanation more closely; return the files' names."""
        more: dict[str, str] = {}
        if self.heads is not None:
            more["heads"] = f"{stem}.heads.png"
            self._save(more["heads"], draw_heads(source, first, by_head(self.predictor, first, self.heads)))
        if self.animate:
            more["animation"] = f"{stem}.depth.webp"
            steps = through_depth(self.predictor, first)
            write_atomic(self.folder / more["animation"], draw_depth(source, steps, contours=self.contours))
        return more

    def _save(self, name: str, picture: Image.Image) -> None:
        file = io.BytesIO()
        picture.save(file, "PNG")
        write_atomic(self.folder / name, file.getvalue())


def draw(source: Pixels, found: Explanation, *, contours: bool = False) -> Image.Image:
    """Return the original picture beside its heat, with what is said of it."""
    return _drawn(*seen_of(source, found), found, contours=contours)


def _drawn(picture: Pixels, frame: Frame, found: Explanation, *, contours: bool) -> Image.Image:
    """Return what is shown of a picture, on which a ``frame`` lays the canvas, beside its heat."""
    height, width = found.heat.values.shape
    at = f" at {found.layer}" if found.layer else ""
    lines = [f"{found.method}{at}, {_about(found)}, {height} x {width} cells"]
    if (even := evenness(found.heat.values)) > EVEN:
        lines.append(f"nearly even: the coolest cell has {_percent(even)} of the hottest")
    if (window := window_of(found)) is not None:
        left, top, right, bottom = window
        lines.append(
            f"seen: {left}, {top} to {right}, {bottom} of {found.frame.size[1]} x {found.frame.size[0]}"
        )
    if found.trust is not None:
        lines.append(trust_in_words(found.trust))
    size = (found.canvas.shape[0], found.canvas.shape[1])
    title = answer_in_words(found.answer)
    return explained(picture, found.heat.values, frame, size, title=title, lines=lines, contours=contours)


def seen_of(source: Pixels, found: Explanation) -> tuple[Pixels, Frame]:
    """Return what is shown of an original picture, and how the canvas lies on that.

    Of a picture that was seen in windows it is the window, whatever the ``source``. Pixels that are explained
    have an outline.
    """
    answer, window = found.answer, window_of(found)
    if not isinstance(answer, Mask):
        return source, found.frame
    layer, frame = pixels_of(found.about, answer), found.frame
    if window is not None:
        left, top, right, bottom = window
        source = found.canvas[: bottom - top, : right - left]
        layer, frame = layer[top:bottom, left:right], Frame(size=(bottom - top, right - left))
    image, frame = large(to_image(source), frame)
    return outlined(image, enlarged(layer, image.width // layer.shape[1])), frame


def window_of(found: Explanation) -> tuple[int, int, int, int] | None:
    """Return left, top, right and bottom of the part of a picture that was seen, or None for all of it."""
    height, width = found.frame.size
    if not isinstance(found.answer, Mask) or found.frame.matrix[:2] + found.frame.matrix[3:5] != (1, 0, 0, 1):
        return None
    top, left = found.frame.origin
    bottom, right = min(top + found.canvas.shape[0], height), min(left + found.canvas.shape[1], width)
    return None if (bottom - top, right - left) == (height, width) else (left, top, right, bottom)


def draw_sheet(
    source: Pixels | None, by_method: Mapping[str, Explanation], *, contours: bool = False
) -> Image.Image:
    """Return the original picture (None: what the model saw of it) and its heat by every method."""
    first = next(iter(by_method.values()))
    size = (first.canvas.shape[0], first.canvas.shape[1])
    picture, frame = (first.canvas, Frame(size=size)) if source is None else seen_of(source, first)
    judged = {name: each.trust for name, each in by_method.items() if each.trust is not None}
    lines = [f"about {in_words(first.about)}"]
    if judged:
        rivals = {name: marks["road"] for name, marks in next(iter(judged.values())).marks.items()}
        lines.append(
            "ROAD, more is better: "
            + ", ".join(f"{BESIDE[name]} {rivals[name]:.2f}" for name in BASELINES)
            + "; each method's is beside its name"
        )
    return explained_sheet(
        picture,
        {name: each.heat.values for name, each in by_method.items()},
        frame,
        size,
        title=answer_in_words(first.answer),
        lines=lines,
        notes={name: f"{trust.heat.marks['road']:.2f}" for name, trust in judged.items()},
        contours=contours,
    )


def draw_heads(source: Pixels, found: Explanation, maps: Mapping[str, np.ndarray]) -> Image.Image:
    """Return the original picture and where each head of a layer looked (``h w`` by name)."""
    size = (found.canvas.shape[0], found.canvas.shape[1])
    lines = ["attention by head, whatever the answer"]
    picture, frame = seen_of(source, found)
    return explained_sheet(picture, maps, frame, size, title=answer_in_words(found.answer), lines=lines)


def draw_depth(source: Pixels, steps: Sequence[tuple[str, Explanation]], *, contours: bool = False) -> bytes:
    """Return the same explanation layer after layer, by name, as a WebP."""
    picture, seen = seen_of(source, steps[0][1])
    image = to_image(picture).copy()
    image.thumbnail((MOVING, MOVING))
    height, width = seen.size
    across, down = width / image.width, height / image.height
    a, b, c, d, e, f = seen.matrix
    frame = Frame(size=(image.height, image.width), matrix=(a * across, b * down, c, d * across, e * down, f))
    frames = [_drawn(image, frame, each, contours=contours) for _, each in steps]
    return animation(frames)


def evenness(values: np.ndarray) -> float:
    """Return how much the coolest cell of a heat map has of the hottest."""
    most = float(values.max(initial=0))
    return float(values.min()) / most if most > 0 else 0.0


def answer_in_words(answer: Answer) -> str:
    """Return an answer as a title: a class with its probability, or the classes that most pixels are of."""
    if isinstance(answer, Mask):
        return answer.in_words()
    if not isinstance(answer, Label):
        return type(answer).__name__
    shown = [(name, answer.scores[answer.names.index(name)]) for name in answer.chosen]
    return ", ".join(f"{name} ({_percent(float(score))})" for name, score in shown) or "none"


def trust_in_words(trust: Trust) -> str:
    """Return one line that says how far a heat map can be trusted."""
    marks = trust.marks
    random, edge = (len(trust.beats(name)) for name in BASELINES)
    numbers = [
        f"{TITLES[name]} {marks[HEAT][name]:.2f} ({marks['random'][name]:.2f}, {marks['edge'][name]:.2f})"
        for name in MEASURES
    ]
    beaten = f"beats a random map by {random} and the picture's edges by {edge} of {len(MEASURES)} measures"
    return f"{beaten}: {', '.join(numbers)}"


def _about(found: Explanation) -> str:
    if not getattr(EXPLAINERS.get(found.method), "class_specific", True):
        return "whatever the answer"
    words = f"about {in_words(found.about)}"
    answer = found.answer
    if isinstance(answer, Label) and found.about in answer.names and found.about not in answer.chosen:
        words += f" ({_percent(float(answer.scores[answer.names.index(found.about)]))})"
    return words


def _percent(share: float) -> str:
    """Return a share in per cent, with a space that every font has."""
    return percent(share, 0).replace("\N{NARROW NO-BREAK SPACE}", " ")
