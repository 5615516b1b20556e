"""What Vitrail says when something is wrong: one or two plain lines, never a traceback."""

from collections.abc import Iterable
from difflib import get_close_matches


class VitrailError(Exception):
    """The work failed: the message names the file, the line or the key, and what to do (exit status 1)."""

    status = 1


class UsageError(VitrailError):
    """The words were wrong: an unknown name, flag or value (exit status 2)."""

    status = 2


class Interrupted(VitrailError):  # noqa: N818, a request is no error
    """Somebody asked to stop: what was done so far is saved, and nothing else is to be begun."""


def nearest(word: str, known: Iterable[str], most: int = 3) -> str:
    """Return ``" Did you mean a, b?"`` for a misspelt word, or an empty string when nothing is near."""
    candidates = {name.lower(): name for name in known}
    matches = get_close_matches(word.lower(), candidates, n=most, cutoff=0.6)
    return f" Did you mean {', '.join(candidates[match] for match in matches)}?" if matches else ""
