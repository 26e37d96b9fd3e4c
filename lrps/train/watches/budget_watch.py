"""The watch over the budget while a process group trains: rank 0 compares what is spent with it at every sync."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path

from lrps.base.errors import LedgerError
from lrps.base.units import hours
from lrps.ledger.reader import FollowedLedger
from lrps.ledger.totals import total
from lrps.plan.budget import Budget, budget_of, counted_ledgers
from lrps.plan.plan import Plan
from lrps.train.account import Account

_SECONDS = 5.0
"""Shortest time between two readings of the ledgers, which other process groups write to."""
_LARGEST_SHARE = 0.02
"""Largest share of the time that readings take: on a slow file system they are further apart."""


class BudgetWatch:
    """Device time and money that a run has spent: those in the ledgers of all paths, and those not yet recorded."""

    def __init__(self, plan: Plan, budget: Budget) -> None:
        self._budget, self._ledgers = budget, counted_ledgers(plan)
        self._followed: dict[Path, FollowedLedger] = {}
        self._account: Account | None = None
        self._others, self._next_reading = 0.0, 0.0
        self.seen = False
        """Whether the budget was found to be spent."""

    @classmethod
    def of(cls, plan: Plan) -> BudgetWatch | None:
        """Return the watch of a plan; None if its config has no budget."""
        budget = budget_of(plan.config)
        return None if budget is None else cls(plan, budget)

    def is_spent(self, account: Account | None = None) -> bool:
        """Return True if the budget is spent. account: that of the attempt under way; None between attempts."""
        now = time.monotonic()
        if account is None or account is not self._account or now >= self._next_reading:
            self._read(account)
            took = time.monotonic() - now
            self._next_reading = now + max(_SECONDS, took / _LARGEST_SHARE)
        spent = self._others + (0.0 if account is None else self._budget.of_hours(hours(account.allocated_seconds)))
        self.seen = self.seen or spent >= self._budget.limit
        return spent >= self._budget.limit

    def _read(self, account: Account | None) -> None:
        """Read what the ledgers have gained, and keep what is spent without the attempt of the account."""
        for ledger in self._ledgers:
            with suppress(LedgerError, OSError):  # Whoever trains or reads that path reports it.
                self._followed[ledger] = self._followed.get(ledger, FollowedLedger()).refreshed(ledger)
        spent = sum(self._budget.of_attempts(total(followed.records)) for followed in self._followed.values())
        recorded = 0.0 if account is None else account.recorded_seconds
        self._account, self._others = account, spent - self._budget.of_hours(hours(recorded))
