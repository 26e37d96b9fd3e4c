"""Ledgers whose clock was set back: times that never decrease, and no change where it was not."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from lrps.ledger.check import check_run
from lrps.ledger.reader import read_ledger
from lrps.ledger.records import FORMAT, Counters, Record
from lrps.ledger.set_back_clocks import without_decreases
from lrps.ledger.totals import total
from lrps.ledger.writer import LedgerWriter

START = {"format": FORMAT, "path_start": 0, "device": "cpu", "processes": 1}


def attempt(seed: int, jumps: dict[int, float]) -> list[Record]:
    """Return an attempt of 12 steps with a wall clock that jumps before some records: number -> seconds."""
    random_state = random.Random(seed)
    clock, trained, records = 3.0, 0.0, []
    for number in range(12):
        clock += jumps.get(number, 0.0)
        if number:
            seconds = random_state.uniform(0.5, 2)
            trained, clock = trained + seconds, clock + seconds + 0.25
        counters = Counters(steps=number, training_seconds=trained, starting_seconds=3.0, allocated_seconds=clock)
        kind = "heartbeat" if number else "start"
        records.append(Record(kind, number, "2026-01-01T00:00:00", counters, START if not number else {}, ""))
    return records


@pytest.mark.parametrize("seed", range(30))
def test_the_time_between_other_records_stays_and_no_time_decreases(seed: int) -> None:
    where, back = random.Random(seed).randrange(1, 12), -random.Random(seed).uniform(5, 5000)
    sound, jumped = attempt(seed, {}), list(without_decreases(attempt(seed, {where: back})))
    spent = [record.counters.allocated_seconds for record in jumped]
    assert spent == sorted(spent)
    # Only the waiting between two records, a quarter of a second, is not known.
    assert spent[-1] == pytest.approx(sound[-1].counters.allocated_seconds - 0.25)
    assert jumped[:where] == sound[:where]


@pytest.mark.parametrize("seed", range(30))
def test_a_reader_that_leaves_records_out_finds_nearly_the_same_time(seed: int) -> None:
    random_state = random.Random(seed)
    where, back = random_state.randrange(1, 12), -random_state.uniform(1, 30)
    records = attempt(seed, {where: back})
    kept = [record for record in records if record.step in (0, 11) or random_state.random() < 0.3]
    last, last_kept = (list(without_decreases(some))[-1].counters.allocated_seconds for some in (records, kept))
    # A quarter of a second for each record between, and what two clocks may differ by.
    assert last_kept == pytest.approx(last, abs=12 * 0.25 + 1)


def test_sound_records_are_the_same_objects() -> None:
    records = [*attempt(1, {}), *attempt(2, {})]
    assert all(one is other for one, other in zip(records, without_decreases(records), strict=True))


def test_a_launch_in_the_future_costs_nothing_and_its_attempt_no_less_than_its_steps(tmp_path: Path) -> None:
    writer = LedgerWriter(tmp_path / "main" / "ledger")
    writer.append("start", 0, Counters(starting_seconds=-500.0, allocated_seconds=-500.0), **START)
    ended = Counters(steps=3, training_seconds=9.0, starting_seconds=-500.0, allocated_seconds=-490.0)
    writer.append("stop", 3, ended, outcome="complete")
    writer.close()
    spent = total(read_ledger(writer.path.parent)).spent
    assert (spent.starting_seconds, spent.allocated_seconds) == (0.0, 10.0)
    (check,) = check_run(tmp_path)
    assert (check.fault, check.clock_set_back) == (None, True)
