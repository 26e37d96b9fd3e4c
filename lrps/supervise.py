"""Watches one launched process group to its end: passes a request to stop on, and leaves nobody running.

The launcher is not asked to stop, its workers are: deepspeed's launcher would give them 30 seconds and then kill them,
whatever they have to save.
"""

from __future__ import annotations

import contextlib
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import FrameType

import psutil

ORPHAN_SECONDS = 5.0
"""How long workers may outlive their launcher before they are asked to stop."""

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP)


def supervise(command: Sequence[str], environment: Mapping[str, str], grace_seconds: float) -> tuple[int, bool]:
    """Run a command to its end and that of its whole group. Returns (exit code, whether it was asked to stop).

    The first signal asks the workers to save and end; a second Ctrl-C, or `grace_seconds` later, kills them.
    """
    # A session of its own: Ctrl-C reaches us alone, and the whole group can be signalled.
    process = subprocess.Popen(command, env=environment, start_new_session=True)
    group, requests = _Group(process.pid), _Requests()

    def on_signal(number: int, _: FrameType | None) -> None:
        if requests.note(number):
            group.kill()
        else:
            group.ask_to_stop("saving at the next step; Ctrl-C twice to end at once")

    orphaned: float | None = None
    with _handlers(on_signal):
        while process.poll() is None or group.is_alive():
            now = time.monotonic()
            if process.poll() is not None and not requests.times:
                orphaned = orphaned or now
                if now - orphaned > ORPHAN_SECONDS:
                    requests.note(signal.SIGTERM)
                    group.ask_to_stop("the launcher ended before its workers; they save and end")
            if requests.times and now - requests.times[0] > grace_seconds:
                _say(f"killing what did not end within launch.grace_seconds, {grace_seconds:g}")
                group.kill()
                grace_seconds = math.inf
            time.sleep(0.1)
    return process.returncode, bool(requests.times)


def _say(what: str) -> None:
    with contextlib.suppress(OSError):  # the terminal may be gone
        print(f"stopping: {what}", file=sys.stderr, flush=True)


class _Requests:
    """When this process was asked to stop."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self._interrupts = 0

    def note(self, number: int) -> bool:
        """True if it was the second Ctrl-C."""
        self.times.append(time.monotonic())
        self._interrupts += number == signal.SIGINT
        return number == signal.SIGINT and self._interrupts > 1


class _Group:
    """The process group of a launcher: the launcher's processes and the workers."""

    def __init__(self, number: int) -> None:
        self._number = number

    def is_alive(self) -> bool:
        return any(process.status() != psutil.STATUS_ZOMBIE for process in self._members())

    def ask_to_stop(self, reason: str) -> None:
        """SIGTERM to the workers; where they cannot be told apart (other hosts), to all."""
        _say(reason)
        for process in self._workers() or self._members():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.terminate()

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._number, signal.SIGKILL)

    def _members(self) -> list[psutil.Process]:
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
                if os.getpgid(process.pid) == self._number:
                    found.append(process)
        return found

    def _workers(self) -> list[psutil.Process]:
        found = []
        for process in self._members():
            with contextlib.suppress(psutil.NoSuchProcess):
                words = process.cmdline()
                launches = any(w == "deepspeed.launcher.launch" or os.path.basename(w) == "deepspeed" for w in words)
                if "lrps.cli" in words and not launches:
                    found.append(process)
        return found


@contextlib.contextmanager
def _handlers(act: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    before = {number: signal.signal(number, act) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
