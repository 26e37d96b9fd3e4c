"""Watches launched process groups to their end: passes a request to stop on to all, and leaves nobody running.

The launchers are not asked to stop, their workers are: deepspeed's launcher would give them 30 seconds and then kill
them, whatever they have to save.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Self
from uuid import uuid4

import psutil

GROUP = "LRPS_GROUP"
"""Environment variable that all processes of a group have in common and no others: torchrun starts every worker in a
session of its own, where no process group holds them together."""

ORPHAN_SECONDS = 5.0
"""How long workers may outlive their launcher before they are asked to stop."""

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP)

SignalCommand = Callable[[str], Sequence[str]]
"""`TERM` or `KILL` -> the command that sends it to the workers of a group on all its hosts."""

_LAUNCHERS = ("deepspeed.launcher.launch", "torch.distributed.run")
_COMMAND_SECONDS = 60.0
"""Longer than it takes to reach every host by ssh, or to learn that one cannot be reached."""
_AGAIN_SECONDS = 5.0
"""Workers on other hosts are asked so often: who was starting when the first request came has not heard it."""


class Supervisor:
    """Process groups at work side by side, from `with` to its end; meanwhile signals to this process are theirs.

    The first signal asks all workers to save and end; a second Ctrl-C, or `grace_seconds` later, kills them. Leaving
    the block asks those that still run to stop, and waits for them.
    """

    def __init__(self, grace_seconds: float) -> None:
        self._grace_seconds = grace_seconds
        self._requests: list[int] = []
        self._groups: dict[str, _Group] = {}
        self._handlers: dict[int, Any] = {}

    def __enter__(self) -> Self:
        # Before any group: a signal meanwhile must not leave one that nobody watches.
        self._handlers = {number: signal.signal(number, self._note) for number in SIGNALS}
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        try:
            if self._groups and not self._requests:
                self._requests.append(signal.SIGTERM)
            while self._groups:
                self.ended()
        finally:
            for number, handler in self._handlers.items():
                signal.signal(number, handler)

    @property
    def asked_to_stop(self) -> bool:
        """Whether this process got a signal: nothing more is to be started."""
        return bool(self._requests)

    @property
    def running(self) -> tuple[str, ...]:
        """Names of the groups that have not ended."""
        return tuple(self._groups)

    def start(
        self,
        name: str,
        command: Sequence[str],
        environment: Mapping[str, str],
        *,
        output: Path | None = None,
        signal_command: SignalCommand | None = None,
    ) -> None:
        """Start a group. output: a file to which what it prints is added, instead of this process's own output.

        environment: gets a GROUP of its own where it has none. signal_command: how its workers are reached where they
        are on other hosts.
        """
        self._groups[name] = _Group(command, {GROUP: uuid4().hex, **environment}, output, signal_command)

    def ended(self, wait_seconds: float = 0.1) -> list[tuple[str, int, bool]]:
        """(name, exit code, whether it was asked to stop) of every group that has ended since the last call.

        Waits that long first, and does whatever signals and time ask for.
        """
        time.sleep(wait_seconds)
        self._pass_on()
        over = {name: group for name, group in self._groups.items() if group.has_ended()}
        for name in over:
            del self._groups[name]
        return [(name, group.code, group.asked) for name, group in over.items()]

    def _note(self, number: int, _: FrameType | None) -> None:
        # No more than this: the handler may run in the middle of anything.
        self._requests.append(number)

    def _pass_on(self) -> None:
        if self._requests and not all(group.asked for group in self._groups.values()):
            _say("saving at the next step; Ctrl-C twice to end at once")
        twice = sum(number == signal.SIGINT for number in self._requests) > 1
        for group in self._groups.values():
            if self._requests:
                group.ask_to_stop()
            if group.asked_for() > self._grace_seconds and not group.killed:
                _say(f"killing what did not end within launch.grace_seconds, {self._grace_seconds:g}")
                group.kill()
            elif twice:
                group.kill()


def _say(what: str) -> None:
    with contextlib.suppress(OSError):  # the terminal may be gone
        print(f"stopping: {what}", file=sys.stderr, flush=True)


class _Group:
    """A launcher, in a session of its own, and its workers, here or on other hosts."""

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        output: Path | None,
        signal_command: SignalCommand | None,
    ) -> None:
        self.killed = False
        self._asked_at: float | None = None
        self._sent_at: float | None = None
        self._told: set[int] = set()
        self._signal_command, self._environment = signal_command, environment
        self._orphaned: float | None = None
        with contextlib.ExitStack() as held:
            file = None if output is None else held.enter_context(open(output, "ab"))
            # A session of its own: Ctrl-C reaches us alone, and the whole group can be signalled.
            self._process = subprocess.Popen(
                command, env=environment, stdout=file, stderr=file, stdin=subprocess.DEVNULL, start_new_session=True
            )

    @property
    def code(self) -> int:
        """Of the launcher, once it has ended."""
        return int(self._process.returncode)

    @property
    def asked(self) -> bool:
        """Whether it was asked to stop."""
        return self._asked_at is not None

    def asked_for(self) -> float:
        """Seconds since it was asked to stop; 0 if it was not."""
        return 0.0 if self._asked_at is None else time.monotonic() - self._asked_at

    def has_ended(self) -> bool:
        """True once nobody of the group is left. Workers that outlive their launcher are asked to stop."""
        if self._process.poll() is None:
            return False
        if self._is_alive():
            self._orphaned = self._orphaned or time.monotonic()
            if not self.asked and time.monotonic() - self._orphaned > ORPHAN_SECONDS:
                _say("the launcher ended before its workers; they save and end")
                self.ask_to_stop()
            return False
        if self.code != 0 and not self.asked:
            self._send_elsewhere("TERM")  # With the launcher gone nobody here can see whether some are left there.
        return True

    def ask_to_stop(self) -> None:
        """SIGTERM to the workers, those too that have started since the last call; to all where there are none yet."""
        if self._signal_command is not None:
            if self._sent_at is None or time.monotonic() - self._sent_at > _AGAIN_SECONDS:
                self._send_elsewhere("TERM")
        else:
            workers = self._workers()
            # Later their launcher shall not be asked: it has to hand on how they ended.
            for process in workers if workers or self.asked else self._members():
                if process.pid not in self._told:
                    self._told.add(process.pid)
                    with contextlib.suppress(psutil.NoSuchProcess):
                        process.terminate()
        self._asked_at = self._asked_at or time.monotonic()

    def kill(self) -> None:
        """All of them, at once."""
        if not self.killed:
            self._send_elsewhere("KILL")
        self.killed, self._asked_at = True, self._asked_at or time.monotonic()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        for process in self._members():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()

    def _send_elsewhere(self, name: str) -> None:
        if self._signal_command is None:
            return
        command = self._signal_command(name)
        try:
            subprocess.run(
                command,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C is not for it.
                timeout=_COMMAND_SECONDS,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            _say(f"some workers may not have been told: {error}")
        self._sent_at = time.monotonic()

    def _is_alive(self) -> bool:
        alive = False
        for process in self._members():
            with contextlib.suppress(psutil.NoSuchProcess):
                alive = alive or process.status() != psutil.STATUS_ZOMBIE
        return alive

    def _members(self) -> list[psutil.Process]:
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, ProcessLookupError):
                if os.getpgid(process.pid) == self._process.pid or self._is_our_worker(process):
                    found.append(process)
        return found

    def _is_our_worker(self, process: psutil.Process) -> bool:
        """Whichever session it is in. Those on other hosts are not for us, even where the other host is this one."""
        if self._signal_command is not None or "lrps.cli" not in process.cmdline():
            return False
        return process.environ().get(GROUP) == self._environment[GROUP]

    def _workers(self) -> list[psutil.Process]:
        found = []
        for process in self._members():
            with contextlib.suppress(psutil.NoSuchProcess):
                words = process.cmdline()
                launches = any(word in _LAUNCHERS or os.path.basename(word) == "deepspeed" for word in words)
                if "lrps.cli" in words and not launches:
                    found.append(process)
        return found
