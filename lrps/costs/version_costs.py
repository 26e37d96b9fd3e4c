"""What every version of a paradigm costs: measured where its steps were trained, modelled where they were not.

Whose cost a step is says paths/attribution.py, what it cost costs/spending.py, what it would cost costs/estimate.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lrps.costs.estimate import Estimate
from lrps.costs.spending import Spending, added, book
from lrps.costs.status_document import measured_cost
from lrps.ledger.reader import until
from lrps.ledger.records import Record
from lrps.ledger.totals import Totals, total
from lrps.paths.attribution import Stretch, attribute
from lrps.paths.graph import Paradigm, TrainingPath
from lrps.plan.plan import Plan
from lrps.plan.status import PathStatus


@dataclass(frozen=True)
class PathCost:
    """What the ledger says of a path, up to its end in a paradigm: a shared main path goes further in another one, or
    in another plan."""

    plan: Plan
    path: TrainingPath
    records: Sequence[Record]
    totals: Totals
    reached: int
    """Lineage step up to which steps are paid for and not lost."""

    def measured(self) -> dict[str, Any]:
        """As the reports say it."""
        return measured_cost(self.plan, self.totals)

    def of(self, stretches: Sequence[Stretch], estimate: Estimate) -> dict[Stretch, Spending]:
        """What each stretch of this path cost and, if it is not trained to its end, is going to."""
        booked = dict.fromkeys(stretches, Spending())
        if self.totals.attempts:
            edges = [stretch.to_step for stretch in stretches]
            for stretch, booking in zip(stretches, book(self.records, edges, self.plan.costs), strict=True):
                booked[stretch] = booking.spending(
                    max(0, min(self.reached, stretch.to_step) - stretch.from_step),
                    self.plan.costs,
                    known_energy=self.totals.spent.energy_joules is not None,
                )
        return {stretch: self._to_its_end(stretch, spent, estimate) for stretch, spent in booked.items()}

    def _to_its_end(self, stretch: Stretch, spent: Spending, estimate: Estimate) -> Spending:
        rest = stretch.to_step - max(stretch.from_step, min(self.reached, stretch.to_step))
        return spent + estimate.of(rest) if rest else spent


def path_cost(plan: Plan, path: TrainingPath, status: PathStatus, records: Sequence[Record]) -> PathCost:
    """records: all of the path's, oldest first. status: of the path, however far it goes."""
    # Not the status's totals: a running path may have written more since.
    totals = total(records)
    kept = _kept(status, totals, records)
    if totals.last_step > path.stop:
        records = tuple(until(records, path.stop))
        totals = total(records)
    return PathCost(plan, path, records, totals, min(kept, totals.last_step) if totals.attempts else path.start)


def _kept(status: PathStatus, totals: Totals, records: Sequence[Record]) -> int:
    """The step that training is at, or would go on from by what the newest attempt says that it saved. Checkpoints
    are not asked: what they cost is paid for, also where a copy of the run has none."""
    begun = max((index for index, record in enumerate(records) if record.kind == "start"), default=None)
    if begun is None:
        return status.path.start
    newest = records[begun:]
    if status.state == "running" or totals.state == "complete":
        return max(record.step for record in newest)
    return max([newest[0].step, *(record.saved_step for record in newest if record.kind == "checkpoint")])


@dataclass(frozen=True)
class ParadigmCosts:
    """`whole`: all versions together. releases: version -> {marginal, shared, lineage}. unreleased: what no version
    needs; None if there is no such step."""

    whole: Spending
    releases: Mapping[str, Mapping[str, Spending]]
    unreleased: Spending | None


def paradigm_costs(paradigm: Paradigm, costs: Mapping[str, PathCost], estimate: Estimate) -> ParadigmCosts:
    """Book every path of a paradigm on its stretches, and attribute these to its versions."""
    attribution = attribute(paradigm)
    of_path: dict[str, list[Stretch]] = {}
    for stretch in attribution.stretches:
        of_path.setdefault(stretch.path, []).append(stretch)
    spent: dict[Stretch, Spending] = {}
    for name, stretches in of_path.items():
        spent |= costs[name].of(stretches, estimate)
    releases = {}
    for release, lineage in attribution.lineages.items():
        shares = attribution.shared(release).items()
        releases[release.version] = {
            "marginal": added(spent[stretch] for stretch in attribution.marginal(release)),
            "shared": added(spent[stretch].part(share) for stretch, share in shares),
            "lineage": added(spent[stretch] for stretch in lineage),
        }
    unreleased = added(spent[stretch] for stretch in attribution.unreleased) if attribution.unreleased else None
    return ParadigmCosts(added(spent.values()), releases, unreleased)
