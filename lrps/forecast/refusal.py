"""Refusal of a forecast: the law does not hold for the points that are given, with the reason in words."""

from __future__ import annotations

from lrps.base.errors import LrpsError


class ForecastRefused(LrpsError):  # noqa: N818
    """A forecast that cannot be trusted. The message says why, and what would make one possible.

    `reason` is one of `points`, `not-finite`, `drift`, `length`, `horizon`, `no-gain`, `version-steps`, `history`,
    `budget`, `undecided`, `fork`, `no-decay`, `schedule`, `abandoned`.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
