"""Mean held-out loss of a version of a plan: measured, forecast, or the reason why neither is known."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class PlannedLoss:
    """Mean held-out loss of a version over the sets of the versions so far, in nats per predicted token."""

    measured: float | None
    """Loss of the finished branch, on the sequences that the main path is evaluated on; null before its end."""
    forecast: float | None
    """Forecast of the branch; null for a finished branch, or if it is refused."""
    half_width: float | None
    """Half-width of the forecast's 90 % band."""
    refused: str | None
    """Short words of why the forecast is refused; null if it is not."""
