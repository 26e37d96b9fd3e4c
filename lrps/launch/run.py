"""Execution of the jobs of a plan as process groups of launchers on hosts, several at a time, and how they ended.

A job that forks from a path in training starts once its branch point is pinned, not when its parent's job has finished.
A job has succeeded if the run directory shows every one of its paths complete, whatever its launcher returns: one that
was killed can return 0, and torchrun returns 1 for every failure.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import uuid4

from lrps.base.clock import launch_stamp
from lrps.base.errors import (
    INTERRUPTED,
    NEEDS_DECISION,
    USER_MISTAKE,
    BudgetError,
    CallbackStopError,
    LrpsError,
    RepeatedFailureError,
    SpikeError,
    StoppedError,
    TrainingError,
)
from lrps.config.launching import MEETING_FILE
from lrps.launch.allocation import Allocator
from lrps.launch.launchers.launcher import HostLauncher
from lrps.launch.process_group import GROUP, SUPERVISED, Allocation, ProcessGroupJob
from lrps.launch.rendezvous import LAUNCHED_AT
from lrps.launch.supervise import GroupExit, Supervisor
from lrps.ledger.reader import CALLBACK, read_ledger
from lrps.paths.graph import Fork
from lrps.plan.budget import is_spent
from lrps.plan.failure import failure_facts
from lrps.plan.plan import Plan
from lrps.plan.recovery import repeated_failure_of
from lrps.plan.status import PathStatus, path_status
from lrps.store.checkpoints import MANIFEST, directory_name
from lrps.store.layout import PathLayout

LOG_LINES = 30
"""Number of lines that are shown of the end of a failed job's log."""
LOG_BYTES = 2**16
"""Number of bytes that are read of the end of a failed job's log."""
PROGRESS_SECONDS = 60.0
"""Time between two lines about the whole plan."""

Echo = Callable[[str], None]
"""Prints a line for the user."""
Notify = Callable[[str, Mapping[str, Any]], None]
"""Reports an event to whoever does not watch: its kind (failure | budget), and facts such as its path."""


def commands_of(plan: Plan, jobs: Sequence[ProcessGroupJob], launcher: HostLauncher) -> str:
    """Return a shell script of the jobs: their commands, the files written before, and what each job waits for.

    LRPS_LAUNCHED_AT, LRPS_GROUP, LRPS_SUPERVISED and LRPS_SUPERVISOR, which a job gets when it starts, are not in it.
    """
    allocator, parts = Allocator(launcher, jobs, os.environ, plan.layout.launch), []
    for job in jobs:
        allocation = allocator.allocate(job)
        assert allocation is not None, "all devices are free"
        forks = [f"{fork.path} at step {fork.step}" for fork in job.needs]
        size = f"{job.nodes} x {job.processes} processes"
        parts.append(f"# {' '.join(job.paths)}: {size}; waits for {', '.join(forks) or 'nothing'}")
        parts.append(launcher.command(job, allocation, allocator.worker_environment).as_shell_script())
        allocator.release(allocation)
    return "\n".join(parts)


def run_jobs(
    plan: Plan,
    jobs: Sequence[ProcessGroupJob],
    launcher: HostLauncher,
    echo: Echo = print,
    progress: Callable[[], str] | None = None,
    notify: Notify = lambda _kind, _facts: None,
) -> None:
    """Run the jobs, up to launch.at_once at a time, each as soon as the branch points that it needs are pinned.

    progress: returns a line about the whole plan, which is printed every minute while the output of jobs is in files.
    notify: reports every job that fails, also one that was killed, and that the budget is spent.
    A job that fails prevents only the jobs that need what it did not save. Raises StoppedError if a request to stop
    came and all have saved, BudgetError if the budget is spent and all have saved, RepeatedFailureError if a step of a
    path has failed again, TrainingError if a job ended before its paths were complete, SpikeError if the guard stopped
    every job that failed, and LrpsError (a mistake of the user) if every job that failed had rejected its input.
    """
    runner = _Runner(plan, jobs, launcher, echo, notify)
    with Supervisor(plan.config.launch.grace_seconds) as supervisor:
        while True:
            runner.start_ready_jobs(supervisor)
            if not supervisor.running:
                break
            for group_exit in supervisor.poll():
                runner.record_exit(group_exit)
            if progress is not None and runner.progress_is_due():
                echo(progress())
    runner.raise_unless_complete()


