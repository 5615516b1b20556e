"""Progress for people: a bar on a terminal, otherwise one plain line every few seconds. On standard error."""

import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Protocol, TypeVar

Item = TypeVar("Item")
EVERY = 5.0
"""Seconds between two plain lines."""


class Progress(Protocol):
    """Where long work reports to."""

    def begin(self, title: str, total: int, done: int = 0) -> None:
        """Start a piece of work of ``total`` parts, be it in the midst of another one."""

    def step(self, shown: Mapping[str, float] | None = None) -> None:
        """One more part is done; ``shown`` are numbers of interest."""

    def end(self, line: str = "") -> None:
        """The piece of work is finished; ``line`` is what remains on the screen."""

    def say(self, line: str) -> None:
        """Print one line for people."""


class Silent:
    """Says nothing: for use as a library."""

    def begin(self, title: str, total: int, done: int = 0) -> None:
        """Do nothing."""

    def step(self, shown: Mapping[str, float] | None = None) -> None:
        """Do nothing."""

    def end(self, line: str = "") -> None:
        """Do nothing."""

    def say(self, line: str) -> None:
        """Do nothing."""


class Lines:
    """Plain lines, for log files."""

    def __init__(self, stream: Any = None) -> None:
        self._stream = stream or sys.stderr
        self._works: list[tuple[str, int, int]] = []  # title, total, done
        self._last = 0.0

    def begin(self, title: str, total: int, done: int = 0) -> None:
        """Remember the work; the first line comes after some seconds only."""
        self._works.append((title, total, done))
        self._last = time.monotonic()

    def step(self, shown: Mapping[str, float] | None = None) -> None:
        """Count, and print a line when the last one is some seconds old."""
        title, total, done = self._works[-1]
        self._works[-1] = (title, total, done + 1)
        now = time.monotonic()
        if now - self._last >= EVERY:
            self._last = now
            self.say(f"{title} {done + 1}/{total}{_numbers(shown)}")

    def end(self, line: str = "") -> None:
        """Print the closing line."""
        if self._works:
            self._works.pop()
        if line:
            self.say(line)

    def say(self, line: str) -> None:
        """Print one line."""
        print(line, file=self._stream, flush=True)


class Bar:
    """A live bar with the time left, by rich."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Live

        columns = (TextColumn("{task.description}"), BarColumn(bar_width=28), MofNCompleteColumn())
        self._console = Console(stderr=True, highlight=False)
        shown = TextColumn("{task.fields[shown]}")
        self._live = Live(*columns, TimeRemainingColumn(), shown, console=self._console, transient=True)
        self._tasks: list[Any] = []

    def begin(self, title: str, total: int, done: int = 0) -> None:
        """Show a bar."""
        self._tasks.append(self._live.add_task(title, total=total, completed=done, shown=""))
        self._live.start()

    def step(self, shown: Mapping[str, float] | None = None) -> None:
        """Move the bar."""
        self._live.update(self._tasks[-1], advance=1, shown=_numbers(shown))

    def end(self, line: str = "") -> None:
        """Take the bar away and leave ``line``."""
        if self._tasks:
            self._live.remove_task(self._tasks.pop())
        if not self._tasks:
            self._live.stop()
        if line:
            self.say(line)

    def say(self, line: str) -> None:
        """Print one line above the bar."""
        self._console.print(line, markup=False, soft_wrap=True)


def reporter() -> Progress:
    """Return a bar on a terminal, plain lines elsewhere."""
    return Bar() if sys.stderr.isatty() else Lines()


def follow(progress: Progress, title: str, items: Iterable[Item], total: int) -> Iterator[Item]:
    """Go through ``items`` while reporting each."""
    progress.begin(title, total)
    try:
        for item in items:
            yield item
            progress.step()
    finally:
        progress.end()


def _numbers(shown: Mapping[str, float] | None) -> str:
    return "".join(f"  {name} {value:.4g}" for name, value in (shown or {}).items())
