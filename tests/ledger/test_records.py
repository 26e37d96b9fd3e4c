"""Lines: what is written is what is read, and nothing else is."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrps.base.errors import LedgerError
from lrps.ledger.records import KINDS, NO_LINE, Counters, line_hash, parse, render

counts, seconds = st.integers(0, 10**24), st.floats(0, 1e9)
counters = st.builds(
    Counters,
    *[counts] * 7,
    *[seconds] * 6,
    st.none() | seconds,
)
facts = st.dictionaries(st.text(max_size=8), st.none() | st.booleans() | counts | seconds | st.text(max_size=20))


@given(st.sampled_from(KINDS), st.integers(0, 10**9), counters, facts)
def test_a_line_says_its_record(kind: str, step: int, spent: Counters, told: dict[str, object]) -> None:
    line = render(kind, step, "2026-01-01T00:00:00.000+00:00", spent, told, NO_LINE)
    assert line.count(b"\n") == 1
    record = parse(line, NO_LINE)
    assert (record.kind, record.step, record.counters, record.facts) == (kind, step, spent, told)
    assert record.sha256 == line_hash(line)


@given(st.data())
def test_any_changed_byte_is_told(data: st.DataObject) -> None:
    line = render("heartbeat", 7, "now", Counters(steps=7), {"loss": 1.5}, NO_LINE)[:-1]
    at = data.draw(st.integers(0, len(line) - 1))
    changed = data.draw(st.integers(0, 255).filter(lambda byte: byte != line[at]))
    with pytest.raises(LedgerError, match="copy|another version"):
        parse(line[:at] + bytes([changed]) + line[at + 1 :] + b"\n", NO_LINE)


def test_a_line_follows_the_one_before_it() -> None:
    first = render("start", 0, "now", Counters(), {}, NO_LINE)
    second = render("heartbeat", 1, "now", Counters(), {}, line_hash(first))
    assert parse(second, line_hash(first)).step == 1
    with pytest.raises(LedgerError, match="changed, removed or inserted"):
        parse(second, NO_LINE)
    assert parse(second, None).step == 1, "not checked where the line before is not known"


def test_a_line_of_another_lrps_is_told() -> None:
    line = render("heartbeat", 7, "now", Counters(), {}, NO_LINE)
    with pytest.raises(LedgerError, match="^not a record of a ledger of format lrps-ledger/2"):
        parse(b'{"counters":{},"facts":{},"kind":"start"}\n', NO_LINE)
    with pytest.raises(LedgerError, match="another version"):
        parse(line.replace(b'"steps"', b'"stepz"', 1), None)
    with pytest.raises(LedgerError, match="another version"):
        parse(line.replace(b"heartbeat", b"heartbeet"), None)


def test_tokens_and_seconds_are_parted() -> None:
    spent = Counters(
        tokens=100,
        repeated_tokens=10,
        replayed_tokens=20,
        rehearsal_tokens=30,
        allocated_seconds=50.0,
        starting_seconds=1.0,
        training_seconds=2.0,
        repeating_seconds=3.0,
        saving_seconds=4.0,
        evaluating_seconds=5.0,
    )
    assert (spent.unique_tokens, spent.other_seconds) == (40, 35.0)
    assert json.loads(json.dumps(asdict(spent))) == asdict(spent)
