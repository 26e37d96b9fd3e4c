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
class PossibleBranch:
    """One possible branch of a version, with its forecast."""

    branch: BranchPlan
    """Branch that would be trained."""
    loss: float
    """Forecast loss in nats a token."""
    half_width: float
    """Half-width of the 90 % band in nats a token."""


@dataclass(frozen=True)
class Choice:
    """Chosen branches, one for each version, and the main path that they need."""

    branches: tuple[PossibleBranch, ...]
    """Chosen branch of each version."""
    main_stop: int
    """Step at which the main path ends: that of the last fork, or a later one that it has to reach."""

    @property
    def cost(self) -> int:
        """Number of steps of the main path and of the branches."""
        return self.main_stop + sum(one.branch.steps for one in self.branches)

    @property
    def loss(self) -> float:
        """Sum of the losses in nats a token."""
        return sum(one.loss for one in self.branches)


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


def possible_branches(
    branches: Iterable[BranchPlan], forecast: Callable[[BranchPlan], tuple[float, float]]
) -> list[PossibleBranch]:
    """Return the branches that can be forecast, with their losses. Raises ForecastRefused if none can be.

    forecast: returns loss and half-width, or raises ForecastRefused.
    """
    found, refusal = [], None
    for branch in branches:
        try:
            found.append(PossibleBranch(branch, *forecast(branch)))
        except ForecastRefused as error:
            refusal = error
    if not found:
        raise refusal or ForecastRefused(
            "length", "no saved state and no step ahead of the main path allows a branch of a tested length"
        )
    return found


def choose(versions: Sequence[Sequence[PossibleBranch]], floor: int, budget: float) -> Choice:
    """Return the choice with the least sum of losses whose steps are at most the budget.

    floor: step that the main path reaches in any case. A price in nats is put on a step, the choice that is best at
    that price is taken, and the price is halved until the budget is met as closely as possible. No other choice that
    costs as little has a lower loss (Everett 1963); one that costs a little more, but still no more than the budget,
    may have. Raises ForecastRefused if the cheapest choice costs more than the budget.
    """
    columns = [_Column(each) for each in versions]
    dear = _at_price(columns, floor, 0.0)
    if dear.cost <= budget:
        return dear
    high = 1.0
    while (cheap := _at_price(columns, floor, high)).cost > budget:
        if high > 1e30:
            raise ForecastRefused(
                "budget",
                f"the main path and the shortest branches take {cheap.cost:,} steps, more than the budget of "
                f"{budget:,.0f}",
            )
        high *= 4
    low = 0.0
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        found = _at_price(columns, floor, middle)
        if found.cost > budget:
            low = middle
        else:
            high, cheap = middle, found
    return cheap


class _Column:
    """Possible branches of one version, in the order of their forks."""

    def __init__(self, possible: Iterable[PossibleBranch]) -> None:
        self.possible = sorted(possible, key=lambda one: one.branch.fork)
        self.forks = np.array([one.branch.fork for one in self.possible])
        self._losses = np.array([one.loss for one in self.possible])
        self._steps = np.array([one.branch.steps for one in self.possible])

    def values(self, price: float) -> np.ndarray:
        """Return loss + price x steps of every branch."""
        return self._losses + price * self._steps

    def best(self, price: float, main_stop: int) -> PossibleBranch:
        """Return the branch of the least value that forks no later than the main path ends; of equal ones the last."""
        values = self.values(price)[: np.searchsorted(self.forks, main_stop, side="right")]
        return self.possible[len(values) - 1 - int(np.argmin(values[::-1]))]


def _at_price(columns: Sequence[_Column], floor: int, price: float) -> Choice:
    """Return the best choice if a step is worth `price` of loss.

    A branch costs its steps, and the main path those up to the last fork. So every step at which the main path could
    end is tried, with the best branches that fork no later.
    """
    stops = np.unique(np.concatenate([np.array([floor]), *(each.forks for each in columns)]))
    stops = stops[(stops >= floor) & (stops >= max(each.forks[0] for each in columns))]
    values = price * stops.astype(float)
    for column in columns:
        least = np.minimum.accumulate(column.values(price))
        values += least[np.searchsorted(column.forks, stops, side="right") - 1]
    stop = int(stops[np.argmin(values)])
    best = tuple(column.best(price, stop) for column in columns)
    return Choice(best, max(floor, *(one.branch.fork for one in best)))


def check_decided(choice: Choice, default: Choice) -> None:
    """Raise ForecastRefused if the chosen branches are not clearly better than the default ones.

    That is when the sums of their losses differ by less than the sum of the half-widths.
    """
    width = sum(one.half_width for one in choice.branches)
    if abs(default.loss - choice.loss) < width:
        raise ForecastRefused(
            "undecided",
            f"the forecast cannot tell the best lengths from the config's: their losses differ by "
            f"{abs(default.loss - choice.loss):.4f} nats, the band is +-{width:.4f}. Take the cheaper ones",
        )
