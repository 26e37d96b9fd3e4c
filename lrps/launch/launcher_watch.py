"""The end of a worker whose launcher was killed: it saves and exits, in place of training on without anybody's notice.

Only launchers of this machine are watched. A worker that a person has started has none.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Sequence
from contextlib import suppress

import psutil

from lrps.base.errors import INTERRUPTED

WATCH_SECONDS = 5.0
"""Time between two looks at the launchers."""
_LAUNCHERS = ("deepspeed.launcher.launch", "torch.distributed.run", "deepspeed", "torchrun")


def launchers_above(process: psutil.Process) -> tuple[psutil.Process, ...]:
    """Return the launchers of deepspeed and torch among the ancestors of a process."""
    found = []
    for ancestor in process.parents():
        with suppress(psutil.Error):
            if any(os.path.basename(word) in _LAUNCHERS for word in ancestor.cmdline()[:6]):
                found.append(ancestor)
    return tuple(found)


def watch_launchers(grace_seconds: float, wait_seconds: float = WATCH_SECONDS) -> None:
    """Ask this process to stop once one of its launchers is gone, and end it grace_seconds later. Returns at once."""
    if launchers := launchers_above(psutil.Process()):
        arguments = (launchers, grace_seconds, wait_seconds)
        threading.Thread(target=_watch, args=arguments, daemon=True, name="lrps-launcher").start()


def _watch(launchers: Sequence[psutil.Process], grace_seconds: float, wait_seconds: float) -> None:
    while all(map(_is_alive, launchers)):
        time.sleep(wait_seconds)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(grace_seconds)
    os._exit(INTERRUPTED)


def _is_alive(process: psutil.Process) -> bool:
    with suppress(psutil.Error):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False
