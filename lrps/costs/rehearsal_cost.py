"""Cost of writing rehearsal sets, from the ledger of the run. It is part of no path and attributed to no version."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lrps.base.numbers import amount, count
from lrps.costs.price import charged_price
from lrps.data.manifest import Manifest
from lrps.ledger.reader import read_ledger
from lrps.ledger.totals import RecordedPrice, recorded_price
from lrps.plan.plan import Plan

KIND = "rehearsal"
"""Kind of the ledger's records."""


@dataclass(frozen=True)
class WrittenSet:
    """Fate of the generations of a rehearsal set: how many documents remained, and why others were dropped."""

    name: str
    """Name of the set."""
    generations: int
    """Number of texts that the base model wrote."""
    documents: int
    """Number of documents of the set."""
    dropped: Mapping[str, int]
    """Numbers of pieces of these texts that were dropped, by reason."""


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
    written: tuple[WrittenSet, ...] = ()
    """Fates of the generations of the sets whose manifests are here, by name."""


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
    written = tuple(_written(name, plan.manifests[name]) for name in sorted(hours) if name in plan.manifests)
    return RehearsalCost(sum(hours.values()), money, tuple(sorted(hours)), tuple(sorted(by_server)), written)


def _written(name: str, manifest: Manifest) -> WrittenSet:
    counts = manifest.provenance.get("counts", {})
    return WrittenSet(name, counts.get("generated", 0), manifest.documents, dropped_counts(counts))


def dropped_counts(counts: Mapping[str, Any]) -> dict[str, int]:
    """Return the numbers of dropped pieces by stage and reason. counts: those of the provenance of a set's manifest."""
    found: dict[str, int] = {}
    for what, stage in (("read", counts.get("parsed", {})), ("refined", counts.get("refined", {}))):
        reasons = {**stage.get("dropped", {}), "duplicates": stage.get("duplicates", 0)}
        found |= {f"{reason} when {what}": number for reason, number in reasons.items() if number}
    held_out = counts.get("refined", {}).get("held_out", 0)
    return found | ({"held out": held_out} if held_out else {})


def rehearsal_lines(cost: RehearsalCost | None, currency: str | None) -> list[str]:
    """Return sentences for people: the cost, and what became of the generations; none before the first set."""
    if cost is None:
        return []
    money = "" if cost.money is None else f" ({amount(cost.money)} {currency})"
    server = f" The devices of the server that wrote {', '.join(cost.by_server)} are not counted."
    return [
        f"Rehearsal: {amount(cost.device_hours)} device-hours{money} to write {', '.join(cost.sets)} (lrps rehearse). "
        f"They are not part of the costs of paths, paradigms and versions.{server if cost.by_server else ''}",
        *map(_written_line, cost.written),
    ]


def _written_line(one: WrittenSet) -> str:
    dropped = ", ".join(f"{count(number)} {reason}" for reason, number in one.dropped.items()) or "nothing"
    return f"{one.name}: {count(one.documents)} documents of {count(one.generations)} generations; dropped: {dropped}."
