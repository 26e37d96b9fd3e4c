"""Everything that is looked at, light things first; one check that breaks is a finding and stops no other one.

A check is a function of the subject that gives findings. It leaves nothing behind.
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
    """What is examined: this machine, and if there is a config what the config wants of it."""

    plan: Plan | None = None

    @property
    def config(self) -> Config | None:
        return None if self.plan is None else self.plan.config

    @property
    def processes(self) -> int:
        """That are started on this machine."""
        return 1 if self.config is None else self.config.launch.processes

    @cached_property
    def directory(self) -> Path:
        """Where runs are written: the run directory, or the nearest directory above that is there already."""
        wanted = (Path.cwd() if self.config is None else self.config.run_dir).absolute()
        return next(place for place in (wanted, *wanted.parents) if place.is_dir())


@dataclass(frozen=True)
class Check:
    """slow: worth telling that it is at work."""

    area: str
    title: str
    findings: Callable[[Subject], Iterable[Finding]]
    slow: bool = False


def examine(
    checks: Sequence[Check], subject: Subject, started: Callable[[Check], None] = lambda _check: None
) -> Iterator[Finding]:
    """The findings of the checks, as they come. started: is told of each check before it runs."""
    for check in sorted(checks, key=lambda check: check.slow):
        started(check)
        try:
            yield from check.findings(subject)
        except Exception as error:
            what = f"this could not be looked at: {type(error).__name__}: {error}"
            way_out = "mend that if it names something of this machine; else report it, the other findings hold"
            yield Finding(check.area, check.title, "fail", what, way_out)


def cores() -> int:
    """That this process may use."""
    return len(os.sched_getaffinity(0))
