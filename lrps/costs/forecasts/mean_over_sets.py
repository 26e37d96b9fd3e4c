"""Mean of losses over held-out sets, as all forecasts have it."""

from __future__ import annotations

from collections.abc import Iterable


def mean_over_sets(values: Iterable[float | None]) -> float | None:
    """Return the mean of the values of held-out sets, added in their order; None if one is not known, or there is none.

    values: those of all sets that the mean is over, in the order of the plan.
    """
    found = list(values)
    known = [value for value in found if value is not None]
    return sum(known) / len(known) if known and len(known) == len(found) else None
