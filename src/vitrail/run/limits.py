"""The numbers of a recipe and their limits."""

from collections.abc import Mapping
from typing import Any

from vitrail.errors import UsageError

Limits = Mapping[str, tuple[float, float | None]]
"""The least and the greatest value of a number, by its name; None is no limit."""

POSITIVE = (1e-12, None)
"""Any number above 0."""


def check_limits(config: Any, owner: str, limits: Limits) -> None:
    """Raise UsageError for a number outside its limits; None, which is resolved later, passes."""
    for name, (least, most) in limits.items():
        value = getattr(config, name)
        if value is not None and not (value >= least and (most is None or value <= most)):
            flag = f"--{owner}.{name}" if owner else f"--{name}"
            low = "above 0" if 0 < least < 1 else f"{least:g}"
            upto = f" to {most:g}" if most is not None else "" if low == "above 0" else " or more"
            raise UsageError(f"{flag.replace('_', '-')} {value:g}: it is {low}{upto}.")
