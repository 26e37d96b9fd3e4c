"""Requests to stop: SIGTERM, SIGUSR1 (Slurm), SIGHUP and Ctrl-C set a flag.

The trainer saves after the next metrics sync and ends.
"""

from __future__ import annotations

import os
import signal
from types import FrameType

from lrps.base.errors import INTERRUPTED


class StopRequest:
    """A flag that is set once the process is asked to stop. A second Ctrl-C ends the process without saving."""

    SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP, signal.SIGINT)

    def __init__(self) -> None:
        self.seen = False
        for number in self.SIGNALS:
            signal.signal(number, self._note)

    def _note(self, number: int, _: FrameType | None) -> None:
        if self.seen and number == signal.SIGINT:
            os._exit(INTERRUPTED)
        self.seen = True
