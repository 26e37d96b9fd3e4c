"""What made a run, as its ledgers say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lrps.base.errors import LedgerError
from lrps.costs.provenance import Processor, Provenance, RecordedPriceUse, provenance
from lrps.ledger.records import FORMAT, Counters
from lrps.ledger.totals import RecordedPrice, Totals
from lrps.ledger.writer import LedgerWriter


def begin(directory: Path, path: str, versions: dict[str, str], **more: Any) -> None:
    facts = {"format": FORMAT, "path": path, "path_start": 0, "device": "cpu", "processes": 1, "versions": versions}
    facts |= more
    ledger = LedgerWriter(directory)
    ledger.append("start", 0, Counters(), **facts)
    ledger.close()


def test_software_is_that_of_all_attempts(make: Any) -> None:
    plan = make(paradigms={"path-switching": {}})
    assert provenance(plan, []) == Provenance(plan.training_sha256, {}, (), (), FORMAT)
    ledger = plan.layout.path("main").ledger
    begin(ledger, "main", {"torch": "2.8", "deepspeed": "0.18"})
    begin(ledger, "main", {"torch": "2.9", "deepspeed": "0.18"})
    assert provenance(plan, []).software == {"torch": ("2.8", "2.9"), "deepspeed": ("0.18",)}


def test_processors_are_those_of_all_attempts(make: Any) -> None:
    plan = make(paradigms={"path-switching": {}})
    ledger = plan.layout.path("main").ledger
    begin(ledger, "main", {})
    one, other = ({"model": "A", "instructions": each, "threads": 2} for each in ("AVX2", "AVX512"))
    for processor in (one, other, one):
        begin(ledger, "main", {}, processor=processor)
    assert provenance(plan, []).processors == (Processor("A", "AVX2", 2), Processor("A", "AVX512", 2))


def test_another_model_has_another_fingerprint(make: Any) -> None:
    assert provenance(make(), []).training_sha256 != provenance(make(seed=5), []).training_sha256


def test_what_is_no_ledger_is_refused(make: Any) -> None:
    plan = make()
    ledger = plan.layout.path("main").ledger
    ledger.mkdir(parents=True)
    (ledger / "000.jsonl").write_text("{}\n")
    with pytest.raises(LedgerError, match=r"000\.jsonl:1"):
        provenance(plan, [])


def test_prices_of_all_paths_are_added_up(make: Any) -> None:
    paid = Totals(prices={RecordedPrice(2.0, "EUR"): 0.5, None: 0.25})
    more = Totals(prices={RecordedPrice(2.0, "EUR"): 1.0, RecordedPrice(2.0, "USD"): 3.0})
    assert provenance(make(), [paid, more]).prices == (
        RecordedPriceUse(2.0, "EUR", 1.5),
        RecordedPriceUse(None, None, 0.25),
        RecordedPriceUse(2.0, "USD", 3.0),
    )
