"""Reading: strict about everything but a torn last line; sums over attempts."""

from __future__ import annotations

import tempfile
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lrps.base.errors import LedgerError
from lrps.ledger.reader import EMA, RAW, EvaluationKey, FollowedLedger, evaluations, read_ledger, until
from lrps.ledger.records import FORMAT, Counters
from lrps.ledger.totals import Totals, total
from lrps.ledger.writer import LedgerWriter


def attempt(directory: Path, start: int, stop: int, ending: str | None = "stop", **facts: Any) -> Path:
    """An attempt over steps [start, stop) of 10 tokens, 2 device-seconds a step, with a heartbeat each step."""
    writer = LedgerWriter(directory)
    counters = Counters(allocated_seconds=5.0)
    writer.append(
        "start", start, counters, format=FORMAT, path_start=0, device="cpu", processes=2, origin="start", **facts
    )
    for step in range(start + 1, stop + 1):
        counters.steps += 1
        counters.tokens += 10
        counters.training_seconds += 2.0
        counters.allocated_seconds += 3.0
        writer.append("heartbeat", step, counters, loss=1.0)
    if ending:
        outcome = {"outcome": "complete"} if ending == "stop" else {"error": "Boom"}
        writer.append(ending, stop, counters, **outcome)
    writer.close()
    return writer.path


def totals(directory: Path) -> Totals:
    return total(read_ledger(directory))


def test_a_torn_last_line_is_tolerated(tmp_path: Path) -> None:
    file = attempt(tmp_path, 0, 5)
    file.write_bytes(file.read_bytes()[:-7])
    assert totals(tmp_path).spent.steps == 5
    attempt(tmp_path, 5, 6)
    assert totals(tmp_path).spent.steps == 6


@given(data=st.data())
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
def test_any_changed_byte_is_found(tmp_path: Path, data: st.DataObject) -> None:
    directory = tmp_path / str(len(list(tmp_path.iterdir())))
    attempt(directory, 0, 4, ending=None)
    attempt(directory, 2, 5)
    file = data.draw(st.sampled_from(sorted(directory.iterdir())))
    before = file.read_bytes()
    # A last line that lost its end was torn, which may happen; any other byte matters.
    at = data.draw(st.integers(0, len(before) - 2))
    changed = data.draw(st.integers(0, 255).filter(lambda byte: byte != before[at]))
    file.write_bytes(before[:at] + bytes([changed]) + before[at + 1 :])
    with pytest.raises(LedgerError, match=r"00\d\.jsonl:\d+"):
        totals(directory)


def test_a_changed_key_is_a_changed_line_and_no_missing_key(tmp_path: Path) -> None:
    file = attempt(tmp_path, 0, 2)
    file.write_bytes(file.read_bytes().replace(b'"processes"', b'"processez"', 1))
    with pytest.raises(LedgerError, match=r"000\.jsonl:1: this line, or one before it, was changed"):
        totals(tmp_path)


@pytest.mark.parametrize("line", [0, 2, 4])
def test_a_removed_line_is_found(tmp_path: Path, line: int) -> None:
    file = attempt(tmp_path, 0, 5)
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join(lines[:line] + lines[line + 1 :]))
    with pytest.raises(LedgerError, match=f"000.jsonl:{line + 1}"):
        totals(tmp_path)


def test_a_removed_attempt_is_found(tmp_path: Path) -> None:
    attempt(tmp_path, 0, 5)
    attempt(tmp_path, 5, 6)
    (tmp_path / "000.jsonl").unlink()
    with pytest.raises(LedgerError, match="001.jsonl:1"):
        totals(tmp_path)


@pytest.mark.parametrize("begun", [b"", b'{"counters": {"alloc'], ids=["empty", "torn"])
def test_an_attempt_that_died_before_its_first_record_breaks_nothing(tmp_path: Path, begun: bytes) -> None:
    attempt(tmp_path, 0, 5)
    (tmp_path / "001.jsonl").write_bytes(begun)
    attempt(tmp_path, 5, 8)
    assert (totals(tmp_path).attempts, totals(tmp_path).spent.steps) == (2, 8)


def test_attempts_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    attempt(tmp_path, 0, 1)
    (tmp_path / "000.jsonl").rename(tmp_path / "999.jsonl")
    attempt(tmp_path, 1, 2)
    attempt(tmp_path, 2, 3)
    assert totals(tmp_path).spent.steps == 3
    assert sorted(file.name for file in tmp_path.iterdir()) == ["1000.jsonl", "1001.jsonl", "999.jsonl"]


def test_the_part_of_a_ledger_up_to_a_step(tmp_path: Path) -> None:
    attempt(tmp_path, 0, 8)
    attempt(tmp_path, 5, 12)
    attempt(tmp_path, 12, 20)
    shorter = total(until(read_ledger(tmp_path), 10))
    assert (shorter.attempts, shorter.spent.steps, shorter.last_step) == (2, 8 + 5, 10)
    assert shorter.repeated_steps == 3
    assert total(until(read_ledger(tmp_path), 12)).spent.steps == 8 + 7
    assert total(until(read_ledger(tmp_path), 99)).spent.steps == 8 + 7 + 8


def test_a_path_that_is_only_evaluated_is_part_of_the_ledger_up_to_its_start(tmp_path: Path) -> None:
    attempt(tmp_path, 0, 0)
    assert len(list(until(read_ledger(tmp_path), 0))) == 2


