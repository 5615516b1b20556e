"""What an explanation is about: the answer, a class, or one class rather than another."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from vitrail.errors import UsageError
from vitrail.values import Batch


@dataclass(frozen=True, slots=True)
class Versus:
    """Why ``a`` rather than ``b``: the score of one less the score of the other. None is the answer."""

    a: Any
    b: Any

    def __post_init__(self) -> None:
        if self.a == self.b:
            raise UsageError(f"{self.a!r} rather than {self.b!r}: name two that differ.")


def ask(model: Any, batch: Batch, about: Any) -> tuple[Tensor, Any]:
    """Return each sample's score of ``about``, ``b``, and what that is about with no answer left open.

    Raises UsageError for a class that there is not.
    """
    output = model.outputs(batch)
    settled = _settled(model.head, output, about)
    return scored(model.head, output, settled), settled


def scored(head: Any, output: Any, about: Any) -> Tensor:
    """Return each sample's score, ``b``, of what a head has said already."""
    if isinstance(about, Versus):
        difference: Tensor = head.score(output, about.a) - head.score(output, about.b)
        return difference
    score: Tensor = head.score(output, about)
    return score


def repeated(about: Any, times: int) -> Any:
    """Return what is asked of a batch that is repeated as a whole."""
    if isinstance(about, Versus):
        return Versus(repeated(about.a, times), repeated(about.b, times))
    return [*about] * times if _one_each(about) else about


def taken(about: Any, indices: Sequence[int]) -> Any:
    """Return what is asked of some samples of a batch, in this order."""
    if isinstance(about, Versus):
        return Versus(taken(about.a, indices), taken(about.b, indices))
    return [about[index] for index in indices] if _one_each(about) else about


def of_sample(about: Any, index: int) -> Any:
    """Return what is asked of one sample of a batch."""
    if isinstance(about, Versus):
        return Versus(of_sample(about.a, index), of_sample(about.b, index))
    return about[index] if _one_each(about) else about


def _settled(head: Any, output: Any, about: Any) -> Any:
    if isinstance(about, Versus):
        return Versus(_settled(head, output, about.a), _settled(head, output, about.b))
    return head.about(output) if about is None else about


def _one_each(about: Any) -> bool:
    return isinstance(about, Sequence) and not isinstance(about, str)
