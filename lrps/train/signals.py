"""Requests to stop: SIGTERM, SIGUSR1 (Slurm), SIGHUP and Ctrl-C set a flag.

The trainer saves after the next metrics sync and ends.
"""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType
from typing import Any, Self

from lrps.base.errors import INTERRUPTED


class StopRequest:
    """A flag that is set once the process is asked to stop. A second Ctrl-C ends the process without saving."""

    SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP, signal.SIGINT)

    def __init__(self) -> None:
        """Take over the signals until `restore`. Only the main thread can; another one is asked to stop by nobody."""
        self.seen = False
        self._handlers: dict[int, Any] = {}
        if threading.current_thread() is threading.main_thread():
            self._handlers = {number: signal.signal(number, self._note) for number in self.SIGNALS}

    def restore(self) -> None:
        """Give the signals back to the handlers from before."""
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.restore()

    def _note(self, number: int, _: FrameType | None) -> None:
        if self.seen and number == signal.SIGINT:
            os._exit(INTERRUPTED)
        self.seen = True