@dataclass(frozen=True)
class _RunningJob:
    """A job whose process group runs."""

    job: ProcessGroupJob
    allocation: Allocation
    attempts: Mapping[str, int]
    """Path -> the number of its attempts before the job started."""
    log: Path | None


@dataclass(frozen=True)
class _Failure:
    """A job that ended before all of its paths were complete."""

    code: int
    incomplete: tuple[str, ...]
    cause: type[LrpsError] | None = None
    """SpikeError or CallbackStopError, if the guard or a callback ended it: a person has to decide."""

    def __str__(self) -> str:
        return f"the training processes ended with code {self.code} before {', '.join(self.incomplete)} was complete"


class _Runner:
    """The jobs of a run: which wait, which run, and how the others ended."""

    def __init__(
        self, plan: Plan, jobs: Sequence[ProcessGroupJob], launcher: HostLauncher, echo: Echo, notify: Notify
    ) -> None:
        self._plan, self._launcher, self._echo, self._notify = plan, launcher, echo, notify
        self._waiting, self._running = list(jobs), dict[str, _RunningJob]()
        self._meetings: dict[str, TemporaryDirectory[str]] = {}
        self._stopped: list[str] = []
        self._failures: list[_Failure] = []
        self._allocator = Allocator(launcher, jobs, os.environ, plan.layout.launch)
        self._next_progress = time.monotonic() + PROGRESS_SECONDS
        self._logs_to_files = plan.config.launch.at_once > 1 and len(jobs) > 1

    def start_ready_jobs(self, supervisor: Supervisor) -> None:
        """Start the first jobs whose branch points are pinned, as long as there are free devices for them."""
        for job in tuple(self._waiting):
            if supervisor.stop_requested or self._stopped or len(self._running) >= self._plan.config.launch.at_once:
                return
            if all(map(self._is_pinned, job.needs)) and (allocation := self._allocator.allocate(job)) is not None:
                self._waiting.remove(job)
                self._start(job, allocation, supervisor)

    def _is_pinned(self, fork: Fork) -> bool:
        # The manifest is the last file of a branch point.
        return (self._plan.layout.path(fork.path).branch_points / directory_name(fork.step) / MANIFEST).exists()

    def _start(self, job: ProcessGroupJob, allocation: Allocation, supervisor: Supervisor) -> None:
        of_this_start = {LAUNCHED_AT: launch_stamp(), GROUP: uuid4().hex, SUPERVISED: "1", **self._meeting(job)}
        command = self._launcher.command(job, allocation, {**self._allocator.worker_environment, **of_this_start})
        log = self._plan.layout.launch / f"{job.name}.log" if self._logs_to_files else None
        if log is not None:
            log.parent.mkdir(parents=True, exist_ok=True)
            self._echo(f"{', '.join(job.paths)}: started; its output is in {log}")
        attempts = {name: path_status(self._plan, self._plan.graph.by_name[name]).totals.attempts for name in job.paths}
        self._running[job.name] = _RunningJob(job, allocation, attempts, log)
        supervisor.start(job.name, command, output=log)

    def _meeting(self, job: ProcessGroupJob) -> dict[str, str]:
        """Return the file by which the ranks of a job meet with launcher local: no port is open to other users."""
        if self._launcher.name != "local":
            return {}
        self._meetings[job.name] = TemporaryDirectory(prefix="lrps-")
        return {MEETING_FILE: f"{self._meetings[job.name].name}/ranks"}

    def record_exit(self, group_exit: GroupExit) -> None:
        """Release the devices of a job that has ended, and read from the run directory whether it succeeded."""
        ended = self._running.pop(group_exit.name)
        self._allocator.release(ended.allocation)
        if (meeting := self._meetings.pop(ended.job.name, None)) is not None:
            meeting.cleanup()
        statuses = {name: path_status(self._plan, self._plan.graph.by_name[name]) for name in ended.job.paths}
        incomplete = tuple(name for name, status in statuses.items() if status.state != "complete")
        # Workers that have saved and exited return 0 (SUPERVISED), and torchrun would not pass on another code.
        saved = any(
            status.state == "interrupted" and status.totals.attempts > ended.attempts[name]
            for name, status in statuses.items()
        )
        causes = (_who_decides(self._plan.layout.path(name)) for name in incomplete)
        cause = next((each for each in causes if each is not None), None)
        if not incomplete:
            if ended.log is not None:
                self._echo(f"{', '.join(ended.job.paths)}: complete")
        elif cause is not CallbackStopError and (
            group_exit.stop_requested or group_exit.code == INTERRUPTED or saved or self._stopped_by_budget(statuses)
        ):
            self._stopped += incomplete
        else:
            # Not every launcher passes on the exit code of a worker.
            failure = _Failure(group_exit.code if cause is None else NEEDS_DECISION, incomplete, cause)
            self._failures.append(failure)
            begun = [name for name in incomplete if statuses[name].totals.attempts > ended.attempts[name]]
            failed = begun[-1] if begun else incomplete[0]
            self._notify("failure", failure_facts(self._plan, failed, f"exit code {group_exit.code}"))
            if ended.log is not None:
                self._echo("\n".join((f"{failure}. The end of {ended.log}:", *_last_lines(ended.log))))

    def _stopped_by_budget(self, statuses: Mapping[str, PathStatus]) -> bool:
        """Return True if the budget is spent and none of the paths failed: then their processes did not begin them."""
        return is_spent(self._plan) and not any(status.state == "failed" for status in statuses.values())

    def _refusals(self) -> Iterator[RepeatedFailureError]:
        """Yield why paths that failed are not trained again before a person has chosen what changes."""
        graph = self._plan.graph
        for name in dict.fromkeys(name for failure in self._failures for name in failure.incomplete):
            if (error := repeated_failure_of(graph.by_name[name], self._plan.layout, graph.children(name))) is not None:
                yield error

    def progress_is_due(self) -> bool:
        """Return True once every PROGRESS_SECONDS, if the output of the jobs is in files."""
        if not self._logs_to_files or time.monotonic() < self._next_progress:
            return False
        self._next_progress = time.monotonic() + PROGRESS_SECONDS
        return True

    def raise_unless_complete(self) -> None:
        """Raise the errors that `run_jobs` documents."""
        not_started = [name for job in self._waiting for name in job.paths]
        failures = "; ".join(map(str, self._failures))
        if self._stopped or (not_started and not self._failures):  # Without either, a signal came before the first job.
            also = f" ({failures})" if failures else ""
            names = ", ".join((*self._stopped, *not_started))
            if is_spent(self._plan):
                self._notify("budget", {"path": names})
                raise BudgetError(
                    f"the budget is spent; {names} not complete{also}. Raise `budget` in the config and run the same "
                    "command again to resume: it says how much is needed"
                )
            raise StoppedError(f"stopped; {names} not complete{also}. Run the same command again to resume")
        if self._failures:
            blocked = f"; {', '.join(not_started)} could not start" if not_started else ""
            if refusals := "\n".join(map(str, self._refusals())):
                raise RepeatedFailureError(f"{failures}{blocked}.\n{refusals}")
            message = (
                f"{failures}{blocked}; the reason is printed above. Fix it and run the same command again to resume "
                "from the last checkpoint"
            )
            kinds = {failure.cause or _KINDS.get(failure.code, TrainingError) for failure in self._failures}
            raise (kinds.pop() if len(kinds) == 1 else TrainingError)(message)


_KINDS: Mapping[int, type[LrpsError]] = {USER_MISTAKE: LrpsError, NEEDS_DECISION: SpikeError}
"""Mapping from the exit code of all failures to the error that is raised."""


def _who_decides(layout: PathLayout) -> type[LrpsError] | None:
    """Return the error after which a person decides, if the guard or a callback ended the newest attempt at a path."""
    last = next(iter(deque(read_ledger(layout.ledger, heartbeats=False), maxlen=1)), None)
    if last is None:
        return None
    if last.kind == "stop" and CALLBACK in last.facts:
        return CallbackStopError
    by_guard = last.kind == "failure" and last.facts["error"].startswith(f"{SpikeError.__name__}: ")
    return SpikeError if by_guard else None


def _last_lines(log: Path) -> list[str]:
    """Return the last lines of a log, indented. Reads LOG_BYTES at most: a log of days need not fit into memory."""
    with open(log, "rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - LOG_BYTES))
        lines = file.read().decode(errors="replace").splitlines()
    return [f"  {line}" for line in lines[-LOG_LINES:]]
