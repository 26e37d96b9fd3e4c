"""State of a run's budget: what is spent of it, and what the steps that are left would take."""

from __future__ import annotations

from dataclasses import dataclass

from lrps.base.errors import BudgetError
from lrps.base.numbers import amount
from lrps.costs.remaining import MeasuredSpeed
from lrps.plan.budget import budget_of, rounded_up, spent
from lrps.plan.plan import Plan


@dataclass(frozen=True)
class BudgetState:
    """Budget of a run, what is spent of it, and what is left to do."""

    key: str
    """Key of the config that sets it: `budget.money` or `budget.device_hours`."""
    unit: str
    """`device-hours`, or the currency of the money."""
    budget: float
    """Most that all attempts at all paths may spend."""
    spent: float
    """Amount that all attempts at all paths have spent."""
    remaining: float
    """Budget minus what is spent; negative beyond the budget, since a save takes time as well."""
    to_do: float | None
    """Amount that the steps which are not trained yet will take; null if that is not known."""
    basis: str | None
    """Basis of `to_do`: `measured` speed, or `modelled` by the hardware of the config; null if it is not known."""

    @property
    def is_spent(self) -> bool:
        """Whether nothing of the budget remains."""
        return self.remaining <= 0

    @property
    def is_enough(self) -> bool:
        """Whether something remains, and no less than what is left to do, as far as that is known."""
        return not self.is_spent and (self.to_do or 0.0) <= self.remaining


def budget_state(plan: Plan, steps: int, speed: MeasuredSpeed | None) -> BudgetState | None:
    """Return the state of the budget of a plan; None if the config has none.

    steps: number of steps that are left to do. speed: measured speed; by default the hardware of the config counts.
    Raises LedgerError for a ledger that was changed.
    """
    budget = budget_of(plan.config)
    if budget is None:
        return None
    hours = plan.costs.of(steps).device_hours if speed is None else speed.hours(steps)
    done = spent(plan, budget)
    return BudgetState(
        key=budget.key,
        unit=budget.unit,
        budget=budget.limit,
        spent=done,
        remaining=budget.limit - done,
        to_do=None if hours is None else budget.of_hours(hours),
        basis=None if hours is None else "modelled" if speed is None else "measured",
    )


def check_budget(state: BudgetState | None) -> None:
    """Raise BudgetError, which says what to raise the budget to, if it is spent or less than what is left takes."""
    if state is None or state.is_enough:
        return
    raise BudgetError(budget_refusal(state))


def budget_refusal(state: BudgetState) -> str:
    """Return why a budget does not allow what is left, and what to raise it to."""
    spent_of = f"{amount(state.spent)} of {amount(state.budget)} {state.unit} are spent"
    if state.to_do is None:
        return f"{spent_of}; raise {state.key} above {_plain(rounded_up(state.spent))} and run the same command again"
    left = f"what is left takes about {amount(state.to_do)} more ({state.basis})"
    enough = _plain(rounded_up(state.spent + state.to_do))
    return f"{spent_of} and {left}; raise {state.key} to {enough} or more, or train less of the plan"


def _plain(number: float) -> str:
    """Return a number as people write it in a config, without an exponent."""
    return f"{number:.10f}".rstrip("0").rstrip(".")
