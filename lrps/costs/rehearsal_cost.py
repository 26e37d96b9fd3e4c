"""What writing rehearsal sets has cost, by the run's own ledger: the time of no path, attributed to no version."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lrps.base.numbers import amount
from lrps.ledger.reader import read_ledger
from lrps.ledger.totals import RecordedPrice, recorded_price
from lrps.plan.plan import Plan

KIND = "rehearsal"
"""Of the records."""


def rehearsal_cost(plan: Plan) -> dict[str, Any] | None:
    """device_hours; money, null without a price; `sets` that were written; those `by_server`, whose devices nobody
    counted. None before the first set is booked. Raises LedgerError for a ledger that was changed."""
    if not plan.layout.ledger.is_dir():
        return None
    hours: dict[str, float] = {}
    money: float | None = 0.0
    by_server = set()
    paid: RecordedPrice | None = None
    for record in read_ledger(plan.layout.ledger):
        if record.kind == "start":
            paid = recorded_price(record)
        elif record.kind == KIND:
            held, price = record.counters.allocated_seconds / 3600, _price(plan, paid)
            hours[record.facts["set"]] = hours.get(record.facts["set"], 0.0) + held
            money = None if money is None or price is None else money + held * price
            if record.facts.get("generator") == "server":
                by_server.add(record.facts["set"])
    if not hours:
        return None
    total = sum(hours.values())
    return {"device_hours": total, "money": money, "sets": sorted(hours), "by_server": sorted(by_server)}


def _price(plan: Plan, paid: RecordedPrice | None) -> float | None:
    """Of a device-hour, in the currency of the config: as it was recorded, else the config's."""
    if paid is not None and paid.currency == plan.costs.currency:
        return paid.amount
    return plan.costs.price_per_device_hour


def rehearsal_lines(document: Mapping[str, Any]) -> list[str]:
    """The same as a sentence for people; none where there is nothing to tell."""
    cost = document["rehearsal_cost"]
    if cost is None:
        return []
    money = "" if cost["money"] is None else f" ({amount(cost['money'])} {document['currency']})"
    server = f" The devices of the server that wrote for {', '.join(cost['by_server'])} are not counted."
    return [
        f"Rehearsal: {amount(cost['device_hours'])} device-hours{money} to write {', '.join(cost['sets'])} (lrps "
        "rehearse), which are no part of the costs of paths, paradigms and versions."
        + (server if cost["by_server"] else "")
    ]
