"""Facts about the failure of a path, for whoever is notified of it."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from lrps.base.errors import LedgerError
from lrps.ledger.reader import read_ledger
from lrps.ledger.records import Record
from lrps.plan.plan import Plan


def failure_facts(plan: Plan, name: str, error: str) -> dict[str, Any]:
    """Return the name of a path that failed, the lineage step of its newest record, and the name of the error.

    error: what is known without a failure record. The name of the error only: the text of one may contain an address.
    """
    last: Record | None = None
    with suppress(LedgerError, OSError):
        for last in read_ledger(plan.layout.path(name).ledger):  # noqa: B007
            pass
    if last is not None and last.kind == "failure":
        error = str(last.facts["error"]).partition(":")[0]
    return {"path": name, "step": None if last is None else last.step, "error": error}
