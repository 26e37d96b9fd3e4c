"""Execution of checks, quick ones first; a check that raises becomes a finding and does not stop the others.

A check is a function that returns the findings about a subject. It leaves no files behind.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from lrps.config.models import Config
from lrps.doctor.finding import Finding
from lrps.plan.plan import Plan


@dataclass(frozen=True)
class Subject:
    """The subject of an examination: this machine and, if there is a config, its plan."""

    plan: Plan | None = None
    runs_commands: bool = False
    """Whether checks may run commands that the config names: a config of somebody else can be examined without."""

    @property
    def config(self) -> Config | None:
        """Config of the plan, if there is one."""
        return None if self.plan is None else self.plan.config

    @property
    def processes(self) -> int:
        """Number of processes started on this machine."""
        return 1 if self.config is None else self.config.launch.processes

    @cached_property
    def directory(self) -> Path:
        """The run directory, or the nearest of its parents that exists."""
        wanted = (Path.cwd() if self.config is None else self.config.run_dir).absolute()
        return next(directory for directory in (wanted, *wanted.parents) if directory.is_dir())


@dataclass(frozen=True)
class Check:
    """A check with its title."""

    area: str
    title: str
    findings: Callable[[Subject], Iterable[Finding]]
    slow: bool = False
    """Whether the check takes seconds, so that its title is shown while it runs."""


def examine(
    checks: Sequence[Check], subject: Subject, started: Callable[[Check], None] = lambda _check: None
) -> Iterator[Finding]:
    """Yield the findings of the checks as they come. started: is called with each check before it runs."""
    for check in sorted(checks, key=lambda check: check.slow):
        started(check)
        try:
            yield from check.findings(subject)
        except Exception as error:
            what = f"the check itself failed: {type(error).__name__}: {error}"
            fix = "fix the cause if it is on this machine; otherwise report it. The other findings are valid"
            yield Finding(check.area, check.title, "fail", what, fix)


def cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0))
