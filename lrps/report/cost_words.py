"""Words for costs and ways of training, the same in every sentence, card and table about a budget."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lrps.base.amounts import bill_time, money
from lrps.base.numbers import count
from lrps.costs.answers.budget_answers import StepsCost

_NAMES = {
    "path-switching": "path switching",
    "ptfs": "PTFS",
    "cpt": "CPT",
    "wsd-s": "WSD-S",
    "matched-steps": "matched steps",
}


def spoken(name: str) -> str:
    """Return the name of a way of training in a sentence."""
    return _NAMES.get(name, name)


def listed(words: Sequence[str]) -> str:
    """Return words as a list in a sentence: a, b and c."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}" if words else ""


@dataclass(frozen=True)
class CostWords:
    """Writer of costs: as money where a price is known, else as device time, else as steps."""

    currency: str | None
    """Currency of the price; None without one."""

    def amount(self, hours: float | None, price: float | None) -> str:
        """Return a cost as money, or as device time without a price."""
        return bill_time(hours) if self.currency is None else money(price, self.currency)

    def time_beside(self, hours: float | None) -> str:
        """Return the device time of a cost that is written as money; empty where device time is written anyway."""
        return "" if self.currency is None or hours is None else bill_time(hours)

    def steps(self, cost: StepsCost) -> str:
        """Return the cost of steps; the number of steps where no speed is known."""
        if cost.device_hours is None:
            return f"{count(cost.steps)} steps"
        return self.amount(cost.device_hours, cost.money)
