"""Tags of measured and modelled costs in reports, and sentences that explain them."""

from __future__ import annotations

from typing import Any

from lrps.base.numbers import NOT_APPLICABLE, count
from lrps.costs.estimate import CostRate
from lrps.costs.tagged_cost import Basis
from lrps.report.table import Marked

MODELLED = "~"
"""Mark behind a number that is modelled in whole or in part."""
RATIOS = (
    "Training device-hours are those in optimizer steps, repeated ones included. Allocated device-hours are all of "
    "them, starting, evaluating and saving included."
)
"""Explanation of the measured ratios to PTFS and CPT."""
START_UP = (
    "The time from the start of the processes to the first step is booked on the first path that a process group "
    "trains, and on the version that needs it; training-hours are without it."
)
"""Explanation that makes the device-hours of single versions and paradigms comparable."""


def tag(value: Any, basis: Basis | None) -> str:
    """Return the tag of a value: measured, modelled or n/a."""
    return NOT_APPLICABLE if value is None or basis is None else basis


def marked(value: Any, basis: Basis | None) -> Any:
    """Return the cell of a value in a table, with MODELLED behind it if it is modelled."""
    return Marked(value, MODELLED) if basis == "modelled" else value


def legend(rate: CostRate) -> str:
    """Return the explanation of MODELLED in a comparison. rate: its `cost_model`."""
    seconds = rate.device_seconds_per_token
    if rate.source is None or seconds is None:
        return f"{MODELLED} modelled: nothing was measured, and the cost is unknown for the hardware of the config."
    if rate.source == "hardware":
        return (
            f"{MODELLED} modelled, since nothing was measured: model FLOPs over the peak of {rate.device} times "
            "hardware.mfu of the config."
        )
    low, high = (
        (end or seconds) / seconds - 1
        for end in (rate.lowest_device_seconds_per_token, rate.highest_device_seconds_per_token)
    )
    per_flop = rate.device_seconds_per_flop
    value, unit = (seconds, "token") if per_flop is None else (per_flop, "model FLOP")
    paths = f"{rate.paths} path{'s' if rate.paths > 1 else ''}"
    return (
        f"{MODELLED} modelled, in whole or in part, from {value:.3g} device-seconds per {unit}, starting, saving, "
        f"evaluating and repeating included: measured over {paths} ({count(rate.steps)} steps) of "
        f"{', '.join(rate.runs)} on {rate.processes} x {rate.device}; single paths differ from it by {low:+.0%} to "
        f"{high:+.0%}."
    )
