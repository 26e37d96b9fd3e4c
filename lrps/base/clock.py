"""Time since a launcher was started, measured so that no adjustment of a wall clock changes it.

Uses the uptime of the machine where both processes run on one machine since one boot; elsewhere the wall clocks of two
machines, as far as their difference is possible. Imports the standard library only.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from math import isfinite, nan
from pathlib import Path
from typing import NamedTuple

LONGEST_START_SECONDS = 600.0
"""Longest time from a launcher's start to that of a worker on another machine that its wall clock is believed."""

_CLOCKS_APART_SECONDS = 1.0
"""Difference of two machines' clocks that is not worth a report."""
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_STARTED_FIELD = 19
"""Position of the start time in /proc/self/stat, counted after the name of the command (proc(5), field 22)."""


class SinceLaunch(NamedTuple):
    """The time from the launcher's start until now."""

    seconds: float
    stated_seconds: float | None = None
    """Time that the wall clocks gave, if it was impossible and is replaced by the age of this process."""


def launch_stamp() -> str:
    """Return this moment for `since_launch` in a worker: wall clock, uptime and boot of this machine."""
    return f"{time.time():.3f},{_uptime():.3f},{_boot()}"


def since_launch(stamp: str | None) -> SinceLaunch:
    """Return the time since a `launch_stamp`.

    A stamp may have the wall clock only, as job scripts of earlier versions write it. Without a stamp, or with one that
    cannot be read, the launcher counts as started with this process.
    """
    age = process_age()
    try:
        wall, *machine = (stamp or "").split(",")
        stated = time.time() - float(wall)
        match machine:
            case [uptime, boot] if boot and boot == _boot():
                return SinceLaunch(max(0.0, _uptime() - float(uptime)))
    except ValueError:
        stated = nan
    if not isfinite(stated):
        return SinceLaunch(age)
    possible = age - _CLOCKS_APART_SECONDS <= stated <= age + LONGEST_START_SECONDS
    return SinceLaunch(max(age, stated)) if possible else SinceLaunch(age, stated)


def process_age() -> float:
    """Return the seconds since this process was started; 0 where the system has no /proc."""
    with suppress(OSError, ValueError, IndexError):
        fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
        return max(0.0, _uptime() - int(fields[_STARTED_FIELD]) / os.sysconf("SC_CLK_TCK"))
    return 0.0


def _uptime() -> float:
    """Return the seconds since the machine was started, those in which it slept included."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def _boot() -> str:
    """Return the name of this boot of this machine; empty where the system has none."""
    with suppress(OSError):
        return _BOOT_ID.read_text().strip()
    return ""
