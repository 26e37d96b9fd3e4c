"""A ledger read while it grows says what the strict reader says of all of it."""

from __future__ import annotations

import tempfile
from itertools import pairwise
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from lrps.ledger.reader import evaluations, read_ledger
from lrps.ledger.records import FORMAT, Counters
from lrps.ledger.skim import SkimmedLedger
from lrps.ledger.totals import total
from lrps.ledger.writer import LedgerWriter

KINDS = ("heartbeat", "heartbeat", "heartbeat", "checkpoint", "evaluation", "stop", "failure")
EVALUATION = {"heldout": "v1", "manifest_sha256": "0" * 64, "loss": 2.0, "bits_per_byte": 1.0, "rows": 1, "tokens": 7}
FACTS: dict[str, dict[str, Any]] = {"evaluation": EVALUATION, "stop": {"outcome": "interrupted"}}


def begin(directory: Path) -> LedgerWriter:
    writer = LedgerWriter(directory)
    writer.append("start", 0, Counters(), format=FORMAT, path_start=0, device="cpu", processes=2)
    return writer


@given(attempts=st.lists(st.lists(st.tuples(st.sampled_from(KINDS), st.booleans()), max_size=8), max_size=4))
def test_it_adds_up_to_the_whole_ledger(attempts: list[list[tuple[str, bool]]]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        ledger, skimmed = Path(directory) / "ledger", SkimmedLedger()
        for attempt in attempts:
            writer = begin(ledger)
            for step, (kind, looked_at) in enumerate(attempt, 1):
                at = step // 2 if kind in FACTS else step  # an evaluation may be of an earlier state
                writer.append(kind, at, Counters(steps=step, allocated_seconds=step / 2), **FACTS.get(kind, {}))
                if looked_at:
                    skimmed = skimmed.refreshed(ledger)
            writer.close()
        skimmed = skimmed.refreshed(ledger)
        whole = list(read_ledger(ledger))
    assert total(skimmed.records) == total(whole)
    assert evaluations(skimmed.records) == evaluations(whole)
    assert skimmed.damage is None
    kinds = [record.kind for record in skimmed.records]
    assert ("heartbeat", "heartbeat") not in pairwise(kinds), "only the last one of a row is kept"


def test_a_line_under_way_waits_for_its_end(tmp_path: Path) -> None:
    writer = begin(tmp_path)
    writer.append("heartbeat", 10, Counters(steps=10))
    whole = writer.path.read_bytes()
    writer.path.write_bytes(whole[:-20])
    skimmed = SkimmedLedger().refreshed(tmp_path)
    assert ([record.kind for record in skimmed.records], skimmed.damage) == (["start"], None)
    with open(writer.path, "ab") as file:
        file.write(whole[-20:])
    skimmed = skimmed.refreshed(tmp_path)
    assert ([record.step for record in skimmed.records], skimmed.damage) == ([0, 10], None)


def test_a_line_that_was_changed_is_told_and_left_out(tmp_path: Path) -> None:
    writer = begin(tmp_path)
    writer.append("checkpoint", 10, Counters(steps=10))
    skimmed = SkimmedLedger().refreshed(tmp_path)
    writer.append("checkpoint", 20, Counters(steps=20))
    writer.append("heartbeat", 30, Counters(steps=30))
    writer.path.write_bytes(writer.path.read_bytes().replace(b'"step":20', b'"step":21'))
    skimmed = skimmed.refreshed(tmp_path)
    assert [record.step for record in skimmed.records] == [0, 10, 30]
    assert str(writer.path) in (skimmed.damage or "")


def test_a_directory_that_is_made_anew_is_read_anew(tmp_path: Path) -> None:
    ledger = tmp_path / "ledger"
    begin(ledger).append("heartbeat", 50, Counters(steps=50))
    skimmed = SkimmedLedger().refreshed(ledger)
    ledger.rename(tmp_path / "old")
    assert skimmed.refreshed(ledger).records == ()
    begin(ledger).append("heartbeat", 10, Counters(steps=10))
    skimmed = skimmed.refreshed(ledger)
    assert ([record.step for record in skimmed.records], skimmed.damage) == ([0, 10], None)
