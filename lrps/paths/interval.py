"""Best checkpoint interval for a failure rate, and the expected cost of saves and failures. Pure functions.

Failures are assumed to come at a constant rate (exponential times with mean `mtbf`), also during saves and restarts.
A failure sets a run back to its last save and takes `restart` seconds. `stall` is how long training waits for a save;
for a save in flight that excludes the writing in the background. All times are wall-clock seconds of one process group.

Young: A first order approximation to the optimum checkpoint interval, CACM 17 (9), 1974. Daly: A higher order estimate
of the optimum checkpoint interval for restart dumps, Future Generation Computer Systems 22 (3), 2006: equations 20
(expected time) and 37 (interval).
"""

from __future__ import annotations

import math
from dataclasses import dataclass


def young_interval(stall: float, mtbf: float) -> float:
    """Return the seconds of training between two saves by Young's first-order estimate, sqrt(2 stall mtbf).

    It is accurate while it is far below `mtbf`.
    """
    return math.sqrt(2 * stall * mtbf)


def daly_interval(stall: float, mtbf: float) -> float:
    """Return the cheapest seconds of training between two saves by Daly's higher-order estimate (equation 37).

    For stalls of 2 mtbf and more the estimate is `mtbf`, and hardly any progress is made at any interval.
    """
    if stall >= 2 * mtbf:
        return mtbf
    ratio = math.sqrt(stall / (2 * mtbf))
    return young_interval(stall, mtbf) * (1 + ratio / 3 + ratio**2 / 9) - stall


def slowdown(interval: float, stall: float, restart: float, mtbf: float) -> float:
    """Return the expected wall time for each second of training, 1 or more; infinity if no progress is made.

    interval: seconds of training between two saves. Daly's equation 20, divided by the time of the steps alone.
    """
    try:
        return mtbf * math.exp(restart / mtbf) * math.expm1((interval + stall) / mtbf) / interval
    except OverflowError:
        return math.inf


def waste_share(interval: float, stall: float, restart: float, mtbf: float) -> float:
    """Return the expected share of the wall time, 0 .. 1, that is spent on saves, lost steps and restarts."""
    return 1 - 1 / slowdown(interval, stall, restart, mtbf)


@dataclass(frozen=True)
class Advice:
    """The best checkpoint interval of a process group, and its expected waste."""

    seconds: float
    """Seconds of training between two saves, by Daly's estimate."""
    steps: int
    """The interval in whole steps, at least one."""
    young_seconds: float
    """Seconds of training between two saves, by Young's estimate."""
    waste_share: float
    """Expected share of the wall time that is wasted when a save follows every `steps` steps."""

    @property
    def minutes(self) -> float:
        """Minutes of training between two saves, by Daly's estimate."""
        return self.seconds / 60


def advise(stall: float, restart: float, mtbf: float, step_seconds: float) -> Advice:
    """Return the best interval for a process group.

    All arguments are seconds above 0, except that `restart` may be 0 if it is not known. step_seconds: time of a step.
    """
    seconds = daly_interval(stall, mtbf)
    steps = max(1, round(seconds / step_seconds))
    waste = waste_share(steps * step_seconds, stall, restart, mtbf)
    return Advice(seconds, steps, young_interval(stall, mtbf), waste)
