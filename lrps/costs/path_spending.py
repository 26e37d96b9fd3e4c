"""Spending on the paths of a run, from their ledgers, divided into step ranges of their steps."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

from lrps.costs.estimate import Estimate
from lrps.costs.heldout_loss import HeldoutLoss, initial_heldout
from lrps.costs.measured_cost import MeasuredCost, measured_cost
from lrps.costs.price import charged_price
from lrps.costs.sample import Sample, samples_of
from lrps.costs.spending import Spending, book
from lrps.ledger.reader import read_ledger, until
from lrps.ledger.records import Record
from lrps.ledger.totals import Totals, total
from lrps.paths.attribution import StepRange
from lrps.paths.graph import TrainingPath
from lrps.plan.plan import Plan
from lrps.plan.status import PathStatus, plan_status


@dataclass(frozen=True)
class PathSpending:
    """Records and totals of a path, up to its end in a paradigm. A main path may continue beyond it in another one."""

    plan: Plan
    path: TrainingPath
    records: Sequence[Record]
    """Records up to the end of the path in the paradigm, oldest first."""
    totals: Totals
    """Sums over the attempts in `records`."""
    reached: int
    """Lineage step up to which steps are paid for and not lost."""

    @property
    def measured(self) -> MeasuredCost:
        """Cost of all attempts at the path."""
        return measured_cost(self.plan, self.totals)

    def of(self, step_ranges: Sequence[StepRange], estimate: Estimate) -> dict[StepRange, Spending]:
        """Return the cost of each step range of this path, with an estimate of its steps that were not trained."""
        booked = dict.fromkeys(step_ranges, Spending())
        if self.totals.attempts:
            price_of = partial(charged_price, self.plan)
            edges = [step_range.to_step for step_range in step_ranges]
            for step_range, booking in zip(step_ranges, book(self.records, edges, price_of), strict=True):
                booked[step_range] = booking.spending(
                    max(0, min(self.reached, step_range.to_step) - step_range.from_step),
                    self.plan.costs,
                    known_energy=self.totals.spent.energy_joules is not None,
                )
        return {step_range: self._to_its_end(step_range, spent, estimate) for step_range, spent in booked.items()}

    def _to_its_end(self, step_range: StepRange, spent: Spending, estimate: Estimate) -> Spending:
        rest = step_range.to_step - max(step_range.from_step, min(self.reached, step_range.to_step))
        return spent + estimate.of(rest) if rest else spent


def path_spending(plan: Plan, path: TrainingPath, status: PathStatus, records: Sequence[Record]) -> PathSpending:
    """Return the spending on a path. records: all records of the path, oldest first, also those beyond its end."""
    # Not the totals of the status: a running path may have written more since.
    totals = total(records)
    kept = _kept_step(status, totals, records)
    if totals.last_step > path.stop:
        records = tuple(until(records, path.stop))
        totals = total(records)
    return PathSpending(plan, path, records, totals, min(kept, totals.last_step) if totals.attempts else path.start)


def _kept_step(status: PathStatus, totals: Totals, records: Sequence[Record]) -> int:
    """Return the step that training has reached, or would resume from by the newest attempt's records of its saves.

    Checkpoints are not consulted: their cost is paid, also where a copy of the run has none.
    """
    begun = max((index for index, record in enumerate(records) if record.kind == "start"), default=None)
    if begun is None:
        return status.path.start
    newest = records[begun:]
    if status.state == "running" or totals.state == "complete":
        return max(record.step for record in newest)
    return max([newest[0].step, *(record.saved_step for record in newest if record.kind == "checkpoint")])


@dataclass(frozen=True)
class RunRecords:
    """Statuses and ledgers of all paths of a run, as they were at one reading."""

    plan: Plan
    statuses: Mapping[str, PathStatus]
    """Status by path."""
    ledgers: Mapping[str, tuple[Record, ...]]
    """Records by path, oldest first; none of a path that was not begun or whose directory is that of another plan."""

    @classmethod
    def read(cls, plan: Plan) -> RunRecords:
        """Read the statuses and the ledgers of a run. Raises LedgerError for a ledger that was changed."""
        return cls.of(plan, plan_status(plan))

    @classmethod
    def of(cls, plan: Plan, found: Iterable[PathStatus]) -> RunRecords:
        """Read the ledgers of the paths with these statuses. Raises LedgerError for a ledger that was changed."""
        statuses = {status.path.name: status for status in found}
        begun = {name for name, status in statuses.items() if status.totals.attempts}
        ledgers = {
            name: tuple(read_ledger(plan.layout.path(name).ledger)) if name in begun else () for name in statuses
        }
        return cls(plan, statuses, ledgers)

    @property
    def samples(self) -> tuple[Sample, ...]:
        """Samples of what the run measured, for estimates."""
        return samples_of(self.plan, self.ledgers)

    @cached_property
    def initial_heldout(self) -> dict[str, HeldoutLoss] | None:
        """Losses of the model that the plan starts from, by held-out version; None for weights from the seed."""
        return initial_heldout(self.plan, self.statuses.values())

    def spending(self, path: TrainingPath) -> PathSpending:
        """Return the spending on a path up to its end."""
        return path_spending(self.plan, path, self.statuses[path.name], self.ledgers[path.name])
