"""Commands with a time limit, at whose end no process of theirs is left. Must not import torch."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

_GRACE_SECONDS = 3.0
_TAIL_BYTES = 1500


@dataclass(frozen=True)
class Ended:
    """The end of a command."""

    code: int | None
    """Exit code, negative for a signal; None if the time limit ended it."""
    seconds: float
    """Wall time that it took."""
    tail: str
    """End of what it printed."""


def run(command: Sequence[str], log: Path, limit_seconds: float, environment: Mapping[str, str]) -> Ended:
    """Run a command in a session of its own, and end all its processes at the limit or if this process is interrupted.

    log: file that its output is appended to. environment: variables that are added to those of this process.
    """
    began = time.monotonic()
    with open(log, "ab") as output:
        start = output.tell()
        process = subprocess.Popen(
            command,
            env=os.environ | environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            code: int | None = process.wait(limit_seconds)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            end_all(process)
    return Ended(code, time.monotonic() - began, _tail(log, start))


def end_all(process: subprocess.Popen[bytes]) -> None:
    """End a process, its group, and the processes that it started in groups of their own: first asked, then killed."""
    family: list[psutil.Process] = []
    with suppress(psutil.NoSuchProcess):
        family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    _signal_group(process.pid, signal.SIGTERM)
    for each in family:
        with suppress(psutil.NoSuchProcess):
            each.terminate()
    _, alive = psutil.wait_procs(family, _GRACE_SECONDS)
    for each in alive:
        with suppress(psutil.NoSuchProcess):
            each.kill()
    _signal_group(process.pid, signal.SIGKILL)
    process.wait()
    psutil.wait_procs(alive, _GRACE_SECONDS)


def _signal_group(leader: int, number: int) -> None:
    """Send a signal to the processes of a group that are left, also if its leader has ended."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, number)


def _tail(log: Path, start: int) -> str:
    """Return the end of what was added to a file from `start` on."""
    with open(log, "rb") as file:
        file.seek(max(start, log.stat().st_size - _TAIL_BYTES))
        return file.read().decode(errors="replace").strip()
