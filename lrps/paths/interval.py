"""How often to save: the best checkpoint interval for a failure rate, and what failures then cost. Pure functions.

Failures are taken to come at a constant rate (exponential times, mean M), also while saving and restarting; one throws
a run back to its last save and costs a restart R. `stall` is what steps stand still for a save: of a save in flight
the stall only, not the writing behind it. All in seconds of the wall clock, of one process group.

Young: A first order approximation to the optimum checkpoint interval, CACM 17 (9), 1974. Daly: A higher order estimate
of the optimum checkpoint interval for restart dumps, Future Generation Computer Systems 22 (3), 2006: equations 20
(expected time) and 37 (interval).
"""

from __future__ import annotations

import math
from dataclasses import dataclass


def young_interval(stall: float, mtbf: float) -> float:
    """sqrt(2 stall M): seconds of training between two saves. Good while it is far below M."""
    return math.sqrt(2 * stall * mtbf)


def daly_interval(stall: float, mtbf: float) -> float:
    """Seconds of training between two saves that cost least, by Daly's higher-order estimate.

    Good for stall < 2 M; where saving takes longer than that nothing helps, and it is M.
    """
    if stall >= 2 * mtbf:
        return mtbf
    ratio = math.sqrt(stall / (2 * mtbf))
    return young_interval(stall, mtbf) * (1 + ratio / 3 + ratio**2 / 9) - stall


def slowdown(interval: float, stall: float, restart: float, mtbf: float) -> float:
    """Expected wall time over the time of the steps alone, 1 or more; infinity where no progress is made.

    interval: seconds of training between two saves. Daly's equation 20, per second of training.
    """
    try:
        return mtbf * math.exp(restart / mtbf) * math.expm1((interval + stall) / mtbf) / interval
    except OverflowError:
        return math.inf


def waste_share(interval: float, stall: float, restart: float, mtbf: float) -> float:
    """Expected share of the wall time that is no new step: saves, steps lost, restarts. 0 .. 1."""
    return 1 - 1 / slowdown(interval, stall, restart, mtbf)


@dataclass(frozen=True)
class Advice:
    """How often to save, and what that costs."""

    seconds: float
    """Of training between two saves (Daly)."""
    steps: int
    """The same in whole steps, at least one."""
    young_seconds: float
    waste_share: float
    """Expected, when saving after so many steps."""

    @property
    def minutes(self) -> float:
        return self.seconds / 60


def advise(stall: float, restart: float, mtbf: float, step_seconds: float) -> Advice:
    """The interval for a process group. All arguments are above 0 but `restart`, which may be 0 where it is unknown."""
    seconds = daly_interval(stall, mtbf)
    steps = max(1, round(seconds / step_seconds))
    waste = waste_share(steps * step_seconds, stall, restart, mtbf)
    return Advice(seconds, steps, young_interval(stall, mtbf), waste)
