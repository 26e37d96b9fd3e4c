"""Requests to stop that come before a training process can note them: while it still imports."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence

from lrps.base.errors import INTERRUPTED
from lrps.train.signals import StopRequest

TRAINING_VERBS = ("train", "evaluate")


def end_resumably(arguments: Sequence[str]) -> None:
    """Let a request to stop end this process with exit code 75 until `StopRequest` takes over, if its verb trains.

    Nothing is begun until then. Otherwise the signal would kill the process, which launchers report as a failure.
    arguments: those of the command line, the program first.
    """
    if len(arguments) > 1 and arguments[1] in TRAINING_VERBS:
        for number in StopRequest.SIGNALS:
            signal.signal(number, lambda *_: os._exit(INTERRUPTED))
