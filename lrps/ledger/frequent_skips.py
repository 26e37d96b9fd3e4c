"""Steps that the guard passes too often: more than 1 % of the last 1,000."""

from __future__ import annotations

from lrps.base.step_set import StepSet

LATELY = 1000
"""Number of steps that are looked at."""
MOST = 10
"""Largest number of them that may pass without an update: 1 %."""


def frequent_skips(passed: StepSet, step: int) -> int:
    """Return how many of the last 1,000 steps before `step` the guard has let pass; 0 if it is at most 1 % of them.

    passed: steps that the guard has let pass without an update.
    """
    number = len(passed.within(max(0, step - LATELY), step))
    return number if number > MOST else 0


def frequent_skips_text(number: int, path: str) -> str:
    """Return the warning about a path whose guard passes steps too often. number: that of `frequent_skips`."""
    return (
        f"the guard has let {number} of the last {LATELY:,} steps pass without an update, more than 1 %: these are no "
        "single spikes; look at the losses and the text of these steps, or take the path back with "
        f"`lrps rewind CONFIG {path} --to STEP --peak-lr X`"
    )
