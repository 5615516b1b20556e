"""What a report and a model card are made of: plain data, and the words for it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from vitrail.draw.page import Shown
from vitrail.draw.sheet import Pixels
from vitrail.measure.classify import Quality
from vitrail.values import Estimate

CLASSIFICATION, SEGMENTATION = "classification", "semantic segmentation"
"""What tasks are called on pages."""


@dataclass(frozen=True, kw_only=True)
class Look:
    """Where the model looked: the canvas as it saw it, and a heat map ``h w`` over it.

    ``answer`` is the canvas under the colours of a mask, where masks are answered.
    """

    picture: Pixels
    heat: np.ndarray
    caption: str
    remark: str = ""
    tone: str = ""
    answer: Pixels | None = None


@dataclass(frozen=True, kw_only=True)
class Explained:
    """Explanations of some answers, the ``method`` they were made by, and how far they can be trusted.

    ``road`` is the mean of ROAD over the pictures shown (see `vitrail.explain.faithfulness`), ``random`` that
    of maps at random; not a number where nothing was judged.
    """

    method: str
    looks: Sequence[Look]
    road: float = math.nan
    random: float = math.nan


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What a run took; what is None is not known and not shown. Times in seconds, memory in bytes."""

    parameters: int | None = None
    flops: float | None = None
    train_seconds: float | None = None
    train_rate: float | None = None
    answer_rate: float | None = None
    peak_memory: int | None = None
    hardware: str | None = None


@dataclass(frozen=True, kw_only=True)
class ReportContent:
    """All that a report may show. A part without data is left out, not shown empty.

    ``quality`` is of the ``split`` that nothing was chosen on; ``uncalibrated`` is the same before the
    ``temperature``. ``splits`` maps a split to its number of pictures by class (``c`` each), ``sizes`` to
    its number of pictures (not their sum, when a picture has several labels). ``history`` has a mapping an
    epoch: ``epoch``, ``loss``, ``lr`` and any ``train_*`` and ``val_*``. ``by_picture`` has for each class
    its IoU in the pictures that show it. ``commands`` maps a purpose to a command line.
    """

    title: str
    model: str
    data: str
    classes: Sequence[str]
    quality: Quality
    multi: bool = False
    split: str = "test"
    task: str = CLASSIFICATION
    facts: Mapping[str, str] = field(default_factory=dict)
    splits: Mapping[str, Sequence[int]] = field(default_factory=dict)
    sizes: Mapping[str, int] = field(default_factory=dict)
    broken: Mapping[str, str] = field(default_factory=dict)
    notes: Sequence[str] = ()
    samples: Sequence[Shown] = ()
    history: Sequence[Mapping[str, Any]] = ()
    best_epoch: int | None = None
    temperature: float | None = None
    uncalibrated: Quality | None = None
    best: Sequence[Shown] = ()
    worst: Sequence[Shown] = ()
    mistakes: Sequence[Shown] = ()
    explained: Explained | None = None
    by_picture: Mapping[str, np.ndarray] = field(default_factory=dict)
    cost: Cost = Cost()
    versions: Mapping[str, str] = field(default_factory=dict)
    recipe: Mapping[str, Any] = field(default_factory=dict)
    commands: Mapping[str, str] = field(default_factory=dict)
    made: str = ""
    licence: str | None = None
    base_model: str | None = None

    @property
    def dense(self) -> bool:
        """Whether pixels are answered, and not pictures."""
        return self.task == SEGMENTATION

    @property
    def first(self) -> str:
        """The metric that stands first."""
        return next(name for name in FIRST if name in self.quality.metrics)

    @property
    def by_class(self) -> str:
        """The number of a class that stands out."""
        known = next(iter(self.quality.per_class.values()), {})
        return next((name for name in BY_CLASS if name in known), BY_CLASS[-1])

    @property
    def baseline(self) -> float | None:
        """The accuracy of always answering the most frequent class; None where accuracy is not first."""
        support = self.quality.support.values()
        return max(support) / max(sum(support), 1) if self.first == "accuracy" else None

    @property
    def drawn(self) -> str:
        """What the intervals were drawn over."""
        clusters = self.quality.clusters
        pictures = f"{self.quality.pictures:,} pictures"
        return pictures if clusters is None else f"{clusters:,} groups of {pictures}"


