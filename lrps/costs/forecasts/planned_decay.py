"""Decay that a config gives the branches of path switching. Imports no torch and no numpy."""

from __future__ import annotations

from lrps.config.strategies import PathSwitching
from lrps.plan.plan import Plan


def planned_decay(plan: Plan, paradigm: str) -> tuple[str, float]:
    """Return shape and rate at the end, as a share of the peak, of the branches of a paradigm of path switching."""
    strategy = plan.config.paradigms[paradigm]
    assert isinstance(strategy, PathSwitching)
    final = plan.config.schedule.final_lr if strategy.final_lr is None else strategy.final_lr
    return strategy.decay, final / plan.config.peak_lr_of(strategy)
