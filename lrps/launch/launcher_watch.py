"""The end of a worker whose launcher or `lrps run` was killed: it saves and exits, and does not train on unsupervised.

Only processes of this machine are watched. A worker without a launcher has none.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress

import psutil

from lrps.base.errors import INTERRUPTED

SUPERVISOR = "LRPS_SUPERVISOR"
"""Environment variable with the process id of the process on this machine that supervises the group: `lrps run`, or
for `lrps run` itself the Python program that has started it."""

WATCH_SECONDS = 5.0
"""Time between two looks at the processes."""
_LAUNCHERS = ("deepspeed.launcher.launch", "torch.distributed.run", "deepspeed", "torchrun")


def launchers_above(process: psutil.Process) -> tuple[psutil.Process, ...]:
    """Return the launchers of deepspeed and torch among the ancestors of a process."""
    found = []
    for ancestor in process.parents():
        with suppress(psutil.Error):
            if any(os.path.basename(word) in _LAUNCHERS for word in ancestor.cmdline()[:6]):
                found.append(ancestor)
    return tuple(found)


def watch_launchers(
    grace_seconds: float, wait_seconds: float = WATCH_SECONDS, environment: Mapping[str, str] = os.environ
) -> None:
    """Ask this process to stop once a launcher or the supervisor is gone, and end it grace_seconds later.

    Returns at once. environment: of this process; SUPERVISOR in it names the supervisor.
    """
    watched, gone = [*launchers_above(psutil.Process())], False
    # `srun` passes the variable on to other machines, and ends its tasks itself.
    if (supervisor := environment.get(SUPERVISOR, "")).isdecimal() and "SLURM_PROCID" not in environment:
        try:
            watched.append(psutil.Process(int(supervisor)))
        except psutil.NoSuchProcess:
            gone = True
    if watched or gone:
        arguments = (watched, gone, grace_seconds, wait_seconds)
        threading.Thread(target=_watch, args=arguments, daemon=True, name="lrps-launcher").start()


def _watch(watched: Sequence[psutil.Process], gone: bool, grace_seconds: float, wait_seconds: float) -> None:
    """Watch processes until one of them is gone. gone: whether one is already."""
    while not gone and all(map(_is_alive, watched)):
        time.sleep(wait_seconds)
    with suppress(OSError, ValueError):  # The pipe to the launcher may be closed.
        print("the process that started this one was killed: saving at the next step", file=sys.stderr, flush=True)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(grace_seconds)
    os._exit(INTERRUPTED)


def _is_alive(process: psutil.Process) -> bool:
    with suppress(psutil.Error):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False