FIRST, BY_CLASS = ("mean_iou", "accuracy", "map"), ("iou", "f1")
"""What stands first of the metrics, and of the numbers of a class: the first of these that there is."""
COLUMNS = {
    "f1": "F1",
    "iou": "IoU",
    "boundary_f": "Boundary F",
    "auroc": "AUROC",
    "average_precision": "Average precision",
}
"""How the numbers of a class are called where their name, capitalised, would not do."""
WORDS = {
    "accuracy": ("Accuracy", "the share of pictures that were answered right"),
    "balanced_accuracy": ("Balanced accuracy", "the mean recall of the classes: a rare one counts as much"),
    "macro_f1": ("Macro F1", "the mean over classes of precision and recall in one"),
    "micro_f1": ("Micro F1", "precision and recall in one, over all labels together"),
    "map": ("Mean average precision", "how well each class's pictures are ranked first, on average"),
    "auroc": ("AUROC", "how often a picture of a class scores higher for it than one of another class"),
    "top5_accuracy": ("Top-5 accuracy", "the share of pictures whose class is among the first five answers"),
    "log_loss": ("Log loss", "the surprise at the true answers, in nats; lower is better"),
    "mean_iou": (
        "Mean IoU",
        "the part that answer and truth share of what either covers, mean over classes",
    ),
    "mean_dice": ("Mean Dice", "twice the shared part over both together, mean over classes"),
    "pixel_accuracy": ("Pixel accuracy", "the share of pixels that were answered right"),
    "boundary_f": ("Boundary F", "precision and recall of outlines in one, within 0.75 % of the diagonal"),
    "ece": ("Calibration error", "how far confidence is from the share of right answers; lower is better"),
}
"""A metric's name and what it is."""


PERCENT = "\u202f%"
"""A narrow space that no line breaks at, before the sign."""


def title_of(name: str) -> str:
    """Return how a metric, or a number of a class, is called on a page."""
    return WORDS[name][0] if name in WORDS else COLUMNS.get(name, name.replace("_", " ").capitalize())


def in_text(name: str) -> str:
    """Return how a metric is called within a sentence."""
    title = title_of(name)
    return title if title[1:2].isupper() else title[0].lower() + title[1:]


def is_share(name: str) -> bool:
    """Whether a metric is written in per cent."""
    return name != "log_loss"


def percent(value: float, digits: int = 1) -> str:
    """Return a share in per cent; what is not all is never rounded to 100."""
    if not math.isfinite(value):
        return "–"
    while value < 1 and digits < 4 and round(100 * value, digits) >= 100:
        digits += 1
    return f"{100 * value:.{digits}f}{PERCENT}"


def written(name: str, value: float, digits: int = 1) -> str:
    """Return a metric's value as text."""
    if is_share(name):
        return percent(value, digits)
    return f"{value:.3f}" if math.isfinite(value) else "–"


def interval(name: str, value: Estimate) -> str:
    """Return the ends of an interval as text, or a dash where it is unknown."""
    if not math.isfinite(value.low + value.high):
        return "–"
    ends = [written(name, end, digits_of(value)) for end in (value.low, value.high)]
    return f"{ends[0].removesuffix(PERCENT)} to {ends[1]}"


def digits_of(value: Estimate) -> int:
    """Return how many decimals of a per cent say something: one more where the interval is narrow."""
    return 2 if value.high - value.low < 0.01 else 1


def duration(seconds: float) -> str:
    """Return a time as people say it."""
    if seconds < 100:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes = seconds / 60
    if minutes < 100:
        return f"{minutes:.0f} min"
    return f"{minutes / 60:.1f} h" if minutes < 6000 else f"{minutes / 1440:.1f} days"


def amount(value: float, unit: str = "") -> str:
    """Return a count with the letter of its magnitude: 21.4 M."""
    for size, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g}\u202f{letter}{unit}"
    return f"{value:.3g}\u202f{unit}" if unit else f"{value:.3g}"


def costs(cost: Cost) -> dict[str, str]:
    """Return what is known of a run's cost, as text by name."""
    known = {
        "Parameters": amount(cost.parameters) if cost.parameters is not None else None,
        "Operations": amount(cost.flops, "FLOP a picture") if cost.flops is not None else None,
        "Training time": duration(cost.train_seconds) if cost.train_seconds is not None else None,
        "Training speed": f"{cost.train_rate:,.0f} pictures/s" if cost.train_rate is not None else None,
        "Answering speed": f"{cost.answer_rate:,.0f} pictures/s" if cost.answer_rate is not None else None,
        "Peak memory": amount(cost.peak_memory, "B") if cost.peak_memory is not None else None,
        "Hardware": cost.hardware,
    }
    return {name: value for name, value in known.items() if value is not None}
