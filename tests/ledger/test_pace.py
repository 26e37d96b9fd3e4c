"""How fast attempts trained."""

from __future__ import annotations

from pathlib import Path

from lrps.ledger.pace import AttemptPace, Pace, attempt_paces, pooled
from lrps.ledger.reader import read_ledger
from lrps.ledger.records import FORMAT, Counters
from lrps.ledger.writer import LedgerWriter


def test_each_attempt_has_its_pace_without_starting_up(tmp_path: Path) -> None:
    for processes, steps in ((2, 10), (4, 0), (4, 20)):
        writer = LedgerWriter(tmp_path)
        counters = Counters(allocated_seconds=100.0, starting_seconds=100.0)
        writer.append("start", 0, counters, format=FORMAT, path_start=0, device="cpu", processes=processes)
        counters = Counters(steps=steps, allocated_seconds=100.0 + 3.0 * max(steps, 1), starting_seconds=100.0)
        writer.append("heartbeat", steps, counters)
        writer.close()
    paces = attempt_paces(read_ledger(tmp_path))
    assert paces == (AttemptPace(2, Pace(10, 30.0)), AttemptPace(4, Pace()), AttemptPace(4, Pace(20, 60.0)))
    assert [attempt.pace.seconds_per_step for attempt in paces] == [3.0, None, 3.0]
    assert pooled(attempt.pace for attempt in paces) == Pace(30, 90.0)
