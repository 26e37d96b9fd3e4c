"""The meeting of the ranks of a process group before they train: who is missing is said, and Ctrl-C ends the wait.

torch itself waits in C++, without a word and without looking at signals.
"""

from __future__ import annotations

import itertools
import logging
import os
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import timedelta

import torch.distributed as dist

from lrps.base.errors import StoppedError, TrainingError
from lrps.config.launching import MEETING_FILE

SAY_SECONDS = 10.0
"""Time between two messages about ranks that are missing."""

_POLL_SECONDS = 0.2
_CONNECT_SECONDS = 5.0
_groups = itertools.count()
"""Numbers of the groups of this process, which are the same on all ranks."""
_log = logging.getLogger(__name__)


def join_group(backend: str, timeout: timedelta, is_stopped: Callable[[], bool] = lambda: False) -> None:
    """Create torch's process group from RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT, or MEETING_FILE.

    timeout: of the meeting and of every collective afterwards. Raises StoppedError once `is_stopped` returns True
    while ranks are missing, and TrainingError if they are missing after the timeout, or if the port is in use.
    """
    rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    wait = _Wait(os.environ, time.monotonic() + timeout.total_seconds(), is_stopped)
    store = _store(os.environ, rank, world, wait)
    store.set_timeout(timeout)
    # A launcher's store outlives a group that it starts again.
    mine = dist.PrefixStore(f"lrps/{os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}/{next(_groups)}", store)
    mine.set(f"rank/{rank}", "here")
    mine.add("here", 1)
    while (here := mine.add("here", 0)) < world:
        missing = [other for other in range(world) if rank == 0 and wait.is_due() and not mine.check([f"rank/{other}"])]
        wait.go_on(f"waiting for {world - here} of {world} processes", missing)
    dist.init_process_group(backend, store=mine, rank=rank, world_size=world, timeout=timeout)


class _Wait:
    """A wait for other ranks: its messages, its deadline, and its end by a signal."""

    def __init__(self, environment: Mapping[str, str], deadline: float, is_stopped: Callable[[], bool]) -> None:
        address = f"{environment.get('MASTER_ADDR')}:{environment.get('MASTER_PORT')}"
        self.place = environment.get(MEETING_FILE) or address
        self._deadline, self._is_stopped = deadline, is_stopped
        self._next_message = time.monotonic() + SAY_SECONDS

    def is_due(self) -> bool:
        """Return True if the next call of `go_on` gives a message."""
        return time.monotonic() >= self._next_message

    def go_on(self, what: str, missing: list[int] | None = None) -> None:
        """Sleep for a moment. Raises the errors of `join_group`."""
        ranks = f" (ranks {', '.join(map(str, missing[:8]))}{', ..' if len(missing) > 8 else ''})" if missing else ""
        if self._is_stopped():
            raise StoppedError(f"stopped while {what} at {self.place}; nothing was trained")
        if time.monotonic() > self._deadline:
            raise TrainingError(
                f"{what}{ranks} at {self.place} for launch.collective_timeout_minutes; start them all with the same "
                "WORLD_SIZE, MASTER_ADDR and MASTER_PORT"
            )
        if self.is_due():
            self._next_message = time.monotonic() + SAY_SECONDS
            _log.warning("%s%s at %s", what, ranks, self.place)
        time.sleep(_POLL_SECONDS)


def _store(environment: Mapping[str, str], rank: int, world: int, wait: _Wait) -> dist.Store:
    """Return the store through which the ranks meet, hosted by rank 0 unless a launcher hosts it or it is a file."""
    if world == 1:
        return dist.HashStore()
    if file := environment.get(MEETING_FILE):
        return dist.FileStore(file, world)
    host, port = environment["MASTER_ADDR"], int(environment["MASTER_PORT"])
    by_launcher = environment.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    if rank == 0 and not by_launcher:
        try:
            return dist.TCPStore(host, port, world, is_master=True, wait_for_workers=False)
        except RuntimeError as error:
            reason = str(error).splitlines()[0]
            raise TrainingError(
                f"rank 0 cannot listen at {wait.place} ({reason}); MASTER_ADDR is the address of its host, and "
                "MASTER_PORT a free port there"
            ) from None
    while True:
        # torch would wait for the connection without looking at signals.
        with suppress(OSError):
            socket.create_connection((host, port), timeout=_CONNECT_SECONDS).close()
            return dist.TCPStore(host, port, world, is_master=False, wait_for_workers=False)
        wait.go_on(f"rank {rank} is waiting for rank 0")
