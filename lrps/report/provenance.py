"""What made a run: its plan's fingerprint, the software that trained it, and the format of its ledgers."""

from __future__ import annotations

from typing import Any

from lrps.ledger.reader import read_attempt
from lrps.ledger.records import FORMAT, attempt_files
from lrps.plan import Plan


def provenance(plan: Plan) -> dict[str, Any]:
    """JSON values. training_sha256: of the model, optimizer, batch and seed that all paths share; checkpoints carry
    it. software: package -> versions that attempts recorded, oldest first.

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
        "ledger_format": FORMAT,
    }
