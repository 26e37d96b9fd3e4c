"""Integrals of a decay's shape: how far it advances along the main path, and how much loss its fall removes.

s(p) is the learning rate as a share of the peak at the progress p from 0 to 1. A step at the share s counts s^q as
progress of the main path. A fall of the rate at p removes loss in proportion to the progress that is left, to the power
kappa:

    progress = int_0^1 s(p)^q dp            gain = int_0^1 -s'(p) [ int_p^1 s(u)^q du ]^kappa dp
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np

from lrps.config.extensions import DECAYS
from lrps.paths.schedule import NEEDS_POSITIVE_FINAL, Decay, Schedule, decay_pieces

PROGRESS_EXPONENT = 0.5
"""q: exponent of the learning rate in the progress of a step. The optimum is flat between 0.5 and 0.6."""
GAIN_EXPONENT = 0.15
"""kappa: exponent of the steps in the gain of a decay. The optimum is flat between 0.14 and 0.16."""
INTERVALS = 4000
"""Number of intervals of the numerical integration; a multiple of 10, so that multi-step levels end on one."""


class DecayIntegrals(NamedTuple):
    """Integrals of a decay up to some point of it."""

    progress: float
    """Progress along the main path as a share of the decay's steps (sigma)."""
    gain: float
    """Gain of the fall of the learning rate (H)."""


@cache
def decay_integrals(shape: str, final: float = 0.0, until: float = 1.0) -> DecayIntegrals:
    """Return the integrals of a decay from its start to the progress `until`.

    final: rate at the end as a share of the peak. until: in (0, 1]. Raises ValueError for a shape without a finite
    rate, such as an exponential decay to 0.
    """
    if not 0 < until <= 1:
        raise ValueError(f"the progress of a decay is above 0 and at most 1, got {until}")
    if not DECAYS.is_known(shape) or (shape in NEEDS_POSITIVE_FINAL and not final > 0):
        raise ValueError(f"no decay of shape {shape!r} ends at {final} of the peak")
    schedule = Schedule(decay_pieces(Decay(shape, INTERVALS, final), INTERVALS, 1.0, 0))
    rates = [*(schedule.lr_at(step) for step in range(INTERVALS)), schedule.lr_after(INTERVALS)]
    share = np.array(rates[: max(2, round(until * INTERVALS) + 1)])
    powered = share**PROGRESS_EXPONENT
    steps = (powered[:-1] + powered[1:]) / 2 / INTERVALS
    left = np.append(np.cumsum(steps[::-1])[::-1], 0.0)
    at_middle = (left[:-1] + left[1:]) / 2
    return DecayIntegrals(float(left[0]), float(np.sum(-np.diff(share) * at_middle**GAIN_EXPONENT)))
