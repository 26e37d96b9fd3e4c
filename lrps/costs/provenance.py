"""What made a run: its plan's fingerprint, the software that trained it, what its devices cost, and the format of its
ledgers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from lrps.ledger.reader import read_attempt
from lrps.ledger.records import FORMAT, attempt_files
from lrps.ledger.totals import RecordedPrice, Totals
from lrps.plan.plan import Plan


def provenance(plan: Plan, totals: Iterable[Totals]) -> dict[str, Any]:
    """JSON values. training_sha256: of the model, optimizer, batch and seed that all paths share; checkpoints carry
    it. software: package -> versions that attempts recorded, oldest first. prices: those that attempts recorded, of a
    device-hour, with the device-hours held at each; the price that is null was not recorded.

    totals: of every path, each once.
    Raises LedgerError for an attempt whose first line is no record.
    """
    software: dict[str, dict[str, None]] = {}
    for path in plan.graph.paths:
        for file in attempt_files(plan.layout.path(path.name).ledger):
            start = next(iter(read_attempt(file)), None)
            for package, version in (start.facts.get("versions", {}) if start else {}).items():
                software.setdefault(package, {})[version] = None
    return {
        "training_sha256": plan.training_sha256,
        "software": {package: list(versions) for package, versions in software.items()},
        "prices": _prices(totals),
        "ledger_format": FORMAT,
    }


def _prices(totals: Iterable[Totals]) -> list[dict[str, Any]]:
    hours = Counter[RecordedPrice | None]()
    for of_path in totals:
        hours.update(of_path.prices)
    return [
        {
            "amount": None if price is None else price.amount,
            "currency": None if price is None else price.currency,
            "device_hours": held,
        }
        for price, held in hours.items()
    ]
