"""Supervision of process groups until they exit: a request to stop reaches their workers, and no process is left.

The request goes to the workers, not to their launchers: deepspeed's launcher would kill its workers after 30 seconds,
whatever they still have to save.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Self
from uuid import uuid4

import psutil

from lrps.base.files import atomic_write_text
from lrps.launch.guardian import start_guardian
from lrps.launch.inherited import inherited
from lrps.launch.launcher_watch import SUPERVISOR
from lrps.launch.process_group import GROUP, LaunchCommand

ORPHAN_SECONDS = 5.0
"""Time that workers may outlive their launcher before they are asked to stop."""

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP)

_LAUNCHERS = ("deepspeed.launcher.launch", "torch.distributed.run")
_COMMAND_SECONDS = 60.0
"""Time limit of a command that signals other hosts; ssh needs less to reach a host, or to give it up."""
_RESEND_SECONDS = 5.0
"""Time between two requests to workers on other hosts: a worker that was still starting did not receive the first."""


@dataclass(frozen=True)
class GroupExit:
    """How a process group ended."""

    name: str
    code: int
    """Exit code of its launcher."""
    stop_requested: bool
    """Whether the group was asked to stop."""


class Supervisor:
    """Runs process groups side by side inside a `with` block, and handles the signals of this process for them.

    The first signal asks all workers to save and exit; a second Ctrl-C, or `grace_seconds` later, kills them. Leaving
    the block asks the groups that still run to stop, and waits for them.
    """

    def __init__(self, grace_seconds: float) -> None:
        self._grace_seconds = grace_seconds
        self._signals: list[int] = []
        self._groups: dict[str, _Group] = {}
        self._handlers: dict[int, Any] = {}

    def __enter__(self) -> Self:
        # Before any group starts, so that no signal leaves a group that nobody watches.
        self._handlers = {number: signal.signal(number, self._record_signal) for number in SIGNALS}
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        try:
            if self._groups and not self._signals:
                self._signals.append(signal.SIGTERM)
            while self._groups:
                self.poll()
        finally:
            for number, handler in self._handlers.items():
                signal.signal(number, handler)

    @property
    def stop_requested(self) -> bool:
        """Whether this process has received a signal, after which nothing more is to be started."""
        return bool(self._signals)

    @property
    def running(self) -> tuple[str, ...]:
        """Names of the groups that have not exited."""
        return tuple(self._groups)

    def start(self, name: str, command: LaunchCommand, *, output: Path | None = None) -> None:
        """Write the files of a command, which may have secrets, and start it; they are removed once it has exited.

        output: a file to append its output to; by default our own.
        """
        for file, text in command.files.items():
            file.parent.mkdir(parents=True, exist_ok=True)
            atomic_write_text(file, text, private=True)
        self._groups[name] = _Group(command, output)

    def poll(self, wait_seconds: float = 0.1) -> list[GroupExit]:
        """Wait, handle signals and timeouts, and return the groups that have exited since the last call."""
        time.sleep(wait_seconds)
        self._handle_requests()
        exited = {name: group for name, group in self._groups.items() if group.has_exited()}
        for name, group in exited.items():
            group.clean_up()
            del self._groups[name]
        return [GroupExit(name, group.code, group.stop_requested) for name, group in exited.items()]

    def _record_signal(self, number: int, _: FrameType | None) -> None:
        # No more than this: the handler may run in the middle of anything.
        self._signals.append(number)

    def _handle_requests(self) -> None:
        if self._signals and not all(group.stop_requested for group in self._groups.values()):
            _print("saving at the next step; Ctrl-C twice to end at once")
        interrupted_twice = sum(number == signal.SIGINT for number in self._signals) > 1
        for group in self._groups.values():
            if self._signals:
                group.request_stop()
            if group.seconds_since_request() > self._grace_seconds and not group.killed:
                _print(f"killing the processes that did not exit within launch.grace_seconds, {self._grace_seconds:g}")
                group.kill()
            elif interrupted_twice:
                group.kill()


def _print(message: str) -> None:
    with contextlib.suppress(OSError):  # the terminal may be gone
        print(f"stopping: {message}", file=sys.stderr, flush=True)


class _Group:
    """A launcher, in a session of its own, and its workers on this machine or on other hosts."""

    def __init__(self, command: LaunchCommand, output: Path | None) -> None:
        self._command = command
        own = {GROUP: uuid4().hex, SUPERVISOR: str(os.getpid())}
        self._environment = {**inherited(os.environ), **own, **command.environment}
        self._signalled: set[int] = set()
        self._request_time: float | None = None
        self._orphaned_time: float | None = None
        self._sent_time: float | None = None
        self.killed = False
        with contextlib.ExitStack() as stack:
            file = None if output is None else stack.enter_context(open(output, "ab"))
            # A session of its own: Ctrl-C reaches this process alone, and the whole group can be signalled.
            self._process = subprocess.Popen(
                command.command,
                env=self._environment,
                stdout=file,
                stderr=file,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        self._guardian: subprocess.Popen[bytes] | None = None
        if (ask := command.signal_command("TERM")) is not None:
            self._guardian = start_guardian(self._process.pid, ask, tuple(command.files), self._environment)

    @property
    def code(self) -> int:
        """Exit code of the launcher, once it has exited."""
        return int(self._process.returncode)

    @property
    def stop_requested(self) -> bool:
        """Whether the group was asked to stop."""
        return self._request_time is not None

    def seconds_since_request(self) -> float:
        """Return the seconds since the group was asked to stop; 0 if it was not."""
        return 0.0 if self._request_time is None else time.monotonic() - self._request_time

    def has_exited(self) -> bool:
        """Return whether no process of the group is left; workers that outlive their launcher are asked to stop."""
        if self._process.poll() is None:
            return False
        if self._is_alive():
            self._orphaned_time = self._orphaned_time or time.monotonic()
            if not self.stop_requested and time.monotonic() - self._orphaned_time > ORPHAN_SECONDS:
                _print("the launcher exited before its workers; they save and exit")
                self.request_stop()
            return False
        if self.code != 0 and not self.stop_requested:
            # Without the launcher this machine cannot see whether workers are left on other hosts.
            self._signal_other_hosts("TERM")
        return True

    def clean_up(self) -> None:
        """Remove the files that were written for the command, and end the guardian."""
        if self._guardian is not None:
            self._guardian.kill()
            self._guardian.wait()
        for file in self._command.files:
            file.unlink(missing_ok=True)

    def request_stop(self) -> None:
        """Send SIGTERM to the workers that have not received it yet; to all processes if there are no workers yet."""
        if self._is_remote:
            if self._sent_time is None or time.monotonic() - self._sent_time > _RESEND_SECONDS:
                self._signal_other_hosts("TERM")
        else:
            workers = self._workers()
            # Only the first request may reach the launcher, which otherwise has to return how its workers exited.
            for process in workers if workers or self.stop_requested else self._members():
                if process.pid not in self._signalled:
                    self._signalled.add(process.pid)
                    with contextlib.suppress(psutil.NoSuchProcess):
                        process.terminate()
        self._request_time = self._request_time or time.monotonic()

    def kill(self) -> None:
        """Kill all processes of the group."""
        if not self.killed:
            self._signal_other_hosts("KILL")
        self.killed, self._request_time = True, self._request_time or time.monotonic()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        for process in self._members():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()

    @property
    def _is_remote(self) -> bool:
        return self._command.signal_template is not None

    def _signal_other_hosts(self, signal_name: str) -> None:
        command = self._command.signal_command(signal_name)
        if command is None:
            return
        try:
            subprocess.run(
                command,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C must not reach it.
                timeout=_COMMAND_SECONDS,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            _print(f"some workers may not have received the request: {error}")
        self._sent_time = time.monotonic()

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
        """Return whether a process is a worker of this group, whatever session it is in.

        Workers on other hosts are reached by command only, even where the other host is this machine.
        """
        if self._is_remote or "lrps.cli" not in process.cmdline():
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