def test_the_newest_evaluation_counts(tmp_path: Path) -> None:
    writer = LedgerWriter(tmp_path)
    writer.append("start", 0, Counters(), format=FORMAT, path_start=0, device="cpu", processes=1)
    for loss in (2.0, 1.0):
        facts = {"manifest_sha256": "m", "loss": loss, "bits_per_byte": 3.0, "rows": 1, "tokens": 7}
        writer.append("evaluation", 4, Counters(), heldout="v1", **facts)
    found = evaluations(read_ledger(tmp_path))
    assert {key: evaluation.loss for key, evaluation in found.items()} == {(4, "v1", RAW): 1.0}


def test_evaluations_of_different_forms_of_a_state_do_not_replace_each_other(tmp_path: Path) -> None:
    writer = LedgerWriter(tmp_path)
    writer.append("start", 0, Counters(), format=FORMAT, path_start=0, device="cpu", processes=1)
    for loss, form in ((2.0, {}), (1.5, {"form": EMA}), (1.0, {"form": EMA}), (3.0, {"form": "merge"})):
        writer.append("evaluation", 4, Counters(), **{**EVALUATION, "loss": loss}, **form)
    found = evaluations(read_ledger(tmp_path))
    assert {key: evaluation.loss for key, evaluation in found.items()} == {
        EvaluationKey(4, "v1"): 2.0,
        EvaluationKey(4, "v1", EMA): 1.0,
        EvaluationKey(4, "v1", "merge"): 3.0,
    }
    assert all(key.form == evaluation.form for key, evaluation in found.items())


@given(st.lists(st.tuples(st.integers(0, 9), st.sampled_from(["stop", "failure", None])), max_size=4))
@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
def test_heartbeats_that_others_follow_change_no_total(tmp_path: Path, attempts: list[tuple[int, str | None]]) -> None:
    directory = tmp_path / str(len(list(tmp_path.iterdir())))
    for steps, ending in attempts:
        attempt(directory, 0, steps, ending)
    thin = list(read_ledger(directory, heartbeats=False))
    assert total(thin) == totals(directory)
    assert len([record for record in thin if record.kind == "heartbeat"]) == sum(steps > 0 for steps, _ in attempts)


def test_a_heartbeat_that_is_left_out_is_checked(tmp_path: Path) -> None:
    file = attempt(tmp_path, 0, 5)
    file.write_bytes(file.read_bytes().replace(b'"tokens":20', b'"tokens":21', 1))
    with pytest.raises(LedgerError, match=r"000\.jsonl:3: this line"):
        list(read_ledger(tmp_path, heartbeats=False))


# A ledger that is followed while it grows


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
        ledger, followed = Path(directory) / "ledger", FollowedLedger()
        for attempt in attempts:
            writer = begin(ledger)
            for step, (kind, looked_at) in enumerate(attempt, 1):
                at = step // 2 if kind in FACTS else step  # an evaluation may be of an earlier state
                writer.append(kind, at, Counters(steps=step, allocated_seconds=step / 2), **FACTS.get(kind, {}))
                if looked_at:
                    followed = followed.refreshed(ledger)
            writer.close()
        followed = followed.refreshed(ledger)
        whole = list(read_ledger(ledger))
    assert total(followed.records) == total(whole)
    assert evaluations(followed.records) == evaluations(whole)
    assert followed.damage is None
    kinds = [record.kind for record in followed.records]
    assert ("heartbeat", "heartbeat") not in pairwise(kinds), "only the last one of a row is kept"


def test_a_line_under_way_waits_for_its_end(tmp_path: Path) -> None:
    writer = begin(tmp_path)
    writer.append("heartbeat", 10, Counters(steps=10))
    whole = writer.path.read_bytes()
    writer.path.write_bytes(whole[:-20])
    followed = FollowedLedger().refreshed(tmp_path)
    assert ([record.kind for record in followed.records], followed.damage) == (["start"], None)
    with open(writer.path, "ab") as file:
        file.write(whole[-20:])
    followed = followed.refreshed(tmp_path)
    assert ([record.step for record in followed.records], followed.damage) == ([0, 10], None)


def test_a_line_that_was_changed_is_told_and_left_out(tmp_path: Path) -> None:
    writer = begin(tmp_path)
    writer.append("checkpoint", 10, Counters(steps=10))
    followed = FollowedLedger().refreshed(tmp_path)
    writer.append("checkpoint", 20, Counters(steps=20))
    writer.append("heartbeat", 30, Counters(steps=30))
    writer.path.write_bytes(writer.path.read_bytes().replace(b'"step":20', b'"step":21'))
    followed = followed.refreshed(tmp_path)
    assert [record.step for record in followed.records] == [0, 10, 30]
    assert str(writer.path) in (followed.damage or "")


def test_a_directory_that_is_made_anew_is_read_anew(tmp_path: Path) -> None:
    ledger = tmp_path / "ledger"
    begin(ledger).append("heartbeat", 50, Counters(steps=50))
    followed = FollowedLedger().refreshed(ledger)
    ledger.rename(tmp_path / "old")
    assert followed.refreshed(ledger).records == ()
    begin(ledger).append("heartbeat", 10, Counters(steps=10))
    followed = followed.refreshed(ledger)
    assert ([record.step for record in followed.records], followed.damage) == ([0, 10], None)
