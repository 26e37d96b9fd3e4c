"""Recorded forecast of a loss beside the measured one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

WhenRecorded = Literal["start", "request"]
"""Occasion of a record: the branch started, or `lrps forecast --record` was run before."""


@dataclass(frozen=True)
class ForecastOutcome:
    """Recorded forecast of a version's loss on one held-out set, and the measured loss. What is not known is null."""

    version: str
    """Version that was forecast."""
    path: str
    """Name of its branch."""
    heldout: str
    """Version of the held-out set."""
    recorded: WhenRecorded
    """Occasion of the record: the start of the branch, or a request before it (`lrps forecast --record`)."""
    loss: float | None
    """Forecast in nats per predicted token; null if it was refused."""
    half_width: float | None
    """Half-width of its 90 % band."""
    repeat_last_drop: float | None
    """Forecast of the simplest rule, that the branch falls as far below its fork as the last one did."""
    branches: int
    """Number of finished branches that the forecast was based on."""
    known_to: int | None
    """Last step of the main path with a loss that was known then."""
    refused: str | None
    """Reason why the forecast was refused; null if it was not."""
    outcome: float | None
    """Measured loss of the branch at its end, on the sequences that the main path is evaluated on."""
    error: float | None
    """Measured loss minus forecast."""
    error_in_half_widths: float | None
    """Error as a multiple of the half-width: within the band from -1 to 1."""
    inside: bool | None
    """True if the measured loss is within the band."""
    repeat_error: float | None
    """Measured loss minus the forecast of the simplest rule."""
