"""Provenance of a run: the fingerprint of its plan, the software that trained it, and the prices that were recorded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from lrps.base.document import OPTIONAL
from lrps.ledger.reader import read_attempt
from lrps.ledger.records import FORMAT, attempt_files
from lrps.ledger.totals import RecordedPrice, Totals
from lrps.plan.plan import Plan


@dataclass(frozen=True)
class RecordedPriceUse:
    """Device-hours that attempts of a run were allocated at one recorded price."""

    amount: float | None
    """Price of a device-hour; null for attempts that recorded none."""
    currency: str | None
    """Currency of the price; null for attempts that recorded none."""
    device_hours: float
    """Allocated device-hours at this price."""


@dataclass(frozen=True)
class Processor:
    """A processor that attempts without a GPU ran on."""

    model: str
    """Name that the processor gives itself."""
    instructions: str
    """Instruction set that torch used, such as AVX512."""
    threads: int
    """Number of threads of each process."""


@dataclass(frozen=True)
class Provenance:
    """Evidence of how a run came about, from its plan and its ledgers."""

    training_sha256: str
    """SHA-256 of the model, optimizer, batch and seed that all paths share; also recorded in every checkpoint."""
    software: Mapping[str, tuple[str, ...]]
    """Versions of each package that attempts recorded, oldest first."""
    processors: tuple[Processor, ...] = field(metadata=OPTIONAL)
    """Processors that attempts without a GPU recorded, oldest first; last digits of losses depend on them."""
    prices: tuple[RecordedPriceUse, ...]
    """Prices of a device-hour that attempts recorded, and the device-hours at each."""
    ledger_format: str
    """Format of the ledgers."""


def provenance(plan: Plan, totals: Iterable[Totals]) -> Provenance:
    """Return the provenance of a run. totals: those of every path, each path once.

    Raises LedgerError for an attempt whose first line is not a record.
    """
    software: dict[str, dict[str, None]] = {}
    processors: dict[Processor, None] = {}
    for path in plan.graph.paths:
        for file in attempt_files(plan.layout.path(path.name).ledger):
            start = next(iter(read_attempt(file)), None)
            for package, version in (start.facts.get("versions", {}) if start else {}).items():
                software.setdefault(package, {})[version] = None
            if start is not None and "processor" in start.facts:
                found = start.facts["processor"]
                processors[Processor(found["model"], found["instructions"], found["threads"])] = None
    return Provenance(
        training_sha256=plan.training_sha256,
        software={package: tuple(versions) for package, versions in software.items()},
        processors=tuple(processors),
        prices=_prices(totals),
        ledger_format=FORMAT,
    )


def _prices(totals: Iterable[Totals]) -> tuple[RecordedPriceUse, ...]:
    hours = Counter[RecordedPrice | None]()
    for of_path in totals:
        hours.update(of_path.prices)
    return tuple(
        RecordedPriceUse(
            None if price is None else price.amount,
            None if price is None else price.currency,
            device_hours,
        )
        for price, device_hours in hours.items()
    )
