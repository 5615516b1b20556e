"""Ctrl-C and SIGTERM: finish the step, save, leave. A second one leaves at once."""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType, TracebackType
from typing import Any, Self

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopped(Exception):  # noqa: N818, a request is no error
    """A signal asked to stop; its name is the message."""


class Interrupt:
    """While entered, the first signal only sets ``requested``; the second ends the process.

    Outside the main thread, where Python handles no signals, it does nothing.
    """

    def __init__(self) -> None:
        self.requested = ""
        self._strikes = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in SIGNALS}
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def check(self) -> None:
        """Raise `Stopped` when a signal has asked for it."""
        if self.requested:
            raise Stopped(self.requested)

    @contextlib.contextmanager
    def at_once(self) -> Iterator[None]:
        """Within this block a signal raises `Stopped` where it strikes: for work that changes nothing."""
        self._strikes = True
        try:
            self.check()
            yield
        finally:
            self._strikes = False

    def _note(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        if self.requested:
            # No clean-up on purpose: every file is written atomically, and a second signal means "now".
            os.write(sys.stderr.fileno(), b"stopped at once; go on with --resume\n")
            os._exit(128 + number)
        self.requested = signal.Signals(number).name
        if self._strikes:
            raise Stopped(self.requested)
