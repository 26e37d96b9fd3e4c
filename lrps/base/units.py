"""Units that records and documents convert between. Imports nothing."""

from __future__ import annotations

SECONDS_PER_HOUR = 3600


def hours(seconds: float) -> float:
    """Return a duration in hours; device-seconds become device-hours."""
    return seconds / SECONDS_PER_HOUR
