"""Cost of writing rehearsal sets, from the ledger of the run. It is part of no path and attributed to no version."""

from __future__ import annotations

from dataclasses import dataclass

from lrps.base.numbers import amount
from lrps.costs.price import charged_price
from lrps.ledger.reader import read_ledger
from lrps.ledger.totals import RecordedPrice, recorded_price
from lrps.plan.plan import Plan

KIND = "rehearsal"
"""Kind of the ledger's records."""


@dataclass(frozen=True)
class RehearsalCost:
    """Cost of writing the rehearsal sets of a run (`lrps rehearse`)."""

    device_hours: float
    """Allocated device-hours on this run's own devices."""
    money: float | None
    """Price of `device_hours` in the currency of the config; null if there is no price."""
    sets: tuple[str, ...]
    """Names of the sets that were written."""
    by_server: tuple[str, ...]
    """Names of the sets that a generation server wrote, whose devices are not counted."""


def rehearsal_cost(plan: Plan) -> RehearsalCost | None:
    """Return the cost of writing rehearsal sets; None before the first one is recorded.

    Raises LedgerError for a ledger that was changed.
    """
    if not plan.layout.ledger.is_dir():
        return None
    hours: dict[str, float] = {}
    money: float | None = 0.0
    by_server = set()
    recorded: RecordedPrice | None = None
    for record in read_ledger(plan.layout.ledger):
        if record.kind == "start":
            recorded = recorded_price(record)
        elif record.kind == KIND:
            device_hours, price = record.counters.allocated_seconds / 3600, charged_price(plan, recorded)
            hours[record.facts["set"]] = hours.get(record.facts["set"], 0.0) + device_hours
            money = None if money is None or price is None else money + device_hours * price
            if record.facts.get("generator") == "server":
                by_server.add(record.facts["set"])
    if not hours:
        return None
    return RehearsalCost(sum(hours.values()), money, tuple(sorted(hours)), tuple(sorted(by_server)))


def rehearsal_lines(cost: RehearsalCost | None, currency: str | None) -> list[str]:
    """Return the cost as a sentence for people; nothing before the first set is recorded."""
    if cost is None:
        return []
    money = "" if cost.money is None else f" ({amount(cost.money)} {currency})"
    server = f" The devices of the server that wrote {', '.join(cost.by_server)} are not counted."
    return [
        f"Rehearsal: {amount(cost.device_hours)} device-hours{money} to write {', '.join(cost.sets)} (lrps rehearse). "
        f"They are not part of the costs of paths, paradigms and versions.{server if cost.by_server else ''}"
    ]
