"""Walks the graph of jobs, several at a time where there is room, and says how it ended.

A job that forks from a path in training starts once its branch point is pinned, and not when its parent's job ends. A
job has succeeded when the run directory shows every one of its paths complete, whatever its launcher returns: one that
was killed can return 0, and torchrun returns 1 for everything.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from lrps.base.errors import INTERRUPTED, USER_MISTAKE, LrpsError, StoppedError, TrainingError
from lrps.base.files import atomic_write_text
from lrps.launch.allocation import Allocator
from lrps.launch.commands import Allocation, start
from lrps.launch.jobs import ProcessGroupJob
from lrps.launch.rendezvous import LAUNCHED_AT
from lrps.launch.supervise import GROUP, Supervisor
from lrps.paths.graph import Fork
from lrps.plan.plan import Plan
from lrps.plan.status import path_status
from lrps.store.checkpoints import MANIFEST, directory_name

TOLD_LINES = 30
"""Of the end of a failed job's log."""
TOLD_BYTES = 2**16

Say = Callable[[str], None]
"""Tells a person a line."""


def commands_of(plan: Plan, jobs: Sequence[ProcessGroupJob]) -> str:
    """The commands as a shell script, with what each job waits for and the files that are written before.

    They get LRPS_LAUNCHED_AT, the time of their start, and LRPS_GROUP, by which they are found again, too.
    """
    room, parts = Allocator(plan, jobs, os.environ), []
    for job in jobs:
        place = room.take(job)
        assert place is not None  # All of it is free.
        forks = [f"{fork.path} at step {fork.step}" for fork in job.needs]
        size = f"{job.nodes} x {job.processes} processes"
        parts.append(f"# {' '.join(job.paths)}: {size}; waits for {', '.join(forks) or 'nothing'}")
        parts.append(str(start(job, plan.config.launch, place, room.environment())))
        room.give_back(place)
    return "\n".join(parts)


def run_jobs(plan: Plan, jobs: Sequence[ProcessGroupJob], say: Say = print) -> None:
    """Run the jobs, up to launch.at_once at a time, parents' branch points before children.

    One that fails keeps only those from starting that need what it did not save. Raises StoppedError when asked to
    stop and all have saved, TrainingError when a job ended without its paths complete, LrpsError (the user's mistake)
    when all that failed had refused what they were given.
    """
    walk = _Walk(plan, jobs, say)
    with Supervisor(plan.config.launch.grace_seconds) as supervisor:
        while True:
            walk.start_what_may(supervisor)
            if not supervisor.running:
                break
            for name, code, asked in supervisor.ended():
                walk.note_end(name, code, asked)
    walk.judge()


@dataclass(frozen=True)
class _Running:
    """A job at work. attempts: of each of its paths when it started."""

    job: ProcessGroupJob
    place: Allocation
    attempts: Mapping[str, int]
    log: Path | None


@dataclass(frozen=True)
class _Failure:
    """A job that ended without some of its paths complete."""

    code: int
    open_paths: tuple[str, ...]

    def __str__(self) -> str:
        return f"the training processes ended with code {self.code} before {', '.join(self.open_paths)} was complete"


def _end_of(log: Path) -> str:
    """What fits into TOLD_BYTES: days of warnings need not fit into memory."""
    with open(log, "rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - TOLD_BYTES))
        return file.read().decode(errors="replace")


class _Walk:
    """Which jobs wait, which are at work, and what came of the others."""

    def __init__(self, plan: Plan, jobs: Sequence[ProcessGroupJob], say: Say) -> None:
        self._plan, self._say = plan, say
        self._waiting, self._running = list(jobs), dict[str, _Running]()
        self._stopped: list[str] = []
        self._failures: list[_Failure] = []
        self._room = Allocator(plan, jobs, os.environ)
        self._side_by_side = plan.config.launch.at_once > 1 and len(jobs) > 1

    def start_what_may(self, supervisor: Supervisor) -> None:
        """Start the first jobs of those that wait for nothing any more, as far as there is room."""
        for job in tuple(self._waiting):
            if supervisor.asked_to_stop or self._stopped or len(self._running) >= self._plan.config.launch.at_once:
                return
            if all(map(self._is_pinned, job.needs)) and (place := self._room.take(job)) is not None:
                self._waiting.remove(job)
                self._start(job, place, supervisor)

    def _is_pinned(self, fork: Fork) -> bool:
        # Its last file: branch points appear as a whole.
        return (self._plan.layout.path(fork.path).branch_points / directory_name(fork.step) / MANIFEST).exists()

    def _start(self, job: ProcessGroupJob, place: Allocation, supervisor: Supervisor) -> None:
        environment = {**self._room.environment(), LAUNCHED_AT: str(time.time()), GROUP: uuid4().hex}
        starting = start(job, self._plan.config.launch, place, environment)
        for file, text in starting.files.items():
            file.parent.mkdir(parents=True, exist_ok=True)
            atomic_write_text(file, text)
        log = self._plan.layout.launch / f"{job.name}.log" if self._side_by_side else None
        if log is not None:
            log.parent.mkdir(parents=True, exist_ok=True)
            self._say(f"{', '.join(job.paths)}: started; its output is in {log}")
        attempts = {name: path_status(self._plan, self._plan.graph.by_name[name]).totals.attempts for name in job.paths}
        self._running[job.name] = _Running(job, place, attempts, log)
        supervisor.start(
            job.name,
            starting.command,
            {**os.environ, **starting.environment},
            output=log,
            signal_command=starting.signalling if starting.signal_command else None,
        )

    def note_end(self, name: str, code: int, asked: bool) -> None:
        """Give back what the job held, and see in the run directory what it has done."""
        ended = self._running.pop(name)
        self._room.give_back(ended.place)
        statuses = {each: path_status(self._plan, self._plan.graph.by_name[each]) for each in ended.job.paths}
        open_paths = tuple(each for each, status in statuses.items() if status.state != "complete")
        # torchrun does not hand on the exit code of workers that saved and ended.
        saved_and_ended = any(
            status.state == "interrupted" and status.totals.attempts > ended.attempts[each]
            for each, status in statuses.items()
        )
        if not open_paths:
            if ended.log is not None:
                self._say(f"{', '.join(ended.job.paths)}: complete")
        elif asked or code == INTERRUPTED or saved_and_ended:
            self._stopped += open_paths
        else:
            self._failures.append(_Failure(code, open_paths))
            self._tell(ended, self._failures[-1])

    def _tell(self, ended: _Running, failure: _Failure) -> None:
        if ended.log is not None:
            lines = _end_of(ended.log).splitlines()[-TOLD_LINES:]
            self._say("\n".join((f"{failure}. The end of {ended.log}:", *(f"  {line}" for line in lines))))

    def judge(self) -> None:
        """Raises what `run_jobs` says."""
        never = [name for job in self._waiting for name in job.paths]
        failed = "; ".join(map(str, self._failures))
        if self._stopped:
            also = f" ({failed})" if failed else ""
            names = ", ".join((*self._stopped, *never))
            raise StoppedError(f"stopped; {names} not complete{also}. The same command goes on from there")
        if self._failures:
            behind = f"; {', '.join(never)} could not start" if never else ""
            message = (
                f"{failed}{behind}; the reason stands above. Mend it, and the same command goes on from the last "
                "checkpoint"
            )
            refused = all(failure.code == USER_MISTAKE for failure in self._failures)
            raise LrpsError(message) if refused else TrainingError(message)
        if never:  # A signal came before the first one started.
            raise StoppedError(f"stopped; {', '.join(never)} not complete. The same command goes on from there")
