"""Choice of the branch lengths of the versions to come: the least sum of their losses for a budget."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from lrps.forecast.branch import BranchPlan
from lrps.forecast.refusal import ForecastRefused

SHARES = (0.02, 0.5)
"""Least and largest length of a branch, as a share of all steps at the version's end."""
LENGTHS = 200
"""Number of lengths that are tried for a version."""
SHAPES = ("linear", "1-sqrt")
"""Shapes of decay that are tried."""
BISECTIONS = 60
"""Number of halvings of the price of a step, after which no choice changes any more."""


@dataclass(frozen=True)
class PricedBranch:
    """One possible branch of a version, with its forecast and its cost."""

    branch: BranchPlan
    """Branch that would be trained."""
    loss: float
    """Forecast loss in nats a token."""
    half_width: float
    """Half-width of the 90 % band in nats a token."""
    cost: float
    """Marginal cost of the branch, in the unit of the budget."""


@dataclass(frozen=True)
class Choice:
    """Chosen branches, one for each version."""

    candidates: tuple[PricedBranch, ...]
    """Chosen branch of each version."""
    cost: float
    """Sum of their costs."""
    loss: float
    """Sum of their losses."""


def branches_to_try(
    end: int, *, reached: int, saved: Collection[int], shapes: Sequence[str] = SHAPES, final: float = 0.0
) -> list[BranchPlan]:
    """Return the branches of a version that ends at the step `end`: LENGTHS lengths in each of the shapes.

    A branch forks from a step that the main path has not passed (reached: the step where it is) or from one of the
    saved states.
    """
    low, high = (max(1, round(share * end)) for share in SHARES)
    ahead = {round(length) for length in np.geomspace(low, max(low, high), LENGTHS) if end - round(length) >= reached}
    behind = {end - step for step in saved if low <= end - step <= high}
    return [BranchPlan(end - n, n, shape, final=final) for shape in shapes for n in sorted(ahead | behind) if n < end]


def candidates_of(
    branches: Iterable[BranchPlan],
    forecast: Callable[[BranchPlan], tuple[float, float]],
    cost: Callable[[BranchPlan], float],
) -> list[PricedBranch]:
    """Return the branches that can be forecast, with loss and cost. Raises ForecastRefused if none can be.

    forecast: returns loss and half-width, or raises ForecastRefused.
    """
    found, refusal = [], None
    for branch in branches:
        try:
            loss, half_width = forecast(branch)
        except ForecastRefused as error:
            refusal = error
            continue
        found.append(PricedBranch(branch, loss, half_width, cost(branch)))
    if not found:
        raise refusal or ForecastRefused(
            "length", "no saved state and no step ahead of the main path allows a branch of a tested length"
        )
    return found


def choose(versions: Sequence[Sequence[PricedBranch]], budget: float) -> Choice:
    """Return the choice with the least sum of losses whose cost is at most the budget.

    A price is put on a unit of cost, every version takes its best candidate at that price, and the price is halved
    until the budget is met as closely as possible. No other choice that costs as little has a lower loss (Everett
    1963); one that costs a little more, but still no more than the budget, may have. Raises ForecastRefused if the
    cheapest choice costs more than the budget.
    """
    dear = _at_price(versions, 0.0)
    if dear.cost <= budget:
        return dear
    high = 1.0
    while (cheap := _at_price(versions, high)).cost > budget:
        if high > 1e30:
            raise ForecastRefused(
                "budget",
                f"the shortest branches cost {cheap.cost:,.6g} together, more than the budget of {budget:,.6g}",
            )
        high *= 4
    low = 0.0
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        found = _at_price(versions, middle)
        if found.cost > budget:
            low = middle
        else:
            high, cheap = middle, found
    return cheap


def _at_price(versions: Sequence[Sequence[PricedBranch]], price: float) -> Choice:
    """Return the best choice if a unit of cost is worth `price` of loss; of equal ones the cheapest."""
    best = tuple(min(each, key=lambda one: (one.loss + price * one.cost, one.cost)) for each in versions)
    return Choice(best, sum(one.cost for one in best), sum(one.loss for one in best))


def check_decided(choice: Choice, default: Choice) -> None:
    """Raise ForecastRefused if the chosen branches are not clearly better than the default ones.

    That is when the sums of their losses differ by less than the sum of the half-widths.
    """
    width = sum(one.half_width for one in choice.candidates)
    if abs(default.loss - choice.loss) < width:
        raise ForecastRefused(
            "undecided",
            f"the forecast cannot tell the best lengths from the config's: their losses differ by "
            f"{abs(default.loss - choice.loss):.4f} nats, the band is +-{width:.4f}. Take the cheaper ones",
        )
