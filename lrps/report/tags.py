"""How reports tell a measured cost from a modelled one, and say what the model rests on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lrps.base.numbers import NOT_APPLICABLE, count

MODELLED = "~"
"""Behind a number that holds anything modelled."""
RATIOS = (
    "Training time is device-hours in optimizer steps, repeated ones included; held are all device-hours, starting, "
    "evaluating and saving included."
)
"""What measured ratios to PTFS and CPT are of."""
START_UP = (
    "The time from the start of the processes to the first step is booked on the first path that a process group "
    "trains, and on the version that needs it; training-hours are without it."
)
"""What to know before the device-hours of single versions and paradigms are compared."""


def whole_cost(paradigm: Mapping[str, Any]) -> Mapping[str, Any]:
    """What all of a described paradigm costs, with its basis: as measured to its end, or else as estimated."""
    if paradigm["estimate"] is not None:
        return dict(paradigm["estimate"])
    measured = paradigm["measured"]
    spent = {key: measured[f"spent_{key}"] for key in ("tokens", "flops")}
    rest = {key: measured[key] for key in ("device_hours", "training_hours", "money", "energy_kwh")}
    return {"steps": measured["total_steps"], **spent, **rest, "basis": "measured"}


def tag(value: Any, basis: str | None) -> str:
    """measured | modelled | n/a, of a value and the basis of its cost."""
    return NOT_APPLICABLE if value is None or basis is None else basis


def tagged(text: str, basis: str | None) -> str:
    """A number for people, with MODELLED behind it where it is."""
    return text + MODELLED if basis == "modelled" and text != NOT_APPLICABLE else text


def legend(model: Mapping[str, Any]) -> str:
    """What MODELLED means here. model: `cost_model` of a comparison."""
    if model["source"] is None:
        return (
            f"{MODELLED} by the plan: nothing was measured, and the config's hardware does not say what it would cost."
        )
    if model["source"] == "hardware":
        return (
            f"{MODELLED} modelled, for nothing was measured: model FLOPs over the peak of {model['device']} times "
            "hardware.mfu of the config."
        )
    seconds = model["device_seconds_per_token"]
    low, high = (model[f"{end}_device_seconds_per_token"] / seconds - 1 for end in ("lowest", "highest"))
    unit = model["device_seconds_per_flop"]
    rate = f"{seconds:.3g} device-seconds a token" if unit is None else f"{unit:.3g} device-seconds a model FLOP"
    paths = f"{model['paths']} path{'s' if model['paths'] > 1 else ''}"
    return (
        f"{MODELLED} modelled, in whole or in part, from {rate}, starting, saving, evaluating and repeating included: "
        f"measured over {paths} ({count(model['steps'])} steps) of {', '.join(model['runs'])} on "
        f"{model['processes']} x {model['device']}; paths lie {low:+.0%} to {high:+.0%} from it."
    )
