"""The spike guard as a pure function: a loss and a gradient norm are compared with those of the last steps."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from lrps.config.guarding import JUDGED_FROM, GuardConfig

MOST_IN_A_ROW = 3
"""Largest number of steps in a row that pass without an update. A level that has changed for good ends as the new one,
since spikes enter the window too."""
_SIGMA = 1.4826
"""Standard deviation of a normal distribution, in median absolute deviations."""
_WORDS = {"loss": "loss", "norm": "logarithm of the gradient norm"}
_LEAST_DEVIATION = 1e-3
"""Smallest deviation that differences are divided by, in nats: values that hardly differ have no spikes."""


@dataclass(frozen=True)
class StepNote:
    """The note of a step that differs from others: it was judged a spike, or passed without an update."""

    cause: str
    """Reason: loss | norm | non-finite (of one of them) | amendment."""
    skipped: bool
    """True if the step passed without an update."""
    loss: float | None = None
    """Mean loss in nats; None if it is not finite or was not computed."""
    norm: float | None = None
    """Gradient norm before clipping; None if it is not finite or was not computed."""
    z: float | None = None
    """Robust deviations of the cause above the median; None if there are none."""

    def __str__(self) -> str:
        if not self.computed:
            return "an amendment of the path says so"
        numbers = f"loss {_number(self.loss)}, gradient norm {_number(self.norm)}"
        if self.z is None:
            return numbers
        return f"{numbers}; its {_WORDS[self.cause]} is {self.z:.1f} robust deviations above the median"

    @property
    def computed(self) -> bool:
        """True if loss and gradients were computed."""
        return self.cause != "amendment"


LEFT_OUT = StepNote("amendment", skipped=True)
"""Note of a step that an amendment of the path lets pass, for which nothing is computed."""


@dataclass(frozen=True)
class GuardState:
    """Everything that a guard remembers. It is saved with every state, exactly."""

    losses: tuple[float, ...] = ()
    """Finite losses of the last steps in nats, oldest first."""
    log_norms: tuple[float, ...] = ()
    """Natural logarithms of the gradient norms of the same steps."""
    in_a_row: int = 0
    """Number of spikes since the last step that was none."""

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> GuardState:
        """Return the state that `to_json` gave."""
        return cls(tuple(values["losses"]), tuple(values["log_norms"]), values["in_a_row"])

    def to_json(self) -> dict[str, Any]:
        """Return the state as JSON values."""
        return asdict(self)

    def with_new_window(self) -> GuardState:
        """Return the state with an empty window, at the beginning of a segment."""
        return GuardState(in_a_row=self.in_a_row)


def judge(state: GuardState, loss: float, norm: float, guard: GuardConfig) -> tuple[StepNote | None, GuardState]:
    """Return the note of a step, None if it is no spike, and the state after it.

    Every finite value enters the window, also that of a spike. Equal numbers give equal results on all ranks.
    """
    if not (math.isfinite(loss) and math.isfinite(norm)):
        found: tuple[str, float | None] | None = ("non-finite", None)
        window = state.losses, state.log_norms
    else:
        log_norm = math.log(max(norm, sys.float_info.min))
        found = _spike(state, loss, log_norm, guard.z)
        window = (*state.losses, loss)[-guard.window :], (*state.log_norms, log_norm)[-guard.window :]
    in_a_row = 0 if found is None else state.in_a_row + 1
    after = GuardState(*window, in_a_row)
    if found is None:
        return None, after
    cause, z = found
    skipped = guard.action == "skip" and in_a_row <= MOST_IN_A_ROW
    return StepNote(cause, skipped, _finite(loss), _finite(norm), z), after


def _spike(state: GuardState, loss: float, log_norm: float, limit: float) -> tuple[str, float] | None:
    """Return what is above the limit, and its robust deviations; None if nothing is."""
    if len(state.losses) < JUDGED_FROM:
        return None
    found = {"loss": robust_z(state.losses, loss), "norm": robust_z(state.log_norms, log_norm)}
    return next(((cause, z) for cause, z in found.items() if z > limit), None)


def robust_z(window: Sequence[float], value: float) -> float:
    """Return how many robust deviations, 1.4826 MAD, a finite value is above the median of a window."""
    centre = median(window)
    deviation = _SIGMA * median(abs(each - centre) for each in window)
    return (value - centre) / max(deviation, _LEAST_DEVIATION)


def _number(value: float | None) -> str:
    return "not finite" if value is None else f"{value:.4g}"


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
